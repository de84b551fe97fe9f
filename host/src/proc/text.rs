//! Texts that come from a guest, made safe to keep and to show.

use std::borrow::Cow;

use crate::base::{Error, Limits, MAX_NAME_BYTES, Result};

/// Refuses names that are empty, too long to be one, or hold control characters,
/// before they are searched for or repeated in a message.
pub(super) fn name<'a>(kind: &'static str, text: &'a str) -> Result<&'a str> {
    if text.is_empty() || text.len() > MAX_NAME_BYTES {
        return Err(Error::Invalid(format!(
            "{kind} name has {} bytes; names have 1 to {MAX_NAME_BYTES} bytes",
            text.len()
        )));
    }
    if text.chars().any(char::is_control) {
        return Err(Error::Invalid(format!("{kind} name {text:?} has control characters")));
    }
    Ok(text)
}

/// Cuts a text at the limit `text_bytes` and replaces control characters other
/// than line breaks and tabs, which would let a guest write over a terminal.
pub(super) fn bounded(text: &str, limits: &Limits) -> String {
    let allowed = usize::try_from(limits.text_bytes).unwrap_or(usize::MAX);
    let cut = if text.len() <= allowed {
        Cow::Borrowed(text)
    } else {
        let end = (0..=allowed).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        Cow::Owned(format!("{}… ({} bytes more)", text.get(..end).unwrap_or(""), text.len() - end))
    };
    cut.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// As [`bounded`], on one line.
pub(super) fn one_line(text: &str, limits: &Limits) -> String {
    let text = bounded(text.trim_end(), limits);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
