//! Opening a file: what its first bytes say, and its content with `.gz` taken off.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;

use super::Format;
use crate::base::{Error, Result, poll};
use crate::sql::Watch;

/// Bytes asked of the operating system at once.
const BUFFER_BYTES: usize = 256 << 10;

/// How often is asked whether the rows of a pipe that says nothing are still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The uncompressed content of a file, with errors that name it.
pub(super) struct Content {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    /// Whether `.gz` was taken off.
    pub compressed: bool,
    /// Size of the content in bytes, unless it is compressed or a pipe.
    pub size_bytes: Option<u64>,
    /// Whether it is a file, which can be read again and from its end.
    is_file: bool,
}

/// What is no file, read for as long as that is wanted.
struct Pipe {
    pipe: File,
    watch: Watch,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            // Also where it never ends.
            self.watch.check().map_err(std::io::Error::other)?;
            if poll(&self.pipe, libc::POLLIN, LOOK_EVERY) != 0 {
                return self.pipe.read(buffer);
            }
        }
    }
}

impl Content {
    /// Opens `path` and takes off a gzip envelope when the file has one.
    /// A pipe is read for as long as `watch` allows, also where it says nothing.
    pub(super) fn open(path: &Path, watch: &Watch) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|e| Error::io("read", path, e))?;
        if metadata.is_dir() {
            return Err(corrupt(path, "this is a folder, not a file"));
        }
        let file = File::open(path).map_err(|e| Error::io("read", path, e))?;
        let is_file = metadata.is_file();
        let source: Box<dyn Read + Send> = match is_file {
            true => Box::new(file),
            false => Box::new(Pipe { pipe: file, watch: watch.clone() }),
        };
        let mut plain = BufReader::with_capacity(BUFFER_BYTES, source);
        let head = plain.fill_buf().map_err(|e| Error::io("read", path, e))?;
        let compressed = head.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn BufRead + Send> = match compressed {
            true => Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(plain))),
            false => Box::new(plain),
        };
        let size_bytes = (is_file && !compressed).then_some(metadata.len());
        Ok(Self { path: path.to_owned(), reader, compressed, size_bytes, is_file })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that can be looked at without taking them; empty at the end.
    pub(super) fn peek(&mut self) -> Result<&[u8]> {
        let (path, failed) = (&self.path, self.failed());
        self.reader.fill_buf().map_err(|e| failed(path, e))
    }

    /// The error of a failed read of this file.
    fn failed(&self) -> Failed {
        if self.compressed { failed_unpacking } else { |path, error| Error::io("read", path, error) }
    }

    /// Takes `n` of the bytes that [`Self::peek`] gave.
    pub(super) fn consume(&mut self, n: usize) {
        self.reader.consume(n);
    }

    /// Fills `buffer` as far as the content goes and returns how far.
    pub(super) fn read_full(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..)
            && !rest.is_empty()
        {
            match self.reader.read(rest) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed()(&self.path, e)),
            }
        }
        Ok(done)
    }

    /// Bytes to the end, which are thrown away.
    pub(super) fn skip_to_end(&mut self) -> Result<u64> {
        let mut skipped = 0u64;
        loop {
            let n = self.peek()?.len();
            if n == 0 {
                return Ok(skipped);
            }
            self.consume(n);
            skipped += n as u64;
        }
    }

    /// The format, by the first bytes.
    pub(super) fn format(&mut self) -> Result<Format> {
        let path = self.path.clone();
        let head = self.peek()?;
        if head.is_empty() {
            return Err(corrupt(&path, "the file is empty"));
        }
        let named = |part: &str| path.to_string_lossy().to_lowercase().contains(part);
        Ok(match head {
            [b'P', b'A', b'R', b'1', ..] => Format::Parquet,
            [b'A', b'R', b'R', b'O', b'W', b'1', ..] | [0xff, 0xff, 0xff, 0xff, ..] => Format::Ipc,
            [0, 0, 0x08 | 0x09 | 0x0b..=0x0e, 1..=8, ..] => Format::Idx,
            _ if named(".parquet") => Format::Parquet,
            _ if named(".arrow") || named(".feather") || named(".ipc") => Format::Ipc,
            _ if named("ubyte") || named(".idx") => Format::Idx,
            head if head.contains(&0) => {
                let reason = "the first bytes are not those of IDX, Parquet or Arrow IPC, and it is no text";
                return Err(corrupt(&path, reason));
            }
            _ => Format::Csv,
        })
    }

    /// The plain file, for formats that are read from their end.
    pub(super) fn into_plain_file(self) -> Result<File> {
        if self.compressed {
            return Err(corrupt(&self.path, "this format cannot be read inside .gz; unpack it first (gunzip)"));
        }
        if !self.is_file {
            return Err(corrupt(&self.path, "this format cannot be read from a pipe; write it into a file first"));
        }
        File::open(&self.path).map_err(|e| Error::io("read", &self.path, e))
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// The error of a file that is not what it should be.
pub(super) fn corrupt(path: &Path, reason: impl Into<String>) -> Error {
    Error::Corrupt { what: path.display().to_string(), reason: reason.into() }
}

/// What makes an error of a failed read.
type Failed = fn(&Path, std::io::Error) -> Error;

/// A failed read of a compressed file: damage of the envelope, or the operating
/// system's answer.
fn failed_unpacking(path: &Path, error: std::io::Error) -> Error {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::UnexpectedEof => corrupt(path, "the gzip data ends early; the file is truncated, fetch it again"),
        ErrorKind::InvalidData | ErrorKind::InvalidInput => {
            corrupt(path, format!("the gzip data is damaged ({error}); fetch the file again"))
        }
        _ => Error::io("read", path, error),
    }
}
