//! DataFusion's errors as one line in our words.

use datafusion::arrow::error::ArrowError;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

use crate::base::{Error, Result, closest};

/// What the planner and the engine say.
pub(super) fn from_datafusion(error: DataFusionError) -> Error {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => from_datafusion(*inner),
        DataFusionError::Shared(inner) => from_shared(&inner),
        DataFusionError::Collection(mut all) if !all.is_empty() => from_datafusion(all.swap_remove(0)),
        DataFusionError::External(source) => match source.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => Error::library("the query failed", other),
        },
        DataFusionError::SQL(parser, _) => from_parser(*parser),
        DataFusionError::SchemaError(schema, _) => from_schema(*schema),
        DataFusionError::ArrowError(arrow, _) => from_arrow(*arrow),
        DataFusionError::Plan(text) => from_plan(&text),
        DataFusionError::NotImplemented(text) => {
            Error::Unsupported(format!("not supported: {}", without_tree(&line(&text))))
        }
        DataFusionError::Execution(text) => Error::Invalid(line(&text)),
        DataFusionError::ResourcesExhausted(text) => {
            Error::Invalid(format!("the query needs more memory than SQL may use: {}", line(&text)))
        }
        other => {
            let text = other.strip_backtrace();
            from_signature(&text).unwrap_or_else(|| Error::Invalid(line(&text)))
        }
    }
}

/// A text up to the inner representation of an expression, where it has one.
fn without_tree(text: &str) -> &str {
    match text.contains(" { ") {
        true => text.split('(').next().unwrap_or(text),
        false => text,
    }
}

/// An error that several partitions share.
fn from_shared(error: &DataFusionError) -> Error {
    match error.find_root() {
        DataFusionError::External(source) => match source.downcast_ref::<Error>() {
            Some(ours) => copy(ours),
            None => Error::Invalid(line(&source.to_string())),
        },
        DataFusionError::ArrowError(arrow, _) => Error::Invalid(arrow_text(arrow)),
        other => Error::Invalid(line(&other.strip_backtrace())),
    }
}

/// An error of ours seen through a reference.
fn copy(error: &Error) -> Error {
    match error {
        Error::Corrupt { what, reason } => Error::Corrupt { what: what.clone(), reason: reason.clone() },
        other => Error::Invalid(other.chain()),
    }
}

/// What the parser says: `Expected: X, found: Y at Line: 1, Column: 8`.
pub(super) fn from_parser(error: ParserError) -> Error {
    let text = match error {
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => text,
        ParserError::RecursionLimitExceeded => return Error::Invalid("the statement is nested too deep".into()),
    };
    let text = text.replace(" at Line: ", " at line ").replace(", Column: ", ", column ");
    let text = text.replace("Expected: ", "expected ").replace(", found: EOF", ", but the text ends");
    Error::Invalid(line(&text.replace(", found: ", ", but there is ")))
}

/// A column that is not there, or is there twice.
fn from_schema(error: SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let asked = field.name.clone();
            let names: Vec<String> = valid_fields.iter().map(|column| quoted(&column.name)).collect();
            let suggestion = same_but_for_case(&asked, &valid_fields).or_else(|| closest(&asked, &names));
            let relation = field.relation.as_ref().map(table_of).or_else(|| only_relation(&valid_fields));
            let within = relation.map(|table| format!("table `{table}`"));
            Error::NotFound { kind: "column", name: asked, within, suggestion }
        }
        SchemaError::AmbiguousReference { field } => {
            let name = &field.name;
            Error::Invalid(format!("column `{name}` is in several tables; write table.{name}"))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            Error::Invalid(format!("column `{name}` is named twice; give one of them another name with AS"))
        }
    }
}

/// A name that differs in capitals only, in the quotes that it needs.
fn same_but_for_case(asked: &str, valid: &[Column]) -> Option<String> {
    valid.iter().find(|c| c.name.eq_ignore_ascii_case(asked) && c.name != asked).map(|c| quoted(&c.name))
}

