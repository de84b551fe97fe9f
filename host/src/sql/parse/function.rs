//! Statements about procs, as Kinetica writes them: `CREATE FUNCTION`, `EXECUTE
//! FUNCTION`, `SHOW FUNCTION`, and `KILL`.

use datafusion::sql::parser::DFParser;
use datafusion::sql::sqlparser::ast;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{
    Kind, Show, expect, expect_word, ident_name, identifier, key, pairs, planned, resolve_name, table_name, take_word,
    take_words, text, unexpected, value, whole_number, word_at,
};
use crate::base::{Error, Result};
use crate::run::Bytes;
use crate::sql::statement::{
    AlterFunction, CreateFunction, Execute, ExecuteInput, FunctionChange, Kill, Planned, TableName,
};

/// The arguments of `EXECUTE FUNCTION`.
const ARGUMENTS: &str = "INPUT_TABLE_NAMES, OUTPUT_TABLE_NAMES, PARAMS or OPTIONS";

/// `proc`, `component.proc`, with dashes in quotes or not.
pub(super) fn name(parser: &mut Parser<'_>) -> Result<String> {
    let mut name = match parser.peek_token().token {
        Token::SingleQuotedString(_) => text(parser)?,
        _ => identifier(parser)?,
    };
    loop {
        if parser.consume_token(&Token::Period) {
            name.push('.');
        } else if parser.consume_token(&Token::Minus) {
            name.push('-');
        } else {
            return Ok(name);
        }
        name.push_str(&identifier(parser)?);
    }
}

/// `name` or `*`.
fn name_or_all(parser: &mut Parser<'_>) -> Result<Option<String>> {
    if parser.consume_token(&Token::Mul) || matches!(parser.peek_token_ref().token, Token::EOF | Token::SemiColon) {
        return Ok(None);
    }
    name(parser).map(Some)
}

/// What follows `DESCRIBE FUNCTION`.
pub(super) fn describe(parser: &mut Parser<'_>) -> Result<Show> {
    name_or_all(parser).map(Show::Function)
}

/// What follows `SHOW FUNCTION`.
pub(super) fn show(parser: &mut Parser<'_>) -> Result<Show> {
    if take_word(parser, "STATUS") {
        let verbose = take_word(parser, "VERBOSE");
        let run = match take_word(parser, "FOR") {
            true => Some(whole_number(parser, "the number of a run")?),
            false => None,
        };
        return Ok(Show::FunctionStatus { verbose, run });
    }
    name_or_all(parser).map(Show::Functions)
}

/// What follows `CREATE [OR REPLACE] FUNCTION`.
pub(super) fn create(parser: &mut Parser<'_>) -> Result<CreateFunction> {
    let name = name(parser)?;
    let (mut files, mut options) = (Vec::new(), Vec::new());
    loop {
        if take_words(parser, &["FILE", "PATHS"]) || take_words(parser, &["FILE", "PATH"]) {
            files.push(text(parser)?);
            while parser.consume_token(&Token::Comma) {
                files.push(text(parser)?);
            }
        } else if take_word(parser, "MODE") {
            // The component itself says how its procs run; the clause is Kinetica's.
            let _ = parser.consume_token(&Token::Eq);
            text(parser)?;
        } else if take_words(parser, &["WITH", "OPTIONS"]) {
            expect(parser, &Token::LParen)?;
            options = pairs(parser)?;
        } else if matches!(word_at(parser, 0).as_str(), "RETURNS" | "RUN_COMMAND" | "RUN_COMMAND_ARGS" | "LANGUAGE") {
            let clause = word_at(parser, 0);
            let reason =
                format!("{clause} is not supported: a component says itself what its procs read, write and take");
            return Err(Error::Unsupported(reason));
        } else {
            break;
        }
    }
    match files.len() {
        0 => Err(unexpected(&parser.peek_token(), "FILE PATHS 'component.wasm'")),
        1 => Ok(CreateFunction { name, files, or_replace: false, options }),
        n => Err(Error::Invalid(format!("a component is one file, {n} are named"))),
    }
}

/// `ALTER FUNCTION name ACTIVATE VERSION n`, `ALTER FUNCTION name SET option = value, …`.
pub(super) fn alter(parser: &mut Parser<'_>) -> Result<Kind> {
    expect_word(parser, "ALTER")?;
    parser.next_token();
    let name = name(parser)?;
    let change = if take_words(parser, &["ACTIVATE", "VERSION"]) {
        FunctionChange::Activate(whole_number(parser, "the number of a version")?)
    } else {
        match take_word(parser, "SET") {
            true => FunctionChange::Set(settings(parser)?),
            false => return Err(unexpected(&parser.peek_token(), "ACTIVATE VERSION n or SET option = value")),
        }
    };
    Ok(Kind::AlterFunction(AlterFunction { name, change }))
}

