//! Spellings of column types in SQL: ours, and those of other databases.

use crate::base::{ColumnType, Error, Result};

/// Other names for a type without arguments.
const ALIASES: [(&str, &str); 22] = [
    ("float", "float32"),
    ("float4", "float32"),
    ("float8", "float64"),
    ("double precision", "float64"),
    ("long", "int64"),
    ("ulong", "uint64"),
    ("int2", "int16"),
    ("int4", "int32"),
    // As in PostgreSQL, a number of bytes; Kinetica's `int8` of one byte is `tinyint`.
    ("signed", "int32"),
    ("unsigned", "uint32"),
    ("utinyint", "uint8"),
    ("usmallint", "uint16"),
    ("uinteger", "uint32"),
    ("ubigint", "uint64"),
    ("string", "utf8"),
    ("char", "utf8"),
    ("character varying", "utf8"),
    ("blob", "binary"),
    ("bytea", "binary"),
    ("bytes", "binary"),
    ("varbinary", "binary"),
    ("datetime", "timestamp"),
];

/// Types whose argument says nothing here: a greatest length, a precision.
const WITH_LENGTH: [&str; 8] =
    ["varchar", "char", "string", "character varying", "text", "binary", "varbinary", "timestamp"];

/// Reads a type.
pub(super) fn parse(spelling: &str) -> Result<ColumnType> {
    let lower = spelling.trim().to_lowercase();
    if let Some(item) = lower.strip_suffix("[]") {
        return Ok(ColumnType::List(Box::new(parse(item)?)));
    }
    let (name, argument) = match lower.split_once('(') {
        Some((name, rest)) => (name.trim(), rest.strip_suffix(')').map(str::trim)),
        None => (lower.as_str(), None),
    };
    match (name, argument) {
        ("vector", Some(length)) => format!("tensor(float32,[{length}])").parse(),
        ("numeric" | "dec", Some(digits)) => format!("decimal({digits})").parse(),
        ("decimal" | "numeric" | "dec", None) => Err(Error::Invalid(format!(
            "column type `{spelling}` needs its digits: decimal(precision,scale), for example decimal(18,4)"
        ))),
        ("list" | "array", Some(item)) => Ok(ColumnType::List(Box::new(parse(item)?))),
        (name, Some(digits)) if WITH_LENGTH.contains(&name) && digits.parse::<u32>().is_ok() => parse(name),
        (_, None) => match ALIASES.iter().find(|(alias, _)| *alias == name) {
            Some((_, ours)) => ours.parse(),
            None => spelling.parse(),
        },
        _ => spelling.parse(),
    }
}
