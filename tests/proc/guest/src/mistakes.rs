//! Calls that are wrong, each alone.

use quern_udf::bindings::quern::udf::types::{Buffers, Dtype, Error as HostError};
use quern_udf::bindings::quern::udf::{declare, job, models, tables, tensors};
use quern_udf::prelude::{Proc, Result};

/// Keeps what a call answered under the name of the mistake.
fn keep<T>(p: &Proc, mistake: &str, answer: std::result::Result<T, HostError>) -> Result {
    match answer {
        Ok(_) => p.result(mistake, "accepted"),
        Err(error) => p.result(mistake, format!("{:?}: {}", error.code, error.message)),
    }
}

pub(crate) fn mistakes(p: &Proc) -> Result {
    let [input] = &tables::inputs()[..] else { return p.result("inputs", "not one") };
    let [rows, kept] = &tables::outputs()[..] else { return p.result("outputs", "not two") };
    of_columns(p, input)?;
    of_outputs(p, input, rows)?;
    of_tensors(p)?;
    of_models(p, input, rows, kept)?;
    of_the_job(p)
}

fn of_columns(p: &Proc, input: &tables::Table) -> Result {
    keep(p, "unknown column", input.column("idd"))?;
    keep(p, "long name", input.column(&"x".repeat(200)))?;
    keep(p, "control character", input.column("i\u{7}d"))?;
    keep(p, "resize input", input.resize(3))?;
    let (id, flag, text) = (input.column("id")?, input.column("flag")?, input.column("text")?);
    keep(p, "read beyond", id.read(5, 6))?;
    keep(p, "read overflow", id.read(u64::MAX, 2))?;
    keep(p, "range beyond", tensors::Tensor::of_column(&id, 1, u64::MAX))?;
    keep(p, "tensor of text", tensors::Tensor::of_column(&text, 0, 1))?;
    keep(p, "tensor of nulls", tensors::Tensor::of_column(&flag, 0, 1))?;
    keep(p, "write input", id.write(0, &int64(&[1])))?;
    keep(p, "copy into input", id.copy_from(0, &id))
}

fn of_outputs(p: &Proc, input: &tables::Table, rows: &tables::Table) -> Result {
    let (n, word) = (rows.column("n")?, rows.column("word")?);
    keep(p, "read output", n.read(0, 0))?;
    keep(p, "tensor of output", tensors::Tensor::of_column(&n, 0, 0))?;
    rows.resize(2)?;
    keep(p, "write beyond", n.write(1, &int64(&[1, 2])))?;
    keep(p, "write too few bytes", n.write(0, &Buffers { values: vec![0; 7], ..int64(&[1]) }))?;
    keep(p, "write nulls", n.write(0, &Buffers { validity: Some(vec![0]), ..int64(&[1]) }))?;
    let offsets = [0_i64, 9].iter().flat_map(|o| o.to_le_bytes()).collect();
    let text = Buffers { rows: 1, validity: None, offsets: Some(offsets), values: b"abc".to_vec() };
    keep(p, "write wrong offsets", word.write(0, &text))?;
    keep(p, "copy another type", n.copy_from(0, &input.column("text")?))?;
    keep(p, "copy too many", n.copy_from(0, &input.column("id")?))?;
    keep(p, "resize without bound", rows.resize(u64::MAX))?;
    let ones = tensors::Tensor::full(Dtype::Int64, &[3], 1.0)?;
    keep(p, "tensor beyond", ones.to_column(&n, 0))?;
    keep(p, "tensor into input", ones.to_column(&input.column("id")?, 0))?;
    rows.resize(0).map_err(Into::into)
}

