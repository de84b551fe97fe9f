//! Columns of a table and how its rows are divided into shards.

use arrow::datatypes::{Field, Schema as ArrowSchema, SchemaRef};
use std::sync::Arc;

use super::{ColumnType, Error, Result};

/// Shards of a table when nothing is said; never taken from the machine.
pub const DEFAULT_SHARDS: u32 = 4;

/// One column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, unique in the table without regard to case.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether rows may lack a value.
    pub nullable: bool,
}

/// The columns of a table, in order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Schema {
    columns: Vec<Column>,
}

/// How a table's rows are divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sharding {
    /// By where a row happens to be stored.
    Random,
    /// By a hash of these columns.
    Key(Vec<String>),
    /// Not at all: every instance sees every row.
    Replicated,
}

impl Schema {
    /// Checks names: at least one column, each valid and unique.
    pub fn new(columns: Vec<Column>) -> Result<Self> {
        if columns.is_empty() {
            return Err(Error::Invalid("a table needs at least one column".into()));
        }
        for (i, column) in columns.iter().enumerate() {
            check_name("column", &column.name)?;
            if columns[..i].iter().any(|other| other.name.eq_ignore_ascii_case(&column.name)) {
                return Err(Error::Exists { kind: "column", name: column.name.clone() });
            }
        }
        Ok(Self { columns })
    }

    /// The columns in order.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Position and description of a column of `table` (named in the error).
    pub fn column(&self, table: &str, name: &str) -> Result<(usize, &Column)> {
        self.columns.iter().enumerate().find(|(_, column)| column.name == name).ok_or_else(|| {
            let names = self.columns.iter().map(|column| column.name.as_str());
            Error::not_found("column", name, Some(format!("table `{table}`")), names)
        })
    }

    /// The Arrow schema of batches of this table.
    pub fn to_arrow(&self) -> SchemaRef {
        Arc::new(ArrowSchema::new(
            self.columns.iter().map(|c| c.column_type.to_arrow(&c.name, c.nullable)).collect::<Vec<Field>>(),
        ))
    }

    /// The schema that holds batches of this Arrow schema.
    pub fn from_arrow(schema: &ArrowSchema) -> Result<Self> {
        let columns = schema.fields().iter().map(|field| {
            let column_type = ColumnType::from_arrow(field)?;
            Ok(Column { name: field.name().clone(), column_type, nullable: field.is_nullable() })
        });
        Self::new(columns.collect::<Result<_>>()?)
    }
}

/// Bytes of a name.
pub const MAX_NAME_BYTES: usize = 128;

/// Refuses names that are empty, longer than [`MAX_NAME_BYTES`], or hold control characters.
pub fn check_name(kind: &'static str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        return Err(Error::Invalid(format!(
            "{kind} name {name:?} cannot be used: names have 1 to {MAX_NAME_BYTES} bytes and no control characters"
        )));
    }
    Ok(())
}

/// [`check_name`] for a table that a user names: no dot, which SQL would read as
/// the end of a schema's name.
pub fn check_table_name(name: &str) -> Result<()> {
    if name.contains('.') {
        return Err(Error::Invalid(format!(
            "table name `{name}` cannot be used: there are no schemas, leave out the dot"
        )));
    }
    check_name("table", name)
}
