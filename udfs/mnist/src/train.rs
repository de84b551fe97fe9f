//! Training: shuffled batches, one optimiser step each, one reading of the loss
//! per epoch.

use quern_udf::info;
use quern_udf::prelude::*;

use crate::{DIGITS, PIXELS, pixels};

/// Steps whose mean loss makes one point of the metric `loss`.
const STEPS_PER_POINT: usize = 50;

/// What the caller may choose.
struct Plan {
    epochs: u32,
    batch: u32,
    learning_rate: f64,
    name: String,
    hidden: u32,
    rows: u32,
    /// Epochs between checkpoints; 0 keeps none.
    checkpoint_every: u32,
}

/// The name of the checkpoints of a training.
const CHECKPOINT: &str = "training";

/// Reads images and labels of the first input, appends one model to the output.
pub(crate) fn train(p: &Proc) -> Result {
    let images = p.input("images")?.tensor("data")?;
    let labels = p.input("images")?.tensor("readable_label")?;
    let plan = Plan::read(p)?;
    if images.is_empty() {
        bail!("input `images` has no rows to learn from");
    }

    let subset = plan.subset(images.len())?;
    let net = Mlp::new(&[PIXELS, plan.hidden, plan.hidden, DIGITS])?;
    let mut adam = Adam::new(&net, plan.learning_rate)?;
    let rows = subset.as_ref().map_or(images.len(), Tensor::len);
    let steps = plan.steps_per_epoch(rows);
    let rate = Schedule::Cosine { peak: plan.learning_rate, steps: u64::from(steps) * u64::from(plan.epochs) };
    let mut loss = f64::NAN;
    let resumed = p.restore_checkpoint(CHECKPOINT, &[&net, &adam])?;
    let first: u32 = resumed.map_or(Ok(0), |checkpoint| checkpoint.metadata_of("epochs"))?;
    if first > 0 {
        info(format!("goes on after epoch {first}"));
    }
    for epoch in first..plan.epochs {
        let order = Tensor::random_permutation(rows)?;
        let order = subset.as_ref().map_or(Ok(order.clone()), |subset| subset.gather(0, &order))?;
        let mut losses = Vec::with_capacity(steps as usize);
        for step in 0..steps {
            adam.rate = rate.at(u64::from(epoch) * u64::from(steps) + u64::from(step));
            let (start, count) = plan.range(step, rows);
            // The permutation is cut inside the step, so that all steps are one
            // program that differs only in where it cuts.
            losses.push(adam.step(|| {
                let picked = order.rows(start, count)?;
                let x = pixels(&images.gather(0, &picked)?)?;
                net.forward(&x)?.cross_entropy(&labels.gather(0, &picked)?)
            })?);
            if (step as usize + 1).is_multiple_of(STEPS_PER_POINT) {
                let done = f64::from(epoch) + f64::from(step + 1) / f64::from(steps);
                let message = format!("epoch {} of {}, step {} of {steps}", epoch + 1, plan.epochs, step + 1);
                p.status(message, done / f64::from(plan.epochs))?;
            }
        }
        loss = report(p, &plan, epoch, &losses)?;
        if plan.keeps_checkpoint(epoch + 1) {
            p.checkpoint(CHECKPOINT, &[&net, &adam], &[("epochs", &(epoch + 1))])?;
        }
    }

    let id = p.output("trained")?.save(&plan.name, &net, &[("loss", &loss), ("epochs", &plan.epochs)])?;
    p.result("loss", loss)?;
    p.result("model_id", id)
}

/// Reads an epoch's losses in one go, writes its metrics and status line, and
/// returns their mean.
fn report(p: &Proc, plan: &Plan, epoch: u32, losses: &[Tensor]) -> Result<f64> {
    let parts = losses.iter().map(|loss| loss.reshape(&[1])).collect::<Result<Vec<_>>>()?;
    let losses: Vec<f32> = Tensor::concat(0, &parts)?.to_vec()?;
    let before = u64::from(epoch) * losses.len() as u64;
    for (steps, value) in curve(&losses) {
        p.metric("loss", before + steps, value);
    }
    let loss = mean(&losses);
    p.metric("epoch_loss", u64::from(epoch) + 1, loss);
    let fraction = f64::from(epoch + 1) / f64::from(plan.epochs);
    p.status(format!("epoch {} of {}, loss {loss:.4}", epoch + 1, plan.epochs), fraction)?;
    Ok(loss)
}

impl Plan {
    fn read(p: &Proc) -> Result<Self> {
        let plan = Self {
            epochs: p.param("epochs")?,
            batch: p.param("batch")?,
            learning_rate: p.param("learning_rate")?,
            name: p.param("name")?,
            hidden: p.param("hidden")?,
            rows: p.param("rows")?,
            checkpoint_every: p.param("checkpoint_every")?,
        };
        if plan.epochs == 0 || plan.batch == 0 || plan.hidden == 0 {
            bail!("parameters `epochs`, `batch` and `hidden` must be 1 or more");
        }
        if !(plan.learning_rate > 0.0 && plan.learning_rate.is_finite()) {
            bail!("parameter `learning_rate` is {}, it must be above 0", plan.learning_rate);
        }
        Ok(plan)
    }

    /// The images to learn from where not all are; drawn before anything else is,
    /// so that a run that resumes another draws the same.
    fn subset(&self, images: u32) -> Result<Option<Tensor>> {
        if self.rows == 0 || self.rows >= images {
            return Ok(None);
        }
        Tensor::random_permutation(images)?.rows(0, self.rows.into()).map(Some)
    }

    /// Whether to keep a checkpoint after so many epochs; not at the end, where
    /// the model itself is kept.
    fn keeps_checkpoint(&self, epochs: u32) -> bool {
        self.checkpoint_every > 0 && epochs.is_multiple_of(self.checkpoint_every) && epochs < self.epochs
    }

    fn steps_per_epoch(&self, rows: u32) -> u32 {
        rows.div_ceil(self.batch)
    }

    /// Where the batch of `step` starts and how many rows it has; the last one
    /// takes what is left.
    fn range(&self, step: u32, rows: u32) -> (u64, u64) {
        let start = u64::from(step) * u64::from(self.batch);
        (start, u64::from(self.batch).min(u64::from(rows).saturating_sub(start)))
    }
}

/// Points of the loss curve: steps done in the epoch, mean loss of the last
/// [`STEPS_PER_POINT`].
fn curve(losses: &[f32]) -> Vec<(u64, f64)> {
    let mut steps = 0;
    let point = |part: &[f32]| {
        steps += part.len() as u64;
        (steps, mean(part))
    };
    losses.chunks(STEPS_PER_POINT).map(point).collect()
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_cover_all_rows_once() {
        let plan = Plan {
            epochs: 1,
            batch: 100,
            learning_rate: 1e-3,
            name: String::new(),
            hidden: 8,
            rows: 0,
            checkpoint_every: 1,
        };
        assert_eq!((plan.steps_per_epoch(60_000), plan.range(599, 60_000)), (600, (59_900, 100)));
        assert_eq!((plan.steps_per_epoch(250), plan.range(2, 250)), (3, (200, 50)));
    }

    #[test]
    fn the_loss_curve_has_a_point_per_fifty_steps_and_one_for_the_rest() {
        let losses: Vec<f32> = (0..60).map(|step| if step < 50 { 2.0 } else { 0.5 }).collect();
        assert_eq!(curve(&losses), [(50, 2.0), (60, 0.5)]);
    }
}
