//! Device memory: who may see what, how much there is, and what was moved.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use quern::base::{Error, ErrorCode};
use quern::device::cuda::Cuda;
use quern::device::{Block, Buffer, ColumnBuffer, Device, Idle, Owner, Pool, Use, list};

use super::bench::{Check, Fake, counts};

/// What a block holds.
fn seen(block: &Block, n: usize) -> Vec<u8> {
    let mut bytes = vec![1; n];
    let from = block.as_ptr().addr() as u64;
    block.cuda().unwrap().run(|gpu| gpu.download(from, &mut bytes)).unwrap();
    bytes
}

fn write(block: &Block, byte: u8) -> usize {
    let (to, n) = (block.as_ptr().addr() as u64, block.size_bytes());
    block.cuda().unwrap().run(|gpu| gpu.fill(to, byte, n)).unwrap();
    block.as_ptr().addr()
}

#[test]
fn no_instance_sees_what_another_left_on_the_device() {
    Fake::PLAIN.run(|| {
        let pool = Pool::of_gpu(0, 1 << 20);
        let (ada, bob) = (Owner::instance(1), Owner::instance(2));
        let first = pool.take(1000, ada).unwrap();
        assert_eq!(seen(&first, 1000), [0; 1000], "new memory holds what others left there");
        let address = write(&first, 0xaa);
        drop(first);
        for (taker, found) in [(ada, 0xaa), (bob, 0), (ada, 0)] {
            let block = pool.take(1000, taker).unwrap();
            assert_eq!(block.as_ptr().addr(), address, "the same memory");
            assert_eq!(seen(&block, 1000), [found; 1000]);
            write(&block, 0xaa);
        }
        let zeroed = pool.take_zeroed(1000, ada).unwrap();
        assert_eq!(seen(&zeroed, 1000), [0; 1000]);
    });
}

#[test]
fn a_full_device_says_how_much_was_asked_for_and_is_free() {
    Fake { memory_bytes: 8 << 20, ..Fake::PLAIN }.run(|| {
        let pool = Pool::of_gpu(0, 4 << 20);
        let held = pool.take(3 << 20, Owner::TABLES).unwrap();
        assert_eq!((pool.tables_bytes(), pool.programs_bytes()), (3 << 20, 0));
        let error = pool.take(2 << 20, Owner::WRITER).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cuda:0 is full: 2097152 bytes were asked for, 1048576 of 4194304 bytes are free; \
             use smaller batches, wait for other runs or give the device fewer tables"
        );
        assert_eq!(error.code(), ErrorCode::OutOfMemory);
        // What is kept makes room for another size.
        drop(held);
        assert_eq!(pool.kept_bytes(), 3 << 20);
        let other = pool.take(2 << 20, Owner::WRITER).unwrap();
        assert_eq!((pool.kept_bytes(), counts().live_bytes), (0, 2 << 20));
        // The device has less than the budget when others use it.
        let rival = Pool::of_gpu(0, 1 << 30);
        let error = rival.take(7 << 20, Owner::WRITER).unwrap_err();
        assert!(
            matches!(error, Error::OutOfMemory { requested, allowed, free, .. }
            if (requested, allowed, free) == (7 << 20, 8 << 20, 6 << 20)),
            "{error}"
        );
        drop(other);
        drop((pool, rival));
        Cuda::open(0).unwrap().run(|gpu| gpu.synchronise()).unwrap();
        assert_eq!(counts().live_bytes, 0, "all was given back");
    });
}

fn bytes_come_back() {
    let pool = Pool::of_gpu(0, 1 << 28);
    let cuda = pool.cuda().unwrap().unwrap();
    let before = counts();
    // More than all staging pieces together, and small ones in between.
    let large: Vec<u8> = (0..20 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let buffers: Vec<Buffer> = large.chunks(3_000_001).map(|part| Buffer::from_slice(&pool, part).unwrap()).collect();
    let found: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.read().unwrap().into_owned()).collect();
    assert!(found == large, "what was uploaded comes back");
    let part = buffers[0].slice(64, 128).unwrap();
    assert_eq!(part.read().unwrap()[..], large[64..192]);
    assert_eq!(part.copy(&pool).unwrap().read().unwrap()[..], large[64..192]);
    assert!(part.as_slice().is_empty(), "the host cannot look at it");
    let moved = large.len() as u64;
    let copies = cuda.copies();
    let after = counts();
    assert_eq!((copies.uploaded_bytes, copies.downloaded_bytes, copies.copied_bytes), (moved, moved + 256, 128));
    assert_eq!(copies.uploaded_bytes, after.uploaded - before.uploaded);
    assert_eq!(copies.downloaded_bytes, after.downloaded - before.downloaded);
    assert_eq!(copies.copied_bytes, after.copied - before.copied);
}

