//! Mistakes are answered at once and name what does not fit; limits and kills end
//! what runs.

use std::time::{Duration, Instant};

use quern::base::{DType, ErrorCode, Limits, Result};
use quern::device::{KillSwitch, Quota};
use quern::tensor::{Activation, Adam, Conv2d, Keep, Mode, Session, Tensor, Transposed};

use super::support::{executor, session, settings};

/// A convolution with weights of these extents.
fn conv2d(s: &mut Session, images: &Tensor, extents: [usize; 4], stride: usize) -> Result<Tensor> {
    let weight = s.full(DType::F32, &extents, 0.0)?;
    s.conv2d(images, &weight, None, &Conv2d { stride, padding: 0, activation: Activation::None })
}

/// What is done with tensors of shapes [2, 3] float32, [4] float32, [2, 3] bool and
/// [2] int64, and what the answer is.
type Case = (fn(&mut Session, &[Tensor]) -> Result<Tensor>, ErrorCode, &'static str);

const CASES: &[Case] = &[
    (|s, x| s.add(&x[0], &x[1]), ErrorCode::OutOfRange, "add: shapes [2, 3] and [4] do not broadcast"),
    (
        |s, x| s.add(&x[0], &x[3]),
        ErrorCode::TypeMismatch,
        "add: operands are float32 [2, 3] and int64 [2]; cast one of them",
    ),
    (|s, x| s.add(&x[2], &x[2]), ErrorCode::TypeMismatch, "add needs a number type, not bool; cast it first"),
    (|s, x| s.exp(&x[3]), ErrorCode::TypeMismatch, "exp needs a float type, not int64; cast it first"),
    (
        |s, x| s.where_(&x[0], &x[0], &x[0]),
        ErrorCode::TypeMismatch,
        "where: the condition is float32, not bool; compare it first",
    ),
    (
        |s, x| s.matmul(&x[0], &x[0], Transposed { a: false, b: false }),
        ErrorCode::OutOfRange,
        "matmul: shapes [2, 3] and [2, 3] do not fit; [.., m, k] × [.., k, n] is needed",
    ),
    (
        |s, x| s.matmul(&x[0], &x[1], Transposed { a: true, b: false }),
        ErrorCode::OutOfRange,
        "matmul: shapes [2, 3] transposed and [4] do not fit; [.., m, k] × [.., k, n] is needed",
    ),
    (
        |s, x| s.linear(&x[0], &x[1], None, Activation::None),
        ErrorCode::OutOfRange,
        "linear: shapes [2, 3] and [4]; [n, i] × [i, o] is needed",
    ),
    (
        |s, x| {
            let w = s.full(DType::F32, &[3, 5], 0.0)?;
            s.linear(&x[0], &w, Some(&x[1]), Activation::None)
        },
        ErrorCode::OutOfRange,
        "linear: bias of shape [4]; [5] fits weights of shape [3, 5]",
    ),
    (
        |s, x| s.conv2d(&x[0], &x[1], None, &Conv2d { stride: 1, padding: 0, activation: Activation::None }),
        ErrorCode::OutOfRange,
        "conv2d: weights of shape [4]; [kernel height, kernel width, channels, outputs] is needed",
    ),
    (
        |s, x| conv2d(s, &x[0], [2, 2, 1, 1], 1),
        ErrorCode::OutOfRange,
        "conv2d: images of shape [2, 3]; [n, height, width, channels] is needed",
    ),
    (
        |s, x| {
            let images = s.reshape(&x[0], &[1, 2, 3, 1])?;
            conv2d(s, &images, [2, 2, 2, 1], 1)
        },
        ErrorCode::OutOfRange,
        "conv2d: images of shape [1, 2, 3, 1] have 1 channels and weights of shape [2, 2, 2, 1] 2",
    ),
    (
        |s, x| {
            let images = s.reshape(&x[0], &[1, 2, 3, 1])?;
            conv2d(s, &images, [3, 2, 1, 1], 1)
        },
        ErrorCode::OutOfRange,
        "conv2d: windows of 3 × 2 do not fit images of 2 × 3 with padding 0",
    ),
    (
        |s, x| {
            let images = s.reshape(&x[0], &[1, 2, 3, 1])?;
            conv2d(s, &images, [2, 2, 1, 1], 0)
        },
        ErrorCode::OutOfRange,
        "conv2d: windows of 2 × 2 at stride 0; none of them may be 0",
    ),
    (
        |s, x| s.max_pool2d(&x[0], 1 << 20, 1),
        ErrorCode::OutOfRange,
        "max-pool2d: images of shape [2, 3]; [n, height, width, channels] is needed",
    ),
    (
        |s, x| {
            let images = s.reshape(&x[0], &[1, 2, 3, 1])?;
            s.max_pool2d(&images, 1 << 20, 1)
        },
        ErrorCode::OutOfRange,
        "max-pool2d: windows of 1048576 × 1048576; at most 2^16 elements",
    ),
    (|s, x| s.softmax(&x[0], 2), ErrorCode::OutOfRange, "axis 2 of a tensor of shape [2, 3]; it has 2 dimensions"),
    (
        |s, x| s.cross_entropy(&x[0], &x[1]),
        ErrorCode::TypeMismatch,
        "cross-entropy: logits are float32 and labels float32; a float and an integer type are needed",
    ),
    (
        |s, x| s.cross_entropy(&x[1], &x[3]),
        ErrorCode::OutOfRange,
        "cross-entropy: logits of shape [4] and labels of shape [2]; [n, classes] and [n] are needed",
    ),
    (
        |s, x| s.reduce_sum(&x[0], &[0, -2], Keep::Removed),
        ErrorCode::InvalidArgument,
        "axis -2 is named twice in a reduction of shape [2, 3]",
    ),
    (
        |s, _| {
            let none = s.full(DType::F32, &[2, 0], 0.0)?;
            s.reduce_max(&none, &[1], Keep::Removed)
        },
        ErrorCode::OutOfRange,
        "reduce-max over axis 1 of shape [2, 0], which has no elements",
    ),
    (
        |s, x| s.reduce_mean(&x[3], &[], Keep::Removed),
        ErrorCode::TypeMismatch,
        "reduce-mean needs a float type, not int64; cast it first",
    ),
    (|s, x| s.reshape(&x[0], &[4]), ErrorCode::OutOfRange, "reshape: [2, 3] has 6 elements and [4] has 4"),
    (
        |s, x| s.transpose(&x[0], &[0, 0]),
        ErrorCode::InvalidArgument,
        "transpose: [0, 0] is not an order of the 2 dimensions of shape [2, 3]",
    ),
    (
        |s, x| s.slice(&x[0], 1, u64::MAX, 2),
        ErrorCode::OutOfRange,
        "slice [18446744073709551615, 18446744073709551615 + 2) of axis 1 of shape [2, 3]",
    ),
    (
        |s, x| s.gather(&x[0], 0, &x[1]),
        ErrorCode::TypeMismatch,
        "gather: indices are float32, an integer type is needed",
    ),
    (
        |s, x| s.concat(0, &[&x[0], &x[1]]),
        ErrorCode::OutOfRange,
        "concat along axis 0: shapes [2, 3] and [4] do not fit",
    ),
    (|s, _| s.concat(0, &[]), ErrorCode::InvalidArgument, "concat of no tensors; give at least one"),
    (
        |s, _| s.from_bytes(DType::F32, &[3], &[0; 11]),
        ErrorCode::InvalidArgument,
        "11 bytes for a float32 tensor of shape [3], which has 12",
    ),
    (|s, _| s.full(DType::U8, &[1; 9], 0.0), ErrorCode::OutOfRange, "a shape of 9 dimensions; tensors have at most 8"),
    (
        |s, _| s.full(DType::U8, &[usize::MAX, 3], 0.0),
        ErrorCode::OutOfRange,
        "shape [18446744073709551615, 3] has more than 2^40 elements",
    ),
    (
        |s, _| s.random_normal(DType::I8, &[3], 0.0, 1.0),
        ErrorCode::TypeMismatch,
        "random numbers need a float type, not int8; cast them afterwards",
    ),
    (
        |s, _| s.random_uniform(DType::F32, &[3], 1.0, 1.0),
        ErrorCode::InvalidArgument,
        "random-uniform in [1, 1); low must be below high, both finite",
    ),
];

fn inputs(s: &mut Session) -> Vec<Tensor> {
    [(DType::F32, &[2, 3][..]), (DType::F32, &[4]), (DType::Bool, &[2, 3]), (DType::I64, &[2])]
        .map(|(dtype, shape)| s.full(dtype, shape, 0.0).unwrap())
        .to_vec()
}

#[test]
fn mistakes_are_answered_at_once_and_the_session_goes_on() {
    let mut s = session(Mode::Planned);
    let x = inputs(&mut s);
    for (mistake, code, message) in CASES {
        let error = mistake(&mut s, &x).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.code()), (*message, *code));
    }
    assert_eq!(s.read(&x[3]).unwrap(), [0; 16]);
}

