//! Products of matrices by cuBLAS, row-major. cuBLAS is column-major: it is asked
//! for the transposed product of the operands in turned order, which is the same
//! bytes.

use cudarc::cublas::result::{self, CublasError};
use cudarc::cublas::sys::{
    self, cublasComputeType_t as ComputeType, cublasGemmAlgo_t, cublasHandle_t, cublasOperation_t as Operation,
    cudaDataType as DataType,
};
use cudarc::driver::result as driver;
use std::ffi::c_void;
use std::sync::atomic::Ordering;

use super::failure::Failure;
use super::gpu::Gpu;
use super::owner::Cuda;
use crate::base::{DType, Error, Result};

/// Device memory that cuBLAS may use for itself. Given once, so that it takes none
/// while a graph is recorded.
const WORKSPACE_BYTES: usize = 32 << 20;

/// `c = alpha · op(a) · op(b) + beta · c` for each product of a batch:
/// `[m, k] × [k, n] → [m, n]`, row-major without gaps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gemm {
    /// Addresses of the first matrices.
    pub a: u64,
    /// As above.
    pub b: u64,
    /// As above.
    pub c: u64,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Columns of `op(a)` and rows of `op(b)`, at least 1.
    pub k: usize,
    /// Whether `a` is stored as `[k, m]`.
    pub a_is: Stored,
    /// Whether `b` is stored as `[n, k]`.
    pub b_is: Stored,
    /// The type of `a` and `b`: f16, bf16, f32 or f64.
    pub dtype: DType,
    /// The type of `c`: that of `a` and `b`, or f32.
    pub out: DType,
    /// How products are made.
    pub compute: Compute,
    /// A factor of the product.
    pub alpha: f64,
    /// A factor of what `c` held; with 0 nothing of it is read.
    pub beta: f64,
    /// How many products.
    pub batch: usize,
    /// Elements from one matrix to the next, of `a`, `b` and `c`; 0 uses one for all.
    pub strides: [usize; 3],
}

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// As it is used.
    Straight,
    /// Transposed.
    Transposed,
}

/// With which precision products of f32 are made. Sums are made in f32 each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compute {
    /// All bits.
    #[default]
    Strict,
    /// Factors rounded to 10 bits of a fraction.
    Tf32,
    /// Factors rounded to 7 bits of a fraction.
    Bf16,
}

impl std::str::FromStr for Compute {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "strict" => Ok(Self::Strict),
            "tf32" => Ok(Self::Tf32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(Error::not_found("compute type", text, None, ["strict", "tf32", "bf16"])),
        }
    }
}

/// cuBLAS on one device.
pub(super) struct Blas {
    handle: cublasHandle_t,
    workspace: u64,
}

impl Blas {
    /// Opens it on the device's stream.
    fn open(gpu: &Gpu) -> Result<Self> {
        let told = |call, error: CublasError| gpu.failed(Failure::of_opening_cublas(call, error));
        let workspace = gpu.allocate(WORKSPACE_BYTES)?;
        let handle = result::create_handle().map_err(|e| told("cublasCreate", e));
        let handle = handle.inspect_err(|_| {
            // SAFETY: just allocated, and used by nobody.
            let _ = unsafe { gpu.free(workspace) };
        })?;
        let blas = Self { handle, workspace };
        // SAFETY: the stream, which both libraries know as the same type, and the
        // workspace live until `close`.
        let set = unsafe {
            result::set_stream(handle, gpu.stream.cast())
                .and_then(|()| sys::cublasSetWorkspace_v2(handle, workspace as *mut c_void, WORKSPACE_BYTES).result())
        };
        match set {
            Ok(()) => Ok(blas),
            Err(error) => {
                blas.close();
                Err(told("cublasSetStream", error))
            }
        }
    }

    /// Gives it back; nothing that it was asked for is under way.
    pub(super) fn close(self) {
        // SAFETY: made by `open`, and not used any more.
        unsafe {
            let _ = result::destroy_handle(self.handle);
            let _ = driver::free_sync(self.workspace);
        }
    }
}

impl Cuda {
    /// Whether cuBLAS is open, so that no product waits for that.
    pub fn can_multiply(&self) -> bool {
        self.shared.has_blas.load(Ordering::Relaxed)
    }
}

impl Gpu {
    /// Opens cuBLAS if it is not: that takes memory, and much longer than a product.
    pub fn open_blas(&self) -> Result<()> {
        self.blas().map(drop)
    }

