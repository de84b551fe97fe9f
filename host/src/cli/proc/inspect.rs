//! `quern proc inspect`: what a component file is, before it is created; and the
//! report that `quern proc create` prints as well.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;

use super::show::describe_procs;
use crate::base::{Error, Limits};
use crate::cli::args::CreationLimitArg;
use crate::cli::context::Context;
use crate::cli::output::{Paint, bytes, duration_ms};
use crate::proc::{CodeCache, CodeSource, Engine, inspect};
use crate::server::InspectionView;

const EXAMPLES: &str = "\
Examples:
  quern proc inspect target/my-proc.wasm
  quern proc inspect my-proc.wasm --json";

/// Look at a component file: what it imports, what it may do, its procs
///
/// Uses no folder and executes nothing but the component's description of itself.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Inspect {
    /// The component
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Another value for a limit, for example compile_cpu_ms; repeatable
    #[arg(long = "limit", value_name = "NAME=VALUE")]
    limits: Vec<CreationLimitArg>,
}

impl Inspect {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let bytes = read_component(&self.file)?;
        let mut limits = Limits::default();
        self.limits.iter().try_for_each(|CreationLimitArg(limit)| limits.set(&limit.name, limit.value))?;
        let progress = context.progress(&format!("compiling {}", self.file.display()));
        let cache = CodeCache::of_user();
        let what = self.file.display().to_string();
        let found = inspect(Engine::get()?, &what, &bytes, &limits, cache.as_ref())?;
        progress.finish();
        let view = InspectionView::from(found);
        context.show(&view, || report(&view, context.out))
    }
}

/// A file that is larger is not read, whatever `component_bytes` allows.
const LARGEST_FILE_BYTES: u64 = 1 << 30;

/// The bytes of a component file.
pub(crate) fn read_component(file: &Path) -> Result<Vec<u8>> {
    let failed = |e| Error::io("read", file, e);
    let about = std::fs::metadata(file).map_err(failed)?;
    anyhow::ensure!(about.is_file() || about.is_dir(), "{} is not a file with a component", file.display());
    anyhow::ensure!(
        about.len() <= LARGEST_FILE_BYTES,
        "{} has {} bytes; files of components with more than {LARGEST_FILE_BYTES} bytes are not read",
        file.display(),
        about.len()
    );
    std::fs::read(file).map_err(|e| failed(e).into())
}

/// What each step found: the file, its interfaces, its code, what it may do, its procs.
pub(crate) fn report(view: &InspectionView, paint: Paint) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        text.push_str(&format!("{}{value}\n", paint.dim(&format!("{name:<11}"))));
    };
    line("file", &format!("{}, sha256 {}", bytes(view.size_bytes), view.sha256));
    line("imports", &names(&view.imports));
    line("exports", &names(&view.exports));
    let time = duration_ms(view.compile_ms);
    let how = match view.compiled_in {
        CodeSource::ChildProcess => format!("compiled in {time} by a process with limits"),
        CodeSource::ThisProcess => format!("compiled in {time}"),
        CodeSource::Cache => format!("compiled before, read in {time}"),
    };
    line("code", &format!("{}, {how}", bytes(view.code_bytes)));
    let capabilities = &view.capabilities;
    line("asks for", &capabilities.asked());
    if !capabilities.asks_not.is_empty() {
        line("asks not", &capabilities.asks_not.join(", "));
    }
    line("never has", &capabilities.never.join(", "));
    text.push('\n');
    text.push_str(&describe_procs(&view.procs, paint));
    text
}

/// `quern:udf@0.1.0: job, tables` of full names of interfaces of one package.
fn names(interfaces: &[String]) -> String {
    let parts = interfaces.iter().map(|full| {
        let (package, name) = full.split_once('/').unwrap_or(("", full));
        let (name, version) = name.split_once('@').unwrap_or((name, ""));
        (format!("{package}@{version}"), name)
    });
    let mut packages: Vec<(String, Vec<&str>)> = Vec::new();
    for (package, name) in parts {
        match packages.iter_mut().find(|(known, _)| *known == package) {
            Some((_, names)) => names.push(name),
            None => packages.push((package, vec![name])),
        }
    }
    let texts: Vec<String> =
        packages.iter().map(|(package, names)| format!("{package}: {}", names.join(", "))).collect();
    texts.join("; ")
}
