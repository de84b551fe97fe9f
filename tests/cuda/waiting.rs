//! Who waits for a device, and what it does not keep: work that nobody wants any more,
//! a device whose driver hangs, modules and files of kernels that were not used for long.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

use quern::base::{DType, Error};
use quern::device::cuda::{Arg, Compute, Cuda, Gemm, Gpu, Grid, Module, Stored};
use quern::device::{KillSwitch, Owner, Pool};

use super::bench::{Fake, compilations, counts, fail_at, fail_blas, slow_kernels};

const NOT_INITIALIZED: i32 = 1;
const EXECUTION_FAILED: i32 = 13;
const ILLEGAL_ADDRESS: i32 = 700;
const OUT_OF_MEMORY: i32 = 2;

/// Sets an element to a number.
fn setter(number: u32) -> Module {
    let text = format!("extern \"C\" __global__ void set(int* x) {{ *x = {number}; }}\n");
    Module::new(format!("set{number}.cu"), text)
}

fn set(gpu: &Gpu, number: u32, at: u64) -> quern::base::Result<()> {
    gpu.launch(gpu.kernel(&setter(number), "set")?, Grid::line(1, 32), &[Arg::Address(at)])
}

fn number(gpu: &Gpu, at: u64) -> u32 {
    let mut bytes = [0; 4];
    gpu.download(at, &mut bytes).unwrap();
    u32::from_le_bytes(bytes)
}

/// A call of the driver that returns when it is told to.
fn until(told: &Receiver<()>) -> quern::base::Result<()> {
    told.recv().map_err(|_| Error::Internal("nobody tells it".to_owned()))
}

#[test]
fn work_that_is_not_wanted_any_more_is_taken_back() {
    Fake::PLAIN.run(|| {
        let cuda = Cuda::open(0).unwrap();
        let (go_on, wait) = channel::<()>();
        let busy = cuda.send(move |_| until(&wait)).unwrap();
        let kill = KillSwitch::new();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let mut begun = false;
                let answer = cuda.run_while(
                    || kill.check(),
                    |_| {
                        begun = true;
                        Ok(())
                    },
                );
                (answer.unwrap_err().to_string(), begun)
            });
            std::thread::sleep(Duration::from_millis(30));
            assert!(!waiting.is_finished(), "it waits for its turn");
            kill.kill("a test".to_owned());
            // The device is still busy, and would be for good.
            assert_eq!(waiting.join().unwrap(), ("the run was killed by a test".to_owned(), false));
        });
        go_on.send(()).unwrap();
        busy.wait().unwrap();
        cuda.run(|gpu| gpu.synchronise()).unwrap();
    });
}

#[test]
fn a_device_whose_driver_hangs_is_not_waited_for_without_end() {
    Fake::PLAIN.run(|| {
        let cuda = Cuda::open(0).unwrap();
        let (go_on, wait) = channel::<()>();
        let hangs = cuda.send(move |_| until(&wait)).unwrap();
        drop(cuda);
        let told = "cuda:0 cannot be opened again (it was given up): a call of its driver does not return; \
                    look at `nvidia-smi`, and start quern again";
        let asked = Instant::now();
        assert_eq!(Cuda::open(0).unwrap_err().to_string(), told);
        assert!(asked.elapsed() >= Duration::from_secs(5));
        // Only the first one waits; and when the call returns after all, the device is there again.
        let asked = Instant::now();
        assert_eq!(Cuda::open(0).unwrap_err().to_string(), told);
        assert!(asked.elapsed() < Duration::from_secs(4));
        go_on.send(()).unwrap();
        drop(hangs);
        let until = Instant::now() + Duration::from_secs(20);
        while Cuda::open(0).is_err() {
            assert!(Instant::now() < until);
            std::thread::sleep(Duration::from_millis(5));
        }
    });
}

#[test]
fn the_time_of_work_is_the_devices_without_what_was_before() {
    Fake::PLAIN.run(|| {
        let pool = Pool::of_gpu(0, 1 << 24);
        let block = pool.take(256, Owner::instance(1)).unwrap();
        let at = block.as_ptr().addr() as u64;
        pool.cuda()
            .unwrap()
            .unwrap()
            .run(|gpu| {
                set(gpu, 1, at)?;
                gpu.synchronise()?;
                slow_kernels(Duration::from_millis(40));
                (0..5).try_for_each(|_| set(gpu, 1, at))?;
                let ((), time) = gpu.timed(|gpu| set(gpu, 1, at))?;
                assert!((40..160).contains(&time.as_millis()), "{time:?}, 200 ms of others before it");
                Ok(())
            })
            .unwrap();
    });
}

#[test]
fn the_least_recently_used_modules_leave_but_those_of_graphs() {
    Fake::PLAIN.run(|| {
        let pool = Pool::of_gpu(0, 1 << 24);
        let cuda = pool.cuda().unwrap().unwrap();
        let block = pool.take(256, Owner::instance(1)).unwrap();
        let at = block.as_ptr().addr() as u64;
        cuda.keep_modules(4);
        let has = |n: u32| cuda.has(&setter(n));
        cuda.run(|gpu| {
            let before = counts().live_objects;
            (1..=4).try_for_each(|n| set(gpu, n, at))?;
            set(gpu, 1, at)?;
            let old = gpu.kernel(&setter(3), "set")?;
            let graph = gpu.capture(|gpu| set(gpu, 2, at))?;
            (5..=7).try_for_each(|n| set(gpu, n, at))?;
            assert_eq!((1..=7).filter(|n| has(*n)).collect::<Vec<_>>(), [2, 5, 6, 7]);
            assert_eq!(counts().live_objects - before, 4 + 1, "4 modules and a graph");
            // What has left is refused, not launched from where it was.
            let gone = gpu.launch(old, Grid::line(1, 32), &[Arg::Address(at)]).unwrap_err().to_string();
            assert_eq!(
                gone,
                "internal fault: a kernel was launched that is not on its device any more; please report it"
            );
            gpu.replay(&graph)?;
            assert_eq!(number(gpu, at), 2);
            // And comes back when it is asked for.
            set(gpu, 3, at)?;
            assert_eq!(number(gpu, at), 3);
            drop(graph);
            Ok(())
        })
        .unwrap();
        cuda.run(|gpu| (8..=11).try_for_each(|n| set(gpu, n, at))).unwrap();
        assert!(!has(2), "its graph is gone");
    });
}

