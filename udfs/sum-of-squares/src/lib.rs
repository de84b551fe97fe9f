//! The classic first example: y = Σ xᵢ² of each row, over all numeric columns.

use quern_udf::prelude::*;
use quern_udf::{ErrorCode, Field};

procs! {
    /// Sum of the squares of the numbers in each row; a null counts as 0.
    distributed sum_of_squares {
        /// Any table with at least one numeric column.
        input x;
        /// One row per row of `x`, in the same shard.
        output sums { id: int64 null, y: float64 }
        /// The integer column that tells rows apart: it is copied, not squared. Without such a column `id` is null.
        param id: string = "id";
        /// Rows of all instances.
        reduce rows: sum;
    }
}

/// Rows worked on together, which bounds the device memory they need.
const CHUNK_ROWS: u64 = 1 << 20;

fn sum_of_squares(p: &Proc) -> Result {
    let (x, sums) = (p.input("x")?, p.output("sums")?);
    let id: String = p.param("id")?;
    let names = squared_columns(&x.fields(), &id);
    if names.is_empty() {
        bail!("table `{}` has no numeric column to square", x.name());
    }

    sums.resize(x.rows())?;
    copy_ids(x, sums, &id)?;
    for start in (0..x.rows()).step_by(CHUNK_ROWS as usize) {
        let rows = CHUNK_ROWS.min(x.rows() - start);
        let mut y = Tensor::zeros(Float64, &[rows as u32])?;
        for name in &names {
            y = (y + squares(&Tensor::values(&x.column(name)?, start, rows, 0.0)?)?)?;
        }
        sums.put("y", start, &y)?;
    }
    p.result("rows", x.rows())
}

/// Sum of squares of each row: `[rows, ..]` of any number type to `[rows]` float64.
fn squares(column: &Tensor) -> Result<Tensor> {
    let inner: Vec<i32> = (1..column.shape().len() as i32).collect();
    let squares = column.cast(Float64)?.square()?;
    if inner.is_empty() { Ok(squares) } else { squares.sum(&inner) }
}

fn copy_ids(x: &Table, sums: &Table, id: &str) -> Result {
    let Some(field) = x.fields().into_iter().find(|field| field.name == id) else {
        return Ok(());
    };
    let ids = x.column(id)?;
    if field.column_type == "int64" {
        return sums.column("id")?.copy_from(0, &ids);
    }
    if !is_integer(&field.column_type) {
        let message = format!("column `{id}` is {}, an id must be an integer", field.column_type);
        return Err(Error::new(ErrorCode::TypeMismatch, message));
    }
    sums.put("id", 0, &ids.tensor()?.cast(Int64)?)
}

/// Names of the columns to square: all numbers and tensors of numbers but `id`.
fn squared_columns(fields: &[Field], id: &str) -> Vec<String> {
    fields
        .iter()
        .filter(|field| field.name != id && is_numeric(&field.column_type))
        .map(|field| field.name.clone())
        .collect()
}

/// Whether a column of this type can be cast to float64.
fn is_numeric(column_type: &str) -> bool {
    let element = column_type.strip_prefix("tensor(").and_then(|rest| rest.split(',').next()).unwrap_or(column_type);
    is_integer(element) || ["float16", "float32", "float64"].contains(&element)
}

fn is_integer(column_type: &str) -> bool {
    ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"].contains(&column_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_tensors_of_numbers_are_squared_and_the_id_is_not() {
        let field = |name: &str, column_type: &str| Field {
            name: name.into(),
            column_type: column_type.into(),
            nullable: false,
        };
        let fields = [
            field("id", "int64"),
            field("a", "float32"),
            field("name", "utf8"),
            field("when", "timestamp"),
            field("image", "tensor(uint8,[28,28])"),
            field("flags", "tensor(bool,[4])"),
        ];
        assert_eq!(squared_columns(&fields, "id"), ["a", "image"]);
        assert_eq!(squared_columns(&fields, ""), ["id", "a", "image"]);
    }
}

quern_udf::tests! {
    use quern_udf::testing::{assert_close, rows, run, table};

    fn squares_every_number_of_a_row_but_its_id() -> Result {
        table("points")
            .column("id", &[1_i64, 2, 3])
            .column("x", &[1.0, 2.0, 3.0])
            .column("n", &[Some(2), None, Some(4)])
            .column("name", &["a", "b", "c"])
            .tensors("pair", &[2], &[1_u8, 2, 3, 4, 0, 1])
            .create()?;
        let done = run("sum_of_squares").input("points").output("sums").execute()?;
        assert_eq!(rows::<Option<i64>>("sums", "id")?, [Some(1), Some(2), Some(3)]);
        assert_close(&rows::<f64>("sums", "y")?, &[1.0 + 4.0 + 5.0, 4.0 + 25.0, 9.0 + 16.0 + 1.0], 1e-12);
        assert_eq!(done.result::<u64>("rows")?, 3);
        Ok(())
    }

    fn gives_the_same_rows_however_they_are_dealt() -> Result {
        let x: Vec<f64> = (0..100).map(f64::from).collect();
        let ids: Vec<i64> = (0..100).collect();
        for shards in [1, 3, 8] {
            let (input, output) = (format!("in_{shards}"), format!("out_{shards}"));
            table(&input).column("id", &ids).column("x", &x).shards(shards).create()?;
            let done = run("sum_of_squares").input(&input).output(&output).execute()?;
            assert_eq!(done.result::<u64>("rows")?, 100);
            let mut found: Vec<(i64, u64)> = rows::<Option<i64>>(&output, "id")?
                .into_iter()
                .zip(rows::<f64>(&output, "y")?)
                .map(|(id, y)| (id.unwrap_or(-1), y as u64))
                .collect();
            found.sort_unstable();
            assert_eq!(found, ids.iter().map(|id| (*id, (id * id) as u64)).collect::<Vec<_>>());
        }
        Ok(())
    }

    fn refuses_a_table_without_numbers() -> Result {
        table("names").column("name", &["a"]).create()?;
        let error = run("sum_of_squares").input("names").output("sums").fails()?;
        assert_eq!(
            error,
            "proc `sum_of_squares` returned an error (invalid-argument): table `x` has no numeric column to square"
        );
        Ok(())
    }
}
