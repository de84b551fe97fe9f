//! `ALTER TABLE`, `INSERT`, `DELETE`, `TRUNCATE`, `UPDATE`, `IMPORT`, `COPY`.

use datafusion::sql::parser::DFParser;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{
    Kind, expect, expect_word, from_parser, identifier, identifiers, pairs, planned, table_name, take_word, take_words,
    text, unexpected, word_at,
};
use crate::base::{Error, Result};
use crate::sql::statement::{Import, Insert, Update};

/// `ALTER TABLE t SET RESIDENCY [=] device | pinned | host | disk`, `SET` or not.
pub(super) fn alter(parser: &mut Parser<'_>) -> Result<Kind> {
    expect_word(parser, "ALTER")?;
    expect_word(parser, "TABLE")?;
    let table = table_name(parser)?;
    if !take_words(parser, &["SET", "RESIDENCY"]) && !take_word(parser, "RESIDENCY") {
        return Err(Error::Unsupported(
            "ALTER TABLE only sets where columns stay: ALTER TABLE t SET RESIDENCY device, pinned, host or disk; \
             for other columns CREATE TABLE new AS SELECT … FROM old, then DROP TABLE old"
                .into(),
        ));
    }
    let _ = parser.consume_token(&Token::Eq);
    let word = match parser.peek_token_ref().token {
        Token::SingleQuotedString(_) => text(parser)?,
        Token::Word(_) => identifier(parser)?,
        _ => return Err(unexpected(&parser.peek_token(), "device, pinned, host or disk")),
    };
    Ok(Kind::SetResidency { table, residency: word.parse()? })
}

/// `INSERT INTO t [(columns)] query`.
pub(super) fn insert(parser: &mut DFParser<'_>) -> Result<Kind> {
    expect_word(&mut parser.parser, "INSERT")?;
    expect_word(&mut parser.parser, "INTO")?;
    let table = table_name(&mut parser.parser)?;
    let has_columns = parser.parser.peek_token_ref().token == Token::LParen
        && !matches!(word_at(&parser.parser, 1).as_str(), "SELECT" | "WITH" | "VALUES" | "FROM");
    let columns = match has_columns {
        true => identifiers(&mut parser.parser)?,
        false => Vec::new(),
    };
    let starts = matches!(word_at(&parser.parser, 0).as_str(), "VALUES" | "SELECT" | "WITH" | "FROM" | "TABLE");
    if !starts && parser.parser.peek_token_ref().token != Token::LParen {
        return Err(unexpected(&parser.parser.peek_token(), "VALUES or a query"));
    }
    let query = planned(parser)?;
    if word_at(&parser.parser, 0) == "RETURNING" {
        return Err(Error::Unsupported("RETURNING is not supported".into()));
    }
    Ok(Kind::Insert(Insert { table, columns, query }))
}

/// `DELETE FROM t [WHERE condition]`, `TRUNCATE [TABLE] t`.
pub(super) fn delete(parser: &mut Parser<'_>) -> Result<Kind> {
    if take_word(parser, "TRUNCATE") {
        take_word(parser, "TABLE");
        return Ok(Kind::Delete { table: table_name(parser)?, condition: None });
    }
    expect_word(parser, "DELETE")?;
    expect_word(parser, "FROM")?;
    let table = table_name(parser)?;
    let condition = condition(parser)?;
    Ok(Kind::Delete { table, condition })
}

/// `UPDATE t SET column = expression, … [WHERE condition]`.
pub(super) fn update(parser: &mut Parser<'_>) -> Result<Kind> {
    expect_word(parser, "UPDATE")?;
    let table = table_name(parser)?;
    expect_word(parser, "SET")?;
    let mut assignments = Vec::new();
    loop {
        let column = identifier(parser)?;
        expect(parser, &Token::Eq)?;
        let expression = parser.parse_expr().map_err(from_parser)?;
        assignments.push((column, expression.to_string()));
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    if word_at(parser, 0) == "FROM" {
        return Err(Error::Unsupported("UPDATE … FROM is not supported; use a subquery in SET or WHERE".into()));
    }
    let condition = condition(parser)?;
    Ok(Kind::Update(Update { table, assignments, condition }))
}

/// `[WHERE condition]` as SQL text.
fn condition(parser: &mut Parser<'_>) -> Result<Option<String>> {
    match take_word(parser, "WHERE") {
        true => Ok(Some(parser.parse_expr().map_err(from_parser)?.to_string())),
        false => Ok(None),
    }
}

/// `IMPORT 'file', … INTO t [WITH (…)]`, `COPY 'file' INTO t`, `COPY [INTO] t
/// FROM 'file', …`.
pub(super) fn import(parser: &mut Parser<'_>) -> Result<Kind> {
    let copies = take_word(parser, "COPY");
    if !copies {
        expect_word(parser, "IMPORT")?;
        take_word(parser, "FILE");
    }
    let (table, files);
    if matches!(parser.peek_token_ref().token, Token::SingleQuotedString(_)) {
        files = file_list(parser)?;
        expect_word(parser, "INTO")?;
        table = table_name(parser)?;
    } else {
        if parser.peek_token_ref().token == Token::LParen {
            return Err(no_export());
        }
        take_word(parser, "INTO");
        table = table_name(parser)?;
        if word_at(parser, 0) == "TO" {
            return Err(no_export());
        }
        expect_word(parser, "FROM")?;
        files = file_list(parser)?;
    }
    let mut options = Vec::new();
    if take_word(parser, "WITH") {
        take_word(parser, "OPTIONS");
        expect(parser, &Token::LParen)?;
        options = pairs(parser)?;
    }
    Ok(Kind::Import(Import { table, files, options }))
}

/// `'a', 'b'`.
fn file_list(parser: &mut Parser<'_>) -> Result<Vec<String>> {
    let mut files = vec![text(parser)?];
    while parser.consume_token(&Token::Comma) {
        files.push(text(parser)?);
    }
    Ok(files)
}

fn no_export() -> Error {
    Error::Unsupported("COPY … TO is not supported; write a query's rows with quern sql --format csv > file".into())
}
