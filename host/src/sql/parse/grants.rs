//! `CREATE USER`, `CREATE ROLE`, `DROP USER`, `GRANT`, `REVOKE`, `SHOW GRANTS`.

use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{Kind, expect_word, function, identifier, table_name, take_word, take_words, unexpected, word_at};
use crate::base::Result;
use crate::catalog::{Privilege, UserKind};
use crate::sql::statement::{GrantOn, GrantStatement, Grants, Show};

/// Privileges on tables.
const ON_TABLES: [Privilege; 4] = [Privilege::Select, Privilege::Insert, Privilege::Update, Privilege::Delete];
/// Privileges on functions.
const ON_FUNCTIONS: [Privilege; 2] = [Privilege::Execute, Privilege::Admin];

/// The rest of `CREATE USER u`, `CREATE ROLE r`, `DROP USER u`, `DROP ROLE r`.
pub(super) fn user(parser: &mut Parser<'_>) -> Result<Option<(UserKind, String)>> {
    let kind = match word_at(parser, 0).as_str() {
        "USER" => UserKind::User,
        "ROLE" => UserKind::Role,
        _ => return Ok(None),
    };
    parser.next_token();
    Ok(Some((kind, identifier(parser)?)))
}

/// `GRANT what TO u [WITH GRANT OPTION]`.
pub(super) fn grant(parser: &mut Parser<'_>) -> Result<Kind> {
    expect_word(parser, "GRANT")?;
    let on = subject(parser)?;
    expect_word(parser, "TO")?;
    let grantee = grantee(parser)?;
    let grantable = take_words(parser, &["WITH", "GRANT", "OPTION"]);
    Ok(Kind::Grants(GrantStatement { grants: Grants::Grant { grantable }, on, grantee }))
}

/// `REVOKE what FROM u`.
pub(super) fn revoke(parser: &mut Parser<'_>) -> Result<Kind> {
    expect_word(parser, "REVOKE")?;
    let on = subject(parser)?;
    expect_word(parser, "FROM")?;
    let grantee = grantee(parser)?;
    Ok(Kind::Grants(GrantStatement { grants: Grants::Revoke, on, grantee }))
}

/// The rest of `SHOW GRANTS [FOR u]`.
pub(super) fn show(parser: &mut Parser<'_>) -> Result<Show> {
    let of = if take_word(parser, "FOR") { Some(grantee(parser)?) } else { None };
    Ok(Show::Grants(of))
}

fn grantee(parser: &mut Parser<'_>) -> Result<String> {
    if word_at(parser, 1).is_empty() || !matches!(word_at(parser, 0).as_str(), "USER" | "ROLE") {
        return identifier(parser);
    }
    parser.next_token();
    identifier(parser)
}

/// What is granted.
fn subject(parser: &mut Parser<'_>) -> Result<GrantOn> {
    if take_words(parser, &["CREATE", "FUNCTION"]) {
        return Ok(GrantOn::CreateFunction);
    }
    let mut privileges = Vec::new();
    loop {
        match ON_TABLES.into_iter().chain(ON_FUNCTIONS).find(|privilege| word_at(parser, 0) == privilege.word()) {
            Some(privilege) => privileges.push(privilege),
            // Any other word is the name of a role.
            None if privileges.is_empty() => return identifier(parser).map(GrantOn::Role),
            None => return Err(unexpected(&parser.peek_token(), "a privilege")),
        }
        parser.next_token();
        if !parser.consume_token(&Token::Comma) {
            break;
        }
    }
    expect_word(parser, "ON")?;
    let is_function = ON_FUNCTIONS.iter().any(|privilege| privileges.contains(privilege));
    let mixed = is_function && ON_TABLES.iter().any(|privilege| privileges.contains(privilege));
    if mixed {
        return Err(unexpected(&parser.peek_token(), "privileges on tables or on functions, not on both"));
    }
    if is_function {
        expect_word(parser, "FUNCTION")?;
        let name = if parser.consume_token(&Token::Mul) { "*".to_owned() } else { function::name(parser)? };
        return Ok(GrantOn::Function(privileges, name));
    }
    take_word(parser, "TABLE");
    table_name(parser).map(|table| GrantOn::Table(privileges, table))
}
