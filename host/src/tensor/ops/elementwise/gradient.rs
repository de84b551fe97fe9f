//! Gradients of elementwise operations, and of broadcasting.

use super::Elementwise;
use crate::base::Result;
use crate::tensor::op::Params;
use crate::tensor::ops::reduce::Keep;
use crate::tensor::session::Session;
use crate::tensor::shape::Shape;
use crate::tensor::tape::Entry;
use crate::tensor::value::Tensor;

impl Elementwise {
    /// ∂/∂inputs, each summed back to its input's shape.
    pub(crate) fn gradient(self, s: &mut Session, entry: &Entry, dy: &Tensor) -> Result<Vec<Option<Tensor>>> {
        let y = &entry.output;
        let x = entry.inputs.first().unwrap_or(y);
        let gradients = match (self, entry.inputs.as_slice()) {
            (_, [a, b]) => {
                let da = if entry.wants(0) { Some(self.of_first(s, a, b, dy)?) } else { None };
                let db = if entry.wants(1) { Some(self.of_second(s, (a, b, y), dy)?) } else { None };
                vec![da, db]
            }
            (Self::Where, [condition, yes, _]) => {
                let zero = s.full_of(yes.dtype(), Shape::SCALAR, 0.0)?;
                let d_yes = if entry.wants(1) { Some(s.where_(condition, dy, &zero)?) } else { None };
                let d_no = if entry.wants(2) { Some(s.where_(condition, &zero, dy)?) } else { None };
                vec![None, d_yes, d_no]
            }
            _ => vec![Some(self.of_only(s, entry.params, (x, y), dy)?)],
        };
        gradients
            .into_iter()
            .zip(&entry.inputs)
            .map(|(gradient, input)| gradient.map(|g| s.sum_to(&g, input.0.shape)).transpose())
            .collect()
    }

    fn of_only(self, s: &mut Session, params: Params, (x, y): (&Tensor, &Tensor), dy: &Tensor) -> Result<Tensor> {
        match self {
            Self::Affine => s.affine(dy, params.float(0), 0.0),
            Self::Power => {
                let exponent = params.float(0);
                let slope = s.power(x, exponent - 1.0)?;
                let slope = s.affine(&slope, exponent, 0.0)?;
                s.mul(dy, &slope)
            }
            Self::Relu => s.activation_gradient(Self::ReluGrad, dy, y),
            Self::Sigmoid => s.activation_gradient(Self::SigmoidGrad, dy, y),
            Self::Tanh => s.activation_gradient(Self::TanhGrad, dy, y),
            Self::Exp => s.mul(dy, y),
            Self::Log => s.div(dy, x),
            Self::Sqrt => {
                let half = s.affine(dy, 0.5, 0.0)?;
                s.div(&half, y)
            }
            Self::Cast => s.cast(dy, x.dtype()),
            _ => Ok(dy.clone()),
        }
    }

    fn of_first(self, s: &mut Session, a: &Tensor, b: &Tensor, dy: &Tensor) -> Result<Tensor> {
        match self {
            Self::Mul => s.mul(dy, b),
            Self::Div => s.div(dy, b),
            Self::Pow => {
                let one = s.full_of(b.dtype(), Shape::SCALAR, 1.0)?;
                let less = s.sub(b, &one)?;
                let slope = s.pow(a, &less)?;
                let slope = s.mul(&slope, b)?;
                s.mul(dy, &slope)
            }
            Self::Maximum => s.share(dy, b, a),
            Self::Minimum => s.share(dy, a, b),
            _ => Ok(dy.clone()),
        }
    }

    fn of_second(self, s: &mut Session, (a, b, y): (&Tensor, &Tensor, &Tensor), dy: &Tensor) -> Result<Tensor> {
        match self {
            Self::Sub => s.affine(dy, -1.0, 0.0),
            Self::Mul => s.mul(dy, a),
            Self::Div => {
                let slope = s.div(y, b)?;
                let slope = s.mul(dy, &slope)?;
                s.affine(&slope, -1.0, 0.0)
            }
            Self::Pow => {
                // 0ᵇ · ln 0 would be NaN; its limit is 0.
                let zero = s.full_of(a.dtype(), Shape::SCALAR, 0.0)?;
                let is_zero = s.equal(a, &zero)?;
                let log = s.log(a)?;
                let log = s.where_(&is_zero, &zero, &log)?;
                let slope = s.mul(y, &log)?;
                s.mul(dy, &slope)
            }
            Self::Maximum => s.share(dy, a, b),
            Self::Minimum => s.share(dy, b, a),
            _ => Ok(dy.clone()),
        }
    }
}

impl Session {
    /// dy where `low < high`, half of it where they are equal, else 0.
    fn share(&mut self, dy: &Tensor, low: &Tensor, high: &Tensor) -> Result<Tensor> {
        let less = self.less(low, high)?;
        let less = self.cast(&less, dy.dtype())?;
        let at_most = self.less_equal(low, high)?;
        let at_most = self.cast(&at_most, dy.dtype())?;
        let both = self.add(&less, &at_most)?;
        let part = self.affine(&both, 0.5, 0.0)?;
        self.mul(dy, &part)
    }

    /// Sums `a` over the dimensions along which `shape` broadcasts to its shape.
    pub(crate) fn sum_to(&mut self, a: &Tensor, shape: Shape) -> Result<Tensor> {
        let full = a.0.shape;
        if full == shape {
            return Ok(a.clone());
        }
        let missing = full.len() - shape.len().min(full.len());
        let repeated: Vec<i32> = (0..full.len())
            .filter(|i| *i < missing || (shape[i - missing] == 1 && full[*i] != 1))
            .map(|i| i as i32)
            .collect();
        let sum = if repeated.is_empty() { a.clone() } else { self.reduce_sum(a, &repeated, Keep::Kept)? };
        self.reshape(&sum, &shape)
    }
}
