//! Procs for the tests of `run`.

use quern_udf::prelude::*;

procs! {
    /// Does nothing.
    nondistributed empty {}

    /// Answers with the bytes it was given, the first as often as there are rows.
    distributed echo {
        input rows;
        param picture: binary;
        param words: binary = "abc";
        reduce picture: concat;
        reduce words: first;
    }

    /// Sets a binary result of so many bytes.
    nondistributed big_result { param bytes: int; }
}

fn empty(_: &Proc) -> Result {
    Ok(())
}

fn echo(p: &Proc) -> Result {
    let rows = p.input("rows")?.rows();
    p.result_bytes("picture", &p.param_bytes("picture")?.repeat(rows as usize))?;
    p.result_bytes("words", &p.param_bytes("words")?)
}

fn big_result(p: &Proc) -> Result {
    p.result_bytes("zeros", &vec![0; p.param::<u32>("bytes")? as usize])
}
