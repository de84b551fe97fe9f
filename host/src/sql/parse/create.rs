//! `CREATE TABLE`, `CREATE FUNCTION`, `DROP`.

use datafusion::sql::parser::DFParser;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{
    Kind, expect, expect_word, function, identifier, identifiers, planned, table_name, take_word, take_words,
    unexpected, whole_number, word_at,
};
use crate::base::{Column, ColumnType, Error, Result, Schema, Sharding};
use crate::sql::statement::{Absent, CreateFunction, CreateTable};

/// Words that end the type of a column.
const CONSTRAINTS: [&str; 9] =
    ["NOT", "NULL", "DEFAULT", "PRIMARY", "UNIQUE", "CHECK", "REFERENCES", "CONSTRAINT", "COLLATE"];

/// `CREATE …`.
pub(super) fn create(parser: &mut DFParser<'_>) -> Result<Kind> {
    expect_word(&mut parser.parser, "CREATE")?;
    let or_replace = take_words(&mut parser.parser, &["OR", "REPLACE"]);
    if take_word(&mut parser.parser, "FUNCTION") {
        let create = function::create(&mut parser.parser)?;
        return Ok(Kind::CreateFunction(CreateFunction { or_replace, ..create }));
    }
    let sharding = take_word(&mut parser.parser, "REPLICATED").then_some(Sharding::Replicated);
    if take_word(&mut parser.parser, "TABLE") {
        return Ok(Kind::CreateTable(CreateTable { or_replace, ..create_table(parser, sharding)? }));
    }
    if let Some((kind, name)) = super::grants::user(&mut parser.parser)? {
        return Ok(Kind::CreateUser { kind, name });
    }
    let what = word_at(&parser.parser, 0);
    match what.as_str() {
        "EXTERNAL" => Err(Error::Unsupported("files are read with IMPORT 'file' INTO table".into())),
        "VIEW" | "MATERIALIZED" | "INDEX" | "SCHEMA" | "DATABASE" | "TYPE" | "TEMP" | "TEMPORARY" => {
            Err(Error::Unsupported(format!("CREATE {what} is not supported; there are tables and functions")))
        }
        _ => Err(unexpected(&parser.parser.peek_token(), "TABLE or FUNCTION")),
    }
}

/// `[IF NOT EXISTS] t (…) …`, what follows `CREATE [OR REPLACE] [REPLICATED] TABLE`.
fn create_table(parser: &mut DFParser<'_>, sharding: Option<Sharding>) -> Result<CreateTable> {
    let if_not_exists = take_words(&mut parser.parser, &["IF", "NOT", "EXISTS"]);
    let mut create = CreateTable {
        table: table_name(&mut parser.parser)?,
        schema: None,
        query: None,
        sharding,
        shards: None,
        if_not_exists,
        or_replace: false,
    };
    if parser.parser.peek_token_ref().token == Token::LParen {
        create.schema = Some(columns(&mut parser.parser, &mut create.sharding)?);
    }
    clauses(&mut parser.parser, &mut create)?;
    if take_word(&mut parser.parser, "AS") {
        if create.schema.is_some() {
            let reason = "CREATE TABLE … AS takes the columns of its query; name them there with AS";
            return Err(Error::Unsupported(reason.into()));
        }
        create.query = Some(planned(parser)?);
    }
    if create.schema.is_none() && create.query.is_none() {
        return Err(unexpected(&parser.parser.peek_token(), "columns in parentheses, or AS and a query"));
    }
    Ok(create)
}

/// `SHARD BY (…)`, `REPLICATED`, `SHARDS n`, in any order.
fn clauses(parser: &mut Parser<'_>, create: &mut CreateTable) -> Result<()> {
    loop {
        let before = create.sharding.clone();
        if take_words(parser, &["SHARD", "BY"]) || take_words(parser, &["SHARDED", "BY"]) {
            let random = take_word(parser, "RANDOM");
            create.sharding = Some(if random { Sharding::Random } else { Sharding::Key(identifiers(parser)?) });
        } else if take_word(parser, "REPLICATED") {
            create.sharding = Some(Sharding::Replicated);
        } else if take_word(parser, "RANDOM") {
            create.sharding = Some(Sharding::Random);
        } else if take_word(parser, "SHARDS") {
            let shards = whole_number(parser, "a number of shards")?;
            create.shards = Some(u32::try_from(shards).unwrap_or(u32::MAX));
            continue;
        } else {
            return check_shards(create);
        }
        if before.is_some_and(|before| Some(before) != create.sharding) {
            return Err(Error::Invalid("a table is sharded in one way: SHARD BY (…), RANDOM or REPLICATED".into()));
        }
    }
}

