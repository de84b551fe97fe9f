//! The `quern` program: the command line and nothing else.

fn main() -> std::process::ExitCode {
    quern::cli::main()
}
