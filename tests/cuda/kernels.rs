//! Kernels compiled from text, launched, recorded and replayed; products of matrices.

use std::sync::{Arc, OnceLock};

use quern::base::DType;
use quern::device::cuda::{Arg, Compute, Cuda, Gemm, Gpu, Grid, Module, Stored};
use quern::device::{Buffer, Pool};

use super::bench::{Check, Fake, counts};

/// Adds up rows: shared memory, barriers, exchanges in a warp, dynamic shared memory.
const SUMS: &str = r#"
struct Shape { unsigned long long rows, columns; };
extern "C" __global__ void row_sums(const float* x, float* sums, Shape shape) {
    DYN_SHARED(float, partial);
    __shared__ float all;
    const float* row = x + blockIdx.x * shape.columns;
    float sum = 0.0f;
    for (size_t i = threadIdx.x; i < shape.columns; i += blockDim.x) sum += row[i];
    for (int o = 16; o > 0; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    if ((threadIdx.x & 31) == 0) partial[threadIdx.x >> 5] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        all = 0.0f;
        for (int w = 0; w < blockDim.x / 32; w++) all += partial[w];
    }
    __syncthreads();
    if (threadIdx.x == blockDim.x - 1) sums[blockIdx.x] = all;
}
#define SCALED(name, type) \
extern "C" __global__ void name(type* x, type by, int n) { \
    int i = blockIdx.x * blockDim.x + threadIdx.x; \
    if (i < n) x[i] *= by; \
}
SCALED(scaled_f32, float)
SCALED(scaled_f64, double)
extern "C" __global__ void histogram(const uint8_t* x, unsigned long long* counts, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) atomicAdd(&counts[x[i]], 1ull);
}
"#;