/// Replicated tables have no number of shards.
fn check_shards(create: &CreateTable) -> Result<()> {
    match (&create.sharding, create.shards) {
        (Some(Sharding::Replicated), Some(_)) => {
            Err(Error::Invalid("a replicated table has no shards; leave out SHARDS".into()))
        }
        _ => Ok(()),
    }
}

/// `( name type [NOT NULL], …, [SHARD KEY (a, b)] )`.
fn columns(parser: &mut Parser<'_>, sharding: &mut Option<Sharding>) -> Result<Schema> {
    expect(parser, &Token::LParen)?;
    let mut columns = Vec::new();
    loop {
        if take_words(parser, &["SHARD", "KEY"]) {
            *sharding = Some(Sharding::Key(identifiers(parser)?));
        } else if take_words(parser, &["PRIMARY", "KEY"]) || take_word(parser, "UNIQUE") {
            return Err(no_keys());
        } else {
            columns.push(column(parser)?);
        }
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    expect(parser, &Token::RParen)?;
    Schema::new(columns)
}

/// `name type [NOT NULL]`.
fn column(parser: &mut Parser<'_>) -> Result<Column> {
    let name = identifier(parser)?;
    let column_type = column_type(parser, &name)?;
    let mut nullable = true;
    loop {
        if take_words(parser, &["NOT", "NULL"]) {
            nullable = false;
        } else if take_word(parser, "NULL") {
            nullable = true;
        } else if matches!(word_at(parser, 0).as_str(), "PRIMARY" | "UNIQUE" | "REFERENCES") {
            return Err(no_keys());
        } else if matches!(word_at(parser, 0).as_str(), "DEFAULT" | "CHECK" | "CONSTRAINT" | "COLLATE") {
            let what = word_at(parser, 0);
            return Err(Error::Unsupported(format!("column `{name}`: {what} is not supported; only NOT NULL is")));
        } else {
            return Ok(Column { name, column_type, nullable });
        }
    }
}

fn no_keys() -> Error {
    Error::Unsupported("primary and unique keys are not supported yet; leave them out".into())
}

/// The tokens of a type, up to a comma, a parenthesis or a constraint.
fn column_type(parser: &mut Parser<'_>, column: &str) -> Result<ColumnType> {
    let mut spelling = String::new();
    let mut depth = 0usize;
    loop {
        let token = parser.peek_token();
        match &token.token {
            Token::EOF | Token::SemiColon => return Err(unexpected(&token, "a column type")),
            Token::Comma | Token::RParen if depth == 0 => break,
            Token::Word(_) if depth == 0 && CONSTRAINTS.contains(&word_at(parser, 0).as_str()) => break,
            Token::LParen | Token::LBracket => depth += 1,
            Token::RParen | Token::RBracket => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && !spelling.is_empty() && matches!(token.token, Token::Word(_)) {
            spelling.push(' ');
        }
        spelling.push_str(&token.token.to_string());
        parser.next_token();
    }
    if spelling.is_empty() {
        return Err(unexpected(&parser.peek_token(), &format!("a type for column `{column}`")));
    }
    super::super::types::parse(&spelling)
}

/// `DROP TABLE`, `DROP FUNCTION`.
pub(super) fn drop(parser: &mut Parser<'_>) -> Result<Kind> {
    expect_word(parser, "DROP")?;
    if let Some((kind, name)) = super::grants::user(parser)? {
        return Ok(Kind::DropUser { kind, name });
    }
    let is_function = take_word(parser, "FUNCTION");
    if !is_function && !take_word(parser, "TABLE") {
        return Err(unexpected(&parser.peek_token(), "TABLE or FUNCTION"));
    }
    let absent = if take_words(parser, &["IF", "EXISTS"]) { Absent::Ignore } else { Absent::Refuse };
    if is_function {
        return Ok(Kind::DropFunction { name: function::name(parser)?, absent });
    }
    let mut tables = vec![table_name(parser)?];
    while parser.consume_token(&Token::Comma) {
        tables.push(table_name(parser)?);
    }
    Ok(Kind::DropTables { tables, absent })
}
