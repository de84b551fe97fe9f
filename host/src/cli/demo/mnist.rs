//! `quern demo mnist`: handwritten digits ingested, a network trained on them,
//! applied to unseen ones and evaluated, all inside the database.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, UInt64Type};
use arrow::record_batch::RecordBatch;
use clap::Args;

use super::files::{Images, component, peak_memory_bytes};
use super::picture::{Confusion, DIGITS, confusion, correct, receipts, total};
use crate::cli::context::Context;
use crate::cli::import::import;
use crate::cli::interrupt;
use crate::cli::output::{bytes, count, duration, percent};
use crate::cli::proc::{check, create, follow, start};
use crate::cli::report::Interrupted;
use crate::cli::sql::query;
use crate::database::{ImportMode, ImportRequest};
use crate::proc::ComponentRequest;
use crate::run::{InputRef, RunRequest};
use crate::server::{Role, RunView};

const EXAMPLES: &str = "\
Examples:
  quern demo mnist
  quern --data /tmp/mnist demo mnist --seed 2 --json";

/// Name of the component.
const COMPONENT: &str = "mnist";

const TRAINING: &str = "mnist_training_input";
const TEST: &str = "mnist_inference_input";
const MODELS: &str = "mnist_train_output";
const PREDICTIONS: &str = "mnist_inference_output";

/// What a user would type to see how good the model is.
const PER_DIGIT: &str = "\
select label as digit,
       count(*) filter (where predict = label) as \"right\",
       count(*) filter (where predict <> label) as wrong
from mnist_inference_output group by label order by label";

/// A further question to try.
const MISTAKES: &str = "sql \"select label, predict, count(*) as images from mnist_inference_output \
                        where label <> predict group by label, predict order by images desc limit 5\"";

/// Handwritten digits: ingest, train, infer, evaluate
///
/// Reads the 70,000 images of MNIST into tables, trains a network of two hidden
/// layers on 60,000 of them, applies it to the other 10,000, and shows how many
/// it recognises. Works in ./demo-data unless --data names another folder.
/// Running it again keeps the models and makes the other tables anew.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Mnist {
    /// Seed of weights and shuffling
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// The folder with the four MNIST files [default: tests/data/mnist]
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// The built component [default: built from udfs/mnist]
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
}

/// What the demo did, as `--json` shows it.
#[derive(Debug, serde::Serialize)]
struct Story {
    seed: u64,
    accuracy: f64,
    correct: u64,
    images: u64,
    confusion: Confusion,
    steps: Vec<Step>,
    runs: Vec<RunView>,
    total_seconds: f64,
    peak_memory_bytes: Option<u64>,
}

/// One step and its time.
#[derive(Debug, serde::Serialize)]
struct Step {
    name: &'static str,
    done: String,
    seconds: f64,
}

impl Mnist {
    /// Tells the story.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let started = Instant::now();
        interrupt::listen();
        let images = Images::find(self.files)?;
        context.creating_connection(Role::Command)?;
        let mut printer = StepPrinter { context, steps: Vec::new() };
        printer.title(self.seed)?;
        printer.step("component", |_| create_component(context, self.component))?;
        query(context, &format!("drop table if exists {PREDICTIONS}"))?;
        printer.step("ingest", |_| ingest(context, TRAINING, images.training))?;
        printer.step("ingest", |_| ingest(context, TEST, images.test))?;
        let (training, inference) = (training(self.seed), inference(self.seed));
        let train = printer.run("train", training, |run| {
            format!("loss {} on {} images → {MODELS}", result(run, "loss"), count(rows_in(run)))
        })?;
        let infer = printer.run("infer", inference, |run| {
            format!("{} images in {} shards → {PREDICTIONS}", count(rows_out(run)), run.instances.len())
        })?;
        let mut matrix = Confusion::default();
        printer.step("evaluate", |context| {
            matrix = evaluate(context)?;
            Ok(format!("{} predictions compared with their labels, by SQL", count(total(&matrix))))
        })?;
        let holder = context.connection()?.remote_holder().map_or(std::process::id(), |holder| holder.pid);
        let story = Story {
            seed: self.seed,
            accuracy: correct(&matrix) as f64 / total(&matrix).max(1) as f64,
            correct: correct(&matrix),
            images: total(&matrix),
            confusion: matrix,
            steps: printer.steps,
            runs: vec![train, infer],
            total_seconds: started.elapsed().as_secs_f64(),
            peak_memory_bytes: peak_memory_bytes(holder),
        };
        if context.json {
            return context.print_json(&story);
        }
        Ok(context.print(&ending(context, &story)?)?)
    }
}

