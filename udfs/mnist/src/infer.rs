//! Inference over the rows of one shard.

use quern_udf::prelude::*;

use crate::{CHUNK_ROWS, begin, hits, pixels};

/// Writes one prediction per image of the first input.
pub(crate) fn infer(p: &Proc) -> Result {
    let (images, predictions) = (p.input("images")?, p.output("predictions")?);
    let model = choose(p)?;
    let net = Mlp::from_model(&model)?;

    let rows = images.rows();
    let labels = begin(images, predictions)?;
    let mut correct = 0.0;
    for start in (0..rows).step_by(CHUNK_ROWS as usize) {
        let count = CHUNK_ROWS.min(rows - start);
        let x = pixels(&images.tensor_rows("data", start, count)?)?;
        let digits = net.forward(&x)?.arg_max(-1)?.cast(Int32)?;
        predictions.put("predict", start, &digits)?;
        correct += hits(&digits, &labels.rows(start, count)?)?;
        p.status(format!("{} of {rows} images", start + count), (start + count) as f64 / rows as f64)?;
    }
    let id = model.id();
    predictions.write("model_id", 0, &vec![id.as_str(); rows as usize])?;

    p.result("rows", rows)?;
    p.result("correct", correct)
}

fn choose(p: &Proc) -> Result<Model> {
    let trained = p.input("trained")?;
    let id: String = p.param("model")?;
    if id.is_empty() { trained.newest_model() } else { trained.model(&id) }
}
