//! The `quern` program as a user types it: what it prints, what it answers when
//! something is wrong, and several of them on one folder.

mod agreement;
mod bad_guests;
mod demo;
mod devices;
mod errors;
mod import;
mod kills;
mod processes;
mod procs;
mod runs;
mod settings;
mod sql;
mod terminal;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::components::component;

/// A folder, and the program on it.
struct Terminal {
    folder: tempfile::TempDir,
}

/// What a command left.
#[derive(Debug)]
struct Answer {
    out: String,
    err: String,
    code: i32,
}

impl Terminal {
    /// With an empty data folder.
    fn new() -> Self {
        let terminal = Self::without_folder();
        std::fs::create_dir(terminal.data()).unwrap();
        terminal
    }

    /// With no data folder yet.
    fn without_folder() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A path outside the data folder.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and returns its path as text.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(crate::support::quern_binary());
        command.arg("--data").arg(self.data()).args(arguments).stdin(Stdio::null());
        // What a user's shell may hold must not decide what is tested.
        for name in ["QUERN_DATA", "QUERN_USER", "QUERN_CORES", "NO_COLOR", "USER"] {
            command.env_remove(name);
        }
        command.env("XDG_STATE_HOME", self.path("state"));
        // Nor whether it ignores Ctrl-C, as jobs in the background do, or the end of
        // its terminal, as under `nohup`.
        // SAFETY: `signal` is allowed between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                libc::signal(libc::SIGHUP, libc::SIG_DFL);
                Ok(())
            });
        }
        command
    }

    /// Types a command and waits for it.
    fn quern(&self, arguments: &[&str]) -> Answer {
        Answer::of(self.command(arguments).output().unwrap())
    }

    /// The same, and it must succeed; standard output.
    fn ok(&self, arguments: &[&str]) -> String {
        let answer = self.quern(arguments);
        assert_eq!(answer.code, 0, "quern {arguments:?}: {answer:?}");
        answer.out
    }

    /// The same, as JSON.
    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let out = self.ok(&[&["--json"], arguments].concat());
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("quern {arguments:?}: {e}: {out}"))
    }

    /// The one value of a query.
    fn value(&self, query: &str) -> serde_json::Value {
        let rows = self.json(&["sql", query]);
        rows[0].as_object().unwrap().values().next().unwrap().clone()
    }

    /// The same, and it must fail with exit code 1; the lines of standard error.
    fn error(&self, arguments: &[&str]) -> Vec<String> {
        let answer = self.quern(arguments);
        assert_eq!(answer.code, 1, "quern {arguments:?}: {answer:?}");
        answer.err.lines().filter(|line| !line.starts_with("created the folder")).map(str::to_owned).collect()
    }

    /// Starts a command that goes on.
    fn start(&self, arguments: &[&str]) -> Process {
        let child = self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Process { child: Some(child) }
    }

    /// Starts `quern serve` and waits until it holds the folder.
    fn serve(&self) -> Process {
        self.hold(&["serve"])
    }

    /// Starts a command that goes on and waits until it holds the folder, so that
    /// commands typed after it are its clients and not it theirs.
    fn hold(&self, arguments: &[&str]) -> Process {
        let holder = self.start(arguments);
        wait_until("the command holds the folder", || {
            std::fs::read_to_string(self.data().join("quern.lock"))
                .is_ok_and(|text| text.trim() == holder.pid().to_string())
                && self.data().join("quern.sock").exists()
        });
        holder
    }

    /// Creates the component of a crate of this repository.
    fn create(&self, name: &str, crate_folder: &str) {
        let file = self.file(&format!("{name}.wasm"), component(crate_folder));
        self.ok(&["proc", "create", &file]);
    }
}

impl Answer {
    fn of(output: Output) -> Self {
        Self {
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

/// A command that goes on; killed when the test ends.
struct Process {
    child: Option<Child>,
}

impl Process {
    fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the child is ours and not waited for yet, so the pid is its own.
        assert_eq!(unsafe { libc::kill(self.pid().cast_signed(), signal) }, 0);
    }

    fn wait(mut self) -> Answer {
        wait_until("the command ends", || self.child.as_mut().unwrap().try_wait().unwrap().is_some());
        Answer::of(self.child.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until something is so, at most a minute.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(60), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The MNIST files.
fn mnist(name: &str) -> String {
    crate::support::tests_folder().join("data/mnist").join(name).to_str().unwrap().to_owned()
}
