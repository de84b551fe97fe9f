//! Handwritten digits, the main example: `train` fits a network to labelled
//! images and stores it, `infer` applies the newest stored network.
//!
//! Network and tables are those of Kinetica's example (784-256-256-10, ReLU,
//! Adam, batches of 100, 5 epochs); pixels are scaled to 0…1, rows shuffled in
//! each epoch, weights start as He et al. propose and the learning rate falls
//! along a cosine.

mod infer;
mod train;

use infer::infer;
use quern_udf::prelude::*;
use train::train;

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
}

/// Pixels 0…255, `[n, 28, 28]` uint8, as the network's input `[n, 784]` float32
/// in 0…1.
fn pixels(images: &Tensor) -> Result<Tensor> {
    images.reshape(&[images.len(), 784])?.cast(Float32)? / 255.0
}
