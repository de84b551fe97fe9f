//! Every call that a guest can get wrong answers with an error that names the
//! thing, and the guest goes on.

use std::collections::BTreeMap;

use super::fixture::works_normally;
use crate::support::components::component;
use crate::support::database::Database;
use crate::support::instance::Trial;

/// Mistakes with tables, models and the job: kind and message of the answer.
const ANSWERS: &[(&str, &str)] = &[
    ("unknown column", "NotFound: no column `idd` in table `digits` (id, flag, text); did you mean `id`?"),
    ("long name", "InvalidArgument: column name has 200 bytes; names have 1 to 128 bytes"),
    ("control character", "InvalidArgument: column name \"i\\u{7}d\" has control characters"),
    ("resize input", "Denied: table `digits` is an input; only outputs can be resized"),
    ("read beyond", "OutOfRange: rows 5 to 5 + 6 lie outside a column of 10 rows"),
    (
        "read overflow",
        "OutOfRange: rows 18446744073709551615 to 18446744073709551615 + 2 lie outside a column of 10 rows",
    ),
    ("range beyond", "OutOfRange: rows 1 to 18446744073709551615 of column `id` asked, it has 10 rows"),
    ("tensor of text", "TypeMismatch: column `text` is utf8, which is no tensor; `read` it instead"),
    (
        "tensor of nulls",
        "TypeMismatch: column `flag` has 4 rows without a value; take `values` with a fill and `validity`",
    ),
    ("write input", "Denied: table `digits` is an input; only outputs can be written"),
    ("copy into input", "Denied: table `digits` is an input; only outputs can be written"),
    ("read output", "Denied: table `rows` is an output; only inputs can be read"),
    ("tensor of output", "Denied: table `rows` is an output; only inputs can be read"),
    (
        "write beyond",
        "OutOfRange: rows 1 to 3 of column `n` are not reserved; output `rows` has 2 rows, call `resize` first",
    ),
    ("write too few bytes", "InvalidArgument: column `n` is int64: 1 rows take 8 bytes of values, 7 were given"),
    ("write nulls", "InvalidArgument: column `n` is not nullable, null was written"),
    ("write wrong offsets", "InvalidArgument: column `word`: the last offset is 9, 3 bytes were given"),
    ("copy another type", "TypeMismatch: column `n` is int64, the source is utf8"),
    (
        "copy too many",
        "OutOfRange: rows 0 to 10 of column `n` are not reserved; output `rows` has 2 rows, call `resize` first",
    ),
    (
        "resize without bound",
        "QuotaExceeded: limit `output_bytes`: \
         18446744073709551615 bytes asked, 4294967296 bytes allowed; raise it for one run with --limit output_bytes=N",
    ),
    (
        "tensor beyond",
        "OutOfRange: rows 0 to 3 of column `n` are not reserved; output `rows` has 2 rows, call `resize` first",
    ),
    ("tensor into input", "Denied: table `digits` is an input; only outputs can be written"),
    ("long activation", "InvalidArgument: a word of 100 bytes is no activation"),
    ("long compute type", "InvalidArgument: a word of 40 bytes is no compute type"),
    ("save to input", "Denied: models are saved to an output; this table is an input"),
    ("save to rows", "NotFound: no column `model` in table `rows` (n, word)"),
    ("save twice", "Exists: tensor `w` exists already"),
    ("save without name", "InvalidArgument: model name has 0 bytes; names have 1 to 128 bytes"),
    ("save a bad loss", "TypeMismatch: column `loss` is float64, it cannot hold `low`"),
    ("save another id", "Exists: metadata `id` exists already"),
    ("load from output", "Denied: models are loaded from an input; this table is an output"),
    ("load from digits", "NotFound: no column `name` in table `digits` (id, flag, text)"),
    ("models saved by mistake", "0"),
    (
        "long result",
        "QuotaExceeded: limit `text_bytes`: 70000 bytes asked, 65536 bytes allowed; raise it for one run with --limit text_bytes=N",
    ),
    ("result without name", "InvalidArgument: result name has 0 bytes; names have 1 to 128 bytes"),
    ("declare in a run", "Denied: `declare` is available only in `describe`"),
];

/// Mistakes with tensors: kind of the answer; the texts are the tensor layer's.
const KINDS: &[(&str, &str)] = &[
    ("huge shape", "OutOfRange"),
    ("many dimensions", "OutOfRange"),
    ("wrong byte count", "InvalidArgument"),
    ("unknown activation", "NotFound"),
    ("axis outside", "OutOfRange"),
    ("slice outside", "OutOfRange"),
    ("reshape to another size", "OutOfRange"),
    ("transpose twice", "InvalidArgument"),
    ("concat of nothing", "InvalidArgument"),
    ("mixed types", "TypeMismatch"),
    ("item of many", "OutOfRange"),
    ("assign another shape", "OutOfRange"),
    ("gradient of a matrix", "InvalidArgument"),
    ("gradients missing", "InvalidArgument"),
];

#[test]
fn mistakes_of_a_guest_are_answered_and_it_goes_on() {
    let database = Database::new();
    let trial = Trial::new(component("tests/proc/guest"), "mistakes").input("digits", database.digits());
    let outcome = trial.run();
    outcome.result.unwrap();
    let short = |answer: &str| answer.trim_start_matches("ErrorCode::").to_owned();
    let answers: BTreeMap<String, String> = trial.results().into_iter().map(|(k, v)| (k, short(&v))).collect();
    for (mistake, expected) in ANSWERS {
        assert_eq!(answers[*mistake], *expected, "{mistake}");
    }
    for (mistake, kind) in KINDS {
        assert!(answers[*mistake].starts_with(&format!("{kind}: ")), "{mistake}: {}", answers[*mistake]);
    }
    assert_eq!(answers.len(), ANSWERS.len() + KINDS.len());
    works_normally();
}

#[test]
fn a_run_whose_device_program_failed_cannot_complete() {
    let trial = Trial::new(component("tests/proc/guest"), "gathers_outside");
    let outcome = trial.run();
    let answers: Vec<String> = trial.results().into_iter().map(|(_, answer)| answer).collect();
    assert!(answers[0].starts_with("ErrorCode::OutOfRange: gather: index 9"), "{answers:?}");
    assert_eq!(answers[0], answers[1]);
    assert_eq!(format!("ErrorCode::OutOfRange: {}", outcome.result.unwrap_err()), answers[0]);
}
