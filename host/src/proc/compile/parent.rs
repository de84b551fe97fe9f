//! The parent's side: starts the child, feeds it, takes its answer, ends it when
//! it takes too long, and tells why it ended.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::child::Head;
use super::{Interfaces, SUBCOMMAND, unusable};
use crate::base::{Error, Limits, Result};
use crate::device::KillSwitch;
use crate::proc::engine::Bounds;

/// Threads of the child: more reserve more address space than they save time.
const THREADS: &str = "4";
/// Bytes of the child's error text that are looked at.
const ERROR_BYTES: u64 = 64 << 10;
/// Wall time of the child beyond its processor time, for a machine that has much
/// else to do: four times as long, and this.
const SPARE_TIME: Duration = Duration::from_secs(10);

/// Time between two looks at the kill switch of who waits for the child.
const LOOK: Duration = Duration::from_millis(5);

/// Compiles `bytes` in a child process of `program`.
pub(super) fn compile(program: &OsStr, bytes: &[u8], bounds: Bounds<'_>) -> Result<(Interfaces, Vec<u8>)> {
    let limits = bounds.limits;
    let mut child = command(program, limits).spawn().map_err(|e| Error::io("start the compiler", program, e))?;
    let ended = exchange(&mut child, bytes, bounds);
    // A child that is not waited for would stay as a zombie; one that has ended is not hurt.
    let _ = child.kill();
    let status = child.wait().map_err(|e| Error::io("wait for the compiler", program, e))?;
    let (answer, errors) = ended?;
    match status.success() {
        true => read(answer),
        false => Err(explain(status, &errors, limits)),
    }
}

fn command(program: &OsStr, limits: &Limits) -> Command {
    let mut command = Command::new(program);
    command.arg(SUBCOMMAND);
    command.args(["--cpu-ms", &limits.compile_cpu_ms.to_string()]);
    command.args(["--memory-bytes", &limits.compile_memory_bytes.to_string()]);
    command.env("RAYON_NUM_THREADS", THREADS).env("MALLOC_ARENA_MAX", "2").env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Passes the component in while the answer comes out; answer and error text.
fn exchange(child: &mut Child, bytes: &[u8], bounds: Bounds<'_>) -> Result<(Vec<u8>, String)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (sender, answer) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A child that has ended reads no more, and its status says why.
            let _ = stdin.map(|mut stdin| stdin.write_all(bytes));
        });
        scope.spawn(move || {
            let mut answer = Vec::new();
            let _ = stdout.map(|mut stdout| stdout.read_to_end(&mut answer));
            let _ = sender.send(answer);
        });
        let errors = scope.spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.map(|stderr| stderr.take(ERROR_BYTES).read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        });
        let Bounds { limits, kill } = bounds;
        let wall = Duration::from_millis(limits.compile_cpu_ms).saturating_mul(4).saturating_add(SPARE_TIME);
        let answer = patiently(&answer, wall, kill);
        if answer.is_err() {
            let _ = child.kill();
        }
        let errors = errors.join().unwrap_or_default();
        match answer {
            Ok(answer) => Ok((answer, errors)),
            Err(RecvTimeoutError::Timeout) => {
                Err(kill.check().err().unwrap_or_else(|| exceeded("compile_cpu_ms", limits.compile_cpu_ms)))
            }
            Err(RecvTimeoutError::Disconnected) => Err(Error::Internal("the compiler's answer was not read".into())),
        }
    })
}

/// What a channel gives within `wall`, as long as nobody throws `kill`.
fn patiently(answer: &Receiver<Vec<u8>>, wall: Duration, kill: &KillSwitch) -> Result<Vec<u8>, RecvTimeoutError> {
    let begun = Instant::now();
    loop {
        match answer.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) if begun.elapsed() < wall && !kill.is_thrown() => {}
            ended => return ended,
        }
    }
}

fn read(answer: Vec<u8>) -> Result<(Interfaces, Vec<u8>)> {
    let foreign = || Error::Internal("the compiler does not speak as this quern does".into());
    let end = answer.iter().position(|byte| *byte == b'\n').ok_or_else(foreign)?;
    let (head, rest) = answer.split_at_checked(end).ok_or_else(foreign)?;
    match serde_json::from_slice(head).map_err(|_| foreign())? {
        Head::Compiled(interfaces) => Ok((interfaces, rest.get(1..).unwrap_or_default().to_vec())),
        Head::Unusable(reason) => Err(unusable(&reason)),
    }
}

/// Why the child did not end well.
fn explain(status: ExitStatus, errors: &str, limits: &Limits) -> Error {
    let says = |text: &str| errors.contains(text);
    match status.signal() {
        Some(libc::SIGPROF | libc::SIGXCPU) => exceeded("compile_cpu_ms", limits.compile_cpu_ms),
        _ if ["memory allocation of", "Cannot allocate memory", "out of memory"].into_iter().any(says) => {
            exceeded("compile_memory_bytes", limits.compile_memory_bytes)
        }
        Some(libc::SIGABRT | libc::SIGSEGV | libc::SIGBUS) => unusable("the compiler fails on it"),
        _ => {
            let reason = errors.lines().next().unwrap_or("it gave no reason").trim_start_matches("error: ");
            Error::Internal(format!("the compiler ended with {status}: {reason}"))
        }
    }
}

/// How much would have been used in the end nobody knows: more than allowed.
fn exceeded(limit: &'static str, allowed: u64) -> Error {
    Limits::exceeded(limit, allowed.saturating_add(1), allowed)
}
