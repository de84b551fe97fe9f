//! Procs that say, make or ask for too much, or go on where they should stop.

use std::hint::black_box;

use quern_udf::bindings::quern::udf::job;
use quern_udf::prelude::*;

pub(crate) fn shouts_forever(p: &Proc) -> Result {
    for i in 0.. {
        quern_udf::info("x".repeat(1000));
        p.metric("m", i, 0.5);
        p.status(format!("{i}"), 0.5)?;
    }
    Ok(())
}

pub(crate) fn calls_forever(p: &Proc) -> Result {
    loop {
        black_box(p.shard());
    }
}

pub(crate) fn answers_forever(p: &Proc) -> Result {
    let long = "x".repeat(60_000);
    for i in 0.. {
        p.result(&format!("r{i}"), &long)?;
    }
    Ok(())
}

pub(crate) fn saves_forever(p: &Proc) -> Result {
    let one = Tensor::ones(Float32, &[1])?;
    loop {
        p.output("kept")?.save_tensors("m", &[("w".to_owned(), one.clone())], &[])?;
    }
}

pub(crate) fn never_repeats(p: &Proc) -> Result {
    for step in 0..p.param::<u32>("steps")? {
        let sum = Tensor::ones(Float32, &[step + 1])?.sum(&[])?.item()?;
        assert_eq!(sum, f64::from(step + 1));
    }
    Ok(())
}

pub(crate) fn asks_for_too_much(_: &Proc) -> Result {
    Tensor::zeros(Float64, &[u32::MAX, 200])?.item()?;
    Ok(())
}

/// Panics when it goes.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

pub(crate) fn panics_in_drop(_: &Proc) -> Result {
    let _bomb = black_box(Bomb);
    bail!("an error that nobody will see")
}

pub(crate) fn ignores_the_end(p: &Proc) -> Result {
    while !job::cancelled() {}
    loop {
        // Every answer is ignored.
        let _ = p.result("late", "rows");
        let _ = Tensor::ones(Float32, &[1]).and_then(|one| one.item());
    }
}

pub(crate) fn injects(p: &Proc) -> Result {
    for text in ["'; DROP TABLE quern_run; --", "\"quern\".\"runs\"", "$1 %s {0} \\n"] {
        p.result(text, text)?;
        p.metric(text, 1, 1.0);
        quern_udf::info(text);
        p.output("kept")?.save_tensors(text, &[(text.to_owned(), Tensor::ones(Float32, &[1])?)], &[(text, &text)])?;
    }
    match job::set_result("\u{1b}]0;title\u{7}", "x") {
        Ok(()) => bail!("a result's name may hold escapes"),
        Err(_) => p.result("escapes", "\u{1b}[2J"),
    }
}