/// A name as it must be written in SQL.
pub(super) fn quoted(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// The table of all columns, when it is one.
fn only_relation(columns: &[Column]) -> Option<String> {
    let mut tables = columns.iter().map(|column| column.relation.as_ref().map(table_of));
    let first = tables.next()??;
    tables.all(|table| table.as_ref() == Some(&first)).then_some(first)
}

/// A table as users write it.
fn table_of(table: &datafusion::common::TableReference) -> String {
    match table.schema() {
        Some(schema) if schema != super::parse::MAIN => format!("{schema}.{}", table.table()),
        _ => table.table().to_owned(),
    }
}

/// What arithmetic and casts say.
fn from_arrow(error: ArrowError) -> Error {
    match error {
        ArrowError::ExternalError(source) => match source.downcast::<DataFusionError>() {
            Ok(inner) => from_datafusion(*inner),
            Err(other) => match other.downcast::<Error>() {
                Ok(ours) => *ours,
                Err(other) => Error::library("the query failed", other),
            },
        },
        other => Error::Invalid(arrow_text(&other)),
    }
}

fn arrow_text(error: &ArrowError) -> String {
    match error {
        ArrowError::DivideByZero => "division by zero".to_owned(),
        ArrowError::CastError(text)
        | ArrowError::ParseError(text)
        | ArrowError::ComputeError(text)
        | ArrowError::InvalidArgumentError(text) => line(text),
        ArrowError::ArithmeticOverflow(text) => match text.strip_prefix("Overflow happened on: ") {
            Some(what) => format!("integer overflow in {what}; cast to a wider type, such as decimal(38,0)"),
            None => line(text),
        },
        other => line(&other.to_string()),
    }
}

/// The table that the planner did not find, `catalog.schema.table`.
pub(super) fn missing_table(error: &DataFusionError) -> Option<String> {
    match error.find_root() {
        DataFusionError::Plan(text) => {
            let name = text.lines().next()?.strip_prefix("table '")?.strip_suffix("' not found")?;
            Some(name.to_owned())
        }
        _ => None,
    }
}

/// What the planner says, as text.
fn from_plan(text: &str) -> Error {
    if let Some(error) = from_signature(text) {
        return error;
    }
    let first = text.lines().next().unwrap_or_default();
    if let Some(rest) = first.strip_prefix("Invalid function '")
        && let Some(name) = rest.split('\'').next()
    {
        let suggestion = text.split("Did you mean '").nth(1).and_then(|rest| rest.split('\'').next());
        let suggestion = suggestion.and_then(|candidate| closest(name, [candidate]));
        return Error::NotFound { kind: "SQL function", name: name.to_owned(), within: None, suggestion };
    }
    if let Some(name) = ungrouped(first) {
        return Error::Invalid(format!(
            "column `{name}` is neither in GROUP BY nor within an aggregate function such as max({name})"
        ));
    }
    if let Some(name) = repeated_name(first) {
        return Error::Invalid(format!("column `{name}` is named twice; give one of them another name with AS"));
    }
    Error::Invalid(line(first))
}

/// The column that a query with aggregates names outside of them.
fn ungrouped(text: &str) -> Option<&str> {
    let (before, _) = text.split_once("\" must appear in the GROUP BY clause")?;
    let name = before.rsplit_once('"')?.1;
    Some(name.strip_prefix("main.").unwrap_or(name))
}

/// The value that DataFusion finds twice in a `SELECT`.
fn repeated_name(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("Projections require unique expression names but the expression \"")?;
    rest.split_once("\" at position").map(|(name, _)| name)
}

/// A function that takes no such argument: what it takes, in one line.
fn from_signature(text: &str) -> Option<Error> {
    let name = text.split_once("' failed to match any signature")?.0.rsplit_once("Function '")?.1;
    let received = text.split_once("but received ")?.1.split(' ').next()?.to_lowercase();
    let needed = format!("Function '{name}' requires ");
    let takes: Vec<String> =
        text.split(needed.as_str()).skip(1).filter_map(|rest| Some(rest.split(',').next()?.to_lowercase())).collect();
    let (last, first) = takes.split_last()?;
    let takes = if first.is_empty() { last.clone() } else { format!("{} or {last}", first.join(", ")) };
    Some(Error::TypeMismatch(format!("function `{name}` takes {takes}, not {received}; cast its argument")))
}

/// One line that begins small and ends without a full stop.
fn line(text: &str) -> String {
    let mut text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for prefix in [
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "Cast error: ",
        "Parser error: ",
        "Invalid argument error: ",
        "External error: ",
        "Optimizer rule 'simplify_expressions' failed caused by ",
        "This feature is not implemented: ",
        "sql parser error: ",
        "type_coercion caused by ",
    ] {
        if let Some(rest) = text.strip_prefix(prefix) {
            text = rest.to_owned();
        }
    }
    let mut letters = text.chars();
    let second_small = text.chars().nth(1).is_none_or(|c| !c.is_uppercase());
    let text = match letters.next() {
        Some(first) if second_small => first.to_lowercase().chain(letters).collect(),
        _ => text,
    };
    text.trim_end_matches('.').to_owned()
}

/// The result of a DataFusion call in our words.
pub(super) trait InOurWords<T> {
    /// Converts the error.
    fn ours(self) -> Result<T>;
}

impl<T> InOurWords<T> for datafusion::error::Result<T> {
    fn ours(self) -> Result<T> {
        self.map_err(from_datafusion)
    }
}
