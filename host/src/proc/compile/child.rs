//! The child process: takes its limits upon itself, reads a component from
//! standard input, and writes what came of it to standard output: a line of
//! JSON, then the code.

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{Deserialize, Serialize};

use super::examine::{examine, unusable};
use super::{Interfaces, SUBCOMMAND};
use crate::base::{Error, Result};
use crate::proc::engine;

/// How much nicer than its parent the child is (`man 2 setpriority`).
const NICENESS: i32 = 5;

/// What the child may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildLimits {
    /// Processor time of all its threads.
    pub cpu_ms: u64,
    /// Address space.
    pub memory_bytes: u64,
}

/// The line before the code.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Head {
    /// Code follows.
    Compiled(Interfaces),
    /// The component cannot be used; nothing follows.
    Unusable(String),
}

/// All that the child process does.
pub fn compile_component(limits: ChildLimits) -> Result<()> {
    limits.take().map_err(|e| Error::library("set the limits of the compiler", e))?;
    let mut bytes = Vec::new();
    let broken = |e| Error::io("use a pipe of", SUBCOMMAND, e);
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(broken)?;
    let (head, code) = match engine::compiler().and_then(|engine| compile(&engine, &bytes)) {
        Ok((interfaces, code)) => (Head::Compiled(interfaces), code),
        Err(Error::Component { reason, .. }) => (Head::Unusable(reason), Vec::new()),
        Err(other) => return Err(other),
    };
    let head = serde_json::to_string(&head).map_err(|e| Error::Internal(e.to_string()))?;
    let mut out = std::io::stdout().lock();
    let written = out.write_all(head.as_bytes()).and_then(|()| out.write_all(b"\n"));
    written.and_then(|()| out.write_all(&code)).and_then(|()| out.flush()).map_err(broken)
}

/// Reads the component's types, then compiles it.
pub(super) fn compile(engine: &wasmtime::Engine, bytes: &[u8]) -> Result<(Interfaces, Vec<u8>)> {
    let interfaces = examine(bytes)?;
    let code = catch_unwind(AssertUnwindSafe(|| engine.precompile_component(bytes)))
        .map_err(|_| unusable("the compiler fails on it"))?
        .map_err(|e| unusable(&format!("it does not compile: {}", engine::root_cause(&e))))?;
    Ok((interfaces, code))
}

impl ChildLimits {
    /// Bounds this process: the kernel ends it with SIGPROF when its processor
    /// time is used up, memory beyond the bound is refused, files cannot grow.
    fn take(self) -> std::io::Result<()> {
        set(libc::RLIMIT_AS, self.memory_bytes)?;
        // Counted in seconds; the timer below is exact, this bounds the timer's own failure.
        set(libc::RLIMIT_CPU, (self.cpu_ms / 1000).saturating_add(2))?;
        set(libc::RLIMIT_FSIZE, 0)?;
        set(libc::RLIMIT_CORE, 0)?;
        let time = |ms: u64| libc::timeval {
            tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
            tv_usec: i64::try_from(ms % 1000 * 1000).unwrap_or_default(),
        };
        let timer = libc::itimerval { it_interval: time(0), it_value: time(self.cpu_ms.max(1)) };
        // SAFETY: the timer lives through the call, a null pointer asks for no old value;
        // the other two change numbers of this process only.
        let (timed, parented) = unsafe {
            libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS);
            let parented = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            (libc::setitimer(libc::ITIMER_PROF, &raw const timer, std::ptr::null_mut()), parented)
        };
        if timed != 0 || parented != 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn set(resource: libc::__rlimit_resource_t, value: u64) -> std::io::Result<()> {
    let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: the struct lives through the call.
    match unsafe { libc::setrlimit(resource, &raw const limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
