//! Framing of the folder's socket. A frame is
//!
//! ```text
//! header length  u32 little-endian, bytes
//! body length    u32 little-endian, bytes
//! header         JSON
//! body           opaque: Arrow IPC or a component's bytes; often empty
//! ```
//!
//! Both lengths are bounded, and memory grows with what arrives, never with what
//! a length promises.

use std::io::{ErrorKind, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::{Error, Result};

/// Longest header: a statement, a page of log lines.
pub const MAX_HEADER_BYTES: usize = 16 << 20;

/// Longest body: one row with a model of the largest size, and its framing.
pub const MAX_BODY_BYTES: usize = (1 << 30) + (16 << 20);

/// Writes one frame and flushes it.
pub fn write_frame<T: Serialize>(to: &mut impl Write, header: &T, body: &[u8]) -> Result<()> {
    let header = serde_json::to_vec(header).map_err(|e| Error::Internal(format!("a message does not encode: {e}")))?;
    let header_length = checked("header", header.len(), MAX_HEADER_BYTES)?;
    let body_length = checked("body", body.len(), MAX_BODY_BYTES)?;
    let mut head = Vec::with_capacity(8 + header.len());
    head.extend_from_slice(&header_length.to_le_bytes());
    head.extend_from_slice(&body_length.to_le_bytes());
    head.extend_from_slice(&header);
    to.write_all(&head).and_then(|()| to.write_all(body)).and_then(|()| to.flush()).map_err(broken)
}

/// Reads one frame; `None` where the other side closed between two frames.
pub fn read_frame<T: DeserializeOwned>(from: &mut impl Read) -> Result<Option<(T, Vec<u8>)>> {
    let mut lengths = [0u8; 8];
    let mut filled = 0;
    while filled < lengths.len() {
        match from.read(lengths.get_mut(filled..).unwrap_or_default()) {
            Ok(0) if filled == 0 => return Ok(None),
            Ok(0) => return Err(broken(ErrorKind::UnexpectedEof.into())),
            Ok(n) => filled += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(broken(e)),
        }
    }
    let [a, b, c, d, e, f, g, h] = lengths;
    let header = read_part(from, "header", u32::from_le_bytes([a, b, c, d]), MAX_HEADER_BYTES)?;
    let body = read_part(from, "body", u32::from_le_bytes([e, f, g, h]), MAX_BODY_BYTES)?;
    let header = serde_json::from_slice(&header)
        .map_err(|e| Error::Invalid(format!("a message on the folder's socket cannot be understood: {e}")))?;
    Ok(Some((header, body)))
}

fn read_part(from: &mut impl Read, part: &str, length: u32, max: usize) -> Result<Vec<u8>> {
    let length = u64::from(length);
    checked(part, usize::try_from(length).unwrap_or(usize::MAX), max)?;
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes).map_err(broken)?;
    if (bytes.len() as u64) < length {
        return Err(broken(ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

fn checked(part: &str, length: usize, max: usize) -> Result<u32> {
    match u32::try_from(length) {
        Ok(fits) if length <= max => Ok(fits),
        _ => Err(Error::Invalid(format!(
            "a message's {part} of {length} bytes is longer than the {max} bytes that the folder's socket carries"
        ))),
    }
}

/// The other side went away, or the socket failed.
fn broken(source: std::io::Error) -> Error {
    Error::library("the connection to the folder's holder broke", source)
}
