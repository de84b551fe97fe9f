//! More of a thing than a limit allows.

use quern_udf::bindings::quern::udf::job;
use quern_udf::prelude::{Proc, Result};

pub(crate) fn many_results(p: &Proc) -> Result {
    for i in 0..p.param::<u64>("count")? {
        p.result(&format!("r{i}"), i)?;
    }
    Ok(())
}

pub(crate) fn many_metrics(p: &Proc) -> Result {
    job::metric("a\u{1b}b", 0, 0.0);
    for i in 0..p.param::<u64>("count")? {
        job::metric("m", i, 0.5);
    }
    Ok(())
}

pub(crate) fn big_line(p: &Proc) -> Result {
    job::set_status("working\r\non \u{1b}[2Jit", Some(f32::NAN));
    job::log(job::Level::Info, &"x".repeat(p.param("bytes")?));
    Ok(())
}

pub(crate) fn big_call(p: &Proc) -> Result {
    job::log(job::Level::Info, &"x".repeat(p.param("bytes")?));
    Ok(())
}

pub(crate) fn big_names(p: &Proc) -> Result {
    let name = "n".repeat(p.param("bytes")?);
    p.result("answer", format!("{:?}", job::param(&name)))?;
    job::set_result(&name, "x").map_err(Into::into)
}

pub(crate) fn spares_memory(p: &Proc) -> Result {
    let mut hoard = Vec::<u8>::new();
    p.result("refused", hoard.try_reserve_exact(1 << 30).is_err())
}