fn of_tensors(p: &Proc) -> Result {
    use tensors::Tensor as T;
    let ones = T::full(Dtype::Float32, &[2, 3], 1.0)?;
    keep(p, "huge shape", T::full(Dtype::Float32, &[u32::MAX; 4], 0.0))?;
    keep(p, "many dimensions", T::full(Dtype::Float32, &[1; 64], 0.0))?;
    keep(p, "wrong byte count", T::from_bytes(Dtype::Float32, &[2], &[0; 7]))?;
    keep(p, "unknown activation", ones.linear(&ones, None, "gelu"))?;
    keep(p, "long activation", ones.linear(&ones, None, &"x".repeat(100)))?;
    keep(p, "long compute type", tensors::set_compute(&"x".repeat(40)))?;
    keep(p, "axis outside", ones.softmax(i32::MIN))?;
    keep(p, "slice outside", ones.slice(1, u64::MAX, 2))?;
    keep(p, "reshape to another size", ones.reshape(&[7]))?;
    keep(p, "transpose twice", ones.transpose(&[0, 0]))?;
    keep(p, "concat of nothing", T::concat(0, &[]))?;
    keep(p, "mixed types", ones.add(&T::full(Dtype::Float64, &[3], 1.0)?))?;
    keep(p, "item of many", ones.item())?;
    let weight = tensors::Variable::new(&ones);
    keep(p, "assign another shape", weight.assign(&T::full(Dtype::Float32, &[3], 1.0)?))?;
    let tape = tensors::Tape::new(&[&weight]);
    keep(p, "gradient of a matrix", tape.gradients(&ones))?;
    keep(p, "gradients missing", tensors::sgd(&[&weight], &[], &[], 0.1, 0.0, 0.0))
}

fn of_models(p: &Proc, input: &tables::Table, rows: &tables::Table, kept: &tables::Table) -> Result {
    let one = tensors::Tensor::full(Dtype::Float32, &[1], 1.0)?;
    let loss = [("loss".to_owned(), "0.5".to_owned())];
    let named = |name: &str| vec![(name.to_owned(), &one)];
    keep(p, "save to input", models::save(input, "m", &named("w"), &loss))?;
    keep(p, "save to rows", models::save(rows, "m", &named("w"), &loss))?;
    keep(p, "save twice", models::save(kept, "m", &[named("w"), named("w")].concat(), &loss))?;
    keep(p, "save without name", models::save(kept, "", &named("w"), &loss))?;
    keep(p, "save a bad loss", models::save(kept, "m", &named("w"), &[("loss".to_owned(), "low".to_owned())]))?;
    keep(p, "save another id", models::save(kept, "m", &named("w"), &[("id".to_owned(), "7".to_owned())]))?;
    keep(p, "load from output", models::load_newest(kept))?;
    keep(p, "load from digits", models::load_newest(input))?;
    p.result("models saved by mistake", kept.rows())
}

fn of_the_job(p: &Proc) -> Result {
    keep(p, "long result", job::set_result("r", &"x".repeat(70_000)))?;
    keep(p, "result without name", job::set_result("", "x"))?;
    keep(p, "declare in a run", declare::proc("late", "distributed", ""))
}

/// The session is of no use after a program that failed: variables may be half
/// updated.
pub(crate) fn gathers_outside(p: &Proc) -> Result {
    let ones = tensors::Tensor::full(Dtype::Float32, &[2, 3], 1.0)?;
    let row = tensors::Tensor::from_bytes(Dtype::Int32, &[1], &9_i32.to_le_bytes())?;
    let outside = ones.gather(0, &row)?;
    keep(p, "read", outside.read())?;
    keep(p, "read again", ones.read())
}

fn int64(values: &[i64]) -> Buffers {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Buffers { rows: values.len() as u64, validity: None, offsets: None, values: bytes }
}

pub(crate) fn says(p: &Proc) -> Result {
    let params: Vec<String> = job::params().iter().map(|(name, value)| format!("{name}={value}")).collect();
    p.result("params", params.join(" "))?;
    p.result("missing", format!("{:?}", job::param("no such")))?;
    p.result("run", format!("{} {}/{} {}", job::run_id(), job::shard(), job::shards(), job::seed()))?;
    p.result("cancelled", job::cancelled())
}
