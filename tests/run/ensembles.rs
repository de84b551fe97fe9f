//! Many small models and their common vote, on the real digits.

use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use quern::run::{RunRequest, Sweep};

use super::database::Database;
use crate::support::repeats;

/// How many images each model of the table recognises alone, the best last.
fn alone(database: &Database) -> Vec<i64> {
    let snapshot = database.storage.snapshot().unwrap();
    let table = snapshot.table("alone").unwrap();
    let mut correct = std::collections::BTreeMap::<String, i64>::new();
    for batch in database.storage.scan(&snapshot, &table, None, None).unwrap() {
        let batch = batch.unwrap();
        let (ids, hits) = (batch.column(0).as_string::<i32>(), batch.column(2).as_primitive::<Int64Type>());
        for row in 0..batch.num_rows() {
            *correct.entry(ids.value(row).to_owned()).or_default() += hits.value(row);
        }
    }
    let mut correct: Vec<i64> = correct.into_values().collect();
    correct.sort_unstable();
    correct
}

#[test]
fn many_small_models_that_vote_beat_the_best_single_one() {
    let database = Database::new(&[("mnist", "udfs/mnist")]);
    database.digits("training", "train", 2);
    database.digits("unseen", "t10k", 2);
    let models = repeats(24, 1000);
    let request = ["epochs=2", "rows=600", "batch=20", "hidden=24", "checkpoint_every=0"].iter().fold(
        RunRequest { tag: Some("ensemble".into()), ..RunRequest::new("train") }.input("training").output("models"),
        |request, pair| {
            let (name, value) = pair.split_once('=').unwrap();
            request.param(name, value)
        },
    );
    let points = (1..=models).map(|seed| vec![("seed".to_owned(), seed.to_string())]).collect();
    let begun = Instant::now();
    let started = database.runs.sweep(Sweep { request, points }, |request| database.runs.execute(request)).unwrap();
    let mut status = started;
    while status.open > 0 {
        status = database.runs.wait_sweep("ensemble", status.first, Duration::from_secs(1)).unwrap();
    }
    let took = begun.elapsed();
    assert_eq!((status.complete, status.models, status.errors), (models, models, vec![]));
    println!("{models} models in {took:.1?}: {:.1} models/s", models as f64 / took.as_secs_f64());

    let vote = RunRequest::new("vote").input("unseen").input("models").output("votes").output("alone");
    let status = database.run(vote);
    assert_eq!((status.run.error, status.instances.len()), (None, 2));
    let results = database.runs.results(status.run.id).unwrap().merged;
    let value = |name: &str| results.iter().find(|(n, _)| n == name).unwrap().1.text().unwrap().parse::<f64>().unwrap();
    let (rows, correct, voted) = (value("rows"), value("correct"), value("models"));
    let singles = alone(&database);
    let best = *singles.last().unwrap() as f64;
    let median = singles[singles.len() / 2] as f64;
    println!(
        "of {rows} digits the vote recognises {:.2} %, the best single model {:.2} %, the median {:.2} %",
        correct / rows * 100.0,
        best / rows * 100.0,
        median / rows * 100.0
    );
    assert_eq!((voted, singles.len() as u64), (models as f64, models));
    assert!(correct > best, "{correct} of {rows} by vote, {best} by the best single model");
}
