//! Models: what is saved is found again, unchanged by whoever loads it.

use std::collections::BTreeMap;
use std::process::Command;

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, TimestampMicrosecondType};
use quern::proc::InstanceOutcome;
use quern::table::TableView;

use crate::support::components::component;
use crate::support::database::Database;
use crate::support::instance::Trial;
use crate::support::python;

fn learn() -> InstanceOutcome {
    succeeded(&Trial::new(component("tests/proc/guest"), "learn").param("steps", "10")).0
}

/// What it left, and its results.
fn succeeded(trial: &Trial) -> (InstanceOutcome, BTreeMap<String, String>) {
    let outcome = trial.run();
    assert!(outcome.result.is_ok(), "{:?}", outcome.result);
    (outcome, trial.results().into_iter().collect())
}

fn recall(kept: &TableView, id: &str, name: &str) -> Trial {
    Trial::new(component("tests/proc/guest"), "recall").input("kept", kept.clone()).param("id", id).param("name", name)
}

#[test]
fn a_saved_model_is_a_row_with_its_metadata() {
    let trial = Trial::new(component("tests/proc/guest"), "learn").param("steps", "10");
    let (mut outcome, results) = succeeded(&trial);
    let saved = outcome.saved_models.remove(0);
    assert_eq!((saved.output.as_str(), saved.name.as_str()), ("kept", "tiny"));
    let batch = outcome.outputs.remove(0).1.into_batches().unwrap().remove(0);
    assert_eq!(batch.num_rows(), 1);
    let file = batch.column_by_name("model").unwrap().as_binary::<i64>().value(0);
    assert_eq!(file.len() as u64, saved.size_bytes);
    let loss = batch.column_by_name("loss").unwrap().as_primitive::<Float64Type>().value(0);
    assert_eq!(loss.to_string(), results["loss"]);
    let id = batch.column_by_name("id").unwrap().as_fixed_size_binary().value(0);
    assert_eq!(uuid::Uuid::from_slice(id).unwrap().to_string(), saved.id);
    let date = batch.column_by_name("date_time_created").unwrap().as_primitive::<TimestampMicrosecondType>().value(0);
    assert!(date > 1_700_000_000_000_000, "{date}");
}

#[test]
fn the_same_training_gives_the_same_file() {
    assert_eq!(learn().saved_models[0].sha256, learn().saved_models[0].sha256);
}

#[test]
fn a_model_is_found_as_newest_by_id_and_by_name() {
    let database = Database::new();
    let mut outcome = learn();
    let saved = outcome.saved_models.remove(0);
    let kept = database.commit("kept", outcome.outputs.remove(0).1);
    for (id, name) in [("", ""), (saved.id.as_str(), ""), ("", "tiny")] {
        let (_, found) = succeeded(&recall(&kept, id, name));
        let told = ["id", "name", "tensors"].map(|name| found[name].as_str());
        assert_eq!(told, [saved.id.as_str(), "tiny", "w1 b1 w2 b2"]);
        assert!(found["metadata"].starts_with("[(\"loss\", \""), "{}", found["metadata"]);
        assert!(found["metadata"].ends_with("(\"made by\", \"learn\")]"), "{}", found["metadata"]);
        assert_eq!(found["w3"], "no tensor `w3` in model `tiny` (w1, b1, w2, b2); did you mean `w1`?");
    }
    assert_eq!(
        recall(&kept, "", "tinny").failure(),
        "proc `recall` returned an error (not-found): no model `tinny` in table `kept`"
    );
    assert_eq!(
        recall(&kept, "7", "").failure(),
        "proc `recall` returned an error (invalid-argument): `7` is no model id; an id is a uuid, as in the column `id`"
    );
}

#[test]
fn training_on_a_loaded_model_leaves_it_unchanged() {
    let database = Database::new();
    let kept = database.commit("kept", learn().outputs.remove(0).1);
    let trial = recall(&kept, "", "");
    let ((_, first), (_, again)) = (succeeded(&trial), succeeded(&trial));
    assert_eq!(first["before"], first["after"]);
    assert_ne!(first["before"], first["trained"]);
    assert_eq!(first["before"], again["before"]);
}

#[test]
fn a_model_that_changed_since_it_was_saved_is_refused() {
    let database = Database::new();
    let mut outcome = learn();
    let saved = outcome.saved_models.remove(0);
    let kept = database.commit("kept", outcome.outputs.remove(0).1);
    let mut trial = recall(&kept, "", "");
    trial.sha256_of_models = Some(saved.sha256.clone());
    assert!(trial.run().result.is_ok());
    trial.sha256_of_models = Some("0".repeat(64));
    assert_eq!(
        trial.failure(),
        format!(
            "model `tiny` ({}): its stored bytes have sha256 {}, {} was saved; save the model again",
            saved.id,
            saved.sha256,
            "0".repeat(64)
        )
    );
}

#[test]
fn a_model_over_its_limit_is_refused_by_name() {
    let text = Trial::new(component("tests/proc/guest"), "learn").limit("model_bytes", 100).failure();
    assert_eq!(
        text,
        "proc `learn` returned an error (quota-exceeded): limit `model_bytes`: \
         848 bytes asked, 100 bytes allowed; raise it for one run with --limit model_bytes=N"
    );
}

#[test]
fn a_loaded_model_counts_as_device_memory_of_the_run() {
    let database = Database::new();
    let kept = database.commit("kept", learn().outputs.remove(0).1);
    let text = recall(&kept, "", "").limit("device_bytes", 500).failure();
    assert!(text.starts_with("proc `recall` returned an error (quota-exceeded): limit `device_bytes`: "), "{text}");
    let trial = recall(&kept, "", "");
    let used = trial.run().receipt.peak_device_bytes;
    assert!((1000..10_000).contains(&used), "{used}");
}

#[test]
fn a_model_file_opens_in_python() {
    let batch = learn().outputs.remove(0).1.into_batches().unwrap().remove(0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    std::fs::write(&file, batch.column_by_name("model").unwrap().as_binary::<i64>().value(0)).unwrap();
    let program = "import sys, safetensors
with safetensors.safe_open(sys.argv[1], 'np') as f:
    print(sorted(f.keys()), f.metadata()['made by'], f.get_slice('w1').get_shape(), f.get_slice('w1').get_dtype())";
    let run = Command::new(python()).args(["-c", program]).arg(&file).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&run.stdout),
        "['b1', 'b2', 'w1', 'w2'] learn [8, 16] F32\n",
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
}
