//! A device that is lost: its error, and the device after it.

use std::sync::Arc;

use quern::base::{Error, Result};
use quern::device::cuda::{Arg, Compute, Cuda, Gemm, Grid, Module, Stored};
use quern::device::{Buffer, Owner, Pool};

use super::bench::{Fake, counts, fail_at, has_failed};

const ILLEGAL_ADDRESS: i32 = 700;
const OUT_OF_MEMORY: i32 = 2;
const INVALID_VALUE: i32 = 1;

const ADD: &str = r#"
extern "C" __global__ void add(float* x, float by, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) x[i] += by;
}
"#;

/// Does a bit of everything; the numbers it ends with.
fn work(pool: &Arc<Pool>) -> Result<Vec<f32>> {
    let cuda = pool.cuda()?.ok_or_else(|| Error::Internal("no GPU".into()))?;
    let x = Buffer::from_slice(pool, bytemuck::cast_slice(&[1.0f32, 2.0, 3.0, 4.0]))?;
    let y = pool.take_zeroed(16, Owner::instance(1))?;
    let (from, to) = (x.block().as_ptr().addr() as u64, y.as_ptr().addr() as u64);
    let module = Module::new("add.cu", ADD);
    let gemm = Gemm {
        a: from,
        b: from,
        c: to,
        m: 2,
        n: 2,
        k: 2,
        a_is: Stored::Straight,
        b_is: Stored::Straight,
        dtype: quern::base::DType::F32,
        out: quern::base::DType::F32,
        compute: Compute::Strict,
        alpha: 1.0,
        beta: 0.0,
        batch: 1,
        strides: [0; 3],
    };
    let graph = cuda.run(|gpu| {
        let kernel = gpu.kernel(&module, "add")?;
        gpu.gemm(&gemm)?;
        let args = [Arg::Address(to), Arg::F32(1.0), Arg::I32(4)];
        let graph = gpu.capture(|gpu| {
            gpu.gemm(&gemm)?;
            gpu.launch(kernel, Grid::line(4, 32), &args)?;
            gpu.copy(to, from, 16)
        })?;
        gpu.replay(&graph)?;
        Ok(graph)
    })?;
    cuda.send(move |gpu| gpu.replay(&graph))?.wait()?;
    Ok(x.read()?.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
}

/// What `work` answers where nothing fails: x·x + 1, twice.
const WORKED: [f32; 4] = [241.0, 342.0, 497.0, 706.0];

/// Lets each call of `work` fail in turn, on a device that is open.
fn each_call_fails_once(code: i32, answered: impl Fn(&Error, u64)) -> u64 {
    let pool = Pool::of_gpu(0, 1 << 24);
    let n = |x: &[f32]| x.to_vec();
    let once = n(&work(&pool).unwrap());
    assert_eq!(once, WORKED);
    let mut failures = 0;
    for call in 1.. {
        fail_at(call, code);
        let result = work(&pool);
        let failed = has_failed();
        fail_at(0, 0);
        match result {
            Err(error) => answered(&error, call),
            // A failed call that gives something back late fails nobody.
            Ok(numbers) => assert_eq!(numbers, WORKED, "call {call}"),
        }
        // All goes on afterwards, and nothing of before is seen.
        assert_eq!(work(&pool).unwrap(), WORKED, "after call {call}");
        failures += u64::from(failed);
        if !failed {
            break;
        }
    }
    failures
}

#[test]
fn whatever_call_loses_the_device_it_is_opened_again_for_the_next() {
    Fake::PLAIN.run(|| {
        let failures = each_call_fails_once(ILLEGAL_ADDRESS, |error, call| {
            assert!(matches!(error, Error::DeviceLost { .. }), "call {call}: {}", error.chain());
            let text = error.to_string();
            assert!(text.starts_with("cuda:0 was lost (cu"), "call {call}: {text}");
            assert!(
                text.ends_with(
                    " answered CUDA_ERROR_ILLEGAL_ADDRESS); it is opened again for the next run, so do it again"
                ),
                "call {call}: {text}"
            );
        });
        assert!(failures > 15, "{failures} calls failed");
        assert!(counts().resets > 10, "{:?}", counts());
    });
}

#[test]
fn whatever_call_finds_the_device_full_only_that_work_fails() {
    Fake::PLAIN.run(|| {
        let failures = each_call_fails_once(OUT_OF_MEMORY, |error, call| {
            assert!(matches!(error, Error::OutOfMemory { .. }), "call {call}: {}", error.chain());
        });
        assert!(failures > 15, "{failures} calls failed");
        assert_eq!(counts().resets, 0, "the device is not lost");
    });
}

#[test]
fn whatever_call_is_refused_the_device_goes_on() {
    Fake::PLAIN.run(|| {
        let failures = each_call_fails_once(INVALID_VALUE, |error, call| {
            let text = error.chain();
            let end = " answered CUDA_ERROR_INVALID_VALUE";
            assert!(
                text.starts_with("cuda:0 did not do what it was asked: cu") && text.ends_with(end),
                "call {call}: {text}"
            );
        });
        assert!(failures > 15, "{failures} calls failed");
        assert_eq!(counts().resets, 0, "the device is not lost");
    });
}

#[test]
fn whatever_call_fails_while_a_device_is_opened_the_next_opens_it() {
    Fake::PLAIN.run(|| {
        drop(Cuda::open(0).unwrap());
        for code in [ILLEGAL_ADDRESS, OUT_OF_MEMORY] {
            for call in 1.. {
                fail_at(call, code);
                let opened = Cuda::open(0);
                let failed = has_failed();
                fail_at(0, 0);
                match opened {
                    Err(error) => assert!(error.chain().contains("cuda:0"), "call {call}: {}", error.chain()),
                    Ok(cuda) => drop(cuda),
                }
                if !failed {
                    break;
                }
                let next = Cuda::open(0).and_then(|cuda| cuda.run(|gpu| gpu.synchronise()));
                assert!(next.is_ok(), "after call {call} that answered {code}: {}", next.unwrap_err().chain());
            }
        }
    });
}

#[test]
fn what_was_on_a_lost_device_is_not_seen_on_the_next() {
    Fake::PLAIN.run(|| {
        let pool = Pool::of_gpu(0, 1 << 24);
        let old = pool.cuda().unwrap().unwrap();
        let before = Buffer::from_slice(&pool, &[7; 64]).unwrap();
        let mark = old.run(|gpu| gpu.mark()).unwrap();
        let kernel = old.run(|gpu| gpu.kernel(&Module::new("add.cu", ADD), "add")).unwrap();
        fail_at(1, ILLEGAL_ADDRESS);
        assert!(old.run(|gpu| gpu.synchronise()).is_err());
        fail_at(0, 0);
        let lost = "cuda:0 was lost (cuStreamSynchronize answered CUDA_ERROR_ILLEGAL_ADDRESS); \
                    it is opened again for the next run, so do it again";
        assert_eq!(old.check().unwrap_err().to_string(), lost);
        let new = pool.cuda().unwrap().unwrap();
        assert!(!Arc::ptr_eq(&old, &new));
        // Whoever has something of the old device is told so, also by the new one.
        assert_eq!(before.read().unwrap_err().to_string(), lost);
        assert_eq!(old.run(|gpu| gpu.synchronise()).unwrap_err().to_string(), lost);
        assert_eq!(new.run(|gpu| gpu.wait_for(&mark)).unwrap_err().to_string(), lost);
        let launched = new.run(|gpu| gpu.launch(kernel, Grid::line(1, 32), &[]));
        assert!(launched.is_err());
        assert!(!before.block().is_on(&new) && before.block().is_on(&old));
        let after = Buffer::from_slice(&pool, &[8; 64]).unwrap();
        drop((before, mark));
        assert_eq!(after.read().unwrap()[..], [8; 64]);
        assert_eq!(pool.kept_bytes(), 0, "memory of the lost device is not kept");
    });
}

#[test]
fn a_lost_device_that_does_not_open_says_so_and_is_tried_again() {
    Fake::PLAIN.run(|| {
        // Some calls of opening may be refused; the first that may not tells.
        let refused = (1..50).find_map(|call| {
            let lost = Cuda::open(0).unwrap();
            fail_at(1, ILLEGAL_ADDRESS);
            assert!(lost.run(|gpu| gpu.synchronise()).is_err());
            fail_at(call, OUT_OF_MEMORY);
            let opened = Cuda::open(0);
            fail_at(0, 0);
            opened.err()
        });
        let told = refused.unwrap().to_string();
        let begin = "cuda:0 could not be opened again (cuStreamSynchronize answered CUDA_ERROR_ILLEGAL_ADDRESS): ";
        let end =
            "; the next run tries once more, and where that fails too look at `nvidia-smi`, and start quern again";
        assert!(told.starts_with(begin) && told.ends_with(end), "{told}");
        Cuda::open(0).unwrap().run(|gpu| gpu.synchronise()).unwrap();
    });
}
