//! `quern proc show`: what a proc reads, writes and takes.

use anyhow::Result;
use clap::Args;

use crate::catalog::ProcSpec;
use crate::catalog::spec::OutputColumn;
use crate::cli::context::Context;
use crate::cli::output::{Paint, bytes, timestamp};
use crate::server::{ComponentView, Request};

const EXAMPLES: &str = "\
Examples:
  quern proc show mnist
  quern proc show mnist.train --json";

/// Show a component, or one of its procs: inputs, outputs, parameters
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Show {
    /// `component`, `proc` or `component.proc`
    #[arg(value_name = "PROC")]
    name: String,
}

impl Show {
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let request = Request::Component { name: self.name };
        let components = context.asking_connection()?.ask(request)?.components()?;
        context.show(&components.first(), || {
            let text: String = components.iter().map(|component| describe(component, context.out)).collect();
            text
        })
    }
}

fn describe(component: &ComponentView, paint: Paint) -> String {
    format!(
        "{} version {} · {} · created {} UTC\n{}\n{}\n{}",
        paint.bold(&component.name),
        component.version,
        bytes(component.size_bytes),
        timestamp(component.created_us),
        paint.dim(&format!("sha256 {}", component.sha256)),
        bounds(component),
        describe_procs(&component.procs, paint)
    )
}

/// A line for each proc of which only so many instances run at the same time, and
/// for each limit that is set for one.
fn bounds(component: &ComponentView) -> String {
    let instances = |(proc, most): (&String, &u64)| {
        format!("{proc}: at most {most} {} at a time\n", if *most == 1 { "instance" } else { "instances" })
    };
    let limits = component.limits.iter().flat_map(|(proc, limits)| {
        limits.entries().map(move |(name, value)| format!("{proc}: limit {name} {value}\n"))
    });
    component.max_concurrency.iter().map(instances).chain(limits).collect()
}

/// The procs of a component, each with what it reads, writes and takes.
pub(crate) fn describe_procs(procs: &[ProcSpec], paint: Paint) -> String {
    procs.iter().map(|proc| describe_proc(proc, paint)).collect::<Vec<_>>().join("\n")
}

fn describe_proc(proc: &ProcSpec, paint: Paint) -> String {
    let mut text = format!("{} ({})", paint.bold(&proc.name), proc.mode);
    if !proc.doc.is_empty() {
        text.push_str(&format!("  {}", proc.doc));
    }
    text.push('\n');
    let mut line = |kind: &str, name: &str, columns: &str, doc: &str| {
        text.push_str(&format!("  {} {name}", paint.dim(&format!("{kind:<8}"))));
        for part in [columns, doc].into_iter().filter(|part| !part.is_empty()) {
            text.push_str(&format!("  {part}"));
        }
        text.push('\n');
    };
    for input in &proc.inputs {
        let columns: Vec<String> = input.columns.iter().map(|c| format!("{} {}", c.name, c.class)).collect();
        line("input", &input.name, &in_brackets(&columns), &input.doc);
    }
    for output in &proc.outputs {
        let null = |column: &OutputColumn| if column.nullable { " null" } else { "" };
        let of = |column: &OutputColumn| format!("{} {}{}", column.name, column.column_type, null(column));
        let mut columns: Vec<String> = output.columns.iter().map(of).collect();
        if output.models {
            columns.insert(0, "models".to_owned());
        }
        line("output", &output.name, &in_brackets(&columns), &output.doc);
    }
    for param in &proc.params {
        let default = param.default.as_ref().map_or("required".to_owned(), |value| format!("= {value}"));
        line("param", &param.name, &format!("{} {default}", param.param_type), &param.doc);
    }
    for reducer in &proc.reducers {
        line("result", &reducer.name, reducer.reducer.as_str(), "");
    }
    text
}

fn in_brackets(parts: &[String]) -> String {
    if parts.is_empty() { String::new() } else { format!("({})", parts.join(", ")) }
}
