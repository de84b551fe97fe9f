//! Inference by all models of a table together, over the rows of one shard.

use quern_udf::prelude::*;

use crate::{CHUNK_ROWS, DIGITS, begin, hits, pixels};

/// Writes one prediction per image, and one row per model.
pub(crate) fn vote(p: &Proc) -> Result {
    let (images, trained) = (p.input("images")?, p.input("trained")?);
    let (predictions, alone) = (p.output("predictions")?, p.output("alone")?);
    let (rows, ids) = (images.rows(), trained.model_ids()?);
    if ids.is_empty() {
        bail!("input `trained` has no models that could vote");
    }

    let labels = begin(images, predictions)?;
    let mut correct = 0.0;
    let mut correct_alone = vec![0; ids.len()];
    for start in (0..rows).step_by(CHUNK_ROWS as usize) {
        let count = CHUNK_ROWS.min(rows - start);
        let x = pixels(&images.tensor_rows("data", start, count)?)?;
        let truth = labels.rows(start, count)?;
        let mut votes = Tensor::zeros(Float32, &[count as u32, DIGITS])?;
        for (i, id) in ids.iter().enumerate() {
            let scores = Mlp::from_model(&trained.model(id)?)?.forward(&x)?.softmax(-1)?;
            votes = (&votes + &scores)?;
            correct_alone[i] += hits(&scores.arg_max(-1)?.cast(Int32)?, &truth)? as i64;
            let done = start as f64 + count as f64 * (i + 1) as f64 / ids.len() as f64;
            p.status(format!("model {} of {}", i + 1, ids.len()), done / rows as f64)?;
        }
        let digits = votes.arg_max(-1)?.cast(Int32)?;
        predictions.put("predict", start, &digits)?;
        correct += hits(&digits, &truth)?;
    }

    alone.resize(ids.len() as u64)?;
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    alone.write("model_id", 0, &names)?;
    alone.write("images", 0, &vec![rows as i64; ids.len()])?;
    alone.write("correct", 0, &correct_alone)?;
    p.result("rows", rows)?;
    p.result("correct", correct)?;
    p.result("models", ids.len())
}
