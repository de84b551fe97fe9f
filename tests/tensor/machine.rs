//! Programs on a GPU among others: graphs within bounds, time that is the device's own,
//! and a kill that finds little on its way. On the fake GPU of `tests/cuda`.

use std::time::{Duration, Instant};

use quern::base::DType;
use quern::device::{Owner, Quota};
use quern::tensor::{Mode, Session, Settings, Tensor, Transposed, Variable};

use super::conformance::begin;
use super::support::{Array, Dice, executor, processor, settings};
use crate::cuda::bench::{Fake, compilations, counts, fail_graph, slow_compiler, slow_kernels};

const OUT_OF_MEMORY: i32 = 2;

/// One turn of a loop: `w ← tanh(½ · w · w + 0.1)`.
fn turn(s: &mut Session, w: &Variable) {
    let x = s.value(w).unwrap();
    let y = s.matmul(&x, &x, Transposed::default()).unwrap();
    let y = s.affine(&y, 0.5, 0.1).unwrap();
    let y = s.tanh(&y).unwrap();
    s.assign(w, &y).unwrap();
    s.sync().unwrap();
}

fn start(s: &mut Session) -> Variable {
    let initial = Dice::new(3).array(&[4, 4]).tensor(s, DType::F32);
    let w = s.variable(&initial).unwrap();
    s.sync().unwrap();
    w
}

fn value(s: &mut Session, w: &Variable) -> Vec<f64> {
    let value = s.value(w).unwrap();
    Array::of(s, &value).data
}

#[test]
fn a_graph_that_the_gpu_has_no_memory_for_is_done_call_by_call() {
    Fake::PLAIN.run(|| {
        begin();
        let mut there = Session::new(processor(), settings(Mode::Planned));
        let mut here = Session::new(executor(), settings(Mode::Planned));
        let (v, w) = (start(&mut there), start(&mut here));
        for n in 1..=10 {
            if n == 6 {
                assert!(counts().replays >= 2, "a graph was made");
                fail_graph(OUT_OF_MEMORY);
            }
            turn(&mut there, &v);
            turn(&mut here, &w);
        }
        let (wanted, found) = (value(&mut there, &v), value(&mut here, &w));
        assert!(wanted.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}, should be {wanted:?}");
    });
}

#[test]
fn a_graph_counts_as_memory_of_the_run_and_is_left_out_beyond_its_quota() {
    Fake::PLAIN.run(|| {
        begin();
        let quota = Quota::new(1 << 20);
        let mut s = Session::new(executor(), Settings { quota: quota.clone(), ..settings(Mode::Planned) });
        let w = start(&mut s);
        turn(&mut s, &w);
        turn(&mut s, &w);
        let (before, replays) = (quota.used_bytes(), counts().replays);
        turn(&mut s, &w);
        assert_eq!(counts().replays, replays + 1, "from now on it is a graph");
        // A product, the chain after it, and the copies from and into the variable.
        assert_eq!(quota.used_bytes() - before, 4 * 2048);
        drop((w, s));
        // Room for all but a graph.
        let quota = Quota::new(before + 2048);
        let mut s = Session::new(executor(), Settings { quota: quota.clone(), ..settings(Mode::Planned) });
        let w = start(&mut s);
        let replays = counts().replays;
        (0..5).for_each(|_| turn(&mut s, &w));
        assert_eq!(counts().replays, replays);
        assert!(s.stats().replays >= 4, "from its plan all the same: {:?}", s.stats());
    });
}

/// Products of every one of many matrices with every one of others: `[n, 1, 2, 2] ×
/// [1, n, 2, 2]`, which cuBLAS is asked for n times, and `[n, 3, 2, 2] × [2, 2]`, once.
fn crossed(s: &mut Session, n: usize) -> [Tensor; 2] {
    let mut dice = Dice::new(5);
    let (a, b) = (dice.array(&[n, 1, 2, 2]).tensor(s, DType::F32), dice.array(&[1, n, 2, 2]).tensor(s, DType::F32));
    let (c, d) = (dice.array(&[n, 3, 2, 2]).tensor(s, DType::F32), dice.array(&[2, 2]).tensor(s, DType::F32));
    let turned = Transposed { a: false, b: true };
    [s.matmul(&a, &b, turned).unwrap(), s.matmul(&c, &d, Transposed::default()).unwrap()]
}

