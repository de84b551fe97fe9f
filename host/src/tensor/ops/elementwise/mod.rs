//! Elementwise operations: every element of the result depends on one element of
//! each operand. Operands broadcast as in NumPy and must have equal types.

mod cpu;
mod cuda;
mod fused;
mod gradient;

pub(crate) use fused::{Fused, MAX_STEPS, Operand};

use crate::base::{DType, Error, Result};
use crate::tensor::call::Call;
use crate::tensor::op::{Op, Params};
use crate::tensor::session::Session;
use crate::tensor::shape::Shape;
use crate::tensor::value::Tensor;

/// Which one. Scalars are parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Elementwise {
    /// Parameter 0 everywhere.
    Full,
    /// Parameter 0 + position · parameter 1.
    Range,
    /// The operand, repeated into a larger shape.
    Broadcast,
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Maximum,
    Minimum,
    /// Parameter 0 · a + parameter 1.
    Affine,
    /// a to the power of parameter 0.
    Power,
    Relu,
    Sigmoid,
    Tanh,
    Exp,
    Log,
    Sqrt,
    /// dy where y > 0, else 0.
    ReluGrad,
    /// dy · y · (1 − y).
    SigmoidGrad,
    /// dy · (1 − y²).
    TanhGrad,
    Equal,
    Less,
    LessEqual,
    Where,
    Cast,
}

/// What an operand's type must be.
#[derive(Clone, Copy)]
enum Class {
    Any,
    Number,
    Float,
}

impl Elementwise {
    /// Executes it alone.
    pub(crate) fn run(self, call: &Call) -> Result<()> {
        let fused = Fused::single(self, &call.operands(), 0);
        fused.run(call.views, call.params, call.lanes)
    }

    /// Comparisons have no useful gradient; results of gradients are not on tapes.
    pub(crate) fn is_differentiable(self) -> bool {
        !matches!(self, Self::Equal | Self::Less | Self::LessEqual)
    }

    /// How many parameters it has.
    fn scalars(self) -> usize {
        match self {
            Self::Full | Self::Power => 1,
            Self::Range | Self::Affine => 2,
            _ => 0,
        }
    }

    /// Its name in messages.
    fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Range => "range",
            Self::Broadcast => "broadcast",
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Div => "div",
            Self::Pow => "pow",
            Self::Maximum => "maximum",
            Self::Minimum => "minimum",
            Self::Affine => "affine",
            Self::Power => "power",
            Self::Relu | Self::ReluGrad => "relu",
            Self::Sigmoid | Self::SigmoidGrad => "sigmoid",
            Self::Tanh | Self::TanhGrad => "tanh",
            Self::Exp => "exp",
            Self::Log => "log",
            Self::Sqrt => "sqrt",
            Self::Equal => "equal",
            Self::Less => "less",
            Self::LessEqual => "less-equal",
            Self::Where => "where",
            Self::Cast => "cast",
        }
    }

    fn check(self, class: Class, dtype: DType) -> Result<()> {
        let (fits, wanted) = match class {
            Class::Any => (true, ""),
            Class::Number => (dtype != DType::Bool, "a number type"),
            Class::Float => (dtype.is_float(), "a float type"),
        };
        if fits {
            return Ok(());
        }
        Err(Error::TypeMismatch(format!("{} needs {wanted}, not {dtype}; cast it first", self.name())))
    }
}

/// Refuses operands of different types.
pub(crate) fn same_dtype(op: &str, a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dtype() == b.dtype() {
        return Ok(());
    }
    Err(Error::TypeMismatch(format!(
        "{op}: operands are {} {} and {} {}; cast one of them",
        a.dtype(),
        a.0.shape,
        b.dtype(),
        b.0.shape
    )))
}