#[test]
fn bytes_are_staged_and_counted_as_the_driver_counts_them() {
    for check in [Check::Nothing, Check::Addresses] {
        Fake { check, ..Fake::PLAIN }.run(|| bytes_come_back());
    }
}

#[test]
fn a_column_grows_on_the_device_under_its_views() {
    Fake::PLAIN.run(|| {
        let pool = Pool::of_gpu(0, 1 << 20);
        let mut column = ColumnBuffer::new(&pool, 100).unwrap();
        column.append(&[1; 100]).unwrap();
        let first = column.view();
        column.append_filled(2, 28).unwrap();
        let second = column.view();
        assert_eq!(first.block().as_ptr(), second.block().as_ptr(), "no copy while there is room");
        column.append(&[3; 1000]).unwrap();
        assert_eq!(first.read().unwrap()[..], [1; 100]);
        assert_eq!(second.read().unwrap()[100..], [2; 28]);
        assert_eq!(column.view().read().unwrap()[128..], [3; 1000]);
    });
}

#[test]
fn work_that_was_sent_is_done_in_order_and_a_ticket_waits_for_it() {
    Fake::PLAIN.run(|| {
        let pool = Pool::of_gpu(0, 1 << 20);
        let block = pool.take(64, Owner::WRITER).unwrap();
        let cuda = pool.cuda().unwrap().unwrap();
        let to = block.as_ptr().addr() as u64;
        let tickets: Vec<_> = (1..=3u8).map(|byte| cuda.send(move |gpu| gpu.fill(to, byte, 64)).unwrap()).collect();
        tickets.into_iter().for_each(|ticket| ticket.wait().unwrap());
        assert_eq!(seen(&block, 64), [3; 64]);
        let refused = cuda.send(move |gpu| gpu.copy(to, to + (1 << 20), 64)).unwrap().wait().unwrap_err();
        assert_eq!(
            refused.chain(),
            "cuda:0 did not do what it was asked: cuMemcpyDtoDAsync answered CUDA_ERROR_INVALID_VALUE"
        );
        // A panic on the owner thread is told, and the thread goes on.
        let panicked: Result<(), Error> = cuda.run(|_| panic!("on purpose"));
        assert!(panicked.is_err());
        cuda.run(|gpu| gpu.synchronise()).unwrap();
    });
}

#[test]
fn a_gpu_in_use_is_listed_with_what_tables_and_programs_hold() {
    Fake { memory_bytes: 8 << 20, ..Fake::PLAIN }.run(|| {
        let device = Device::cuda(0, 1).unwrap();
        assert_eq!((device.name.as_str(), device.memory_bytes), ("cuda:0", (8 << 20) / 10 * 9));
        let _column = device.pool.take(1 << 20, Owner::TABLES).unwrap();
        let _tensor = device.pool.take(1 << 16, Owner::instance(1)).unwrap();
        let listed = list(Some(&device));
        assert_eq!((listed[0].name.as_str(), listed[0].state), ("cpu", Use::Present));
        let gpu = &listed[1];
        assert_eq!((gpu.name.as_str(), gpu.state, gpu.memory_bytes), ("cuda:0", Use::Used, Some(8 << 20)));
        assert_eq!((gpu.tables_bytes, gpu.programs_bytes), (Some(1 << 20), Some(1 << 16)));
        assert_eq!(gpu.free_bytes, Some((8 << 20) - (1 << 20) - (1 << 16)));
    });
}

/// Blocks that nobody uses, the oldest first, and when they were used last.
struct Unused(Mutex<VecDeque<(u64, Arc<Block>)>>);

