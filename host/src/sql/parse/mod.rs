//! Text to statements. Queries go to DataFusion's parser as they are; statements
//! that change something, and those about procs, are read here, because their
//! types, clauses and words are ours.

mod calls;
mod create;
mod function;
mod grants;
mod modify;
mod names;
mod refused;

use std::sync::Arc;

use datafusion::sql::parser::{DFParser, DFParserBuilder};
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, ObjectNamePart};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

use super::error::{from_datafusion, from_parser};
use super::statement::{Call, Kind, Planned, Show, Statement, TableName};
use crate::base::{Error, Result, closest};

/// The schema of tables.
pub(super) const MAIN: &str = "main";
/// What some call it.
pub(super) const MAIN_ALIAS: &str = "public";
/// Nesting of expressions and queries.
const NESTING: usize = 200;
/// Joins the name of a table and the snapshot it is read at.
pub(super) const AT: char = '@';

/// Words that statements begin with.
const VERBS: [&str; 22] = [
    "SELECT", "WITH", "VALUES", "EXPLAIN", "CREATE", "DROP", "TRUNCATE", "DELETE", "UPDATE", "INSERT", "COPY",
    "IMPORT", "SHOW", "DESCRIBE", "DESC", "EXECUTE", "KILL", "FROM", "TABLE", "ALTER", "GRANT", "REVOKE",
];

/// Reads statements separated by `;`.
pub(super) fn statements(text: &str) -> Result<Vec<Statement>> {
    let (mut parser, calls) = parser(text)?;
    let calls = Arc::new(calls);
    let mut statements = Vec::new();
    loop {
        while parser.parser.consume_token(&Token::SemiColon) {}
        if parser.parser.peek_token_ref().token == Token::EOF {
            return Ok(statements);
        }
        statements.push(Statement(statement(&mut parser)?, calls.clone()));
        let next = parser.parser.peek_token();
        if !matches!(next.token, Token::SemiColon | Token::EOF) {
            return Err(unexpected(&next, "the end of the statement"));
        }
    }
}

/// Reads one query that was put together here.
pub(super) fn query(text: &str) -> Result<Planned> {
    parser(text)?.0.parse_statement().map_err(from_datafusion)
}

/// A parser of `text`, with `t AT (VERSION => n)` as the name `t@n`, and the
/// procs that are read as tables.
fn parser(text: &str) -> Result<(DFParser<'static>, Vec<Call>)> {
    let tokens = Tokenizer::new(&GenericDialect {}, text)
        .tokenize_with_location()
        .map_err(|e| from_parser(ParserError::from(e)))?;
    let (tokens, calls) = calls::take(at_versions(tokens))?;
    let parser = DFParserBuilder::new(tokens).with_recursion_limit(NESTING).build().map_err(from_datafusion)?;
    Ok((parser, calls))
}

/// Puts versions into the names of tables.
fn at_versions(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        let is_at = matches!(&token.token, Token::Word(word) if word.value.eq_ignore_ascii_case("at"));
        if !is_at || !matches!(tokens.peek().map(|t| &t.token), Some(Token::LParen | Token::Whitespace(_))) {
            out.push(token);
            continue;
        }
        // What follows is taken only when it is all there.
        let clause: Vec<TokenWithSpan> =
            tokens.clone().filter(|t| !matches!(t.token, Token::Whitespace(_))).take(5).collect();
        let parts: Vec<&Token> = clause.iter().map(|t| &t.token).collect();
        let version = match parts.as_slice() {
            [Token::LParen, Token::Word(word), Token::RArrow, Token::Number(version, _), Token::RParen]
                if word.value.eq_ignore_ascii_case("version") =>
            {
                version.clone()
            }
            _ => {
                out.push(token);
                continue;
            }
        };
        let name = out.iter_mut().rev().find_map(|t| match &mut t.token {
            Token::Word(word) => Some(word),
            _ => None,
        });
        if let Some(name) = name {
            *name = Word { value: format!("{}{AT}{version}", normal(name.quote_style, &name.value)), ..quoted() };
        }
        let mut left = parts.len();
        while left > 0
            && let Some(skipped) = tokens.next()
        {
            left -= usize::from(!matches!(skipped.token, Token::Whitespace(_)));
        }
    }
    out
}

/// A quoted word without text.
fn quoted() -> Word {
    Word {
        value: String::new(),
        quote_style: Some('"'),
        keyword: datafusion::sql::sqlparser::keywords::Keyword::NoKeyword,
    }
}