#[test]
fn optimisers_refuse_what_does_not_fit() {
    let mut s = session(Mode::Planned);
    let x = inputs(&mut s);
    let (a, b) = (s.variable(&x[0]).unwrap(), s.variable(&x[1]).unwrap());
    let adam = Adam {
        variables: &[&a],
        gradients: &[&x[0]],
        first: &[&a],
        second: &[&a],
        step: 1,
        rate: 0.1,
        beta1: 0.9,
        beta2: 0.9,
        epsilon: 0.0,
        decay: 0.0,
    };
    let error = |s: &mut Session, adam: &Adam| s.adam(adam).unwrap_err().to_string();
    assert_eq!(error(&mut s, &adam), "adam: one variable is given twice");
    assert_eq!(error(&mut s, &Adam { step: 0, ..adam }), "adam: step 0; steps count from 1");
    assert_eq!(error(&mut s, &Adam { first: &[], ..adam }), "adam: 1 variables but lists of 0; one for each is needed");
    assert_eq!(
        error(&mut s, &Adam { first: &[&b], ..adam }),
        "adam: variable 0 has shape [2, 3] and what goes with it [4]"
    );
    let error = s.assign(&a, &x[2]).unwrap_err().to_string();
    assert_eq!(error, "assign: variable 0 is float32 and what goes with it bool");
}