impl Unused {
    fn uses(&self) -> Vec<u64> {
        self.0.lock().unwrap().iter().map(|(at, _)| *at).collect()
    }
}

impl Idle for Unused {
    fn idle_bytes(&self) -> u64 {
        self.0.lock().unwrap().iter().map(|(_, block)| block.size_bytes() as u64).sum()
    }

    fn oldest(&self) -> Option<u64> {
        self.0.lock().unwrap().front().map(|(at, _)| *at)
    }

    fn give_oldest(&self) -> u64 {
        let oldest = self.0.lock().unwrap().pop_front();
        oldest.map_or(0, |(_, block)| block.size_bytes() as u64)
    }
}

#[test]
fn what_was_not_used_for_longest_leaves_a_full_gpu_whoever_keeps_it_and_nothing_for_hopeless_requests() {
    Fake { memory_bytes: 16 << 20, ..Fake::PLAIN }.run(|| {
        let pool = Pool::of_gpu(0, 8 << 20);
        let keeper = |uses: &[u64]| {
            let blocks = uses.iter().map(|at| (*at, pool.take(1 << 20, Owner::WRITER).unwrap()));
            let keeper = Arc::new(Unused(Mutex::new(blocks.collect())));
            let weak = Arc::downgrade(&keeper);
            pool.on_shortage(weak as Weak<dyn Idle>);
            keeper
        };
        let (columns, models) = (keeper(&[1, 4, 5]), keeper(&[2, 3, 6]));
        let held = pool.take(2 << 20, Owner::WRITER).unwrap();
        // Six could be given, seven are too many.
        assert!(pool.take(7 << 20, Owner::WRITER).is_err());
        assert_eq!((columns.uses(), models.uses()), (vec![1, 4, 5], vec![2, 3, 6]));
        let three = pool.take(3 << 20, Owner::WRITER).unwrap();
        assert_eq!((columns.uses(), models.uses()), (vec![4, 5], vec![6]));
        drop(models);
        let one = pool.take(1 << 20, Owner::WRITER).unwrap();
        assert_eq!(columns.uses(), [4, 5], "what a keeper held that is gone is free");
        let last = pool.take(2 << 20, Owner::WRITER).unwrap();
        assert_eq!(columns.uses(), [0; 0]);
        drop((held, three, one, last));
    });
}

/// Gives its block up for others while it is asked, as it was about to; or says that it
/// has something and then cannot give it.
struct Busy {
    leaving: Mutex<Option<Arc<Block>>>,
    promised_bytes: u64,
}

impl Idle for Busy {
    fn idle_bytes(&self) -> u64 {
        drop(self.leaving.lock().unwrap().take());
        self.promised_bytes
    }

    fn oldest(&self) -> Option<u64> {
        (self.promised_bytes > 0).then_some(0)
    }

    fn give_oldest(&self) -> u64 {
        0
    }
}

#[test]
fn what_comes_free_meanwhile_counts_and_who_cannot_give_keeps_nobody_from_giving() {
    Fake { memory_bytes: 16 << 20, ..Fake::PLAIN }.run(|| {
        let pool = Pool::of_gpu(0, 8 << 20);
        let block = |mib: usize| pool.take(mib << 20, Owner::WRITER).unwrap();
        let busy = |leaving: Option<Arc<Block>>, promised_bytes| {
            let keeper = Arc::new(Busy { leaving: Mutex::new(leaving), promised_bytes });
            let weak = Arc::downgrade(&keeper);
            pool.on_shortage(weak as Weak<dyn Idle>);
            keeper
        };
        // Three leave for somebody else meanwhile: with the two that can, enough.
        let (held, leaving) = (block(3), busy(Some(block(3)), 0));
        let unused = Arc::new(Unused(Mutex::new([(7, block(2))].into())));
        let weak = Arc::downgrade(&unused);
        pool.on_shortage(weak as Weak<dyn Idle>);
        let five = block(5);
        assert!(unused.uses().is_empty());
        drop((five, leaving));
        // The oldest of all has nothing to give after all; the next one has.
        let refuses = busy(None, 1);
        *unused.0.lock().unwrap() = [(8, block(5))].into();
        let four = block(4);
        assert!(unused.uses().is_empty());
        drop((held, four, refuses));
    });
}

