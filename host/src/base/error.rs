//! The one error type of the library. Variants carry the numbers and names; the
//! text is one lowercase line that says what to do. Protocol codes are made
//! where the protocol is spoken.

use std::path::PathBuf;

/// What library functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause that an [`Error`] keeps when another library failed.
type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Everything that can go wrong below the command line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that was named does not exist.
    #[error("no {kind} `{name}`{}{}", place(within), hint(suggestion))]
    NotFound {
        /// `table`, `column`, `proc`, …
        kind: &'static str,
        /// The name that was asked for.
        name: String,
        /// Where it was looked for, for example ``table `digits` ``.
        within: Option<String>,
        /// The closest name that does exist.
        suggestion: Option<String>,
    },
    /// A name is taken.
    #[error("{kind} `{name}` exists already")]
    Exists {
        /// `table`, `component`, …
        kind: &'static str,
        /// The name that is taken.
        name: String,
    },
    /// An argument, statement or file content that cannot be used as it is.
    #[error("{0}")]
    Invalid(String),
    /// Two types do not fit.
    #[error("{0}")]
    TypeMismatch(String),
    /// An index, slice, axis or shape outside what it addresses.
    #[error("{0}")]
    OutOfRange(String),
    /// The caller may not do this.
    #[error("{0}")]
    Denied(String),
    /// A limit would be exceeded.
    #[error("limit `{limit}`: {requested} {unit} asked, {allowed} {unit} allowed{}", advice(hint))]
    Limit {
        /// The limit's name in [`super::Limits`].
        limit: &'static str,
        /// What would have been used in all.
        requested: u64,
        /// What is allowed.
        allowed: u64,
        /// `bytes`, `ms`, `handles`, …
        unit: &'static str,
        /// How to raise it; empty where nobody can.
        hint: String,
    },
    /// The run was killed.
    #[error("the run was killed{}", by.as_deref().map(|b| format!(" by {b}")).unwrap_or_default())]
    Killed {
        /// Who asked for it, when known.
        by: Option<String>,
    },
    /// A proc returned an error.
    #[error("proc `{proc}` returned an error ({code}): {message}")]
    Proc {
        /// The proc's name.
        proc: String,
        /// The kind it gave.
        code: ErrorCode,
        /// Its message.
        message: String,
    },
    /// A proc trapped: a panic, a division by zero, an exhausted stack.
    #[error("proc `{proc}` stopped: {reason}")]
    Trap {
        /// The proc's name.
        proc: String,
        /// The trap in words, with the guest's panic text when there was one.
        reason: String,
    },
    /// A component cannot be used.
    #[error("{what} is not a usable component: {reason}")]
    Component {
        /// A path or a component name.
        what: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The folder is held by another process that does not answer.
    #[error("folder {} is held by process {pid}, which does not answer; \
             stop it (kill {pid}) or choose another folder with --data", folder.display())]
    Held {
        /// The data folder.
        folder: PathBuf,
        /// The holder, 0 when unknown.
        pid: u32,
    },
    /// The folder was written by a newer Quern.
    #[error("folder {} has format version {found}, this quern reads up to {supported}; \
             use the quern that wrote it or a newer one", folder.display())]
    Newer {
        /// The data folder.
        folder: PathBuf,
        /// The version it has.
        found: u64,
        /// The newest version this program reads.
        supported: u64,
    },
    /// A file that should be readable is not what it should be.
    #[error("{what}: {reason}")]
    Corrupt {
        /// The file or row.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An input or output operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// `read`, `create`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A device has no memory left.
    #[error(
        "{device} is full: {}{free} of {allowed} bytes are free; use smaller batches, \
             wait for other runs or give the device fewer tables",
        asked(*requested)
    )]
    OutOfMemory {
        /// The device.
        device: String,
        /// How much was asked for, 0 when unknown.
        requested: u64,
        /// How much may be used in all.
        allowed: u64,
        /// How much of that is free.
        free: u64,
    },
    /// A device stopped working while it was used.
    #[error("{device} was lost ({reason}); it is opened again for the next run, so do it again")]
    DeviceLost {
        /// The device.
        device: String,
        /// What its driver said.
        reason: String,
    },
    /// The disk has no room for what was to be written.
    #[error(
        "the disk is full: {what} could not be written; free some space and do it again, \
             what was committed before is safe"
    )]
    Full {
        /// The file.
        what: String,
    },
    /// The catalog, Arrow, Parquet or SQL engine failed.
    #[error("{action}")]
    Library {
        /// What was being done.
        action: String,
        /// The library's error.
        source: Source,
    },
    /// Not done for this type, device or statement.
    #[error("{0}")]
    Unsupported(String),
    /// A fault of Quern itself.
    #[error("internal fault: {0}; please report it")]
    Internal(String),
}

