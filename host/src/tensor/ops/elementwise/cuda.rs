//! Chains of elementwise operations on CUDA: each kind of chain is a generated
//! kernel, one thread an element at a time.
//!
//! The text depends on operations, types and the way operands are repeated; extents,
//! strides and scalars are arguments. So programs that differ in these share kernels.

use std::fmt::Write as _;

use super::Elementwise;
use super::fused::{Access, Arg as From, Fused, Input, Step, Target};
use crate::base::DType;
use crate::tensor::call::View;
use crate::tensor::cuda::{Arg, Recorder, type_name};
use crate::tensor::shape::{MAX_RANK, Shape};

/// A repeated operand: extent and stride of each dimension, outermost first, with
/// neighbours that are one run made one.
struct Walk(Vec<(usize, usize)>);

impl Walk {
    fn new(shape: &Shape, strides: &[usize; MAX_RANK]) -> Self {
        let mut dims: Vec<(usize, usize)> = Vec::new();
        for (extent, stride) in shape.iter().copied().zip(*strides).filter(|(extent, _)| *extent != 1) {
            match dims.last_mut() {
                Some((outer, step)) if *step == stride * extent => (*outer, *step) = (*outer * extent, stride),
                _ => dims.push((extent, stride)),
            }
        }
        Self(dims)
    }

    /// What finds the operand's element for element `i`; arguments are named after `k`.
    fn text(&self, k: usize) -> String {
        let mut terms = Vec::new();
        let mut rest = "j".to_owned();
        for (d, (_, stride)) in self.0.iter().enumerate().rev() {
            let position = if d == 0 { rest.clone() } else { format!("{rest} % e{k}_{d}") };
            match stride {
                0 => {}
                1 => terms.push(format!("({position})")),
                _ => terms.push(format!("({position}) * t{k}_{d}")),
            }
            rest = format!("{rest} / e{k}_{d}");
        }
        if terms.is_empty() { "0".to_owned() } else { terms.join(" + ") }
    }

    fn parameters(&self, k: usize) -> Vec<String> {
        (0..self.0.len()).flat_map(|d| [format!("u64 e{k}_{d}_"), format!("u64 t{k}_{d}_")]).collect()
    }
}

impl Fused {
    /// The kernel without its name: parameters and body.
    pub(crate) fn text(&self) -> String {
        let narrow = u32::try_from(self.shape.elements()).is_ok();
        let index = if narrow { "u32" } else { "u64" };
        let mut parameters = vec!["u64 n".to_owned()];
        let (mut before, mut inside) = (String::new(), String::new());
        for (k, input) in self.inputs.iter().enumerate() {
            let dtype = type_name(input.dtype);
            parameters.push(format!("const {dtype}* a{k}"));
            let at = match self.walk(input) {
                Some(walk) => {
                    parameters.extend(walk.parameters(k));
                    for d in 0..walk.0.len() {
                        let _ = writeln!(
                            before,
                            "  const {index} e{k}_{d} = ({index})e{k}_{d}_, t{k}_{d} = ({index})t{k}_{d}_;"
                        );
                    }
                    walk.text(k)
                }
                None if matches!(input.access, Access::Scalar) => "0".to_owned(),
                None => "i".to_owned(),
            };
            let _ = writeln!(inside, "    const As<{dtype}>::Work x{k} = As<{dtype}>::widen(a{k}[{at}]);");
        }
        for (k, step) in self.steps.iter().enumerate() {
            let dtype = type_name(step.to);
            if step.op.scalars() > 0 {
                parameters.push(format!("const u64* p{k}"));
                for s in 0..step.op.scalars() {
                    let _ = writeln!(before, "  const f64 s{k}_{s} = scalar(p{k}, {s});");
                }
            }
            let value = step.text(k);
            // Values of short types are rounded after every operation.
            let value = match step.to {
                DType::F16 | DType::BF16 | DType::Bool => format!("As<{dtype}>::widen(As<{dtype}>::narrow({value}))"),
                _ => value,
            };
            let _ = writeln!(inside, "    const As<{dtype}>::Work v{k} = {value};");
            if matches!(step.target, Target::Value(_)) {
                parameters.push(format!("{dtype}* y{k}"));
                let _ = writeln!(inside, "    y{k}[i] = As<{dtype}>::narrow(v{k});");
            }
        }
        format!(
            "({}) {{\n{before}  for (u64 i = FIRST; i < n; i += ALL_THREADS) {{\n    const {index} j = ({index})i;\n    \
             (void)j;\n{inside}  }}\n}}\n",
            parameters.join(", ")
        )
    }

