//! `types`: errors and element types, to and from the guest.

use super::bindings::quern::udf::types::{self, Dtype, Error as GuestError, ErrorCode as GuestErrorCode};
use crate::base::{DType, Error, ErrorCode};
use crate::proc::sandbox::{State, Unavailable};

/// Why a host function does not return a value.
#[derive(Debug)]
pub enum HostError {
    /// The guest's mistake or a limit it may handle: it is told.
    Mistake(GuestError),
    /// A kill, a deadline or a fault of the host: the guest is stopped.
    Stop(wasmtime::Error),
}

impl From<Error> for HostError {
    fn from(error: Error) -> Self {
        let stops = match &error {
            Error::Limit { limit, .. } => matches!(*limit, "deadline_ms" | "device_time_ms"),
            Error::Killed { .. } => true,
            other => other.code() == ErrorCode::Internal,
        };
        if stops {
            return Self::Stop(error.into());
        }
        Self::Mistake(GuestError { code: error.code().into(), message: error.chain() })
    }
}

impl From<Unavailable> for HostError {
    fn from(error: Unavailable) -> Self {
        Self::Stop(error.into())
    }
}

impl HostError {
    /// What the guest is told, unless it has to stop.
    pub(super) fn told(self) -> wasmtime::Result<GuestError> {
        match self {
            Self::Mistake(error) => Ok(error),
            Self::Stop(error) => Err(error),
        }
    }
}

impl types::Host for State {
    fn convert_error(&mut self, error: HostError) -> wasmtime::Result<GuestError> {
        error.told()
    }
}

/// Two enums with a variant of the one for each of the other.
macro_rules! pairs {
    ($guest:ident, $host:ident: $($theirs:ident = $ours:ident),+ $(,)?) => {
        impl From<$guest> for $host {
            fn from(theirs: $guest) -> Self {
                match theirs {
                    $($guest::$theirs => Self::$ours,)+
                }
            }
        }

        impl From<$host> for $guest {
            fn from(ours: $host) -> Self {
                match ours {
                    $($host::$ours => Self::$theirs,)+
                }
            }
        }
    };
}

pairs! { GuestErrorCode, ErrorCode:
    NotFound = NotFound,
    Denied = Denied,
    InvalidArgument = InvalidArgument,
    TypeMismatch = TypeMismatch,
    OutOfRange = OutOfRange,
    Exists = Exists,
    QuotaExceeded = QuotaExceeded,
    OutOfMemory = OutOfMemory,
    Cancelled = Cancelled,
    Unsupported = Unsupported,
    Internal = Internal,
}

pairs! { Dtype, DType:
    Boolean = Bool,
    Int8 = I8,
    Int16 = I16,
    Int32 = I32,
    Int64 = I64,
    Uint8 = U8,
    Uint16 = U16,
    Uint32 = U32,
    Uint64 = U64,
    Float16 = F16,
    Bfloat16 = BF16,
    Float32 = F32,
    Float64 = F64,
}