fn sums() -> Module {
    Module::new("sums.cu", SUMS)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Device memory that holds `bytes`.
fn on(gpu: &Gpu, bytes: &[u8]) -> Buffer {
    static POOL: OnceLock<Arc<Pool>> = OnceLock::new();
    assert_eq!(gpu.name(), "cuda:0");
    Buffer::from_slice(POOL.get_or_init(|| Pool::of_gpu(0, 1 << 30)), bytes).unwrap()
}

/// Where it is.
fn at(buffer: &Buffer) -> u64 {
    buffer.block().as_ptr().addr() as u64
}

fn back(gpu: &Gpu, buffer: &Buffer, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    gpu.download(at(buffer), &mut bytes).unwrap();
    bytes
}

fn all_kernels() {
    let cuda = Cuda::open(0).unwrap();
    assert_eq!((cuda.name(), cuda.info().model.as_str(), cuda.info().capability), ("cuda:0", "fake GPU", (9, 0)));
    let (rows, columns) = (5, 1000);
    let x: Vec<f32> = (0..rows * columns).map(|i| (i % 17) as f32).collect();
    let wanted: Vec<f32> = x.chunks(columns).map(|row| row.iter().sum()).collect();
    let n_bytes = rows * columns * 4;
    let (found, doubled, counted) = cuda
        .run(|gpu| {
            let x_there = on(gpu, bytemuck::cast_slice(&x));
            let out = on(gpu, &vec![0; rows * 4]);
            let shape = [rows as u64, columns as u64];
            let grid = Grid { blocks: [rows as u32, 1, 1], threads: [96, 1, 1], shared_bytes: 3 * 4 };
            let args = [Arg::Address(at(&x_there)), Arg::Address(at(&out)), Arg::Words(&shape)];
            gpu.launch(gpu.kernel(&sums(), "row_sums")?, grid, &args)?;
            let n = (rows * columns) as i32;
            let args = [Arg::Address(at(&x_there)), Arg::F32(2.0), Arg::I32(n)];
            gpu.launch(gpu.kernel(&sums(), "scaled_f32")?, Grid::line(rows * columns, 128), &args)?;
            let bytes = on(gpu, &[3, 1, 3, 3]);
            let counts = on(gpu, &[0; 32]);
            let args = [Arg::Address(at(&bytes)), Arg::Address(at(&counts)), Arg::I32(4)];
            gpu.launch(gpu.kernel(&sums(), "histogram")?, Grid::line(4, 32), &args)?;
            let counted = back(gpu, &counts, 32);
            let counted: Vec<u8> = counted.iter().step_by(8).copied().collect();
            Ok((floats(&back(gpu, &out, rows * 4)), floats(&back(gpu, &x_there, n_bytes)), counted))
        })
        .unwrap();
    assert_eq!(found, wanted);
    assert!(doubled.iter().zip(&x).all(|(a, b)| *a == 2.0 * b));
    assert_eq!(counted, [0, 1, 0, 3]);
}

#[test]
fn kernels_compute_the_same_in_every_order_of_threads() {
    for order in [0, 1, 7] {
        Fake { order, ..Fake::PLAIN }.run(|| all_kernels());
    }
}

#[test]
fn kernels_stay_within_their_memory_and_the_language() {
    for check in [Check::Addresses, Check::Undefined] {
        Fake { check, ..Fake::PLAIN }.run(|| all_kernels());
    }
}

#[test]
fn a_text_that_does_not_compile_is_told_with_its_line() {
    Fake::PLAIN.run(|| {
        let cuda = Cuda::open(0).unwrap();
        let module = Module::new("wrong.cu", "extern \"C\" __global__ void k() {\n  int x = y;\n}\n");
        let error = cuda.run(|gpu| gpu.kernel(&module, "k")).unwrap_err().chain();
        assert!(error.starts_with("kernels `wrong.cu` do not compile for sm_90"), "{error}");
        assert!(
            error.contains("wrong.cu:2:11: error: 'y' was not declared in this scope") || error.contains("wrong.cu:2:"),
            "{error}"
        );
        let missing = cuda.run(|gpu| gpu.kernel(&sums(), "nothing")).unwrap_err();
        assert_eq!(missing.to_string(), "internal fault: module `sums.cu` has no kernel `nothing`; please report it");
        // Neither loses the device.
        cuda.run(|gpu| gpu.synchronise()).unwrap();
    });
}

#[test]
fn a_graph_replays_what_was_recorded_and_its_copies_are_counted() {
    Fake::PLAIN.run(|| {
        let cuda = Cuda::open(0).unwrap();
        let before = counts();
        cuda.run(|gpu| {
            let x = on(gpu, bytemuck::cast_slice(&[1.0f64, 2.0, 3.0]));
            let y = on(gpu, &[0; 24]);
            let kernel = gpu.kernel(&sums(), "scaled_f64")?;
            let graph = gpu.capture(|gpu| {
                gpu.launch(kernel, Grid::line(3, 32), &[Arg::Address(at(&x)), Arg::F64(2.0), Arg::I32(3)])?;
                gpu.copy(at(&x), at(&y), 24)
            })?;
            assert_eq!(floats64(&back(gpu, &x, 24)), [1.0, 2.0, 3.0], "recording executes nothing");
            (0..3).try_for_each(|_| gpu.replay(&graph))?;
            assert_eq!(floats64(&back(gpu, &y, 24)), [8.0, 16.0, 24.0]);
            let (from, to) = (gpu.mark()?, gpu.mark()?);
            assert!(gpu.elapsed_ms(&from, &to)? >= 0.0);
            // What would wait is refused while a graph is recorded, and nothing is lost.
            let refused = gpu.capture(|gpu| gpu.synchronise()).unwrap_err().to_string();
            assert_eq!(
                refused,
                "internal fault: the stream was waited for while a graph is recorded; please report it"
            );
            assert_eq!(floats64(&back(gpu, &x, 24)), [8.0, 16.0, 24.0]);
            Ok(())
        })
        .unwrap();
        let (counted, copies) = (counts(), cuda.copies());
        assert_eq!(copies.uploaded_bytes, counted.uploaded - before.uploaded);
        assert_eq!(copies.downloaded_bytes, counted.downloaded - before.downloaded);
        assert_eq!((copies.copied_bytes, counted.copied), (72, 72));
        assert_eq!((copies.replays, counted.replays), (3, 3));
    });
}

fn floats64(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
}

#[test]
fn products_of_matrices_are_those_of_the_rows() {
    Fake::PLAIN.run(|| {
        let cuda = Cuda::open(0).unwrap();
        let (m, k, n, batch) = (2, 3, 4, 2);
        let a: Vec<f32> = (0..batch * m * k).map(|i| i as f32 - 5.0).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i as f32) * 0.5).collect();
        let wanted: Vec<f32> = (0..batch * m * n)
            .map(|i| (0..k).map(|p| a[i / n * k + p] * b[p * n + i % n]).sum::<f32>() * 2.0 + 1.0)
            .collect();
        let turned: Vec<f32> = (0..k * n).map(|i| b[i % k * n + i / k]).collect();
        cuda.run(|gpu| {
            let (a, straight, turned) = (
                on(gpu, bytemuck::cast_slice(&a)),
                on(gpu, bytemuck::cast_slice(&b)),
                on(gpu, bytemuck::cast_slice(&turned)),
            );
            for (b, b_is) in [(&straight, Stored::Straight), (&turned, Stored::Transposed)] {
                let c = on(gpu, bytemuck::cast_slice(&vec![1.0f32; batch * m * n]));
                gpu.gemm(&Gemm {
                    a: at(&a),
                    b: at(b),
                    c: at(&c),
                    m,
                    n,
                    k,
                    a_is: Stored::Straight,
                    b_is,
                    dtype: DType::F32,
                    out: DType::F32,
                    compute: Compute::Strict,
                    alpha: 2.0,
                    beta: 1.0,
                    batch,
                    strides: [m * k, 0, m * n],
                })?;
                assert_eq!(floats(&back(gpu, &c, batch * m * n * 4)), wanted);
            }
            Ok(())
        })
        .unwrap();
    });
}

