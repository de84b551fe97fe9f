//! What the shell's editor knows: words to complete, what stands out, when a
//! statement is complete.

use std::sync::{Arc, PoisonError, RwLock};

use reedline::{Completer, CompletionResult, Highlighter, Span, StyledText, Suggestion, ValidationResult, Validator};

use super::lex::{Kind, is_complete, pieces};
use crate::cli::context::Context;
use crate::server::{Reply, Request};

/// Words of the language that are worth completing.
const KEYWORDS: [&str; 86] = [
    "ALL",
    "ALTER",
    "AND",
    "AS",
    "ASC",
    "AVG",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "COALESCE",
    "COUNT",
    "CREATE",
    "CROSS",
    "CSV",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EXCEPT",
    "EXECUTE",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FROM",
    "FULL",
    "FUNCTION",
    "FUNCTIONS",
    "GROUP",
    "HAVING",
    "IF",
    "IMPORT",
    "IN",
    "INNER",
    "INPUT_TABLE",
    "INPUT_TABLE_NAMES",
    "INSERT",
    "INTERSECT",
    "INTO",
    "IS",
    "JOIN",
    "KILL",
    "KV_PAIRS",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MAX",
    "MIN",
    "NOT",
    "NULL",
    "OFFSET",
    "ON",
    "OPTIONS",
    "OR",
    "ORDER",
    "OUTER",
    "OUTPUT_TABLES",
    "OUTPUT_TABLE_NAMES",
    "OVER",
    "PARAMS",
    "PARTITION",
    "REPLACE",
    "REPLICATED",
    "RESIDENCY",
    "RIGHT",
    "ROUND",
    "RUN",
    "RUNS",
    "SELECT",
    "SET",
    "SHARD",
    "SHARDS",
    "SHOW",
    "STATUS",
    "SUM",
    "TABLE",
    "TABLES",
    "THEN",
    "TRUE",
    "UNION",
    "VALUES",
    "WHEN",
    "WHERE",
];

/// Names in the folder: of tables, columns, procs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Arc<RwLock<Vec<String>>>);

impl Names {
    /// Looks the names up again; what is there stays where that fails.
    pub(crate) fn refresh(&self, context: &Context) {
        let asked = context.connection().map(|connection| connection.ask(Request::Names));
        if let Ok(Ok(Reply::Names(names))) = asked {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = names;
        }
    }

    /// Names and keywords that begin with `start`; keywords in its case.
    fn beginning_with(&self, start: &str) -> Vec<String> {
        let fits = |word: &str| word.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<String> = known.iter().filter(|name| fits(name)).cloned().collect();
        let lower = start.chars().any(|c| c.is_ascii_lowercase());
        let keywords = KEYWORDS.iter().filter(|word| fits(word));
        found.extend(keywords.map(|word| if lower { word.to_ascii_lowercase() } else { (*word).to_owned() }));
        found
    }
}

/// Completes the word before the cursor.
pub(crate) struct WordCompleter(pub(crate) Names);

impl Completer for WordCompleter {
    fn complete(&mut self, line: &str, position: usize) -> CompletionResult {
        let before = line.get(..position).unwrap_or(line);
        let start = before
            .rfind(|c: char| !c.is_alphanumeric() && c != '_')
            .map_or(0, |at| at + before.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8));
        let word = before.get(start..).unwrap_or_default();
        if word.is_empty() {
            return CompletionResult::fresh(Vec::new());
        }
        let suggestion = |value| Suggestion {
            value,
            span: Span { start, end: position },
            append_whitespace: true,
            ..Suggestion::default()
        };
        CompletionResult::fresh(self.0.beginning_with(word).into_iter().map(suggestion).collect::<Vec<_>>())
    }
}

/// Keywords stand out, comments step back.
pub(crate) struct Colours {
    /// Whether there are any.
    pub(crate) on: bool,
}

impl Highlighter for Colours {
    fn highlight(&self, line: &str, _: usize) -> StyledText {
        let mut text = StyledText::new();
        for piece in pieces(line) {
            text.push((Default::default(), piece.text.to_owned()));
            let Some((style, _)) = text.buffer.last_mut().filter(|_| self.on) else { continue };
            match piece.kind {
                Kind::Word => style.is_bold = KEYWORDS.iter().any(|word| word.eq_ignore_ascii_case(piece.text)),
                Kind::Text => style.is_italic = true,
                Kind::Comment => style.is_dimmed = true,
                Kind::Name | Kind::Other => {}
            }
        }
        text
    }
}

/// Enter ends a statement where it is complete, else begins a line.
pub(crate) struct UntilSemicolon;

impl Validator for UntilSemicolon {
    fn validate(&self, text: &str) -> ValidationResult {
        if is_complete(text) { ValidationResult::Complete } else { ValidationResult::Incomplete }
    }
}
