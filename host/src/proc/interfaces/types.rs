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
        Self::Mistake(GuestError { code: code_to_guest(error.code()), message: error.chain() })
    }
}

impl From<Unavailable> for HostError {
    fn from(error: Unavailable) -> Self {
        Self::Stop(error.into())
    }
}

/// An error as a guest is told it, for interfaces that answer with plain errors; the
/// outer error stops the guest.
pub(super) fn guest_error(error: Error) -> wasmtime::Result<GuestError> {
    HostError::from(error).told()
}

impl HostError {
    /// What the guest is told; the outer error stops it.
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

fn code_to_guest(code: ErrorCode) -> GuestErrorCode {
    match code {
        ErrorCode::NotFound => GuestErrorCode::NotFound,
        ErrorCode::Denied => GuestErrorCode::Denied,
        ErrorCode::InvalidArgument => GuestErrorCode::InvalidArgument,
        ErrorCode::TypeMismatch => GuestErrorCode::TypeMismatch,
        ErrorCode::OutOfRange => GuestErrorCode::OutOfRange,
        ErrorCode::Exists => GuestErrorCode::Exists,
        ErrorCode::QuotaExceeded => GuestErrorCode::QuotaExceeded,
        ErrorCode::OutOfMemory => GuestErrorCode::OutOfMemory,
        ErrorCode::Cancelled => GuestErrorCode::Cancelled,
        ErrorCode::Unsupported => GuestErrorCode::Unsupported,
        ErrorCode::Internal => GuestErrorCode::Internal,
    }
}

/// The kind that a proc gave to the error it returned.
pub(in crate::proc) fn code_from_guest(code: GuestErrorCode) -> ErrorCode {
    match code {
        GuestErrorCode::NotFound => ErrorCode::NotFound,
        GuestErrorCode::Denied => ErrorCode::Denied,
        GuestErrorCode::InvalidArgument => ErrorCode::InvalidArgument,
        GuestErrorCode::TypeMismatch => ErrorCode::TypeMismatch,
        GuestErrorCode::OutOfRange => ErrorCode::OutOfRange,
        GuestErrorCode::Exists => ErrorCode::Exists,
        GuestErrorCode::QuotaExceeded => ErrorCode::QuotaExceeded,
        GuestErrorCode::OutOfMemory => ErrorCode::OutOfMemory,
        GuestErrorCode::Cancelled => ErrorCode::Cancelled,
        GuestErrorCode::Unsupported => ErrorCode::Unsupported,
        GuestErrorCode::Internal => ErrorCode::Internal,
    }
}

impl From<Dtype> for DType {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::Boolean => Self::Bool,
            Dtype::Int8 => Self::I8,
            Dtype::Int16 => Self::I16,
            Dtype::Int32 => Self::I32,
            Dtype::Int64 => Self::I64,
            Dtype::Uint8 => Self::U8,
            Dtype::Uint16 => Self::U16,
            Dtype::Uint32 => Self::U32,
            Dtype::Uint64 => Self::U64,
            Dtype::Float16 => Self::F16,
            Dtype::Bfloat16 => Self::BF16,
            Dtype::Float32 => Self::F32,
            Dtype::Float64 => Self::F64,
        }
    }
}

impl From<DType> for Dtype {
    fn from(dtype: DType) -> Self {
        match dtype {
            DType::Bool => Self::Boolean,
            DType::I8 => Self::Int8,
            DType::I16 => Self::Int16,
            DType::I32 => Self::Int32,
            DType::I64 => Self::Int64,
            DType::U8 => Self::Uint8,
            DType::U16 => Self::Uint16,
            DType::U32 => Self::Uint32,
            DType::U64 => Self::Uint64,
            DType::F16 => Self::Float16,
            DType::BF16 => Self::Bfloat16,
            DType::F32 => Self::Float32,
            DType::F64 => Self::Float64,
        }
    }
}