    /// The handle of cuBLAS, which cannot be opened while a graph is recorded.
    fn blas(&self) -> Result<cublasHandle_t> {
        let mut blas = self.blas.borrow_mut();
        if let Some(blas) = &*blas {
            return Ok(blas.handle);
        }
        self.ready_outside_graph("cuBLAS was opened")?;
        let handle = blas.insert(Blas::open(self)?).handle;
        self.shared.has_blas.store(true, Ordering::Relaxed);
        Ok(handle)
    }

    /// Multiplies matrices. The first call opens cuBLAS, so it cannot be made while a
    /// graph is recorded.
    pub fn gemm(&self, gemm: &Gemm) -> Result<()> {
        self.ready()?;
        if gemm.m == 0 || gemm.n == 0 || gemm.batch == 0 {
            return Ok(());
        }
        let handle = self.blas()?;
        let (in_type, out_type) = (data_type(gemm.dtype)?, data_type(gemm.out)?);
        let [m, n, k, batch] = [int(gemm.m)?, int(gemm.n)?, int(gemm.k)?, int(gemm.batch)?];
        let (a_op, lda) = layout(gemm.a_is, k, m);
        let (b_op, ldb) = layout(gemm.b_is, n, k);
        let [stride_a, stride_b, stride_c] = [wide(gemm.strides[0])?, wide(gemm.strides[1])?, wide(gemm.strides[2])?];
        let (alpha, beta) = (Factor::new(gemm.alpha, gemm.dtype), Factor::new(gemm.beta, gemm.dtype));
        // SAFETY: the addresses are the caller's, whose sizes the shapes follow from;
        // factors live until the call returns.
        let done = unsafe {
            result::gemm_strided_batched_ex(
                handle,
                b_op,
                a_op,
                n,
                m,
                k,
                alpha.as_ptr(),
                gemm.b as *const c_void,
                in_type,
                ldb,
                stride_b,
                gemm.a as *const c_void,
                in_type,
                lda,
                stride_a,
                beta.as_ptr(),
                gemm.c as *mut c_void,
                out_type,
                n,
                stride_c,
                batch,
                compute_type(gemm),
                cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        };
        done.map_err(|error| {
            let failure = if self.is_capturing.get() { Failure::of_recording_cublas } else { Failure::of_cublas };
            self.failed(failure("cublasGemmStridedBatchedEx", error))
        })?;
        self.shared.counts.launches.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// How cuBLAS sees a matrix with `wide` columns as it is used, `high` rows.
fn layout(stored: Stored, wide: i32, high: i32) -> (Operation, i32) {
    match stored {
        Stored::Straight => (Operation::CUBLAS_OP_N, wide),
        Stored::Transposed => (Operation::CUBLAS_OP_T, high),
    }
}

fn data_type(dtype: DType) -> Result<DataType> {
    match dtype {
        DType::F16 => Ok(DataType::CUDA_R_16F),
        DType::BF16 => Ok(DataType::CUDA_R_16BF),
        DType::F32 => Ok(DataType::CUDA_R_32F),
        DType::F64 => Ok(DataType::CUDA_R_64F),
        other => Err(Error::TypeMismatch(format!("matrices of {other} cannot be multiplied"))),
    }
}

fn compute_type(gemm: &Gemm) -> ComputeType {
    match (gemm.dtype, gemm.compute) {
        (DType::F64, _) => ComputeType::CUBLAS_COMPUTE_64F,
        (DType::F32, Compute::Tf32) => ComputeType::CUBLAS_COMPUTE_32F_FAST_TF32,
        (DType::F32, Compute::Bf16) => ComputeType::CUBLAS_COMPUTE_32F_FAST_16BF,
        _ => ComputeType::CUBLAS_COMPUTE_32F,
    }
}

/// A factor in the type in which products are added up.
enum Factor {
    Single(f32),
    Double(f64),
}

impl Factor {
    fn new(value: f64, dtype: DType) -> Self {
        if dtype == DType::F64 { Self::Double(value) } else { Self::Single(value as f32) }
    }

    fn as_ptr(&self) -> *const c_void {
        match self {
            Self::Single(value) => (&raw const *value).cast(),
            Self::Double(value) => (&raw const *value).cast(),
        }
    }
}

fn int(n: usize) -> Result<i32> {
    i32::try_from(n).map_err(|_| Error::OutOfRange(format!("a matrix with a side of {n} is too large for cuBLAS")))
}

fn wide(n: usize) -> Result<i64> {
    i64::try_from(n).map_err(|_| Error::OutOfRange(format!("matrices {n} elements apart")))
}