/// The kind of an error, as guests see it (`error-code` in `wit/types.wit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// A name does not exist.
    NotFound,
    /// Not allowed here.
    Denied,
    /// Malformed argument.
    InvalidArgument,
    /// Types do not fit.
    TypeMismatch,
    /// Outside what it addresses.
    OutOfRange,
    /// The name is taken.
    Exists,
    /// A limit of the run.
    QuotaExceeded,
    /// The device is full.
    OutOfMemory,
    /// Killed or past the deadline.
    Cancelled,
    /// Known but not done.
    Unsupported,
    /// A fault of host or proc.
    Internal,
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not-found",
            Self::Denied => "denied",
            Self::InvalidArgument => "invalid-argument",
            Self::TypeMismatch => "type-mismatch",
            Self::OutOfRange => "out-of-range",
            Self::Exists => "exists",
            Self::QuotaExceeded => "quota-exceeded",
            Self::OutOfMemory => "out-of-memory",
            Self::Cancelled => "cancelled",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
        })
    }
}

impl Error {
    /// The same about `what`, where it says that a component cannot be used.
    #[must_use]
    pub fn of_component(self, what: &str) -> Self {
        match self {
            Self::Component { reason, .. } => Self::Component { what: what.to_owned(), reason },
            other => other,
        }
    }

    /// A missing name, with the closest of `candidates` as a suggestion.
    pub fn not_found<S: AsRef<str>>(
        kind: &'static str,
        name: &str,
        within: Option<String>,
        candidates: impl IntoIterator<Item = S>,
    ) -> Self {
        Self::NotFound { kind, name: name.to_owned(), within, suggestion: closest(name, candidates) }
    }

    /// A failed file operation; a full disk is told as such.
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let path = path.into();
        match source.kind() {
            StorageFull | QuotaExceeded => Self::Full { what: path.display().to_string() },
            _ => Self::Io { action, path, source },
        }
    }

    /// A failure inside another library.
    pub fn library(action: impl Into<String>, source: impl Into<Source>) -> Self {
        Self::Library { action: action.into(), source: source.into() }
    }

    /// The kind, as a guest is told.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::Exists { .. } => ErrorCode::Exists,
            Self::Invalid(_) | Self::Component { .. } => ErrorCode::InvalidArgument,
            Self::TypeMismatch(_) => ErrorCode::TypeMismatch,
            Self::OutOfRange(_) => ErrorCode::OutOfRange,
            Self::Denied(_) => ErrorCode::Denied,
            Self::Limit { .. } => ErrorCode::QuotaExceeded,
            Self::OutOfMemory { .. } => ErrorCode::OutOfMemory,
            Self::Killed { .. } => ErrorCode::Cancelled,
            Self::Proc { code, .. } => *code,
            Self::Unsupported(_) => ErrorCode::Unsupported,
            Self::Trap { .. }
            | Self::Held { .. }
            | Self::Newer { .. }
            | Self::Corrupt { .. }
            | Self::Io { .. }
            | Self::Full { .. }
            | Self::DeviceLost { .. }
            | Self::Library { .. }
            | Self::Internal(_) => ErrorCode::Internal,
        }
    }

    /// The message with the messages of its sources, on one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }
}

/// `64 bytes were asked for, `, or nothing.
fn asked(requested: u64) -> String {
    if requested == 0 { String::new() } else { format!("{requested} bytes were asked for, ") }
}

/// ` in table …`, or nothing.
fn place(within: &Option<String>) -> String {
    within.as_ref().map(|place| format!(" in {place}")).unwrap_or_default()
}

/// `; what to do`, or nothing.
fn advice(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("; {hint}") }
}

/// `; did you mean …?`, or nothing.
fn hint(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// Characters of a name that others are compared with.
const COMPARED_CHARS: usize = 128;
/// Names that are compared with it.
const COMPARED_NAMES: usize = 1000;

/// The candidate closest to `name` by edit distance, when close enough to be a
/// slip of the finger.
pub fn closest<S: AsRef<str>>(name: &str, candidates: impl IntoIterator<Item = S>) -> Option<String> {
    let length = name.chars().count();
    let allowed = (length / 3).max(1);
    // Names come from guests and files; many or long ones would take long to compare.
    if length > COMPARED_CHARS {
        return None;
    }
    candidates
        .into_iter()
        .take(COMPARED_NAMES)
        .filter(|c| {
            c.as_ref().len() <= 4 * (length + allowed) && c.as_ref().chars().count().abs_diff(length) <= allowed
        })
        .map(|c| (strsim::damerau_levenshtein(&name.to_lowercase(), &c.as_ref().to_lowercase()), c.as_ref().to_owned()))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
