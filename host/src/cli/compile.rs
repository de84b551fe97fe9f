//! The child process that compiles a component, which `quern` starts itself.

use anyhow::Result;
use clap::Args;

use crate::proc::{ChildLimits, compile_component};

/// Compile the component on standard input to standard output, within limits
#[derive(Debug, Args)]
pub(crate) struct Compile {
    /// Processor time
    #[arg(long, value_name = "MS")]
    cpu_ms: u64,
    /// Address space
    #[arg(long, value_name = "BYTES")]
    memory_bytes: u64,
}

impl Compile {
    pub(crate) fn run(self) -> Result<()> {
        Ok(compile_component(ChildLimits { cpu_ms: self.cpu_ms, memory_bytes: self.memory_bytes })?)
    }
}
