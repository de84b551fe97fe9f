//! Just enough of SQL's spelling for an editor: where words, quotes and comments
//! begin and end. The statement's meaning is not looked at here.

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or keyword.
    Word,
    /// `'…'`
    Text,
    /// `"…"`
    Name,
    /// `-- …` or `/* … */`
    Comment,
    /// One character of anything else.
    Other,
}

/// A piece of text and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// What it is.
    pub(crate) kind: Kind,
    /// The text, quotes included.
    pub(crate) text: &'a str,
    /// Whether its end was found; a quote or comment may lack it.
    pub(crate) closed: bool,
}

/// The pieces of `text`; together they are all of it.
pub(crate) fn pieces(mut text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    while let Some(first) = text.chars().next() {
        let (kind, length, closed) = if first == '\'' || first == '"' {
            let (length, closed) = quoted(text, first);
            (if first == '"' { Kind::Name } else { Kind::Text }, length, closed)
        } else if text.starts_with("--") {
            let end = text.find('\n');
            (Kind::Comment, end.unwrap_or(text.len()), end.is_some())
        } else if text.starts_with("/*") {
            let end = text.find("*/").map(|at| at + 2);
            (Kind::Comment, end.unwrap_or(text.len()), end.is_some())
        } else if first.is_alphabetic() || first == '_' {
            let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
            (Kind::Word, end, true)
        } else {
            (Kind::Other, first.len_utf8(), true)
        };
        let (piece, rest) = text.split_at(length);
        pieces.push(Piece { kind, text: piece, closed });
        text = rest;
    }
    pieces
}

/// Length of a quoted piece in bytes; a doubled quote is part of it.
fn quoted(text: &str, quote: char) -> (usize, bool) {
    let mut at = 1;
    while let Some(found) = text.get(at..).and_then(|rest| rest.find(quote)) {
        at += found + 1;
        if text.get(at..).is_none_or(|rest| !rest.starts_with(quote)) {
            return (at, true);
        }
        at += 1;
    }
    (text.len(), false)
}

/// Whether the shell may execute `text`: a helper command, or statements that
/// end with `;`.
pub(crate) fn is_complete(text: &str) -> bool {
    let trimmed = text.trim();
    if trimmed.is_empty() || trimmed.starts_with('\\') || is_word(trimmed) {
        return true;
    }
    let pieces = pieces(text);
    let last = pieces.iter().rev().find(|piece| piece.kind != Kind::Comment && !piece.text.trim().is_empty());
    last.is_some_and(|piece| piece.text == ";")
        && pieces.iter().all(|piece| piece.closed || piece.kind != Kind::Comment || piece.text.starts_with("--"))
}

/// Words that people type to leave or to ask for help.
pub(crate) fn is_word(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "exit" | "quit" | "help")
}
