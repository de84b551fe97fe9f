//! The demo's network, trained natively: 784-256-256-10, ReLU, Adam. Tests check
//! what it learns; a bench compares it with the same program in WebAssembly.

use std::time::{Duration, Instant};

use quern::base::{DType, Result};
use quern::device::Buffer;
use quern::tensor::{Activation, Adam, Session, Tensor, Variable};

/// Extents of the layers.
const LAYERS: [usize; 4] = [784, 256, 256, 10];

/// Rows of a step.
pub(crate) const BATCH: usize = 100;

/// Steps at the end of an epoch whose losses are averaged.
const LAST: usize = 10;

/// Weights and biases with Adam's moments.
pub(crate) struct Network {
    parameters: Vec<Variable>,
    first: Vec<Variable>,
    second: Vec<Variable>,
    step: u64,
}

impl Network {
    /// He-initialised weights, zero biases.
    pub(crate) fn new(session: &mut Session) -> Result<Self> {
        let mut parameters = Vec::new();
        for pair in LAYERS.windows(2) {
            let weight = session.random_normal(DType::F32, pair, 0.0, (2.0 / pair[0] as f64).sqrt())?;
            let bias = session.full(DType::F32, &pair[1..], 0.0)?;
            parameters.extend([session.variable(&weight)?, session.variable(&bias)?]);
        }
        let mut zeros = || -> Result<Vec<Variable>> {
            let zero = |p: &Variable| {
                let zero = session.full(DType::F32, p.shape(), 0.0)?;
                session.variable(&zero)
            };
            parameters.iter().map(zero).collect()
        };
        let (first, second) = (zeros()?, zeros()?);
        Ok(Self { parameters, first, second, step: 0 })
    }

    /// Logits of images `[n, 28, 28]` uint8.
    pub(crate) fn logits(&self, session: &mut Session, images: &Tensor) -> Result<Tensor> {
        let n = images.shape()[0];
        let flat = session.reshape(images, &[n, LAYERS[0]])?;
        let wide = session.cast(&flat, DType::F32)?;
        let mut x = session.affine(&wide, 1.0 / 255.0, 0.0)?;
        let layers = self.parameters.len() / 2;
        for (i, layer) in self.parameters.chunks(2).enumerate() {
            let (weight, bias) = (session.value(&layer[0])?, session.value(&layer[1])?);
            let activation = if i + 1 < layers { Activation::Relu } else { Activation::None };
            x = session.linear(&x, &weight, Some(&bias), activation)?;
        }
        Ok(x)
    }

    /// One step on the rows picked by `indices`; the loss.
    pub(crate) fn train_step(
        &mut self,
        session: &mut Session,
        (images, labels): (&Tensor, &Tensor),
        indices: &Tensor,
    ) -> Result<Tensor> {
        let variables: Vec<&Variable> = self.parameters.iter().collect();
        let tape = session.tape(&variables)?;
        let batch = session.gather(images, 0, indices)?;
        let wanted = session.gather(labels, 0, indices)?;
        let logits = self.logits(session, &batch)?;
        let loss = session.cross_entropy(&logits, &wanted)?;
        let gradients = session.gradients(&tape, &loss)?;
        self.step += 1;
        session.adam(&Adam {
            variables: &variables,
            gradients: &gradients.iter().collect::<Vec<_>>(),
            first: &self.first.iter().collect::<Vec<_>>(),
            second: &self.second.iter().collect::<Vec<_>>(),
            step: self.step,
            rate: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            decay: 0.0,
        })?;
        Ok(loss)
    }

    /// One epoch in random order, every step's loss kept and read at its end, as
    /// the proc does it; the mean of the last losses and the time it took.
    pub(crate) fn train_epoch(&mut self, session: &mut Session, data: (&Tensor, &Tensor)) -> Result<(f64, Duration)> {
        let started = Instant::now();
        let rows = data.0.shape()[0];
        let order = session.random_permutation(rows)?;
        let mut losses = Vec::new();
        for step in 0..rows / BATCH {
            let indices = session.slice(&order, 0, (step * BATCH) as u64, BATCH as u64)?;
            losses.push(self.train_step(session, data, &indices)?);
        }
        let losses = losses.iter().map(|loss| session.reshape(loss, &[1])).collect::<Result<Vec<_>>>()?;
        let curve = session.concat(0, &losses.iter().collect::<Vec<_>>())?;
        let curve = session.read(&curve)?;
        let time = started.elapsed();
        let losses: Vec<f32> = curve.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let last = &losses[losses.len().saturating_sub(LAST)..];
        Ok((last.iter().map(|loss| f64::from(*loss)).sum::<f64>() / last.len() as f64, time))
    }

    /// The share of images whose largest logit is at their label.
    pub(crate) fn accuracy(&self, session: &mut Session, (images, labels): (&Tensor, &Tensor)) -> Result<f64> {
        let logits = self.logits(session, images)?;
        let predicted = session.arg_max(&logits, 1)?;
        let wanted = session.cast(labels, DType::I64)?;
        let right = session.equal(&predicted, &wanted)?;
        let right = session.cast(&right, DType::F64)?;
        let mean = session.reduce_mean(&right, &[], quern::tensor::Keep::Removed)?;
        session.item(&mean)
    }
}

/// The real images `[n, 28, 28]` and labels `[n]`, uint8, as columns of a device.
pub(crate) fn mnist(session: &mut Session, part: &str) -> Result<(Tensor, Tensor)> {
    let pool = session.executor().device().pool.clone();
    let (images, labels) =
        (idx(&format!("{part}-images-idx3-ubyte.gz"), 16), idx(&format!("{part}-labels-idx1-ubyte.gz"), 8));
    let n = labels.len();
    let images = Buffer::from_slice(&pool, &images)?;
    let labels = Buffer::from_slice(&pool, &labels)?;
    Ok((session.from_buffer(&images, 0, DType::U8, &[n, 28, 28])?, session.from_buffer(&labels, 0, DType::U8, &[n])?))
}

/// The values of an IDX file.
fn idx(name: &str, header_bytes: usize) -> Vec<u8> {
    let path = super::tests_folder().join("data/mnist").join(name);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).expect("the MNIST files are part of the repository");
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(file), &mut bytes).expect("gzip");
    bytes.split_off(header_bytes)
}
