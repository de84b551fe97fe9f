//! Bytes to records by RFC 4180: fields may be quoted with `"`, hold delimiters
//! and line ends inside quotes, and write a quote twice.

use std::path::Path;

use super::super::file::{Content, corrupt};
use crate::base::{Error, Result};

/// Text of one block; a block ends early when it has this much.
const BLOCK_BYTES: usize = 16 << 20;
/// A longer record is taken for an unclosed quote.
const RECORD_BYTES: usize = 64 << 20;

/// Records of equal width, their fields back to back.
#[derive(Debug, Default)]
pub(super) struct Block {
    text: String,
    width: usize,
    /// End of each field in `text`, and whether it was quoted.
    fields: Vec<(usize, bool)>,
    /// The line each record begins at, from 1.
    lines: Vec<u64>,
}

impl Block {
    /// Records.
    pub(super) fn rows(&self) -> usize {
        self.lines.len()
    }

    /// Bytes of one column, about.
    pub(super) fn text_bytes(&self) -> usize {
        self.text.len() / self.width.max(1)
    }

    /// The line where a record begins.
    pub(super) fn line(&self, row: usize) -> u64 {
        self.lines.get(row).copied().unwrap_or_default()
    }

    /// A field and whether it was quoted.
    pub(super) fn field(&self, row: usize, column: usize) -> (&str, bool) {
        let index = row * self.width + column;
        let start = index.checked_sub(1).and_then(|before| self.fields.get(before)).map_or(0, |(end, _)| *end);
        let (end, quoted) = self.fields.get(index).copied().unwrap_or_default();
        (self.text.get(start..end).unwrap_or_default(), quoted)
    }
}

/// Reads records one after the other.
pub(super) struct Records {
    content: Content,
    delimiter: u8,
    width: usize,
    line: u64,
    /// A record read ahead.
    ahead: Option<Record>,
    after_return: bool,
}

/// One record.
#[derive(Debug, Default)]
struct Record {
    bytes: Vec<u8>,
    fields: Vec<(usize, bool)>,
    line: u64,
}

impl Record {
    /// Whether it is a line without anything.
    fn is_blank(&self) -> bool {
        self.bytes.is_empty() && matches!(self.fields.as_slice(), [] | [(_, false)])
    }
}

/// Where in a field the reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Plain,
    Quoted,
    /// Behind a quote inside quotes: it ends the field unless another follows.
    Closed,
}

impl Records {
    /// Records of `content`, behind a byte order mark.
    pub(super) fn new(mut content: Content, delimiter: u8) -> Result<Self> {
        if content.peek()?.starts_with(b"\xef\xbb\xbf") {
            content.consume(3);
        }
        Ok(Self { content, delimiter, width: 0, line: 1, ahead: None, after_return: false })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        self.content.path()
    }

    /// Fields that every record must have.
    pub(super) fn set_width(&mut self, width: usize) {
        self.width = width;
    }

    /// The fields of the first record, which stays to be read.
    pub(super) fn first(&mut self) -> Result<Option<Vec<String>>> {
        let mut record = Record::default();
        while record.is_blank() {
            if !self.read(&mut record)? {
                return Ok(None);
            }
        }
        let text = std::str::from_utf8(&record.bytes).map_err(|_| self.at(record.line, "not UTF-8 text"))?;
        let mut start = 0;
        let mut fields = Vec::with_capacity(record.fields.len());
        for (end, _) in &record.fields {
            fields.push(text.get(start..*end).unwrap_or_default().to_owned());
            start = *end;
        }
        self.ahead = Some(record);
        Ok(Some(fields))
    }

    /// Leaves the first record out: it holds names.
    pub(super) fn skip_first(&mut self) {
        self.ahead = None;
    }