#[test]
fn the_kernels_that_were_not_used_for_longest_leave_a_full_cache() {
    Fake::PLAIN.run(|| {
        let folder = tempfile::tempdir().unwrap();
        // SAFETY: this process has no other thread that reads the environment.
        unsafe { std::env::set_var("XDG_CACHE_HOME", folder.path()) };
        let load = |n| Cuda::open(0).unwrap().run(|gpu| gpu.load(&setter(n))).unwrap();
        load(1);
        let kernels = folder.path().join("quern/kernels");
        let first = std::fs::read_dir(&kernels).unwrap().next().unwrap().unwrap().path();
        // Files of 100 MiB, without blocks: the second is the oldest.
        let old = |name: &str, days: u64| {
            let path = kernels.join(name);
            let file = std::fs::File::create(&path).unwrap();
            file.set_len(100 << 20).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(days * 86_400)).unwrap();
            path
        };
        let (newer, older) = (old("a.cubin", 1), old("b.cubin", 3));
        let (part, other) = (old("c.7.part", 1), old("notes.txt", 9));
        // A use keeps it: the process that starts now reads it from the cache.
        std::fs::File::open(&first).unwrap().set_modified(SystemTime::now() - Duration::from_secs(864_000)).unwrap();
        let before = compilations()[1];
        load(1);
        assert_eq!(compilations()[1], before, "it was in the cache");
        load(2);
        assert!(older.exists() && newer.exists(), "200 MiB and a little are allowed");
        assert!(!part.exists() && other.exists(), "what was never finished is removed, what is not ours stays");
        let newest = old("d.cubin", 0);
        load(3);
        assert_eq!([&newest, &newer, &older, &first].map(|path| path.exists()), [true, true, false, true]);
    });
}

#[test]
fn cublas_that_finds_no_memory_or_cannot_record_does_not_lose_the_device() {
    Fake::PLAIN.run(|| {
        let pool = Pool::of_gpu(0, 1 << 28);
        let cuda = pool.cuda().unwrap().unwrap();
        let block = pool.take_zeroed(256, Owner::instance(1)).unwrap();
        let at = block.as_ptr().addr() as u64;
        let gemm = Gemm {
            a: at,
            b: at,
            c: at + 128,
            m: 2,
            n: 2,
            k: 2,
            a_is: Stored::Straight,
            b_is: Stored::Straight,
            dtype: DType::F32,
            out: DType::F32,
            compute: Compute::Strict,
            alpha: 1.0,
            beta: 0.0,
            batch: 1,
            strides: [0; 3],
        };
        fail_blas(NOT_INITIALIZED, 0);
        let full = cuda.run(|gpu| gpu.gemm(&gemm)).unwrap_err();
        assert!(matches!(full, Error::OutOfMemory { .. }), "{full}");
        cuda.run(|gpu| gpu.gemm(&gemm)).unwrap();
        fail_blas(0, EXECUTION_FAILED);
        let refused = cuda.run(|gpu| gpu.capture(|gpu| gpu.gemm(&gemm))).unwrap_err();
        let told = "cuda:0 did not do what it was asked: \
                    cublasGemmStridedBatchedEx answered CUBLAS_STATUS_EXECUTION_FAILED";
        assert_eq!(refused.chain(), told);
        cuda.run(|gpu| gpu.gemm(&gemm)).unwrap();
        // Nor is it while it executes, as long as the device does what else it is asked.
        fail_blas(0, EXECUTION_FAILED);
        let refused = cuda.run(|gpu| gpu.gemm(&gemm)).unwrap_err();
        assert_eq!(refused.chain(), told);
        cuda.run(|gpu| gpu.gemm(&gemm)).unwrap();
        fail_blas(0, EXECUTION_FAILED);
        fail_at(1, ILLEGAL_ADDRESS);
        let lost = cuda.run(|gpu| gpu.gemm(&gemm)).unwrap_err();
        assert!(matches!(lost, Error::DeviceLost { .. }), "{lost}");
    });
}

#[test]
fn kernels_for_which_there_is_no_memory_stay_compiled() {
    Fake::PLAIN.run(|| {
        let cuda = Cuda::open(0).unwrap();
        let module = setter(4711);
        // From the cache, and as the compiler just made it.
        for round in 0..2 {
            cuda.compile(&module).unwrap();
            let before = compilations();
            fail_at(1, OUT_OF_MEMORY);
            let full = cuda.run(|gpu| gpu.load(&module)).unwrap_err();
            fail_at(0, 0);
            assert!(matches!(full, Error::OutOfMemory { .. }), "round {round}: {full}");
            cuda.compile(&module).unwrap();
            assert_eq!(compilations(), before, "round {round}");
        }
        cuda.run(|gpu| gpu.load(&module)).unwrap();
        assert!(cuda.has(&module));
    });
}