    /// Records its execution.
    pub(crate) fn record(&self, views: &[View], on: &mut Recorder) {
        let n = self.shape.elements();
        if n == 0 {
            return;
        }
        let mut args = vec![Arg::U64(n as u64)];
        for input in &self.inputs {
            args.push(views[input.value as usize].into());
            for (extent, stride) in self.walk(input).iter().flat_map(|walk| &walk.0) {
                args.extend([Arg::U64(*extent as u64), Arg::U64(*stride as u64)]);
            }
        }
        for step in &self.steps {
            if step.op.scalars() > 0 {
                args.push(on.params(step.param));
            }
            if let Target::Value(value) = step.target {
                args.push(views[value as usize].into());
            }
        }
        let kernel = on.chain(self);
        on.each(kernel, n, args);
    }

    fn walk(&self, input: &Input) -> Option<Walk> {
        match &input.access {
            Access::Strided(strides) => Some(Walk::new(&self.shape, strides)),
            Access::Direct | Access::Scalar => None,
        }
    }
}

impl Step {
    /// Its value, in its type's arithmetic.
    fn text(&self, k: usize) -> String {
        let [a, b, c] = self.args.map(|arg| match arg {
            From::None => String::new(),
            From::Input(i) => format!("x{i}"),
            From::Step(i) => format!("v{i}"),
        });
        let to = type_name(self.to);
        let work = format!("As<{to}>::Work");
        let scalar = |s: usize| format!("from_f64<{work}>(s{k}_{s})");
        match self.op {
            Elementwise::Full => scalar(0),
            Elementwise::Range => format!("from_f64<{work}>(s{k}_0 + (f64)i * s{k}_1)"),
            Elementwise::Broadcast => a,
            Elementwise::Add => format!("plus({a}, {b})"),
            Elementwise::Sub => format!("minus({a}, {b})"),
            Elementwise::Mul => format!("times({a}, {b})"),
            Elementwise::Div => format!("{a} / {b}"),
            Elementwise::Pow => format!("pow_of({a}, {b})"),
            Elementwise::Maximum => format!("({a} > {b} || {a} != {a} ? {a} : {b})"),
            Elementwise::Minimum => format!("({a} < {b} || {a} != {a} ? {a} : {b})"),
            Elementwise::Affine if self.to.is_float() => format!("{a} * {} + {}", scalar(0), scalar(1)),
            Elementwise::Affine => format!("from_f64<{work}>((f64){a} * s{k}_0 + s{k}_1)"),
            Elementwise::Power => format!("(s{k}_0 == 2.0 ? {a} * {a} : pow_of({a}, {}))", scalar(0)),
            Elementwise::Relu => format!("({a} < ({work})0 ? ({work})0 : {a})"),
            Elementwise::ReluGrad => format!("({b} > ({work})0 ? {a} : ({work})0)"),
            Elementwise::Sigmoid => format!("sigmoid_of({a})"),
            Elementwise::Tanh => format!("tanh_of({a})"),
            Elementwise::Exp => format!("exp_of({a})"),
            Elementwise::Log => format!("log_of({a})"),
            Elementwise::Sqrt => format!("sqrt_of({a})"),
            Elementwise::SigmoidGrad => format!("{a} * {b} * (({work})1 - {b})"),
            Elementwise::TanhGrad => format!("{a} * (({work})1 - {b} * {b})"),
            Elementwise::Equal => format!("(u8)({a} == {b})"),
            Elementwise::Less => format!("(u8)({a} < {b})"),
            Elementwise::LessEqual => format!("(u8)({a} <= {b})"),
            Elementwise::Where => format!("({a} != 0 ? {b} : {c})"),
            Elementwise::Cast => format!("To<{to}>::of({a})"),
        }
    }
}
