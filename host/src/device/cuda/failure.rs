//! What a driver or a library answered, as errors of Quern.
//!
//! After some errors nothing on the device works any more until its context is
//! made anew: these lose the device. An error that is not known to be harmless
//! counts as one of them.

use cudarc::cublas::result::CublasError;
use cudarc::cublas::sys::cublasStatus_t as Status;
use cudarc::driver::result::DriverError;
use cudarc::driver::sys::CUresult as Code;

use crate::base::Error;

/// How bad it is that a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// Only this call failed.
    Call,
    /// The device has no memory left.
    Full,
    /// The device is lost if its stream does not work any more either.
    Doubtful,
    /// The device is lost.
    Lost,
}

/// A call that failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What was called.
    pub(super) call: &'static str,
    /// What it answered.
    pub(super) answer: String,
    /// How bad it is.
    pub(super) severity: Severity,
}

impl Failure {
    /// Of the driver.
    pub(super) fn of_driver(call: &'static str, error: DriverError) -> Self {
        let name = error.error_name().ok().map(|name| name.to_string_lossy().into_owned());
        let answer = name.unwrap_or_else(|| format!("CUDA error {}", error.0 as u32));
        Self { call, answer, severity: severity(error.0) }
    }

    /// Of a call that opens cuBLAS, which says so when it finds no memory for itself.
    pub(super) fn of_opening_cublas(call: &'static str, error: CublasError) -> Self {
        let failure = Self::of_cublas(call, error);
        let is_full = error.0 == Status::CUBLAS_STATUS_NOT_INITIALIZED;
        Self { severity: if is_full { Severity::Full } else { failure.severity }, ..failure }
    }

    /// Of a call of cuBLAS that a graph was to record: nothing was executed.
    pub(super) fn of_recording_cublas(call: &'static str, error: CublasError) -> Self {
        let failure = Self::of_cublas(call, error);
        let is_full = failure.severity == Severity::Full;
        Self { severity: if is_full { Severity::Full } else { Severity::Call }, ..failure }
    }

    /// Of cuBLAS.
    pub(super) fn of_cublas(call: &'static str, error: CublasError) -> Self {
        let severity = match error.0 {
            Status::CUBLAS_STATUS_ALLOC_FAILED => Severity::Full,
            Status::CUBLAS_STATUS_INVALID_VALUE
            | Status::CUBLAS_STATUS_NOT_SUPPORTED
            | Status::CUBLAS_STATUS_ARCH_MISMATCH
            | Status::CUBLAS_STATUS_LICENSE_ERROR => Severity::Call,
            // Also where it had no memory for its kernels.
            Status::CUBLAS_STATUS_INTERNAL_ERROR | Status::CUBLAS_STATUS_EXECUTION_FAILED => Severity::Doubtful,
            _ => Severity::Lost,
        };
        Self { call, answer: format!("{:?}", error.0), severity }
    }

    /// What it says.
    pub(super) fn text(&self) -> String {
        format!("{} answered {}", self.call, self.answer)
    }

    /// As an error of a call on `device` that did not lose it.
    pub(super) fn into_error(self, device: &str) -> Error {
        Error::library(format!("{device} did not do what it was asked"), self.text())
    }
}

fn severity(code: Code) -> Severity {
    match code {
        Code::CUDA_ERROR_OUT_OF_MEMORY => Severity::Full,
        Code::CUDA_ERROR_INVALID_VALUE
        | Code::CUDA_ERROR_INVALID_DEVICE
        | Code::CUDA_ERROR_NO_DEVICE
        | Code::CUDA_ERROR_INVALID_IMAGE
        | Code::CUDA_ERROR_NO_BINARY_FOR_GPU
        | Code::CUDA_ERROR_INVALID_PTX
        | Code::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
        | Code::CUDA_ERROR_JIT_COMPILER_NOT_FOUND
        | Code::CUDA_ERROR_INVALID_SOURCE
        | Code::CUDA_ERROR_NOT_FOUND
        | Code::CUDA_ERROR_NOT_READY
        | Code::CUDA_ERROR_NOT_SUPPORTED
        | Code::CUDA_ERROR_NOT_PERMITTED
        | Code::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES
        | Code::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
        | Code::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED
        | Code::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED
        | Code::CUDA_ERROR_STREAM_CAPTURE_UNJOINED
        | Code::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT => Severity::Call,
        _ => Severity::Lost,
    }
}