#[test]
fn an_index_outside_is_an_error_when_executed_and_ever_after() {
    for mode in [Mode::Unplanned, Mode::Planned] {
        let mut s = session(mode);
        let x = s.full(DType::F32, &[3, 2], 1.0).unwrap();
        let indices = s.from_bytes(DType::I8, &[3], &[0, 3, 0xff]).unwrap();
        let picked = s.gather(&x, 0, &indices).unwrap();
        for _ in 0..2 {
            let error = s.read(&picked).unwrap_err();
            assert_eq!(error.to_string(), "gather: index 3 at position 1; the axis has 3 elements");
        }
        assert!(s.full(DType::F32, &[], 0.0).is_err(), "values are unknown after a failure");
    }
}

#[test]
fn tensors_of_another_run_are_refused() {
    let (mut a, mut b) = (session(Mode::Planned), session(Mode::Planned));
    let x = a.full(DType::F32, &[1], 1.0).unwrap();
    assert_eq!(b.exp(&x).unwrap_err().to_string(), "this tensor belongs to another run");
    assert_eq!(b.read(&x).unwrap_err().to_string(), "this tensor belongs to another run");
}

#[test]
fn live_handles_are_charged_when_recorded_and_released_when_dropped() {
    let quota = Quota::new(10_000);
    let mut s = Session::new(executor(), quern::tensor::Settings { quota: quota.clone(), ..settings(Mode::Planned) });
    let x = s.full(DType::F32, &[1000], 1.0).unwrap();
    assert_eq!(quota.used_bytes(), 4000);
    let y = s.exp(&x).unwrap();
    let error = s.exp(&y).unwrap_err();
    assert_eq!(error.code(), ErrorCode::QuotaExceeded);
    assert_eq!(
        error.to_string(),
        "limit `device_bytes`: 12000 bytes asked, 10000 bytes allowed; raise it for one run with --limit device_bytes=N"
    );
    drop(x);
    let z = s.affine(&y, 1.0, 1.0).unwrap();
    assert_eq!(quota.used_bytes(), 8000);
    drop((y, z));
    assert_eq!(quota.used_bytes(), 0);
    assert!(quota.peak_bytes() <= 10_000);
}