/// One statement, up to what follows it.
fn statement(parser: &mut DFParser<'_>) -> Result<Kind> {
    let verb = word_at(&parser.parser, 0);
    let second = word_at(&parser.parser, 1);
    match (verb.as_str(), second.as_str()) {
        ("CREATE", _) => create::create(parser),
        ("DROP", _) => create::drop(&mut parser.parser),
        ("TRUNCATE" | "DELETE", _) => modify::delete(&mut parser.parser),
        ("UPDATE", _) => modify::update(&mut parser.parser),
        ("INSERT", _) => modify::insert(parser),
        ("IMPORT" | "COPY", _) => modify::import(&mut parser.parser),
        ("SHOW" | "DESCRIBE" | "DESC", _) => show(&mut parser.parser),
        ("EXECUTE", "FUNCTION" | "PROC") => function::execute(parser),
        ("GRANT", _) => grants::grant(&mut parser.parser),
        ("REVOKE", _) => grants::revoke(&mut parser.parser),
        ("KILL", _) => function::kill(&mut parser.parser),
        ("SELECT" | "WITH" | "VALUES" | "EXPLAIN" | "FROM" | "TABLE", _) => planned(parser).map(Kind::Query),
        ("BEGIN" | "START" | "COMMIT" | "ROLLBACK", _) => {
            Err(Error::Unsupported("there are no transactions: each statement commits on its own".into()))
        }
        ("", _) if parser.parser.peek_token_ref().token == Token::LParen => planned(parser).map(Kind::Query),
        ("ALTER", "FUNCTION" | "PROC") => function::alter(&mut parser.parser),
        ("ALTER", "TABLE") => modify::alter(&mut parser.parser),
        ("", _) => Err(unexpected(&parser.parser.peek_token(), "a statement")),
        (verb, _) if VERBS.contains(&verb) => Err(unexpected(&parser.parser.peek_nth_token(1), "FUNCTION")),
        (verb, _) => Err(Error::NotFound {
            kind: "statement",
            name: verb.to_owned(),
            within: None,
            suggestion: closest(verb, VERBS),
        }),
    }
}

/// A query for DataFusion.
fn planned(parser: &mut DFParser<'_>) -> Result<Box<Planned>> {
    let mut planned = parser.parse_statement().map_err(from_datafusion)?;
    refused::check(&planned)?;
    names::give(&mut planned);
    Ok(Box::new(planned))
}

/// `SHOW …`, `DESCRIBE …`.
fn show(parser: &mut Parser<'_>) -> Result<Kind> {
    let describe = take_word(parser, "DESCRIBE") || take_word(parser, "DESC");
    if !describe {
        expect_word(parser, "SHOW")?;
    }
    let is_function = take_word(parser, "FUNCTION") || take_word(parser, "FUNCTIONS");
    let show = match (describe, is_function) {
        (true, true) => function::describe(parser)?,
        (false, true) => function::show(parser)?,
        (true, false) => {
            take_word(parser, "TABLE");
            Show::Columns(table_name(parser)?)
        }
        (false, _) if take_word(parser, "TABLES") => Show::Tables,
        (false, _) if take_word(parser, "SYSTEM") => {
            expect_word(parser, "TABLES")?;
            Show::SystemTables
        }
        (false, _) if take_word(parser, "GRANTS") => grants::show(parser)?,
        (false, _) if take_word(parser, "COLUMNS") => {
            if !take_word(parser, "IN") {
                expect_word(parser, "FROM")?;
            }
            Show::Columns(table_name(parser)?)
        }
        _ => {
            return Err(unexpected(
                &parser.peek_token(),
                "TABLES, SYSTEM TABLES, COLUMNS FROM, FUNCTIONS, FUNCTION STATUS or GRANTS",
            ));
        }
    };
    Ok(Kind::Show(show))
}

/// A table's name.
fn table_name(parser: &mut Parser<'_>) -> Result<TableName> {
    let name = parser.parse_object_name(false).map_err(from_parser)?;
    resolve_name(&name)
}

/// `t`, `main.t` or `quern.runs`.
fn resolve_name(name: &ObjectName) -> Result<TableName> {
    let parts: Option<Vec<String>> = name
        .0
        .iter()
        .map(|part| match part {
            ObjectNamePart::Identifier(ident) => Some(ident_name(ident)),
            ObjectNamePart::Function(_) => None,
        })
        .collect();
    let (schema, name) = match parts.as_deref() {
        Some([name]) => (MAIN.to_owned(), name.clone()),
        Some([schema, name] | [_, schema, name]) => (schema.clone(), name.clone()),
        _ => return Err(Error::Invalid(format!("`{name}` is not the name of a table"))),
    };
    let schema = if schema == MAIN_ALIAS { MAIN.to_owned() } else { schema };
    Ok(TableName { schema, name })
}

