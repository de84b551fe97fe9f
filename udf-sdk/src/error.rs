//! Why a proc or a call failed, and how other errors become it through `?`.

use std::any::Any;
use std::fmt;

use crate::bindings::quern::udf::types;
pub use crate::bindings::quern::udf::types::ErrorCode;

/// What procs and the functions of this crate return.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// A kind and one line for a person. Every `std::error::Error` turns into one
/// through `?`; errors of the host keep their kind, others are `internal`.
///
/// It does not implement `std::error::Error` itself: that is what makes the
/// conversion from all others possible.
///
/// ```
/// use quern_udf::{ErrorCode, Result};
///
/// fn parse(text: &str) -> Result<u32> {
///     Ok(text.trim().parse()?)
/// }
/// let error = parse("seven").unwrap_err();
/// assert_eq!(error.code, ErrorCode::Internal);
/// assert_eq!(error.message, "invalid digit found in string");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Error {
    /// The kind.
    pub code: ErrorCode,
    /// One line, lowercase, without a full stop.
    pub message: String,
}

impl Error {
    /// An error of any kind.
    pub fn new(code: ErrorCode, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }

    /// A parameter, table or value that cannot be used as it is.
    pub fn invalid(message: impl fmt::Display) -> Self {
        Self::new(ErrorCode::InvalidArgument, message)
    }

    /// The same error, its message preceded by what was being done.
    ///
    /// ```
    /// let error = quern_udf::Error::invalid("negative").during("reading `age`");
    /// assert_eq!(error.to_string(), "reading `age`: negative");
    /// ```
    #[must_use]
    pub fn during(self, action: impl fmt::Display) -> Self {
        Self { code: self.code, message: format!("{action}: {}", self.message) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        match (&error as &dyn Any).downcast_ref::<types::Error>() {
            Some(host) => Self { code: host.code, message: host.message.clone() },
            None => Self::new(ErrorCode::Internal, error),
        }
    }
}

/// As the contract has it.
pub(crate) fn to_host(error: Error) -> types::Error {
    types::Error { code: error.code, message: error.message }
}

/// Returns from the function with an [`Error`] of kind `invalid-argument`.
///
/// ```
/// # use quern_udf::{Result, bail};
/// fn half(n: u32) -> Result<u32> {
///     if n % 2 == 1 {
///         bail!("{n} is odd");
///     }
///     Ok(n / 2)
/// }
/// assert_eq!(half(3).unwrap_err().message, "3 is odd");
/// ```
#[macro_export]
macro_rules! bail {
    ($($arg:tt)*) => {
        return ::std::result::Result::Err($crate::Error::invalid(::std::format!($($arg)*)))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_host_keep_their_kind_through_question_mark() {
        let host = || Err(types::Error { code: ErrorCode::OutOfRange, message: "axis 3 of 2".into() });
        let call = || -> Result { Ok(host()?) };
        assert_eq!(call().err(), Some(Error::new(ErrorCode::OutOfRange, "axis 3 of 2")));
    }
}
