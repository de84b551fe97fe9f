//! Variables, tapes, layers, optimisers, models.

use quern_udf::nn::{Activation, Conv2d, Convolution, Init, he_std};
use quern_udf::prelude::*;

use crate::{close, equal};

/// y = scale · x, one variable.
struct Scale(Variable);

impl Module for Scale {
    fn variables(&self) -> Vec<(String, Variable)> {
        vec![("scale".to_owned(), self.0.clone())]
    }
}

impl Scale {
    fn new(value: f32) -> Result<Self> {
        Ok(Self(Variable::new(&Tensor::from_slice(&[1], &[value])?)))
    }

    /// w², whose gradient is 2w.
    fn loss(&self) -> Result<Tensor> {
        self.0.value()?.square()?.sum(&[])
    }
}

pub(crate) fn train(p: &Proc) -> Result {
    variables()?;
    optimisers()?;
    layers()?;
    let net = Mlp::new(&[2, 8, 2])?;
    let loss = learn_xor(&net)?;
    let id = p.output("kept")?.save("xor", &net, &[("loss", &loss), ("note", &"learnt")])?;
    equal("length of an id", id.len(), 36)?;
    p.result("loss", loss)
}

pub(crate) fn recall(p: &Proc) -> Result {
    let model = p.input("kept")?.newest_model()?;
    equal("name", model.name(), "xor".to_owned())?;
    let note = model.metadata().into_iter().find(|(key, _)| key == "note");
    equal("metadata", note, Some(("note".to_owned(), "learnt".to_owned())))?;
    let names = "layers.0.weight layers.0.bias layers.1.weight layers.1.bias";
    equal("tensor names", model.tensor_names().join(" "), names.to_owned())?;

    let (x, labels) = xor()?;
    let net = Mlp::from_model(&model)?;
    equal("xor", net.forward(&x)?.arg_max(-1)?.equal(&labels)?.to_vec::<bool>()?, vec![true; 4])?;
    let other = Mlp::new(&[2, 8, 2])?;
    other.restore(&model)?;
    close("restored", other.forward(&x), &[4, 2], &net.forward(&x)?.to_vec::<f32>()?)?;
    equal("other sizes do not restore", Mlp::new(&[2, 9, 2])?.restore(&model).is_err(), true)?;

    let before: Vec<f32> = model.tensor("layers.0.weight")?.to_vec()?;
    learn_xor(&net)?;
    close("the model", model.tensor("layers.0.weight"), &[2, 8], &before)?;
    let same = p.input("kept")?.model(&model.id())?;
    equal("by id", same.id(), p.input("kept")?.model_named("xor")?.id())
}

fn variables() -> Result {
    let initial = Tensor::from_slice(&[2], &[1.0_f32, 2.0])?;
    let variable = Variable::new(&initial);
    let before = variable.value()?;
    variable.assign(&(&before * 10.0)?)?;
    close("assigned", variable.value(), &[2], &[10.0, 20.0])?;
    close("an earlier value", Ok(before), &[2], &[1.0, 2.0])?;
    close("the initial value", Ok(initial), &[2], &[1.0, 2.0])?;
    let tape = Tape::new(std::slice::from_ref(&variable));
    let loss = variable.value()?.square()?.sum(&[])?;
    close("gradient", Ok(tape.gradients(&loss)?.remove(0)), &[2], &[20.0, 40.0])
}

fn optimisers() -> Result {
    let module = Scale::new(1.0)?;
    let mut sgd = Sgd::new(&module, 0.1, 0.0)?;
    equal("loss", sgd.step(|| module.loss())?.item()?, 1.0)?;
    close("sgd", module.0.value(), &[1], &[0.8])?; // 1 − 0.1 · 2

    let module = Scale::new(1.0)?;
    let mut momentum = Sgd::new(&module, 0.1, 0.5)?;
    momentum.step(|| module.loss())?; // v = 2, w = 0.8
    momentum.step(|| module.loss())?; // v = 0.5 · 2 + 1.6 = 2.6, w = 0.8 − 0.26
    close("sgd with momentum", module.0.value(), &[1], &[0.54])?;

    let module = Scale::new(1.0)?;
    let mut adam = Adam::new(&module, 0.1)?;
    adam.step(|| module.loss())?; // the first step is as long as the rate
    close("adam", module.0.value(), &[1], &[0.9])?;
    adam.rate = 0.0;
    adam.step(|| module.loss())?;
    close("adam at rate 0", module.0.value(), &[1], &[0.9])
}

fn layers() -> Result {
    let layer = Linear::new(3, 2, Activation::Tanh)?;
    let out = layer.forward(&Tensor::zeros(Float32, &[5, 3])?)?;
    close("a layer of zeros", Ok(out), &[5, 2], &[0.0; 10])?;
    let layer = Conv2d::new(1, 3, 2, Convolution { activation: Activation::Relu, ..Convolution::default() })?;
    let out = layer.forward(&Tensor::zeros(Float32, &[2, 4, 3, 1])?)?;
    close("a convolution of zeros", Ok(out), &[2, 3, 2, 3], &[0.0; 36])?;
    let names: Vec<String> = layer.variables().into_iter().map(|(name, _)| name).collect();
    equal("its variables", names.join(" "), "weight bias".to_owned())?;
    let weight = Init::He.weight(200, 200)?.value()?;
    let std = weight.square()?.mean(&[])?.sqrt()?.item()?;
    equal("He's width", (std - he_std(200)).abs() < 0.005, true)?;
    equal("an Mlp of one size", Mlp::new(&[3]).is_err(), true)
}

/// The four rows of exclusive or.
fn xor() -> Result<(Tensor, Tensor)> {
    let x = Tensor::from_slice(&[4, 2], &[0.0_f32, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0])?;
    Ok((x, Tensor::from_slice(&[4], &[0_i64, 1, 1, 0])?))
}

fn learn_xor(net: &Mlp) -> Result<f64> {
    let (x, labels) = xor()?;
    let mut adam = Adam::new(net, 0.02)?;
    let mut loss = f64::NAN;
    for _ in 0..400 {
        loss = adam.step(|| net.forward(&x)?.cross_entropy(&labels))?.item()?;
    }
    Ok(loss)
}
