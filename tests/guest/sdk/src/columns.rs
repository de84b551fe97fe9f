//! Rows as Rust values, as tensors, and back.

use quern_udf::prelude::*;

use crate::{equal, same};

/// Rows: n = 0, null, 2 · word = "mühle", null, "" · file = [0], [], [1, 2] ·
/// flag = true, false, true · x = 0.5, −1, 3.
pub(crate) fn columns(p: &Proc) -> Result {
    let (rows, copies) = (p.input("rows")?, p.output("copies")?);
    equal("the first input", p.inputs[0].name(), "rows".to_owned())?;
    equal("rows", rows.rows(), 3)?;
    let names: Vec<_> = rows.fields().into_iter().map(|field| field.name).collect();
    equal("fields", names.join(" "), "n word file flag x".to_owned())?;
    let field = rows.column("n")?.field();
    equal("field", (field.column_type.as_str(), field.nullable), ("int64", true))?;

    let n: Vec<Option<i64>> = rows.column("n")?.to_vec()?;
    equal("n", &n, &vec![Some(0), None, Some(2)])?;
    let word: Vec<Option<String>> = rows.column("word")?.to_vec()?;
    equal("word", &word, &vec![Some("mühle".to_owned()), None, Some(String::new())])?;
    let file: Vec<Vec<u8>> = rows.column("file")?.to_vec()?;
    equal("file", file, vec![vec![0], vec![], vec![1, 2]])?;
    let flag: Vec<bool> = rows.column("flag")?.read(1, 2)?;
    equal("flag", flag, vec![false, true])?;
    equal("nulls need Option", rows.column("n")?.to_vec::<i64>().is_err(), true)?;
    equal("types must fit", rows.column("x")?.to_vec::<f64>().is_err(), true)?;

    same("tensor", rows.tensor("x"), &[3], &[0.5_f32, -1.0, 3.0])?;
    same("tensor_rows", rows.tensor_rows("x", 1, 2), &[2], &[-1.0_f32, 3.0])?;
    same("values", Tensor::values(&rows.column("n")?, 0, 3, 7.0), &[3], &[0_i64, 7, 2])?;
    same("validity", Tensor::validity(&rows.column("n")?, 0, 3), &[3], &[true, false, true])?;

    copies.resize(4)?;
    copies.write("n", 0, &n)?;
    copies.write("word", 1, &word)?;
    copies.column("flag")?.copy_from(0, &rows.column("flag")?)?;
    copies.put("x", 1, &(rows.tensor("x")? * 2.0)?)?;
    equal("reserved rows", copies.rows(), 4)?;

    equal("run", (p.shard(), p.shards(), p.seed()), (0, 1, 11))?;
    equal("no such parameter", p.param_or_none::<u32>("nothing")?, None)?;
    quern_udf::trace("a trace");
    quern_udf::debug("a detail");
    quern_udf::warn("a warning");
    p.metric("points", 1, 0.25);
    p.status("checked", 0.5)?;
    p.result("run", p.run_id())
}
