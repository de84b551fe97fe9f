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

// Tests as an author may write them, for the tests of `quern proc test`.
quern_udf::tests! {
    use quern_udf::testing::{columns, rows, run, table};

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
