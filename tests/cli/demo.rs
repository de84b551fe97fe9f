//! `quern demo mnist`, the main job.

use serde_json::json;

use super::Terminal;
use crate::support::components::component;

/// The demo on a folder, with a component built once for all tests.
fn demo(terminal: &Terminal, seed: &str) -> serde_json::Value {
    let component = terminal.file("mnist.wasm", component("udfs/mnist"));
    let files = crate::support::tests_folder().join("data/mnist");
    terminal.json(&["demo", "mnist", "--seed", seed, "--component", &component, "--files", files.to_str().unwrap()])
}

#[test]
fn the_demo_recognises_97_5_percent_with_each_of_three_seeds_and_leaves_its_tables() {
    let terminal = Terminal::new();
    for seed in ["1", "2", "3"] {
        let story = demo(&terminal, seed);
        assert!(story["accuracy"].as_f64().unwrap() >= 0.975, "seed {seed}: {}", story["accuracy"]);
        assert_eq!(story["images"], 10_000);
    }
    for (table, rows) in [
        ("mnist_training_input", 60_000),
        ("mnist_inference_input", 10_000),
        ("mnist_train_output", 3),
        ("mnist_inference_output", 10_000),
    ] {
        assert_eq!(terminal.value(&format!("select count(*) from {table}")), rows, "{table}");
    }
    let models = terminal.json(&["model", "list"]);
    assert_eq!(models.as_array().unwrap().len(), 3, "the model table is kept");
    let used = terminal.json(&["sql", "select distinct model_id from mnist_inference_output"]);
    assert_eq!(used, json!([{ "model_id": models[2]["id"] }]), "the newest model is applied");
}

#[test]
fn the_demo_ends_with_accuracy_sql_matrix_receipts_and_what_to_try() {
    let terminal = Terminal::new();
    let component = terminal.file("mnist.wasm", component("udfs/mnist"));
    let files = crate::support::tests_folder().join("data/mnist");
    let text = terminal.ok(&["demo", "mnist", "--component", &component, "--files", files.to_str().unwrap()]);
    let mut rest = text.as_str();
    for part in [
        "60,000 rows → mnist_training_input",
        "10,000 rows → mnist_inference_input",
        "60,000 images → mnist_train_output",
        "10,000 images in 4 shards → mnist_inference_output",
        "\naccuracy 9",
        " %  9,",
        "select label as digit,",
        "\n10 rows\n",
        "predicted",
        "receipts",
        "mnist.train",
        "mnist.infer",
        "total time ",
        "peak memory ",
        "try next",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` is missing, or out of order, in\n{text}"));
        rest = &rest[at..];
    }
    assert!(!text.contains('\x1b'), "no colours where there is no terminal");

    let file = terminal.path("mnist.safetensors");
    terminal.ok(&["model", "export", "mnist-784-256-256-10", file.to_str().unwrap()]);
    let bytes = std::fs::read(file).unwrap();
    let model = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut shapes: Vec<Vec<usize>> = model.tensors().into_iter().map(|(_, view)| view.shape().to_vec()).collect();
    shapes.sort();
    assert_eq!(shapes.iter().filter(|shape| shape.len() == 2).count(), 3, "{shapes:?}");
    let shown = terminal.ok(&["model", "show", "mnist-784-256-256-10"]);
    assert!(shown.contains("f32"), "{shown}");
    let deleted = terminal.ok(&["model", "delete", "mnist-784-256-256-10"]);
    assert!(deleted.starts_with("deleted model mnist-784-256-256-10 ("), "{deleted}");
    assert_eq!(terminal.json(&["model", "list"]), json!([]));
}
