//! The GPU of this machine, where there is one.

use std::process::Command;

use quern::device::cuda::probe;

use super::bench::in_child;

/// Set to 1 where a machine must have a GPU, so that tests fail where it has none.
const REQUIRED_VARIABLE: &str = "REQUIRE_CUDA";

/// Names a tool of compute-sanitizer that the tests are to run under.
const TOOL_VARIABLE: &str = "QUERN_SANITIZER";

/// Executes `test` in a child process on the GPU of this machine, as
/// [`super::bench::Fake::run`] does on the fake one. Without a GPU there is nothing to
/// be tested, unless one is required.
pub(crate) fn run<F: Fn()>(test: F) {
    if is_there() {
        in_child("GPU", supervise, test);
    }
}

/// Whether this machine has a GPU; it must where one is required.
pub(crate) fn is_there() -> bool {
    let Err(absent) = probe() else { return true };
    let is_required = std::env::var_os(REQUIRED_VARIABLE).is_some_and(|value| value == "1");
    assert!(!is_required, "{REQUIRED_VARIABLE}=1 is set, but there is no GPU: {absent}");
    false
}

/// Lets the process run under the tool that was asked for.
fn supervise(command: &mut Command) {
    let Ok(tool) = std::env::var(TOOL_VARIABLE) else { return };
    let mut supervised = Command::new("compute-sanitizer");
    supervised.args(["--tool", &tool, "--error-exitcode", "86"]).arg(command.get_program()).args(command.get_args());
    supervised.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    *command = supervised;
}
