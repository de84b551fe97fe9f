//! Handwritten digits, the main example: `train` fits a network to labelled
//! images and stores it, `infer` applies the newest stored network, `vote` all of
//! them together.
//!
//! Network and tables are those of Kinetica's example (784-256-256-10, ReLU,
//! Adam, batches of 100, 5 epochs); pixels are scaled to 0…1, rows shuffled in
//! each epoch, weights start as He et al. propose and the learning rate falls
//! along a cosine.

mod infer;
mod train;
mod vote;

use infer::infer;
use quern_udf::prelude::*;
use train::train;
use vote::vote;

procs! {
    /// Fits a 784-256-256-10 network to labelled images of digits and stores it as a model.
    nondistributed train {
        /// Images and the digits they show.
        input images { data: tensor(uint8, [28, 28]), readable_label: numeric }
        /// One model per run, with the mean loss of its last epoch.
        output trained: models { loss: float64 }
        /// Passes over all images.
        param epochs: int = 5;
        /// Images per step.
        param batch: int = 100;
        /// Learning rate of the first step; it falls to 0 along a cosine.
        param learning_rate: float = 0.002;
        /// Name of the stored model.
        param name: string = "mnist-784-256-256-10";
        /// Neurons of each of the two hidden layers.
        param hidden: int = 256;
        /// Images to learn from, drawn by the seed; 0 takes all.
        param rows: int = 0;
        /// Epochs between checkpoints, from which `execute --resume RUN` goes on; 0 keeps none.
        param checkpoint_every: int = 1;
    }

    /// Tells what digit each image shows, by the newest model or a chosen one.
    distributed infer {
        /// Images, and the digits they are known to show.
        input images { id: numeric, data: tensor(uint8, [28, 28]), readable_label: numeric }
        /// Models of `train`.
        input trained;
        /// One row per image.
        output predictions { id: int64, predict: int32, label: int32, model_id: utf8 }
        /// Id of the model to use instead of the newest.
        param model: string = "";
        /// Images of all instances.
        reduce rows: sum;
        /// Images recognised.
        reduce correct: sum;
    }

    /// Lets all models of a table tell together what digit each image shows: their probabilities are added.
    distributed vote {
        /// Images, and the digits they are known to show.
        input images { id: numeric, data: tensor(uint8, [28, 28]), readable_label: numeric }
        /// Models of `train`, all of which vote.
        input trained;
        /// One row per image.
        output predictions { id: int64, predict: int32, label: int32 }
        /// How each model does alone: one row per model and instance.
        output alone { model_id: utf8, images: int64, correct: int64 }
        /// Images of all instances.
        reduce rows: sum;
        /// Images recognised.
        reduce correct: sum;
        /// Models that voted.
        reduce models: max;
    }
}

/// Size of the network's input: 28 × 28.
const PIXELS: u32 = 784;
/// Size of its output.
const DIGITS: u32 = 10;
/// Images worked on together, which bounds the device memory they need.
const CHUNK_ROWS: u64 = 10_000;

/// Pixels 0…255, `[n, 28, 28]` uint8, as the network's input `[n, 784]` float32
/// in 0…1.
fn pixels(images: &Tensor) -> Result<Tensor> {
    images.reshape(&[images.len(), PIXELS])?.cast(Float32)? / 255.0
}

/// Makes a row of `predictions` for each image, with its id and the digit it is
/// known to show; those digits, `[n]` int32.
fn begin(images: &Table, predictions: &Table) -> Result<Tensor> {
    predictions.resize(images.rows())?;
    predictions.put("id", 0, &images.tensor("id")?.cast(Int64)?)?;
    let labels = images.tensor("readable_label")?.cast(Int32)?;
    predictions.put("label", 0, &labels)?;
    Ok(labels)
}

/// How many `digits` are those that the images show: `[n] × [n]` int32.
fn hits(digits: &Tensor, labels: &Tensor) -> Result<f64> {
    digits.equal(labels)?.cast(Int64)?.sum(&[])?.item()
}

quern_udf::tests! {
    use quern_udf::testing::{count, rows, run, table};

    /// Images of ten patterns, which are their labels: every tenth pixel is bright.
    fn images(rows: u32) -> (Vec<u8>, Vec<u8>) {
        let pixel = |row: u32, at: u32| if at % 10 == row % 10 { 250 } else { 0 };
        let data = (0..rows).flat_map(|row| (0..PIXELS).map(move |at| pixel(row, at))).collect();
        (data, (0..rows).map(|row| (row % 10) as u8).collect())
    }

    fn learns_patterns_and_recognises_them_on_every_shard() -> Result {
        let (data, labels) = images(200);
        let ids: Vec<i64> = (0..200).collect();
        let digits = table("digits").column("id", &ids).tensors("data", &[28, 28], &data);
        digits.column("readable_label", &labels).shards(3).create()?;

        let training = run("train").input("digits").output("models").param("epochs", 3).seed(1).execute()?;
        assert!(training.result::<f64>("loss")? < 0.5, "loss {}", training.result::<f64>("loss")?);
        assert_eq!(training.metric("epoch_loss")?.len(), 3);
        assert_eq!(rows::<String>("models", "name")?, ["mnist-784-256-256-10"]);

        let inference = run("infer").input("digits").input("models").output("told").execute()?;
        assert_eq!((inference.result::<u64>("rows")?, inference.result::<u64>("correct")?), (200, 200));
        assert_eq!(rows::<i32>("told", "predict")?, rows::<i32>("told", "label")?);
        assert_eq!(count("told")?, 200);
        Ok(())
    }

    fn an_unknown_model_is_named() -> Result {
        let (data, labels) = images(10);
        let digits = table("digits").column("id", &[0_i64; 10]).tensors("data", &[28, 28], &data);
        digits.column("readable_label", &labels).create()?;
        run("train").input("digits").output("models").param("epochs", 1).execute()?;
        let error = run("infer").input("digits").input("models").output("told").param("model", "nobody").fails()?;
        assert!(error.contains("nobody"), "{error}");
        Ok(())
    }
}