/// `option = value, …`.
fn settings(parser: &mut Parser<'_>) -> Result<Vec<(String, String)>> {
    let mut settings = Vec::new();
    loop {
        let option = identifier(parser)?;
        expect(parser, &Token::Eq)?;
        settings.push((option, value(parser)?));
        if !parser.consume_token(&Token::Comma) {
            return Ok(settings);
        }
    }
}

/// `EXECUTE FUNCTION name [( argument => …, … )]`.
pub(super) fn execute(parser: &mut DFParser<'_>) -> Result<Kind> {
    expect_word(&mut parser.parser, "EXECUTE")?;
    parser.parser.next_token();
    call(parser).map(Kind::Execute)
}

/// `f(…)`.
pub(super) fn call(parser: &mut DFParser<'_>) -> Result<Execute> {
    let mut execute = Execute { proc: name(&mut parser.parser)?, ..Execute::default() };
    if !parser.parser.consume_token(&Token::LParen) || parser.parser.consume_token(&Token::RParen) {
        return Ok(execute);
    }
    loop {
        argument(parser, &mut execute)?;
        if !parser.parser.consume_token(&Token::Comma) {
            break;
        }
    }
    expect(&mut parser.parser, &Token::RParen)?;
    Ok(execute)
}

/// One `NAME => …`.
fn argument(parser: &mut DFParser<'_>, execute: &mut Execute) -> Result<()> {
    let word = parser.parser.next_token();
    let name = word.token.to_string().to_uppercase();
    if !matches!(
        name.as_str(),
        "INPUT_TABLE_NAMES" | "INPUT_TABLES" | "OUTPUT_TABLE_NAMES" | "OUTPUT_TABLES" | "PARAMS" | "OPTIONS"
    ) {
        return Err(unexpected(&word, ARGUMENTS));
    }
    expect(&mut parser.parser, &Token::RArrow)?;
    match name.as_str() {
        "PARAMS" => (execute.params, execute.binary_params) = params(&mut parser.parser)?,
        "OPTIONS" => execute.options = key_values(&mut parser.parser)?,
        "OUTPUT_TABLE_NAMES" | "OUTPUT_TABLES" => execute.outputs = outputs(&mut parser.parser)?,
        _ => execute.inputs = inputs(parser)?,
    }
    Ok(())
}

/// `KV_PAIRS(k = 'v', …)`.
fn key_values(parser: &mut Parser<'_>) -> Result<Vec<(String, String)>> {
    expect_word(parser, "KV_PAIRS")?;
    expect(parser, &Token::LParen)?;
    pairs(parser)
}

/// Parameters that are text, and those that are bytes.
type Params = (Vec<(String, String)>, Vec<(String, Bytes)>);

