//! Components and their execution: inspect → compile → instantiate → call.
//!
//! * [`inspect`] looks at a file alone: is it a component, what does it import,
//!   what does it declare.
//! * [`Engine`] compiles it, once per content; [`Component`] is the result.
//! * [`instance`] executes one instance of a proc on the calling thread, within
//!   the limits of its [`InstanceJob`].
//!
//! `interfaces/` is the host side of `wit/`, same file names. Nothing of WASI is
//! linked: what a component imports is all it can ever reach.

pub mod build;
mod column_range;
mod compile;
mod create;
mod engine;
mod handles;
mod inspect;
mod instance;
mod interfaces;
mod job;
mod model_cache;
mod model_file;
mod models;
mod receipt;
mod recent;
mod results;
mod sandbox;
mod tables;
pub mod template;
mod testing;
mod text;
mod trap;

pub use compile::{
    ChildLimits, CodeSource, PROGRAM_VARIABLE, SUBCOMMAND, compile_component, compile_with_this_program,
};
pub use create::{ComponentRequest, CreationReport, Purpose};
pub use engine::{Bounds, Code, CodeCache, Component, Engine, MAX_INSTANCES};
pub use inspect::{Capabilities, Inspection, inspect, inspect_tests};
pub use instance::instance;
pub use job::{
    Checkpoints, InstanceJob, InstanceOutcome, LogLevel, ModelChecksums, Observer, Params, SavedModel, Task,
};
pub use model_cache::ModelCache;
pub use receipt::{Moved, Receipt};
pub use testing::{TestComponent, TestOutcome, TestRun, TestTables};
