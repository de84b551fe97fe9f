//! Checksums as text.

use sha2::{Digest, Sha256};

use super::Result;

/// Bytes that are hashed between two questions whether to go on: some milliseconds.
const PIECE_BYTES: usize = 4 << 20;

/// The sha256 of `bytes`, 64 hex digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// As [`sha256_hex`], for bytes that may be many: ends with the first error of
/// `go_on`, which is asked every few MiB.
pub fn sha256_hex_while(bytes: &[u8], mut go_on: impl FnMut() -> Result<()>) -> Result<String> {
    let mut hash = Sha256::new();
    for piece in bytes.chunks(PIECE_BYTES) {
        go_on()?;
        hash.update(piece);
    }
    Ok(hex(&hash.finalize()))
}

fn hex(digest: &[u8]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
