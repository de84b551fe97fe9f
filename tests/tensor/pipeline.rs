//! Programs are executed while the next is recorded: same bits, errors that come
//! later but come, nothing left when a session ends.

use std::time::{Duration, Instant};

use quern::base::{DType, Result};
use quern::device::Device;
use quern::tensor::{Executor, Keep, Mode, Session, Settings, Sgd, Tensor, Transposed, Variable};

use super::support::{Dice, executor, session, settings};

const STEPS: usize = 12;

/// Fits a linear map step by step, without reading in between; every loss and the
/// weights at the end.
fn fit(session: &mut Session) -> Result<Vec<Vec<u8>>> {
    let mut dice = Dice::new(5);
    let x = dice.array(&[64, 24]).tensor(session, DType::F32);
    let wanted = dice.array(&[64, 3]).tensor(session, DType::F32);
    let start = dice.array(&[24, 3]).tensor(session, DType::F32);
    let weight = session.variable(&start)?;
    let mut losses = Vec::new();
    for _ in 0..STEPS {
        losses.push(descend(session, &weight, &x, &wanted)?);
    }
    let weight = session.value(&weight)?;
    losses.iter().chain([&weight]).map(|tensor| session.read(tensor)).collect()
}

fn descend(session: &mut Session, weight: &Variable, x: &Tensor, wanted: &Tensor) -> Result<Tensor> {
    let tape = session.tape(&[weight])?;
    let value = session.value(weight)?;
    let error = session.matmul(x, &value, Transposed::default())?;
    let error = session.sub(&error, wanted)?;
    let square = session.mul(&error, &error)?;
    let loss = session.reduce_mean(&square, &[], Keep::Removed)?;
    let gradients = session.gradients(&tape, &loss)?;
    let gradients: Vec<&Tensor> = gradients.iter().collect();
    session.sgd(&Sgd {
        variables: &[weight],
        gradients: &gradients,
        velocities: &[],
        rate: 0.1,
        momentum: 0.0,
        decay: 0.0,
    })?;
    Ok(loss)
}

#[test]
fn steps_on_their_way_have_the_bits_of_unplanned_execution() {
    let wanted = fit(&mut session(Mode::Unplanned)).unwrap();
    for cores in [1, 2, 5] {
        let executor = Executor::new(Device::cpu(cores, 1 << 30));
        for _ in 0..3 {
            let mut session = Session::new(&executor, settings(Mode::Planned));
            assert_eq!(fit(&mut session).unwrap(), wanted, "{cores} cores");
            assert!(session.stats().replays >= STEPS as u64 - 2, "{:?}", session.stats());
        }
    }
}

#[test]
fn sessions_that_compete_for_the_helpers_do_not_disturb_each_other() {
    let wanted = fit(&mut session(Mode::Unplanned)).unwrap();
    let executor = Executor::new(Device::cpu(3, 1 << 30));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..10 {
                    let mut session = Session::new(&executor, settings(Mode::Planned));
                    assert_eq!(fit(&mut session).unwrap(), wanted);
                }
            });
        }
    });
}

#[test]
fn an_executor_may_be_dropped_by_its_last_session() {
    for _ in 0..50 {
        let executor = Executor::new(Device::cpu(3, 1 << 30));
        let mut session = Session::new(&executor, settings(Mode::Planned));
        drop(executor);
        fit(&mut session).unwrap();
    }
}

/// Steps that look up row `index` of a table of 10 and are not waited for.
fn look_up(session: &mut Session, index: i64) -> Result<Tensor> {
    let table = session.range(DType::F32, 0.0, 10, 1.0)?;
    let index = session.from_bytes(DType::I64, &[1], &index.to_le_bytes())?;
    let found = session.gather(&table, 0, &index)?;
    session.step()?;
    Ok(found)
}

#[test]
fn an_error_of_a_step_on_its_way_is_that_of_every_later_call() {
    const WANTED: &str = "gather: index 10 at position 0; the axis has 10 elements";
    let mut session = session(Mode::Planned);
    let found: Vec<Tensor> = (0..4).map(|i| look_up(&mut session, i).unwrap()).collect();
    // Whether this call or a later one tells depends on who is faster.
    let failing = look_up(&mut session, 10);
    let error = session.sync().unwrap_err();
    assert_eq!(error.to_string(), WANTED);
    if let Err(error) = failing {
        assert_eq!(error.to_string(), WANTED);
    }
    assert_eq!(session.read(&found[0]).unwrap_err().to_string(), WANTED);
    assert_eq!(look_up(&mut session, 1).unwrap_err().to_string(), WANTED);
    // Another session is not concerned.
    let mut other = super::support::session(Mode::Planned);
    let row = look_up(&mut other, 7).unwrap();
    assert_eq!(other.read(&row).unwrap(), 7f32.to_le_bytes());
}

#[test]
fn nothing_is_executed_or_counted_after_a_session_ends() {
    let settings: Settings = settings(Mode::Planned);
    let (quota, kill) = (settings.quota.clone(), settings.kill.clone());
    let mut session = Session::new(executor(), settings);
    let x = Dice::new(1).array(&[700, 700]).tensor(&mut session, DType::F32);
    for _ in 0..6 {
        let _dropped = product(&mut session, &x).unwrap();
    }
    drop((session, x));
    assert_eq!(quota.used_bytes(), 0);
    assert!(kill.check().is_ok());
}

fn product(session: &mut Session, x: &Tensor) -> Result<Tensor> {
    let y = session.matmul(x, x, Transposed::default())?;
    session.step()?;
    Ok(y)
}

#[test]
fn a_kill_ends_the_programs_on_their_way() {
    let settings = settings(Mode::Planned);
    let kill = settings.kill.clone();
    let mut session = Session::new(executor(), settings);
    let x = Dice::new(1).array(&[1500, 1500]).tensor(&mut session, DType::F32);
    let killer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(60));
        kill.kill("a test".to_owned());
        Instant::now()
    });
    let error = loop {
        if let Err(error) = product(&mut session, &x) {
            break error;
        }
    };
    drop(session);
    let killed = killer.join().unwrap();
    assert_eq!(error.to_string(), "the run was killed by a test");
    assert!(killed.elapsed() < Duration::from_millis(500), "{:?}", killed.elapsed());
}