/// A name as it is meant: without quotes, letters are small.
fn ident_name(ident: &Ident) -> String {
    normal(ident.quote_style, &ident.value)
}

fn normal(quote_style: Option<char>, value: &str) -> String {
    if quote_style.is_some() { value.to_owned() } else { value.to_lowercase() }
}

/// An identifier.
fn identifier(parser: &mut Parser<'_>) -> Result<String> {
    parser.parse_identifier().map(|ident| ident_name(&ident)).map_err(from_parser)
}

/// `( a, b )`.
fn identifiers(parser: &mut Parser<'_>) -> Result<Vec<String>> {
    expect(parser, &Token::LParen)?;
    let mut names = vec![identifier(parser)?];
    while parser.consume_token(&Token::Comma) {
        names.push(identifier(parser)?);
    }
    expect(parser, &Token::RParen)?;
    Ok(names)
}

/// A quoted text.
fn text(parser: &mut Parser<'_>) -> Result<String> {
    let token = parser.next_token();
    match token.token {
        Token::SingleQuotedString(text) => Ok(text),
        _ => Err(unexpected(&token, "a text in single quotes")),
    }
}

/// A whole number, in quotes or not.
fn whole_number(parser: &mut Parser<'_>, what: &str) -> Result<u64> {
    let token = parser.next_token();
    let digits = match &token.token {
        Token::Number(digits, _) | Token::SingleQuotedString(digits) => digits.parse().ok(),
        _ => None,
    };
    digits.ok_or_else(|| unexpected(&token, what))
}

/// `( name = value, … )`, after its first parenthesis; also `name => value`.
fn pairs(parser: &mut Parser<'_>) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    if parser.consume_token(&Token::RParen) {
        return Ok(pairs);
    }
    loop {
        let name = key(parser)?;
        pairs.push((name, value(parser)?));
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    expect(parser, &Token::RParen)?;
    Ok(pairs)
}

/// The name of a pair, and what stands behind it.
fn key(parser: &mut Parser<'_>) -> Result<String> {
    let name = match parser.peek_token().token {
        Token::SingleQuotedString(_) => text(parser)?,
        _ => identifier(parser)?,
    };
    if !parser.consume_token(&Token::RArrow) {
        expect(parser, &Token::Eq)?;
    }
    Ok(name)
}

/// A value of a pair as text.
fn value(parser: &mut Parser<'_>) -> Result<String> {
    let minus = parser.consume_token(&Token::Minus);
    let token = parser.next_token();
    match token.token {
        Token::Number(digits, _) => Ok(if minus { format!("-{digits}") } else { digits }),
        Token::SingleQuotedString(text) if !minus => Ok(text),
        Token::Word(ref word) if !minus => Ok(word.value.clone()),
        _ => Err(unexpected(&token, "a value")),
    }
}

/// The unquoted word `n` tokens ahead, in capitals; empty when it is none.
fn word_at(parser: &Parser<'_>, n: usize) -> String {
    match &parser.peek_nth_token_ref(n).token {
        Token::Word(word) if word.quote_style.is_none() => word.value.to_uppercase(),
        _ => String::new(),
    }
}

/// Takes a word when it is next.
fn take_word(parser: &mut Parser<'_>, word: &str) -> bool {
    let found = word_at(parser, 0) == word;
    if found {
        parser.next_token();
    }
    found
}

/// Takes words when all of them are next.
fn take_words(parser: &mut Parser<'_>, words: &[&str]) -> bool {
    let found = words.iter().enumerate().all(|(n, word)| word_at(parser, n) == *word);
    if found {
        words.iter().for_each(|_| drop(parser.next_token()));
    }
    found
}

fn expect_word(parser: &mut Parser<'_>, word: &str) -> Result<()> {
    match take_word(parser, word) {
        true => Ok(()),
        false => Err(unexpected(&parser.peek_token(), word)),
    }
}

fn expect(parser: &mut Parser<'_>, token: &Token) -> Result<()> {
    match parser.consume_token(token) {
        true => Ok(()),
        false => Err(unexpected(&parser.peek_token(), &format!("`{token}`"))),
    }
}

/// The error for a token that cannot stand where it does.
fn unexpected(token: &TokenWithSpan, wanted: &str) -> Error {
    let start = token.span.start;
    let found = match &token.token {
        Token::EOF => "the text ends".to_owned(),
        other => format!("there is `{other}`"),
    };
    let place = match start.line {
        0 => String::new(),
        line => format!(" at line {line}, column {}", start.column),
    };
    Error::Invalid(format!("expected {wanted}, but {found}{place}"))
}