#[test]
fn plans_give_their_memory_back_before_a_quota_is_exceeded() {
    let settings = quern::tensor::Settings { quota: Quota::new(20_000), ..settings(Mode::Planned) };
    let mut s = Session::new(executor(), settings);
    let x = s.full(DType::F32, &[1000], 2.0).unwrap();
    for _ in 0..2 {
        // Every program has another shape and so another plan of 4 kB.
        for n in 1..=8 {
            let row = s.reshape(&x, &[n, 1000 / n]).unwrap_or_else(|_| x.clone());
            let root = s.sqrt(&row).unwrap();
            let flat = s.reshape(&root, &[1000]).unwrap();
            drop(root);
            let sum = s.reduce_sum(&flat, &[], Keep::Removed).unwrap();
            drop(flat);
            assert!((s.item(&sum).unwrap() - 1_414.213_6).abs() < 1e-2);
        }
    }
    assert!(s.stats().replays >= 8, "{:?}", s.stats());
}

#[test]
fn programs_are_executed_when_they_reach_the_bound() {
    let mut settings = settings(Mode::Planned);
    settings.limits.program_ops = 10;
    let mut s = Session::new(executor(), settings);
    let mut x = s.full(DType::F64, &[], 0.0).unwrap();
    for _ in 0..100 {
        x = s.affine(&x, 1.0, 1.0).unwrap();
    }
    assert_eq!(s.item(&x).unwrap(), 100.0);
    assert!(s.stats().programs >= 10, "{:?}", s.stats());
}

/// Processor time this thread has used. Other programs on the machine do not count.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Multiplies large matrices while another thread throws the switch; how much this
/// thread computed beyond that, and the error.
fn killed_after(kill: &KillSwitch, throw: impl FnOnce() + Send + 'static) -> (Duration, quern::base::Error) {
    let quota = Quota::new(1 << 30);
    let mut s =
        Session::new(executor(), quern::tensor::Settings { quota, kill: kill.clone(), ..settings(Mode::Planned) });
    let x = s.full(DType::F32, &[4096, 4096], 1e-3).unwrap();
    let mut y = x.clone();
    for _ in 0..20 {
        y = s.matmul(&y, &x, Transposed::default()).unwrap();
    }
    let started = Instant::now();
    let thrown = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        throw();
        started.elapsed()
    });
    let before = thread_time();
    let error = s.sync().unwrap_err();
    ((thread_time() - before).saturating_sub(thrown.join().unwrap()), error)
}

#[test]
fn kill_stops_a_large_product_promptly() {
    let kill = KillSwitch::new();
    let switch = kill.clone();
    let (late, error) = killed_after(&kill, move || switch.kill("ann".to_owned()));
    assert_eq!(error.to_string(), "the run was killed by ann");
    // One product takes seconds; a panel of it takes milliseconds.
    assert!(late < Duration::from_millis(100), "{late:?} computed after the kill");
}

#[test]
fn deadline_stops_a_large_product() {
    let kill = KillSwitch::with_deadline(150);
    let (_, error) = killed_after(&kill, || {});
    assert_eq!(error.code(), ErrorCode::QuotaExceeded);
    assert!(error.to_string().starts_with("limit `deadline_ms`: "), "{error}");
}

#[test]
fn kill_wakes_sleepers_and_subscribers_once() {
    let kill = KillSwitch::new();
    let (sender, woken) = std::sync::mpsc::channel();
    let other = sender.clone();
    let kept = kill.subscribe(move || sender.send("kept").unwrap());
    drop(kill.subscribe(move || other.send("dropped").unwrap()));
    let sleeper = std::thread::spawn({
        let kill = kill.clone();
        move || kill.sleep(Duration::from_secs(60)).unwrap_err().to_string()
    });
    kill.kill(None);
    kill.kill("too late".to_owned());
    assert_eq!(sleeper.join().unwrap(), "the run was killed");
    assert_eq!(woken.try_iter().collect::<Vec<_>>(), ["kept"]);
    drop(kept);
}