/// Does steps and says when each is done.
struct StepPrinter<'a> {
    context: &'a Context,
    steps: Vec<Step>,
}

impl StepPrinter<'_> {
    fn title(&self, seed: u64) -> Result<()> {
        let context = self.context;
        if context.json || context.quiet {
            return Ok(());
        }
        let (title, folder) = (context.out.bold("quern demo mnist"), context.folder.display());
        Ok(context.print(&format!("{title}  seed {seed}, folder {folder}\n\n"))?)
    }

    fn step(&mut self, name: &'static str, work: impl FnOnce(&Context) -> Result<String>) -> Result<()> {
        let started = Instant::now();
        let done = work(self.context)?;
        if interrupt::asked() {
            return Err(Interrupted.into());
        }
        self.done(name, done, started.elapsed())
    }

    /// A step that is a run.
    fn run(
        &mut self,
        name: &'static str,
        request: RunRequest,
        done: impl FnOnce(&RunView) -> String,
    ) -> Result<RunView> {
        let started = Instant::now();
        let connection = self.context.connection()?;
        let progress = self.context.progress(&format!("  {name:<9}")).at_once();
        let run = start(connection, request)?;
        let run = follow(self.context, connection, run, progress)?;
        check(&run)?;
        self.done(name, done(&run), started.elapsed())?;
        Ok(run)
    }

    fn done(&mut self, name: &'static str, done: String, time: Duration) -> Result<()> {
        let context = self.context;
        if !context.json && !context.quiet {
            let tick = context.out.green("✓");
            let padded = format!("{done:<58}");
            context.print(&format!("{tick} {name:<9}  {padded}{:>9}\n", duration(time)))?;
        }
        self.steps.push(Step { name, done, seconds: time.as_secs_f64() });
        Ok(())
    }
}

/// Stores the component; one that is stored already stays as it is.
fn create_component(context: &Context, file: Option<PathBuf>) -> Result<String> {
    let file = component(context, file)?;
    let created = create(context, ComponentRequest::new(COMPONENT), file)?;
    let procs: Vec<&str> = created.report.procs.iter().map(|proc| proc.name.as_str()).collect();
    let size = bytes(created.report.size_bytes);
    Ok(format!("{COMPONENT} version {}, {size}: {}", created.version, procs.join(", ")))
}

fn ingest(context: &Context, table: &str, [images, labels]: [PathBuf; 2]) -> Result<String> {
    let absolute =
        |file: PathBuf| std::path::absolute(&file).with_context(|| format!("cannot find {}", file.display()));
    let done = import(
        context,
        ImportRequest {
            files: vec![absolute(images)?, absolute(labels)?],
            table: table.to_owned(),
            mode: ImportMode::Replace,
            names: Some(["id", "data", "onehot_label", "readable_label"].map(str::to_owned).to_vec()),
            ids: true,
            one_hot_classes: u32::try_from(DIGITS).ok(),
            ..ImportRequest::default()
        },
    )?;
    let rate = (done.rows as f64 / done.seconds.max(1e-6)) as u64;
    Ok(format!("{} rows → {table}, {} rows/s", count(done.rows), count(rate)))
}

fn training(seed: u64) -> RunRequest {
    let mut request = RunRequest::new(format!("{COMPONENT}.train")).output(MODELS);
    let columns = ["data", "readable_label"].map(str::to_owned).to_vec();
    request.inputs.push(InputRef { columns: Some(columns), ..InputRef::table(TRAINING) });
    request.seed = Some(seed);
    request.tag = Some("demo".to_owned());
    request
}

fn inference(seed: u64) -> RunRequest {
    let mut request = RunRequest::new(format!("{COMPONENT}.infer")).input(TEST).input(MODELS).output(PREDICTIONS);
    request.seed = Some(seed);
    request.tag = Some("demo".to_owned());
    request
}