macro_rules! methods {
    (unary $($(#[$doc:meta])* $name:ident = $op:ident, $class:ident;)*) => { impl Session {$(
        $(#[$doc])*
        pub fn $name(&mut self, a: &Tensor) -> Result<Tensor> {
            self.unary(Elementwise::$op, Class::$class, a, Params::NONE)
        }
    )*}};
    (binary $($(#[$doc:meta])* $name:ident = $op:ident, $class:ident;)*) => { impl Session {$(
        $(#[$doc])*
        pub fn $name(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
            self.binary(Elementwise::$op, Class::$class, a, b)
        }
    )*}};
    (compare $($(#[$doc:meta])* $name:ident = $op:ident;)*) => { impl Session {$(
        $(#[$doc])*
        pub fn $name(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
            self.compare(Elementwise::$op, a, b)
        }
    )*}};
}

methods! { unary
    /// max(a, 0); NaN stays NaN.
    relu = Relu, Number;
    /// 1 / (1 + e⁻ᵃ); floats.
    sigmoid = Sigmoid, Float;
    /// Hyperbolic tangent; floats.
    tanh = Tanh, Float;
    /// eᵃ; floats.
    exp = Exp, Float;
    /// Natural logarithm; floats.
    log = Log, Float;
    /// Square root; floats.
    sqrt = Sqrt, Float;
}

methods! { binary
    /// a + b; integers wrap around.
    add = Add, Number;
    /// a − b; integers wrap around.
    sub = Sub, Number;
    /// a · b; integers wrap around.
    mul = Mul, Number;
    /// a / b; floats.
    div = Div, Float;
    /// aᵇ; floats.
    pow = Pow, Float;
    /// The larger; NaN if either is.
    maximum = Maximum, Number;
    /// The smaller; NaN if either is.
    minimum = Minimum, Number;
}

methods! { compare
    /// a = b, as bool.
    equal = Equal;
    /// a < b, as bool.
    less = Less;
    /// a ≤ b, as bool.
    less_equal = LessEqual;
}

impl Session {
    /// a > b, as bool.
    pub fn greater(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.compare(Elementwise::Less, b, a)
    }

    /// a ≥ b, as bool.
    pub fn greater_equal(&mut self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        self.compare(Elementwise::LessEqual, b, a)
    }

    /// scale · a + shift. Integers are computed in double precision, truncated
    /// and saturated.
    pub fn affine(&mut self, a: &Tensor, scale: f64, shift: f64) -> Result<Tensor> {
        self.unary(Elementwise::Affine, Class::Number, a, Params::floats([scale, shift]))
    }

    /// a to the power of a scalar; floats.
    pub fn power(&mut self, a: &Tensor, exponent: f64) -> Result<Tensor> {
        self.unary(Elementwise::Power, Class::Float, a, Params::floats([exponent]))
    }

    /// Elements of `yes` where `condition` (bool) holds, else of `no`.
    pub fn where_(&mut self, condition: &Tensor, yes: &Tensor, no: &Tensor) -> Result<Tensor> {
        if condition.dtype() != DType::Bool {
            return Err(Error::TypeMismatch(format!(
                "where: the condition is {}, not bool; compare it first",
                condition.dtype()
            )));
        }
        same_dtype("where", yes, no)?;
        let shape = yes.0.shape.broadcast(&no.0.shape, "where")?.broadcast(&condition.0.shape, "where")?;
        self.record(Op::Elementwise(Elementwise::Where), &[condition, yes, no], Params::NONE, yes.dtype(), shape)
    }

    /// To another element type: to integers it truncates toward zero and
    /// saturates (NaN becomes 0), to bool it is `≠ 0`.
    pub fn cast(&mut self, a: &Tensor, dtype: DType) -> Result<Tensor> {
        if a.dtype() == dtype {
            return Ok(a.clone());
        }
        self.record(Op::Elementwise(Elementwise::Cast), &[a], Params::NONE, dtype, a.0.shape)
    }

    /// All elements `value`.
    pub fn full(&mut self, dtype: DType, shape: &[usize], value: f64) -> Result<Tensor> {
        self.full_of(dtype, Shape::new(shape)?, value)
    }

    /// `[count]`: start, start + step, …
    pub fn range(&mut self, dtype: DType, start: f64, count: usize, step: f64) -> Result<Tensor> {
        Elementwise::Range.check(Class::Number, dtype)?;
        let shape = Shape::new(&[count])?;
        self.record(Op::Elementwise(Elementwise::Range), &[], Params::floats([start, step]), dtype, shape)
    }

    pub(crate) fn full_of(&mut self, dtype: DType, shape: Shape, value: f64) -> Result<Tensor> {
        self.record(Op::Elementwise(Elementwise::Full), &[], Params::floats([value]), dtype, shape)
    }

    /// `a` repeated into `shape`, to which it broadcasts.
    pub(crate) fn broadcast(&mut self, a: &Tensor, shape: Shape) -> Result<Tensor> {
        if a.0.shape == shape {
            return Ok(a.clone());
        }
        self.record(Op::Elementwise(Elementwise::Broadcast), &[a], Params::NONE, a.dtype(), shape)
    }

    fn unary(&mut self, op: Elementwise, class: Class, a: &Tensor, params: Params) -> Result<Tensor> {
        op.check(class, a.dtype())?;
        self.record(Op::Elementwise(op), &[a], params, a.dtype(), a.0.shape)
    }

    fn binary(&mut self, op: Elementwise, class: Class, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        same_dtype(op.name(), a, b)?;
        op.check(class, a.dtype())?;
        let shape = a.0.shape.broadcast(&b.0.shape, op.name())?;
        self.record(Op::Elementwise(op), &[a, b], Params::NONE, a.dtype(), shape)
    }

    fn compare(&mut self, op: Elementwise, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        same_dtype(op.name(), a, b)?;
        op.check(Class::Any, a.dtype())?;
        let shape = a.0.shape.broadcast(&b.0.shape, op.name())?;
        self.record(Op::Elementwise(op), &[a, b], Params::NONE, DType::Bool, shape)
    }

    /// The gradient of an activation: `op(dy, y)`.
    pub(crate) fn activation_gradient(&mut self, op: Elementwise, dy: &Tensor, y: &Tensor) -> Result<Tensor> {
        self.binary(op, Class::Number, dy, y)
    }
}
