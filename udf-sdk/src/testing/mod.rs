//! Tests of procs, executed by `quern proc test` in the database's own executor:
//! tables in, procs executed, tables out. No server and no folder is needed, and
//! nothing of it is in the component that `quern proc build` makes.
//!
//! Tests stand in [`tests!`](crate::tests!), anywhere in the crate:
//!
//! ```
//! use quern_udf::prelude::*;
//!
//! quern_udf::tests! {
//!     use quern_udf::testing::{assert_close, rows, run, table};
//!
//!     fn doubles_each_row() -> Result {
//!         table("points").column("x", &[1.0, 2.5]).create()?;
//!         let done = run("double").input("points").output("doubled").execute()?;
//!         assert_close(&rows::<f64>("doubled", "x")?, &[2.0, 5.0], 1e-9);
//!         assert_eq!(done.result::<u64>("rows")?, 2);
//!         Ok(())
//!     }
//!
//!     fn refuses_a_table_without_numbers() -> Result {
//!         table("names").column("name", &["a", "b"]).create()?;
//!         let error = run("double").input("names").output("doubled").fails()?;
//!         assert!(error.contains("no numeric column"), "{error}");
//!         Ok(())
//!     }
//! }
//! ```
//!
//! A test fails when it panics or returns an error. Each has tables of its own and
//! begins with none. What a run said and kept can be looked at also where it
//! failed, and another run can go on from its checkpoints:
//!
//! ```
//! # use quern_udf::prelude::*;
//! quern_udf::tests! {
//!     # use quern_udf::testing::{run, table};
//!     fn goes_on_where_it_was_stopped() -> Result {
//!         table("points").column("x", &[1.0, 2.5]).create()?;
//!         let train = || run("train").input("points").output("models").param_bytes("mask", &[0, 255]);
//!         let stopped = train().param("stop_after", 2).finish()?;
//!         assert_eq!(stopped.failure()?.as_deref(), Some("proc `train` returned an error (cancelled): enough"));
//!         assert_eq!(stopped.checkpoints()?.len(), 2);
//!         assert_eq!(stopped.log_at("warn")?, ["stopped after 2 epochs"]);
//!
//!         let done = train().resume(&stopped).execute()?;
//!         assert_eq!(done.metric("loss")?.first().map(|(step, _)| *step), Some(3));
//!         assert_eq!(done.result_bytes("picture")?.len(), 784);
//!         Ok(())
//!     }
//! }
//! ```

#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod bindings;
#[cfg(feature = "testing")]
mod execution;
mod macros;
#[cfg(feature = "testing")]
mod run;
#[cfg(feature = "testing")]
mod table;

#[cfg(feature = "testing")]
pub use execution::{Checkpoint, Execution};
#[cfg(feature = "testing")]
pub use run::{Run, run};
#[cfg(feature = "testing")]
pub use table::{CellType, NewTable, columns, count, rows, table, tensor_rows};

/// Panics, naming the place, unless both have equally many values and no pair is
/// further apart than `tolerance`.
#[track_caller]
#[expect(clippy::panic, reason = "it is an assertion")]
pub fn assert_close<T: Copy + Into<f64>>(found: &[T], expected: &[T], tolerance: f64) {
    if found.len() != expected.len() {
        panic!("{} values were found, {} expected", found.len(), expected.len());
    }
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let (found, expected): (f64, f64) = ((*found).into(), (*expected).into());
        // Written so that NaN is never close.
        let close = (found - expected).abs() <= tolerance;
        if !close {
            panic!("value {i} is {found}, expected {expected} ± {tolerance}");
        }
    }
}

#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod __private {
    //! What the macro [`crate::tests!`] expands to.
    pub use super::bindings::exports::quern::udf::tests::Guest;
    pub use super::macros::dispatch;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_within_the_tolerance_are_close() {
        assert_close(&[1.0_f32, 2.0], &[1.0, 2.001], 0.01);
    }

    #[test]
    fn not_a_number_is_close_to_nothing() {
        let compared = std::panic::catch_unwind(|| assert_close(&[1.0, f64::NAN], &[1.0, 2.0], 0.1));
        let said = compared.err().and_then(|panic| panic.downcast_ref::<String>().cloned());
        assert_eq!(said.as_deref(), Some("value 1 is NaN, expected 2 ± 0.1"));
    }
}