/// Counts, per label and predicted digit, by SQL.
fn evaluate(context: &Context) -> Result<Confusion> {
    let text = format!("select label, predict, count(*) from {PREDICTIONS} group by label, predict");
    let mut matrix = Confusion::default();
    for batch in query(context, &text)? {
        let [labels, predicted, counts] = numbers(&batch)?;
        for ((label, predicted), images) in labels.into_iter().zip(predicted).zip(counts) {
            let cell = usize::try_from(label).ok().zip(usize::try_from(predicted).ok());
            let cell = cell.and_then(|(label, predicted)| matrix.get_mut(label)?.get_mut(predicted));
            *cell.with_context(|| format!("label {label}, predicted as {predicted}, is no digit"))? = images;
        }
    }
    Ok(matrix)
}

/// The first columns of a batch as whole numbers.
fn numbers<const N: usize>(batch: &RecordBatch) -> Result<[Vec<u64>; N]> {
    let column = |i: usize| -> Result<Vec<u64>> {
        let column = batch.columns().get(i).ok_or_else(|| anyhow!("the answer has only {i} columns"))?;
        Ok(cast(column, &DataType::UInt64)?.as_primitive::<UInt64Type>().values().to_vec())
    };
    let columns = (0..N).map(column).collect::<Result<Vec<_>>>()?;
    columns.try_into().map_err(|_| anyhow!("the answer has not {N} columns"))
}

/// Accuracy, the SQL and its answer, the matrix, the receipts, what to try next.
fn ending(context: &Context, story: &Story) -> Result<String> {
    let paint = context.out;
    let mut text = String::from("\n");
    let accuracy = format!("accuracy {}", percent(story.correct, story.images, 2));
    let of = format!("{} of {} unseen images recognised", count(story.correct), count(story.images));
    text.push_str(&format!("{}  {of}\n\n", paint.bold(&paint.green(&accuracy))));

    text.push_str(&paint.cyan(&format!("{PER_DIGIT};")));
    text.push_str("\n\n");
    text.push_str(&per_digit(context)?);
    text.push('\n');
    text.push_str(&confusion(&story.confusion, paint));

    text.push_str(&format!("\n{}\n", paint.bold("receipts")));
    text.push_str(&receipts(&story.runs.iter().collect::<Vec<_>>(), paint));
    let peak = story.peak_memory_bytes.map(|n| format!(", peak memory {}", bytes(n))).unwrap_or_default();
    text.push_str(&format!("\ntotal time {}{peak}\n", duration(Duration::from_secs_f64(story.total_seconds))));

    let quern = format!("quern --data {}", context.folder.display());
    text.push_str(&format!("\n{}\n", paint.bold("try next")));
    let run = story.runs.first().map_or(0, |run| run.id.0);
    let losses = format!(
        "sql \"select step, value from quern.metrics where run = {run} and name = 'epoch_loss' order by step\""
    );
    for (what, command) in [
        ("what it mistakes for what", MISTAKES),
        ("the loss, epoch by epoch", &losses),
        ("all runs", "run list"),
        ("the model for Python", "model export mnist-784-256-256-10 mnist.safetensors"),
        ("a shell", "sql"),
    ] {
        text.push_str(&format!("  {}\n    {}\n", paint.dim(what), paint.cyan(&format!("{quern} {command}"))));
    }
    Ok(text)
}

/// The answer to [`PER_DIGIT`], as `quern sql` shows it.
fn per_digit(context: &Context) -> Result<String> {
    let batches = query(context, PER_DIGIT)?;
    let Some(schema) = batches.first().map(RecordBatch::schema) else { return Ok(String::new()) };
    let rows = crate::sql::Rows::new(schema, batches.into_iter().map(Ok));
    let mut text = Vec::new();
    crate::sql::format::write_rows(rows, crate::sql::format::Output::Table, &mut text)?;
    Ok(String::from_utf8(text)?)
}

fn rows_in(run: &RunView) -> u64 {
    run.instances.iter().filter_map(|i| i.receipt.as_ref()).map(|r| r.rows_in).sum()
}

fn rows_out(run: &RunView) -> u64 {
    run.instances.iter().filter_map(|i| i.receipt.as_ref()).map(|r| r.rows_out).sum()
}

/// A number that the run's first instance gave, in short.
fn result(run: &RunView, name: &str) -> String {
    let value = run.instances.iter().find_map(|instance| instance.results.get(name));
    let text = value.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).unwrap_or_default();
    text.parse::<f64>().map_or(text, |number| format!("{number:.4}"))
}