/// `KV_PAIRS(k = 'v', b = X'00ff', …)`.
fn params(parser: &mut Parser<'_>) -> Result<Params> {
    expect_word(parser, "KV_PAIRS")?;
    expect(parser, &Token::LParen)?;
    let (mut texts, mut binary) = (Vec::new(), Vec::new());
    if parser.consume_token(&Token::RParen) {
        return Ok((texts, binary));
    }
    loop {
        let name = key(parser)?;
        match parser.peek_token().token {
            Token::HexStringLiteral(digits) => {
                parser.next_token();
                let bytes = Bytes::from_hex(&digits).ok_or_else(|| {
                    Error::Invalid(format!("parameter `{name}`: X'…' takes two hexadecimal digits a byte"))
                })?;
                binary.push((name, bytes));
            }
            _ => texts.push((name, value(parser)?)),
        }
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    expect(parser, &Token::RParen)?;
    Ok((texts, binary))
}

/// `OUTPUT_TABLES('t', …)`.
fn outputs(parser: &mut Parser<'_>) -> Result<Vec<String>> {
    if !take_word(parser, "OUTPUT_TABLES") {
        expect_word(parser, "OUTPUT_TABLE")?;
    }
    expect(parser, &Token::LParen)?;
    let mut outputs = Vec::new();
    if parser.consume_token(&Token::RParen) {
        return Ok(outputs);
    }
    loop {
        outputs.push(table_in_quotes(parser)?.name);
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    expect(parser, &Token::RParen)?;
    Ok(outputs)
}

/// A table, its name in quotes or not.
fn table_in_quotes(parser: &mut Parser<'_>) -> Result<TableName> {
    match parser.peek_token().token {
        Token::SingleQuotedString(_) => {
            let name = text(parser)?;
            let (schema, name) = name.split_once('.').unwrap_or((super::MAIN, &name));
            Ok(TableName { schema: schema.to_owned(), name: name.to_owned() })
        }
        _ => table_name(parser),
    }
}

/// `INPUT_TABLE(t | query)`, `INPUT_TABLES(t, (query), …)`.
fn inputs(parser: &mut DFParser<'_>) -> Result<Vec<ExecuteInput>> {
    if !take_word(&mut parser.parser, "INPUT_TABLE") {
        expect_word(&mut parser.parser, "INPUT_TABLES")?;
    }
    expect(&mut parser.parser, &Token::LParen)?;
    let mut inputs = Vec::new();
    if parser.parser.consume_token(&Token::RParen) {
        return Ok(inputs);
    }
    loop {
        inputs.push(input(parser)?);
        if !parser.parser.consume_token(&Token::Comma) {
            break;
        }
    }
    expect(&mut parser.parser, &Token::RParen)?;
    Ok(inputs)
}

/// One table or query, the query with parentheses around it or not.
fn input(parser: &mut DFParser<'_>) -> Result<ExecuteInput> {
    let starts_query = |word: String| matches!(word.as_str(), "SELECT" | "WITH" | "VALUES" | "FROM");
    if starts_query(word_at(&parser.parser, 0)) {
        return planned(parser).map(columns_or_query);
    }
    if parser.parser.consume_token(&Token::LParen) {
        let inner = match starts_query(word_at(&parser.parser, 0)) {
            true => columns_or_query(planned(parser)?),
            false => ExecuteInput::Table(table_in_quotes(&mut parser.parser)?, None),
        };
        expect(&mut parser.parser, &Token::RParen)?;
        return Ok(inner);
    }
    Ok(ExecuteInput::Table(table_in_quotes(&mut parser.parser)?, None))
}

/// A query that only picks columns of a table is that table: its rows stay where
/// they are.
fn columns_or_query(query: Box<Planned>) -> ExecuteInput {
    match picked_columns(&query) {
        Some((table, columns)) => ExecuteInput::Table(table, columns),
        None => ExecuteInput::Query(query),
    }
}

/// Table and columns of `SELECT a, b FROM t`, `SELECT * FROM t`.
fn picked_columns(query: &Planned) -> Option<(TableName, Option<Vec<String>>)> {
    let Planned::Statement(statement) = query else { return None };
    let ast::Statement::Query(query) = statement.as_ref() else { return None };
    let ast::SetExpr::Select(select) = query.body.as_ref() else { return None };
    let [from] = select.from.as_slice() else { return None };
    let ast::TableFactor::Table { name, .. } = &from.relation else { return None };
    let items: Vec<String> = select.projection.iter().map(ToString::to_string).collect();
    // Anything more that the query says would be in its text.
    if query.to_string() != format!("SELECT {} FROM {name}", items.join(", ")) {
        return None;
    }
    let table = resolve_name(name).ok()?;
    if items == ["*"] {
        return Some((table, None));
    }
    let column = |item: &ast::SelectItem| match item {
        ast::SelectItem::UnnamedExpr(ast::Expr::Identifier(ident)) => Some(ident_name(ident)),
        _ => None,
    };
    let columns: Option<Vec<String>> = select.projection.iter().map(column).collect();
    Some((table, Some(columns?)))
}

/// `KILL RUN n`, `KILL RUNS TAG 't'`, `KILL ALL RUNS`, `KILL STARTUP n`.
pub(super) fn kill(parser: &mut Parser<'_>) -> Result<Kind> {
    expect_word(parser, "KILL")?;
    if take_word(parser, "ALL") {
        expect_word(parser, "RUNS")?;
        return Ok(Kind::Kill(Kill::All));
    }
    if take_word(parser, "RUNS") {
        expect_word(parser, "TAG")?;
        return text(parser).map(|tag| Kind::Kill(Kill::Tag(tag)));
    }
    if take_word(parser, "STARTUP") {
        let what = "the number of a run for start-up";
        return whole_number(parser, what).map(|id| Kind::Kill(Kill::Startup(id)));
    }
    expect_word(parser, "RUN")?;
    whole_number(parser, "the number of a run").map(|run| Kind::Kill(Kill::Run(run)))
}
