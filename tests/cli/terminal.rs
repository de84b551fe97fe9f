//! The program on a real terminal (a pseudo-terminal): the shell, colours.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::Terminal;

/// A program on a pseudo-terminal.
struct Screen {
    child: Child,
    /// The other end: what is typed goes in, what is shown comes out.
    tty: File,
    shown: String,
}

impl Screen {
    fn start(terminal: &Terminal, arguments: &[&str]) -> Self {
        let (mut ours, mut theirs) = (0, 0);
        let size = libc::winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: openpty writes two descriptors, which nobody else owns.
        let (ours, theirs) = unsafe {
            let made = libc::openpty(&mut ours, &mut theirs, std::ptr::null_mut(), std::ptr::null(), &size);
            assert_eq!(made, 0);
            (File::from(OwnedFd::from_raw_fd(ours)), OwnedFd::from_raw_fd(theirs))
        };
        // SAFETY: changes only whether reads of our own descriptor wait.
        unsafe {
            let descriptor = std::os::fd::AsRawFd::as_raw_fd(&ours);
            assert_eq!(libc::fcntl(descriptor, libc::F_SETFL, libc::O_NONBLOCK), 0);
        }
        let mut command = terminal.command(arguments);
        command.env("TERM", "xterm-256color");
        command.stdin(Stdio::from(theirs.try_clone().unwrap()));
        command.stdout(Stdio::from(theirs.try_clone().unwrap()));
        command.stderr(Stdio::from(theirs));
        // SAFETY: both calls are allowed between fork and exec; the child gets the
        // pseudo-terminal as its own, so that Ctrl-C reaches it.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        Self { child, tty: ours, shown: String::new() }
    }

    /// Waits until a text is shown, and forgets everything up to its end.
    fn expect(&mut self, text: &str) -> String {
        let started = Instant::now();
        loop {
            if let Some(at) = self.shown.find(text) {
                let before = self.shown[..at + text.len()].to_owned();
                self.shown.drain(..at + text.len());
                return before;
            }
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "`{text}` is not shown, but\n{}",
                self.shown.escape_debug()
            );
            self.look();
        }
    }

    /// Reads what is shown, and answers where the editor asks for the cursor.
    fn look(&mut self) {
        let mut bytes = [0; 4096];
        match self.tty.read(&mut bytes) {
            Ok(n) => {
                let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
                for _ in 0..text.matches("\x1b[6n").count() {
                    self.tty.write_all(b"\x1b[1;1R").unwrap();
                }
                self.shown.push_str(&text);
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }

    fn type_in(&mut self, text: &str) {
        self.tty.write_all(text.as_bytes()).unwrap();
    }

    /// Waits for the end; the exit code.
    fn end(mut self) -> i32 {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "it does not end; it shows\n{}",
                self.shown.escape_debug()
            );
            self.look();
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_shell_executes_statements_over_several_lines_and_leaves() {
    let terminal = Terminal::new();
    let mut screen = Screen::start(&terminal, &["sql"]);
    screen.expect("\\? for help");
    screen.expect("quern");
    screen.type_in("create table t (a int64);\r");
    screen.expect("created table `t`");
    screen.type_in("insert into t\r");
    screen.type_in("values (40), (2);\r");
    screen.expect("inserted 2 rows");
    screen.type_in("select sum(a) as answer from t;\r");
    screen.expect("answer\r\n");
    screen.expect("    42\r\n");
    screen.type_in("select b from t;\r");
    screen.expect("no column `b` in table `t`");
    screen.type_in("\\d t\r");
    screen.expect("int64");
    screen.type_in("\\q\r");
    assert_eq!(screen.end(), 0);
    let history = std::fs::read_to_string(terminal.path("state/quern/history")).unwrap();
    assert!(history.contains("select sum(a) as answer from t;"), "{history}");
}

#[test]
fn tab_completes_names_of_tables() {
    let terminal = Terminal::new();
    terminal.ok(&["sql", "create table measurements (a int64); insert into measurements values (7)"]);
    let mut screen = Screen::start(&terminal, &["sql"]);
    screen.expect("\\? for help");
    screen.type_in("select a from measur\t");
    screen.expect("measurements");
    screen.type_in(";\r");
    screen.expect("7\r\n");
    screen.type_in("\x04");
    assert_eq!(screen.end(), 0);
}

#[test]
fn a_run_on_a_terminal_is_killed_by_ctrl_c() {
    let terminal = Terminal::new();
    terminal.create("hostile", "tests/evil/hostile");
    let mut screen = Screen::start(&terminal, &["proc", "execute", "hostile.loops_forever"]);
    // The bar appears after a second.
    screen.expect("run 1");
    screen.type_in("\x03");
    screen.expect("killing run 1");
    assert_eq!(screen.end(), 130);
    assert_eq!(terminal.json(&["run", "show", "1"])["state"], "killed");
}

#[test]
fn errors_are_coloured_on_a_terminal_unless_told_not_to() {
    let terminal = Terminal::new();
    let mut screen = Screen::start(&terminal, &["run", "show", "7"]);
    screen.expect("\x1b[1;31merror:\x1b[0m no run `7`");
    assert_eq!(screen.end(), 1);
    let mut screen = Screen::start(&terminal, &["--color", "never", "run", "show", "7"]);
    let before = screen.expect("error: no run `7`");
    assert!(!before.contains('\x1b'), "{}", before.escape_debug());
    assert_eq!(screen.end(), 1);
}

#[test]
fn ctrl_c_in_the_shell_says_no_more_than_what_it_stopped() {
    let terminal = Terminal::new();
    let mut screen = Screen::start(&terminal, &["sql"]);
    screen.expect("\\? for help");
    screen.expect("quern");
    screen.type_in("select count(*) from generate_series(1, 100000000000);\r");
    std::thread::sleep(Duration::from_millis(500));
    screen.type_in("\x03");
    let shown = screen.expect("stopped\x1b");
    assert!(!shown.contains("run"), "{shown}");
    screen.type_in("select 40 + 2 as answer;\r");
    screen.expect("42");
    screen.type_in("\\q\r");
    assert_eq!(screen.end(), 0);
}
