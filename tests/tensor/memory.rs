//! Memory of the device: taken again, bounded, and never shown to another instance.

use quern::base::DType;
use quern::device::{Block, Buffer, Device, Owner, Pool};
use quern::tensor::{Executor, Keep, Mode, Session, Transposed};

use super::support::settings;

#[test]
fn freed_memory_is_taken_again_and_what_is_kept_is_bounded() {
    let pool = Pool::new();
    let first = pool.take(1000, Owner::WRITER).unwrap();
    let address = first.as_ptr();
    assert_eq!((address as usize % 64, first.size_bytes()), (0, 1024));
    drop(first);
    assert_eq!(pool.kept_bytes(), 1024);
    let again = pool.take(1024, Owner::WRITER).unwrap();
    assert_eq!((again.as_ptr(), pool.kept_bytes()), (address, 0));
    drop(again);
    let zeros = pool.take_zeroed(1000, Owner::WRITER).unwrap();
    assert_eq!((zeros.as_ptr(), pool.kept_bytes()), (address, 0));
    assert_eq!(Buffer::from_slice(&pool, &[1]).unwrap().as_slice(), [1]);
    let large: Vec<_> = (0..8).map(|_| pool.take(60 << 20, Owner::WRITER).unwrap()).collect();
    drop((large, zeros));
    assert!(pool.kept_bytes() <= 256 << 20, "{}", pool.kept_bytes());
    assert!(pool.take(usize::MAX, Owner::WRITER).is_err());
}

#[test]
fn what_an_instance_left_in_memory_no_other_can_see() {
    let pool = Pool::new();
    let bytes = |block: &Block| {
        // SAFETY: the block is this test's, and as large as it says.
        unsafe { std::slice::from_raw_parts(block.as_ptr(), block.size_bytes()) }.to_vec()
    };
    let fill = |owner, size| {
        let block = pool.take(size, owner).unwrap();
        // SAFETY: as above.
        unsafe { std::ptr::write_bytes(block.as_ptr(), 0xaa, block.size_bytes()) }
        block.as_ptr()
    };
    let (ada, bob) = (Owner::instance(1), Owner::instance(2));
    // Large ones are zeroed in another way.
    for size in [64, 4096, 2 << 20, (5 << 20) + 64, 48 << 20] {
        for (writer, reader, seen) in [(ada, bob, 0), (Owner::WRITER, ada, 0), (bob, bob, 0xaa)] {
            let address = fill(writer, size);
            let block = pool.take(size, reader).unwrap();
            assert_eq!(block.as_ptr(), address, "the same memory");
            let others = bytes(&block).iter().filter(|byte| **byte != seen).count();
            assert_eq!(others, 0, "of {size} bytes, left by {writer:?}, seen by {reader:?}");
        }
    }
}

#[test]
fn instances_with_variables_leave_no_more_memory_than_one_does() {
    let executor = Executor::new(Device::cpu(1, 1 << 30));
    let round = || {
        let mut s = Session::new(&executor, settings(Mode::Planned));
        let start = s.full(DType::F32, &[100], 0.5).unwrap();
        let variable = s.variable(&start).unwrap();
        let value = s.value(&variable).unwrap();
        assert_eq!(s.read(&value).unwrap().len(), 400);
        drop((s, start, variable, value));
        executor.device().pool.kept_bytes()
    };
    let kept = (0..3).map(|_| round()).max();
    assert_eq!((0..100).map(|_| round()).max(), kept);
}

#[test]
fn operations_on_nothing_show_nothing_of_other_runs() {
    let executor = Executor::new(Device::cpu(1, 1 << 30));
    for _ in 0..3 {
        let mut secret = Session::new(&executor, settings(Mode::Planned));
        for bytes in [1, 100, 1000, 10_000, 100_000] {
            let x = secret.full(DType::U8, &[bytes], 170.0).unwrap();
            assert_eq!(secret.read(&x).unwrap(), vec![0xaa; bytes]);
        }
        drop(secret);
        let mut s = Session::new(&executor, settings(Mode::Planned));
        let empty = s.full(DType::F32, &[0, 4], 0.0).unwrap();
        let indices = s.full(DType::I64, &[0], 0.0).unwrap();
        let rows = s.full(DType::F32, &[3, 4], 0.0).unwrap();
        let gathered = s.gather(&rows, 0, &indices).unwrap();
        let joined = s.concat(0, &[&empty, &rows, &gathered]).unwrap();
        let summed = s.reduce_sum(&empty, &[0], Keep::Removed).unwrap();
        let product = {
            let turned = s.transpose(&empty, &[1, 0]).unwrap();
            s.matmul(&turned, &empty, Transposed::default()).unwrap()
        };
        let hot = s.one_hot(&indices, 5, DType::F32).unwrap();
        let variable = s.variable(&rows).unwrap();
        let value = s.value(&variable).unwrap();
        for x in [&empty, &gathered, &joined, &summed, &product, &hot, &value] {
            let bytes = s.read(x).unwrap();
            assert_eq!(bytes, vec![0; bytes.len()], "shape {:?}", x.shape());
        }
    }
}
