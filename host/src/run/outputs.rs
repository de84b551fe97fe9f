//! The columns of output tables: made from what the proc declares, or compared
//! with the table that exists.

use crate::base::{Column, ColumnType, Error, Result, Schema};
use crate::catalog::spec::{OutputSpec, ProcSpec};
use crate::catalog::{ExecutionMode, MODEL_COLUMNS};

/// The columns of a new table for this output. `paired` are those of the input
/// at the same place.
pub(super) fn schema_of(spec: &OutputSpec, paired: Option<&Schema>) -> Result<Schema> {
    let declared = spec.columns.iter().map(|column| column.to_column());
    if spec.models {
        let [model, name, id, created] = MODEL_COLUMNS.map(|(name, column_type)| required(name, column_type));
        return Schema::new([model, name, id].into_iter().chain(declared).chain([created]).collect());
    }
    match paired {
        Some(paired) if spec.columns.is_empty() => Ok(paired.clone()),
        _ => Schema::new(declared.collect()),
    }
}

/// The columns of a proc's only output; `paired` are those of its first input.
pub fn only_output(proc: &ProcSpec, paired: Option<&Schema>) -> Result<Schema> {
    match proc.outputs.as_slice() {
        [output] if output.columns.is_empty() && !output.models && paired.is_none() => {
            Err(Error::Unsupported(format!(
                "proc `{}` declares no columns for its output; it is read as a table only where its input is a table",
                proc.name
            )))
        }
        [output] => schema_of(output, paired),
        outputs => Err(Error::Unsupported(format!(
            "proc `{}` has {} outputs; only a proc with one is read as a table, use EXECUTE FUNCTION",
            proc.name,
            outputs.len()
        ))),
    }
}

/// Refuses a table that the output does not fit.
pub(super) fn check_existing(proc: &ProcSpec, spec: &OutputSpec, table: &str, schema: &Schema) -> Result<()> {
    for column in &spec.columns {
        let (_, found) = schema.column(table, &column.name)?;
        if found.column_type != column.column_type {
            return Err(mismatch(proc, spec, table, found, &column.column_type.to_string()));
        }
    }
    if spec.models {
        for (name, column_type) in &MODEL_COLUMNS {
            let (_, found) = schema.column(table, name)?;
            // An id may also be kept as text, as Kinetica's example does.
            let fits = found.column_type == *column_type || (*name == "id" && found.column_type == ColumnType::Utf8);
            if !fits {
                return Err(mismatch(proc, spec, table, found, &column_type.to_string()));
            }
        }
    }
    if spec.columns.is_empty() && !spec.models {
        return Ok(());
    }
    let written = |name: &str| {
        spec.columns.iter().any(|c| c.name == name) || (spec.models && MODEL_COLUMNS.iter().any(|(c, _)| *c == name))
    };
    match schema.columns().iter().find(|column| !column.nullable && !written(&column.name)) {
        Some(column) => Err(Error::TypeMismatch(format!(
            "column `{}` of table `{table}` must not be null and proc `{}` does not write it; \
             name another table or leave the column nullable",
            column.name, proc.name
        ))),
        None => Ok(()),
    }
}

/// How many shards a new table of a proc's output has.
pub(super) fn new_shards(mode: ExecutionMode, instances: u32) -> u32 {
    match mode {
        ExecutionMode::Distributed => instances,
        ExecutionMode::Nondistributed => crate::base::DEFAULT_SHARDS,
    }
}

fn required(name: &str, column_type: ColumnType) -> Column {
    Column { name: name.to_owned(), column_type, nullable: false }
}

fn mismatch(proc: &ProcSpec, spec: &OutputSpec, table: &str, found: &Column, wanted: &str) -> Error {
    Error::TypeMismatch(format!(
        "column `{}` of table `{table}` is {}; output `{}` of proc `{}` writes {wanted}",
        found.name, found.column_type, spec.name, proc.name
    ))
}