#[test]
fn compiled_kernels_are_kept_for_the_next_process() {
    Fake::PLAIN.run(|| {
        let folder = tempfile::tempdir().unwrap();
        // SAFETY: this process has no other thread that reads the environment.
        unsafe { std::env::set_var("XDG_CACHE_HOME", folder.path()) };
        let load = || Cuda::open(0).unwrap().run(|gpu| gpu.kernel(&sums(), "row_sums").map(|_| ())).unwrap();
        load();
        let files: Vec<_> = std::fs::read_dir(folder.path().join("quern/kernels")).unwrap().flatten().collect();
        assert_eq!(files.len(), 1);
        let path = files[0].path();
        let whole = std::fs::read(&path).unwrap();
        // A file that was damaged is not used, and replaced.
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        load();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    });
}

#[test]
fn the_device_does_other_work_while_kernels_are_compiled() {
    Fake::PLAIN.run(|| {
        let folder = tempfile::tempdir().unwrap();
        // SAFETY: this process has no other thread that reads the environment.
        unsafe {
            std::env::set_var("XDG_CACHE_HOME", folder.path());
            std::env::set_var("QUERN_FAKE_KERNELS", folder.path());
        }
        let cuda = Cuda::open(0).unwrap();
        let module = sums();
        assert!(!cuda.has(&module));
        std::thread::scope(|scope| {
            let compiling = scope.spawn(|| cuda.compile(&module).unwrap());
            let mut n_answers = 0;
            while !compiling.is_finished() {
                assert!(!cuda.has(&module));
                cuda.run(|gpu| gpu.synchronise()).unwrap();
                n_answers += 1;
            }
            assert!(n_answers > 10, "{n_answers} while g++ compiled");
        });
        // It is compiled, and loaded when it is first asked for, also without a cache.
        std::fs::remove_dir_all(folder.path().join("quern")).unwrap();
        cuda.run(|gpu| gpu.kernel(&module, "row_sums")).unwrap();
        assert!(cuda.has(&module));
        assert!(!folder.path().join("quern").exists(), "it was compiled once");
    });
}