#[test]
fn many_products_are_few_calls_where_they_lie_evenly_and_no_graph_where_they_do_not() {
    Fake::PLAIN.run(|| {
        begin();
        let values = |s: &mut Session, n: usize| crossed(s, n).map(|product| Array::of(s, &product));
        let mut s = Session::new(executor(), settings(Mode::Unplanned));
        let before = counts().launches;
        let found = values(&mut s, 30);
        assert_eq!(counts().launches - before, 30 + 1);
        let wanted = values(&mut Session::new(processor(), settings(Mode::Unplanned)), 30);
        for (found, wanted) in found.iter().zip(&wanted) {
            super::support::assert_close(found, wanted, 1e-6, "crossed");
        }
        // More calls than a graph may have, again and again from one plan.
        let mut s = Session::new(executor(), settings(Mode::Planned));
        let replays = counts().replays;
        for _ in 0..4 {
            let [product, _] = crossed(&mut s, 1100);
            s.sync().unwrap();
            drop(product);
        }
        assert_eq!(counts().replays, replays);
    });
}

#[test]
fn others_have_their_turn_within_a_long_program_and_a_kill_ends_it() {
    Fake::PLAIN.run(|| {
        begin();
        let long = settings(Mode::Planned);
        let kill = long.kill.clone();
        std::thread::scope(|scope| {
            let computing = scope.spawn(move || {
                let mut s = Session::new(executor(), long);
                // A chain would be one kernel: sums cannot be fused. 2,000 of 3 ms each.
                let mut x = s.full(DType::F32, &[2, 2], 1.0).unwrap();
                for _ in 0..1000 {
                    x = s.softmax(&x, 0).unwrap();
                }
                slow_kernels(Duration::from_millis(3));
                let error = s.read(&x).unwrap_err().to_string();
                (error, Instant::now())
            });
            std::thread::sleep(Duration::from_millis(400));
            let asked = Instant::now();
            for n in 1..=3 {
                drop(executor().device().pool.take(n << 20, Owner::instance(u64::MAX)).unwrap());
            }
            let waited = asked.elapsed();
            assert!(!computing.is_finished());
            assert!(waited < Duration::from_millis(2000), "{waited:?} for three pieces of memory");
            kill.kill("a test".to_owned());
            let killed = Instant::now();
            let (error, ended) = computing.join().unwrap();
            assert_eq!(error, "the run was killed by a test");
            assert!(ended - killed < Duration::from_millis(1000), "{:?} after the kill", ended - killed);
        });
    });
}

#[test]
fn device_time_is_what_the_gpu_measured_without_the_compiler_and_the_queue() {
    Fake::PLAIN.run(|| {
        begin();
        // Nothing is kept there, so each text is compiled.
        let cache = tempfile::tempdir().unwrap();
        // SAFETY: this process has no other thread that reads the environment.
        unsafe { std::env::set_var("XDG_CACHE_HOME", cache.path()) };
        let mut s = Session::new(executor(), settings(Mode::Planned));
        let x = Dice::new(1).array(&[8, 8]).tensor(&mut s, DType::F32);
        slow_compiler(Duration::from_millis(700));
        let begun = Instant::now();
        let y = s.softmax(&x, 0).unwrap();
        s.read(&y).unwrap();
        assert!(begun.elapsed() > Duration::from_millis(700), "it was compiled");
        assert!(s.stats().device_time < Duration::from_millis(350), "{:?}", s.stats());
        slow_kernels(Duration::from_millis(20));
        let y = s.softmax(&x, 1).unwrap();
        s.read(&y).unwrap();
        assert!(s.stats().device_time >= Duration::from_millis(20), "{:?}", s.stats());
    });
}

#[test]
fn few_compilers_are_at_work_at_once_also_when_those_who_wait_are_killed() {
    Fake::PLAIN.run(|| {
        begin();
        let cache = tempfile::tempdir().unwrap();
        // SAFETY: no other thread of this process reads the environment now.
        unsafe { std::env::set_var("XDG_CACHE_HOME", cache.path()) };
        slow_compiler(Duration::from_millis(400));
        let before = compilations();
        std::thread::scope(|scope| {
            for n in 0..12 {
                scope.spawn(move || {
                    let wanted = settings(Mode::Planned);
                    let kill = wanted.kill.clone();
                    let mut s = Session::new(executor(), wanted);
                    let mut x = s.full(DType::F32, &[2], 1.0).unwrap();
                    for _ in 0..n {
                        x = s.exp(&x).unwrap();
                    }
                    kill.set_deadline(100);
                    let begun = Instant::now();
                    let error = s.read(&x).unwrap_err().to_string();
                    assert!(error.starts_with("limit `deadline_ms`: "), "{error}");
                    assert!(begun.elapsed() < Duration::from_millis(3000), "{:?}", begun.elapsed());
                });
            }
        });
        let [most, all] = compilations();
        assert!(most <= 4 && before[0] <= 1, "{most} compilers at once");
        assert!(all - before[1] < 12, "{all}: those who were killed before their turn need nothing compiled");
    });
}
