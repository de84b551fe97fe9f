//! Calls every function of the SDK in a real host and compares what it gives
//! with values written down here. A proc that returns ok has seen no difference.

mod columns;
mod networks;
mod operations;

use std::fmt::Debug;

use columns::columns;
use networks::{recall, train};
use operations::{making, operations};
use quern_udf::Element;
use quern_udf::prelude::*;

procs! {
    /// Every way to make a tensor, and to look at it.
    nondistributed making {}
    /// Every operation.
    nondistributed operations {}
    /// Columns of each kind, read and written back.
    nondistributed columns {
        input rows { n: int64, word: utf8, file: binary, flag: bool, x: float32 }
        output copies { n: int64 null, word: utf8 null, flag: bool, x: float32, file: binary }
    }
    /// Layers, optimisers and saving.
    nondistributed train { output kept: models { loss: float64 } }
    /// What `train` saved.
    nondistributed recall { input kept; }
    /// Says and keeps whatever a test can look at.
    distributed noted {
        input files { id: int64, file: binary }
        param picture: binary;
        param stop_after: int = 0;
        reduce rows: sum;
        reduce picture: first;
    }
}

/// Fails unless the tensor has this shape and these elements.
fn same<T: Element + PartialEq + Debug>(what: &str, tensor: Result<Tensor>, shape: &[u32], expected: &[T]) -> Result {
    let tensor = tensor.map_err(|error| error.during(what))?;
    if tensor.shape() != shape {
        bail!("{what} has shape {:?}, expected {shape:?}", tensor.shape());
    }
    let found: Vec<T> = tensor.to_vec()?;
    if found != expected {
        bail!("{what} is {found:?}, expected {expected:?}");
    }
    Ok(())
}

/// Fails unless the float32 tensor has this shape and about these elements.
fn close(what: &str, tensor: Result<Tensor>, shape: &[u32], expected: &[f32]) -> Result {
    let tensor = tensor.map_err(|error| error.during(what))?;
    let found: Vec<f32> = tensor.to_vec()?;
    let near = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
    if tensor.shape() != shape || !near {
        bail!("{what} is {found:?} of shape {:?}, expected {expected:?} of {shape:?}", tensor.shape());
    }
    Ok(())
}

/// Fails unless `found` is `expected`.
fn equal<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Result {
    if found != expected {
        bail!("{what} is {found:?}, expected {expected:?}");
    }
    Ok(())
}

/// Two steps, each with a point, a line and a checkpoint; goes on after the last
/// one, and stops early where it is told to.
fn noted(p: &Proc) -> Result {
    let picture = p.param_bytes("picture")?;
    let line = Linear::new(1, 1, Activation::None)?;
    let first = match p.restore_checkpoint("steps", &[&line])? {
        Some(kept) => kept.metadata_of::<u64>("step")? + 1,
        None => 0,
    };
    for step in first..2 {
        p.metric("bytes", step, picture.len() as f64);
        info(format!("step {step} of shard {}", p.shard()));
        p.checkpoint("steps", &[&line], &[("step", &step)])?;
        if step + 1 == p.param::<u64>("stop_after")? {
            warn("stopping early");
            bail!("enough");
        }
    }
    let rows = p.input("files")?.column("file")?.to_vec::<Vec<u8>>()?;
    p.result("rows", rows.len())?;
    p.result_bytes("picture", &[picture, rows.concat()].concat())
}

// Tests as an author may write them, for the tests of `quern proc test`.
quern_udf::tests! {
    use quern_udf::testing::{Run, columns, rows, run, table};

    fn passes() -> Result {
        table("t").column("when", &[Some(1_i64), None]).column_of("day", "date", &[3_i32, 4]).create()?;
        let types: Vec<(String, bool)> = columns("t")?.into_iter().map(|c| (c.column_type, c.nullable)).collect();
        assert_eq!(types, [("int64".to_owned(), true), ("date".to_owned(), false)]);
        assert_eq!(rows::<Option<i64>>("t", "when")?, [Some(1), None]);
        assert_eq!(rows::<i32>("t", "day")?, [3, 4]);
        Ok(())
    }

    fn tables_of_other_tests_are_not_there() -> Result {
        match columns("t") {
            Err(error) if error.message == "no table `t`" => Ok(()),
            other => quern_udf::bail!("{:?}", other.map(|columns| columns.len())),
        }
    }

    fn noted_on_files(name: &str, shards: u32) -> Result<Run> {
        let files = [vec![1_u8, 2], vec![], vec![3]];
        table(name).column("id", &[1_i64, 2, 3]).column("file", &files).shards(shards).create()?;
        Ok(run("noted").input(name).param_bytes("picture", &[255, 0]))
    }

    fn a_run_that_stops_shows_what_it_kept_and_another_goes_on_from_there() -> Result {
        let stopped = noted_on_files("files", 1)?.param("stop_after", 1).finish()?;
        assert_eq!(stopped.failure()?.as_deref(), Some("proc `noted` returned an error (invalid-argument): enough"));
        assert_eq!(stopped.metric("bytes")?, [(0, 2.0)]);
        assert_eq!(stopped.log()?, ["step 0 of shard 0", "stopping early"]);
        let kept: Vec<_> = stopped.checkpoints()?.into_iter().map(|kept| (kept.instance, kept.name)).collect();
        assert_eq!(kept, [(0, "steps".to_owned())]);

        let done = run("noted").input("files").param_bytes("picture", &[255, 0]).resume(&stopped).execute()?;
        assert_eq!(done.failure()?, None);
        assert_eq!(done.metric("bytes")?, [(1, 2.0)]);
        assert_eq!(done.log_at("info")?, ["step 1 of shard 0"]);
        assert!(done.log_at("warn")?.is_empty());
        assert_eq!(done.result_bytes("picture")?, [255, 0, 1, 2, 3]);
        Ok(())
    }

    fn results_are_seen_merged_and_of_each_instance() -> Result {
        let done = noted_on_files("files", 2)?.execute()?;
        assert_eq!(done.result::<u64>("rows")?, 3);
        let each: Vec<(u32, u64)> = done.result_of_each("rows")?;
        assert_eq!(each.iter().map(|(instance, _)| *instance).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(each.iter().map(|(_, rows)| rows).sum::<u64>(), 3);
        assert_eq!(done.checkpoints()?.len(), 4);
        let missing = done.result_bytes("rows").err().map(|error| error.message);
        assert_eq!(missing.as_deref(), Some("the run has no result `rows`; it has picture"));
        Ok(())
    }

    fn what_a_proc_was_not_given_is_said() -> Result {
        let other = noted_on_files("files", 1)?.param_bytes("photo", &[]).fails()?;
        assert_eq!(other, "no parameter `photo` in proc `noted`");
        let noted = run("noted").input("files").param_bytes("picture", &[]).execute()?;
        let refused = run("making").resume(&noted).fails()?;
        assert_eq!(refused, "run 1 executed proc `sdk-check.noted`; only a run of that proc can resume it");
        Ok(())
    }

    fn panics() -> Result {
        quern_udf::info("about to compare");
        assert_eq!(1 + 1, 3, "sums are checked");
        Ok(())
    }

    fn returns_an_error() -> Result {
        run("no_such_proc").execute().map(drop)
    }

    fn touches_what_only_a_proc_has() -> Result {
        quern_udf::Tensor::zeros(quern_udf::DType::Float32, &[1]).map(drop)
    }

    fn never_ends() -> Result {
        loop {
            std::hint::spin_loop();
        }
    }
}