    /// Up to `rows` records; `None` at the end.
    pub(super) fn take_block(&mut self, rows: usize, names: &[String]) -> Result<Option<Block>> {
        let mut bytes = Vec::new();
        let mut block = Block { width: self.width, ..Block::default() };
        let mut record = Record::default();
        while block.lines.len() < rows && bytes.len() < BLOCK_BYTES {
            match self.ahead.take() {
                Some(ahead) => record = ahead,
                None if !self.read(&mut record)? => break,
                None => {}
            }
            if record.is_blank() && self.width > 1 {
                continue;
            }
            if record.fields.len() != self.width {
                let plural = if record.fields.len() == 1 { "" } else { "s" };
                let reason = format!("{} field{plural}, the first line has {}", record.fields.len(), self.width);
                return Err(self.at(record.line, &reason));
            }
            block.fields.extend(record.fields.iter().map(|(end, quoted)| (bytes.len() + end, *quoted)));
            block.lines.push(record.line);
            bytes.extend_from_slice(&record.bytes);
        }
        if block.lines.is_empty() {
            return Ok(None);
        }
        block.text = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            let field = block.fields.iter().position(|(end, _)| *end > at).unwrap_or_default();
            let width = self.width.max(1);
            let name = names.get(field % width).map_or("", String::as_str);
            self.at(block.line(field / width), &format!("column `{name}` is not UTF-8 text"))
        })?;
        Ok(Some(block))
    }

    /// An error at a line.
    fn at(&self, line: u64, reason: &str) -> Error {
        corrupt(self.path(), format!("line {line}: {reason}"))
    }

    /// Reads the next record into `record`; `false` at the end.
    fn read(&mut self, record: &mut Record) -> Result<bool> {
        record.bytes.clear();
        record.fields.clear();
        record.line = self.line;
        let mut state = State::Start;
        loop {
            let buffer = self.content.peek()?;
            if buffer.is_empty() {
                return self.end(record, state);
            }
            let mut at = 0;
            if self.after_return && buffer.first() == Some(&b'\n') {
                at = 1;
            }
            self.after_return = false;
            let scanned = scan(buffer, at, self.delimiter, state, record);
            self.line += scanned.lines;
            self.content.consume(scanned.used);
            state = scanned.state;
            match scanned.found {
                Found::Nothing if record.bytes.len() > RECORD_BYTES => {
                    return Err(self.at(record.line, "the record is longer than 64 MiB; is a quote never closed?"));
                }
                Found::Nothing => {}
                Found::End { after_return } => {
                    self.line += 1;
                    self.after_return = after_return;
                    return Ok(true);
                }
                Found::TextAfterQuote => {
                    let reason = "text follows a closing quote; a quote inside quotes is written twice";
                    return Err(self.at(self.line, reason));
                }
            }
        }
    }

    /// The end of the file inside or between records.
    fn end(&self, record: &mut Record, state: State) -> Result<bool> {
        match state {
            State::Quoted => Err(self.at(record.line, "a quote is opened here and never closed")),
            State::Start if record.fields.is_empty() => Ok(false),
            _ => {
                record.fields.push((record.bytes.len(), state == State::Closed));
                Ok(true)
            }
        }
    }
}

/// What a scan of one buffer came to.
struct Scanned {
    used: usize,
    lines: u64,
    state: State,
    found: Found,
}

/// Why a scan stopped.
enum Found {
    Nothing,
    End { after_return: bool },
    TextAfterQuote,
}

/// Takes bytes of `buffer` from `at` into `record` up to the end of the record.
fn scan(buffer: &[u8], mut at: usize, delimiter: u8, mut state: State, record: &mut Record) -> Scanned {
    let mut lines = 0;
    while let Some(rest) = buffer.get(at..).filter(|rest| !rest.is_empty()) {
        let stop = match state {
            State::Quoted => rest.iter().position(|byte| *byte == b'"'),
            State::Plain => rest.iter().position(|byte| *byte == delimiter || *byte == b'\n' || *byte == b'\r'),
            State::Start | State::Closed => Some(0),
        };
        let plain = rest.get(..stop.unwrap_or(rest.len())).unwrap_or_default();
        record.bytes.extend_from_slice(plain);
        if state == State::Quoted {
            lines += plain.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        at += plain.len();
        let Some(byte) = stop.and_then(|stop| rest.get(stop).copied()) else { break };
        at += 1;
        state = match (state, byte) {
            (State::Quoted, _) => State::Closed,
            (State::Closed, b'"') => {
                record.bytes.push(b'"');
                State::Quoted
            }
            (State::Start, b'"') => State::Quoted,
            (_, byte) if byte == delimiter => {
                record.fields.push((record.bytes.len(), state == State::Closed));
                State::Start
            }
            (_, b'\n' | b'\r') => {
                record.fields.push((record.bytes.len(), state == State::Closed));
                let found = Found::End { after_return: byte == b'\r' };
                return Scanned { used: at, lines, state: State::Start, found };
            }
            (State::Closed, _) => return Scanned { used: at, lines, state, found: Found::TextAfterQuote },
            (State::Start | State::Plain, other) => {
                record.bytes.push(other);
                State::Plain
            }
        };
    }
    Scanned { used: at, lines, state, found: Found::Nothing }
}