#[test]
fn what_a_tape_notes_is_charged_until_it_is_dropped() {
    let quota = Quota::new(1 << 20);
    let mut s = Session::new(executor(), quern::tensor::Settings { quota: quota.clone(), ..settings(Mode::Planned) });
    let one = s.full(DType::F32, &[], 1.0).unwrap();
    let variable = s.variable(&one).unwrap();
    let tape = s.tape(&[&variable]).unwrap();
    let mut x = s.value(&variable).unwrap();
    let error = (0..100_000).find_map(|_| match s.add(&x, &one) {
        Ok(sum) => {
            x = sum;
            None
        }
        Err(error) => Some(error),
    });
    let error = error.expect("notes of a tape are bounded");
    assert_eq!(error.code(), ErrorCode::QuotaExceeded);
    assert!(error.to_string().starts_with("limit `device_bytes`: "), "{error}");
    drop((tape, x));
    s.sync().unwrap();
    assert!(quota.used_bytes() < 4096, "{} bytes are still charged", quota.used_bytes());
}

#[test]
fn operations_with_very_many_inputs_do_not_pile_up() {
    let limits = Limits { program_ops: 100, ..Limits::default() };
    let mut s = Session::new(executor(), quern::tensor::Settings { limits, ..settings(Mode::Planned) });
    let row = s.full(DType::U8, &[1], 7.0).unwrap();
    s.sync().unwrap();
    let before = s.stats().programs;
    let held: Vec<Tensor> = (0..8).map(|_| s.concat(0, &vec![&row; 1000]).unwrap()).collect();
    assert!(s.stats().programs > before, "8 operations with 8,000 inputs wait to be executed");
    assert_eq!(s.read(&held[7]).unwrap(), [7; 1000]);
}

#[test]
fn memory_that_kernels_take_for_themselves_is_charged() {
    type Work = fn(&mut Session) -> Result<Tensor>;
    // The result fits into the quota, what is needed to make it does not.
    let cases: [(Work, u64, &str); 4] = [
        (|s| s.random_permutation(1000), 10_000, "sorted keys"),
        (|s| ones(s, DType::F16, &[40, 40]).and_then(|x| s.matmul(&x, &x, Transposed::default())), 16_000, "widened"),
        (|s| ones(s, DType::F32, &[1, 600]).and_then(|x| s.softmax(&x, 1)), 12_000, "lanes"),
        (
            |s| {
                let picked = s.range(DType::I64, 0.0, 1000, 0.0)?;
                let bytes = ones(s, DType::U8, &[2])?;
                s.gather(&bytes, 0, &picked)
            },
            12_000,
            "checked indices",
        ),
    ];
    for (work, allowed, what) in cases {
        for mode in [Mode::Planned, Mode::Unplanned] {
            let settings = quern::tensor::Settings { quota: Quota::new(allowed), ..settings(mode) };
            let mut s = Session::new(executor(), settings);
            let made = work(&mut s).unwrap();
            let error = s.read(&made).unwrap_err();
            assert_eq!(error.code(), ErrorCode::QuotaExceeded, "{what}: {error}");
            let settings = quern::tensor::Settings { quota: Quota::new(allowed * 8), ..super::support::settings(mode) };
            let mut s = Session::new(executor(), settings);
            for _ in 0..3 {
                let made = work(&mut s).unwrap();
                s.read(&made).unwrap();
            }
        }
    }
}

fn ones(s: &mut Session, dtype: DType, shape: &[usize]) -> Result<Tensor> {
    s.full(dtype, shape, 1.0)
}

#[test]
fn device_time_is_limited_over_all_sessions_of_a_run() {
    let quota = Quota::new(1 << 30);
    let limits = Limits { device_time_ms: 120, ..Limits::default() };
    let make = || quern::tensor::Settings { quota: quota.clone(), limits: limits.clone(), ..settings(Mode::Planned) };
    let mut first = Session::new(executor(), make());
    let x = first.random_normal(DType::F32, &[600, 600], 0.0, 0.01).unwrap();
    let error = loop {
        let y = first.matmul(&x, &x, Transposed::default()).unwrap();
        if let Err(error) = first.read(&y) {
            break error;
        }
    };
    assert!(matches!(error, quern::base::Error::Limit { limit: "device_time_ms", allowed: 120, .. }), "{error}");
    // The clock is coarse: a millisecond may be left.
    let mut second = Session::new(executor(), make());
    let y = second.full(DType::F32, &[600], 1.0).unwrap();
    let error = loop {
        let y = second.exp(&y).unwrap();
        if let Err(error) = second.read(&y) {
            break error;
        }
    };
    assert!(matches!(error, quern::base::Error::Limit { limit: "device_time_ms", .. }), "{error}");
}
