//! Kernels that a device does not have yet, compiled before a program needs them.
//!
//! A thread for this does it: not the device's, which other runs need meanwhile, nor the
//! run's, so that a kill does not wait for it. Few of them are at work at once, those of
//! runs that were killed meanwhile included: a compiler cannot be stopped, but none of
//! them begins another text.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::recorder::Command;
use crate::base::{Error, Result};
use crate::device::cuda::{Cuda, Module};
use crate::tensor::notice::{Notice, Teller};
use crate::tensor::team::Lanes;

/// Texts that are compiled at once at most, for all devices of this process.
const SEATS: usize = 4;

/// How often whoever waits for kernels looks at the kill switch.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What takes as long as this is told.
const TOLD_AFTER: Duration = Duration::from_millis(500);

/// Seats that are taken.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Whether a compiler is at work, perhaps for a run that was killed meanwhile.
pub fn is_compiling() -> bool {
    TAKEN.load(Ordering::Acquire) > 0
}

/// The right to compile, until it is dropped.
struct Seat;

impl Seat {
    fn take() -> Option<Self> {
        let more = |taken: usize| (taken < SEATS).then_some(taken + 1);
        // Made only then: dropping it gives one back.
        TAKEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok().then(|| Self)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Tells the thread that compiles, when it is dropped, that nobody waits any more.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Tells, once, that it takes long, and then how long it took.
struct Telling<'a> {
    teller: &'a Teller,
    cuda: &'a Cuda,
    kernels: usize,
    begun: Instant,
    is_told: bool,
}

impl Telling<'_> {
    fn look(&mut self) {
        if !self.is_told && self.begun.elapsed() >= TOLD_AFTER {
            self.is_told = true;
            self.teller.tell(&Notice::Compiling { kernels: self.kernels, capability: self.cuda.info().capability });
        }
    }

    fn end(self) {
        if self.is_told {
            self.teller.tell(&Notice::Compiled { kernels: self.kernels, time: self.begun.elapsed() });
        }
    }
}

/// Has everything on the device that these commands need: kernels, compiled and loaded,
/// and cuBLAS. Not while the device's time is measured. A long compilation is told.
pub(super) fn compile(cuda: &Arc<Cuda>, commands: &[Command], lanes: &Lanes, teller: &Teller) -> Result<()> {
    let new = compile_kernels(cuda, commands, lanes, teller)?;
    let multiplies = !cuda.can_multiply() && commands.iter().any(|it| matches!(it, Command::Products(_)));
    if new.is_empty() && !multiplies {
        return Ok(());
    }
    cuda.run_while(
        || lanes.check(),
        |gpu| {
            new.iter().try_for_each(|module| gpu.load(module))?;
            if multiplies { gpu.open_blas() } else { Ok(()) }
        },
    )
}

/// Compiles the kernels of these commands that the device does not have yet.
fn compile_kernels(cuda: &Arc<Cuda>, commands: &[Command], lanes: &Lanes, teller: &Teller) -> Result<Vec<Arc<Module>>> {
    let (mut new, mut kernels): (Vec<Arc<Module>>, HashSet<usize>) = Default::default();
    for kernel in commands.iter().filter_map(Command::kernel).filter(|kernel| !cuda.has(kernel.module())) {
        kernels.insert(kernel.address());
        if !new.iter().any(|known| Arc::ptr_eq(known, kernel.module())) {
            new.push(kernel.module().clone());
        }
    }
    if new.is_empty() {
        return Ok(new);
    }
    let mut telling = Telling { teller, cuda, kernels: kernels.len(), begun: Instant::now(), is_told: false };
    let seat = loop {
        match Seat::take() {
            Some(seat) => break seat,
            None => std::thread::sleep(LOOK_EVERY),
        }
        lanes.check()?;
        telling.look();
    };
    let wanted = Wanted(Arc::new(AtomicBool::new(true)));
    let (is_wanted, for_device, texts) = (wanted.0.clone(), cuda.clone(), new.clone());
    let (done, compiled) = channel();
    let work = move || {
        let mut texts = texts.iter().take_while(|_| is_wanted.load(Ordering::Relaxed));
        let result = texts.try_for_each(|module| for_device.compile(module));
        drop(seat);
        let _ = done.send(result);
    };
    let thread = std::thread::Builder::new().name("compile".to_owned()).spawn(work);
    thread.map_err(|e| Error::library("cannot start a thread", e))?;
    loop {
        match compiled.recv_timeout(LOOK_EVERY) {
            Ok(result) => break result?,
            Err(RecvTimeoutError::Timeout) => {
                lanes.check()?;
                telling.look();
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::Internal("kernels could not be compiled: the compiler ended".to_owned()));
            }
        }
    }
    telling.end();
    Ok(new)
}
