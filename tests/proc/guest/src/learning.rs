//! A small training and what becomes of its model.

use quern_udf::bindings::quern::udf::tensors::{self, Tape, Tensor, Variable};
use quern_udf::bindings::quern::udf::types::Dtype;
use quern_udf::bindings::quern::udf::{job, models, tables};
use quern_udf::prelude::{Proc, Result};

/// The network: 8 → 16 → 4 with ReLU; layer by layer weight and bias.
const NAMES: [&str; 4] = ["w1", "b1", "w2", "b2"];

pub(crate) fn learn(p: &Proc) -> Result {
    let x = Tensor::random_normal(Dtype::Float32, &[64, 8], 0.0, 1.0)?;
    let y = x.slice(1, 0, 4)?.arg_max(-1)?;
    let start = [
        Tensor::random_normal(Dtype::Float32, &[8, 16], 0.0, 0.5)?,
        Tensor::full(Dtype::Float32, &[16], 0.0)?,
        Tensor::random_normal(Dtype::Float32, &[16, 4], 0.0, 0.5)?,
        Tensor::full(Dtype::Float32, &[4], 0.0)?,
    ];
    let weights = start.each_ref().map(Variable::new);
    let zeros = |t: &Tensor| t.affine(0.0, 0.0).map(|zero| Variable::new(&zero));
    let first = start.iter().map(zeros).collect::<std::result::Result<Vec<_>, _>>()?;
    let second = start.iter().map(zeros).collect::<std::result::Result<Vec<_>, _>>()?;
    let steps: u64 = p.param("steps")?;
    let mut last = f64::NAN;
    for step in 1..=steps {
        let tape = Tape::new(&weights.each_ref());
        let [w1, b1, w2, b2] = weights.each_ref();
        let hidden = x.linear(&w1.value()?, Some(&b1.value()?), "relu")?;
        let logits = hidden.linear(&w2.value()?, Some(&b2.value()?), "none")?;
        let loss = logits.cross_entropy(&y)?;
        let gradients = tape.gradients(&loss)?;
        let gradients: Vec<&Tensor> = gradients.iter().collect();
        let (first, second): (Vec<_>, Vec<_>) = (first.iter().collect(), second.iter().collect());
        tensors::adam(&weights.each_ref(), &gradients, &first, &second, step, 0.05, 0.9, 0.999, 1e-8, 0.0)?;
        if step % 10 == 0 {
            last = loss.item()?;
            job::metric("loss", step, last);
        }
    }
    let values = weights.iter().map(Variable::value).collect::<std::result::Result<Vec<_>, _>>()?;
    let named: Vec<(String, &Tensor)> = NAMES.iter().map(|name| (*name).to_owned()).zip(&values).collect();
    let about = [("loss".to_owned(), last.to_string()), ("made by".to_owned(), "learn".to_owned())];
    let [kept] = &tables::outputs()[..] else { return p.result("outputs", "not one") };
    p.result("id", models::save(kept, "tiny", &named, &about)?)?;
    p.result("loss", last)
}

pub(crate) fn recall(p: &Proc) -> Result {
    let (id, name): (String, String) = (p.param("id")?, p.param("name")?);
    let [kept] = &tables::inputs()[..] else { return p.result("inputs", "not one") };
    let model = match (id.as_str(), name.as_str()) {
        ("", "") => models::load_newest(kept)?,
        ("", name) => models::load_by_name(kept, name)?,
        (id, _) => models::load_by_id(kept, id)?,
    };
    p.result("id", model.id())?;
    p.result("name", model.name())?;
    p.result("metadata", format!("{:?}", model.metadata()))?;
    p.result("tensors", model.tensor_names().join(" "))?;
    if let Err(error) = model.tensor("w3") {
        p.result("w3", error.message)?;
    }
    let weight = model.tensor("w1")?;
    let before = weight.reduce_sum(&[], false)?.item()?;
    let variable = Variable::new(&weight);
    tensors::sgd(&[&variable], &[&weight], &[], 0.5, 0.0, 0.0)?;
    let trained = variable.value()?.reduce_sum(&[], false)?.item()?;
    let after = model.tensor("w1")?.reduce_sum(&[], false)?.item()?;
    p.result("before", before)?;
    p.result("trained", trained)?;
    p.result("after", after)
}