#[test]
fn a_column_that_cannot_grow_with_spare_room_grows_without() {
    Fake { memory_bytes: 16 << 20, ..Fake::PLAIN }.run(|| {
        let pool = Pool::of_gpu(0, 4 << 20);
        let mut column = ColumnBuffer::new(&pool, 2 << 20).unwrap();
        column.append_filled(7, 2 << 20).unwrap();
        // Three do not fit beside the two.
        let full = column.append_filled(8, 1 << 20).unwrap_err();
        assert!(matches!(full, Error::OutOfMemory { .. }), "{full}");
        let mut smaller = ColumnBuffer::new(&pool, 1 << 20).unwrap();
        smaller.append_filled(7, 1 << 20).unwrap();
        let _others = pool.take(768 << 10, Owner::TABLES).unwrap();
        drop(column);
        let _more = pool.take(1 << 20, Owner::TABLES).unwrap();
        smaller.append_filled(8, 1000).unwrap();
        let found = smaller.view().read().unwrap().into_owned();
        assert_eq!((found[(1 << 20) - 1], found[1 << 20], found.len()), (7, 8, (1 << 20) + 1000));
        assert!(smaller.capacity_bytes() < 1500 << 10, "{}", smaller.capacity_bytes());
    });
}

#[test]
fn what_the_pool_keeps_or_can_do_without_makes_room_for_libraries() {
    Fake { memory_bytes: 64 << 20, ..Fake::PLAIN }.run(|| {
        // cuBLAS takes 32 MiB past the pool.
        let device = Device::cuda_with(0, 1, 64 << 20).unwrap();
        let pool = &device.pool;
        let unused = Arc::new(Unused(Mutex::new([(1, pool.take(20 << 20, Owner::WRITER).unwrap())].into())));
        let weak = Arc::downgrade(&unused);
        pool.on_shortage(weak as Weak<dyn Idle>);
        drop(pool.take(40 << 20, Owner::WRITER).unwrap());
        assert_eq!(pool.kept_bytes(), 40 << 20);
        let settings = super::outputs::settings(&quern::device::Quota::new(1 << 20));
        let mut session = quern::tensor::Session::new(&quern::tensor::Executor::new(device.clone()), settings);
        let x = session.full(quern::base::DType::F32, &[2, 2], 3.0).unwrap();
        let product = session.matmul(&x, &x, quern::tensor::Transposed::default()).unwrap();
        assert_eq!(session.read(&product).unwrap(), [18f32; 4].map(f32::to_le_bytes).concat());
        assert!(unused.uses().is_empty() && pool.kept_bytes() < 1 << 20);
    });
}

#[test]
fn a_device_that_nobody_uses_has_closed_when_that_was_waited_for() {
    Fake::PLAIN.run(|| {
        assert!(Cuda::have_closed(), "there is none");
        let cuda = Cuda::open(0).unwrap();
        assert!(!Cuda::have_closed(), "one is in use");
        cuda.run(|gpu| gpu.open_blas()).unwrap();
        assert!(cuda.can_multiply() && counts().live_bytes > 0);
        drop(cuda);
        assert!(Cuda::have_closed());
        assert_eq!((counts().live_bytes, counts().live_objects), (0, 0));
    });
}

#[test]
fn memory_that_nobody_takes_for_a_while_goes_back_to_the_gpu() {
    Fake::PLAIN.run(|| {
        let pool = Pool::of_gpu(0, 8 << 20);
        drop(pool.take(1 << 20, Owner::WRITER).unwrap());
        assert_eq!((pool.kept_bytes(), counts().live_bytes), (1 << 20, 1 << 20), "it is kept at first");
        let begun = Instant::now();
        while pool.kept_bytes() > 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "it was never given back");
            std::thread::sleep(Duration::from_millis(50));
        }
        pool.cuda().unwrap().unwrap().run(|gpu| gpu.synchronise()).unwrap();
        assert_eq!(counts().live_bytes, 0);
        // And again: the next one is kept and given back as well.
        drop(pool.take(1 << 20, Owner::WRITER).unwrap());
        assert_eq!(pool.kept_bytes(), 1 << 20);
    });
}
