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

/// Pixels 0…255, `[n, 28, 28]` uint8, as the network's input `[n, 784]` float32
/// in 0…1.
fn pixels(images: &Tensor) -> Result<Tensor> {
    images.reshape(&[images.len(), 784])?.cast(Float32)? / 255.0
}
