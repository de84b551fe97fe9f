//! `TABLE(f(INPUT_TABLE_NAMES => …, PARAMS => …))` in a query: a proc whose only
//! output is read as a table. DataFusion's parser does not know our arguments, so
//! each call is read here and stands in the query as the name of a table.

use datafusion::sql::parser::DFParserBuilder;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::{NESTING, from_datafusion, function, unexpected};
use crate::base::Result;
use crate::sql::statement::Call;

/// Arguments that a table function of a proc may begin with.
const ARGUMENTS: [&str; 6] =
    ["INPUT_TABLE_NAMES", "INPUT_TABLES", "OUTPUT_TABLE_NAMES", "OUTPUT_TABLES", "PARAMS", "OPTIONS"];

/// The tokens with a name in place of each call, and the calls; those within the
/// arguments of another come before it.
pub(super) fn take(tokens: Vec<TokenWithSpan>) -> Result<(Vec<TokenWithSpan>, Vec<Call>)> {
    let mut calls = Vec::new();
    Ok((replace(&tokens, &mut calls)?, calls))
}

/// The tokens with a name in place of each call, which is added to `calls`.
fn replace(tokens: &[TokenWithSpan], calls: &mut Vec<Call>) -> Result<Vec<TokenWithSpan>> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        let Some(length) = call_length(rest) else {
            out.push(token.clone());
            rest = after;
            continue;
        };
        let (call, behind) = rest.split_at(length);
        let call = read(call, calls)?;
        let word = Token::Word(Word { value: call.name.clone(), ..super::quoted() });
        out.push(TokenWithSpan { token: word, span: token.span });
        calls.push(call);
        rest = behind;
    }
    Ok(out)
}

/// How many tokens the call at the beginning of `tokens` has, if there is one.
fn call_length(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut visible = tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).map(|t| &t.token);
    if !is_word(visible.next()?, "TABLE") || *visible.next()? != Token::LParen {
        return None;
    }
    let mut next = visible.next()?;
    while matches!(next, Token::Word(_) | Token::Period) {
        next = visible.next()?;
    }
    let argument = visible.next()?;
    let ours = *argument == Token::RParen || ARGUMENTS.iter().any(|name| is_word(argument, name));
    if *next != Token::LParen || !ours {
        return None;
    }
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 1 => return Some(at + 1),
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Reads `TABLE ( f ( … ) )`, and first the calls within it.
fn read(tokens: &[TokenWithSpan], calls: &mut Vec<Call>) -> Result<Call> {
    let open = tokens.iter().position(|t| t.token == Token::LParen).map_or(0, |at| at + 1);
    let inner = replace(tokens.get(open..tokens.len().saturating_sub(1)).unwrap_or_default(), calls)?;
    let mut parser = DFParserBuilder::new(inner).with_recursion_limit(NESTING).build().map_err(from_datafusion)?;
    let execute = function::call(&mut parser)?;
    let next = parser.parser.peek_token();
    if next.token != Token::EOF {
        return Err(unexpected(&next, "`)`"));
    }
    let text: String = tokens.iter().map(|t| t.token.to_string()).collect();
    Ok(Call { name: format!("{} call {}", execute.proc, calls.len() + 1), text: text.trim().to_owned(), execute })
}

fn is_word(token: &Token, text: &str) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(text))
}
