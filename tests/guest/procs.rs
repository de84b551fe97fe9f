//! Every function of the SDK, called in a real host: the procs of `sdk/` compare
//! what they get with what it should be, and fail where it is not.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, Float32Array, Int64Array, LargeBinaryArray, StringArray};
use arrow::datatypes::{Float32Type, Int64Type};
use quern::proc::LogLevel;

use super::fixture::{Tables, column};
use crate::support::components::component;

const SDK: &str = "tests/guest/sdk";

#[test]
fn tensors_are_what_they_were_made_from() {
    Tables::new().run(component(SDK), "making", &[]).complete();
}

#[test]
fn every_operation_gives_what_it_says() {
    Tables::new().run(component(SDK), "operations", &[]).complete();
}

#[test]
fn columns_are_read_and_written_as_rust_values_and_as_tensors() {
    let bench = Tables::new();
    let columns = [
        column("n", "int64", true),
        column("word", "utf8", true),
        column("file", "binary", false),
        column("flag", "bool", false),
        column("x", "float32", false),
    ];
    let rows: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![Some(0), None, Some(2)])),
        Arc::new(StringArray::from(vec![Some("mühle"), None, Some("")])),
        Arc::new(LargeBinaryArray::from_vec(vec![b"\0", b"", b"\x01\x02"])),
        Arc::new(BooleanArray::from(vec![true, false, true])),
        Arc::new(Float32Array::from(vec![0.5, -1.0, 3.0])),
    ];
    bench.table("rows", &columns, rows);
    let done = bench.run(component(SDK), "columns", &["rows"]);
    let journal = done.journal.clone();
    let copies = done.complete();

    let n = copies.column(0).as_primitive::<Int64Type>();
    assert_eq!(n.iter().collect::<Vec<_>>(), [Some(0), None, Some(2), None]);
    let word = copies.column(1).as_string::<i32>();
    assert_eq!(word.iter().collect::<Vec<_>>(), [None, Some("mühle"), None, Some("")]);
    let flag = copies.column(2).as_boolean();
    assert_eq!(flag.iter().collect::<Vec<_>>(), [Some(true), Some(false), Some(true), Some(false)]);
    assert_eq!(copies.column(3).as_primitive::<Float32Type>().values().as_ref(), [0.0, 1.0, -2.0, 6.0]);
    assert!(copies.column(4).as_binary::<i64>().iter().all(|file| file == Some(b"".as_slice())));

    assert_eq!(*journal.status.lock().unwrap(), ("checked".to_owned(), Some(0.5)));
    let line = |level, text: &str| (level, text.to_owned());
    let expected =
        [line(LogLevel::Trace, "a trace"), line(LogLevel::Debug, "a detail"), line(LogLevel::Warn, "a warning")];
    assert_eq!(*journal.lines.lock().unwrap(), expected);
    assert_eq!(*journal.metrics.lock().unwrap(), [("points".to_owned(), 1, 0.25)]);
}

#[test]
fn networks_learn_are_saved_and_come_back() {
    let bench = Tables::new();
    let sdk = component(SDK);
    let trained = bench.run(sdk, "train", &[]);
    bench.append_models("kept", trained);
    bench.run(sdk, "recall", &["kept"]).complete();
}
