//! Imports `wasi:clocks/wall-clock`: refused when the component is created.

use quern_udf::prelude::*;

wit_bindgen::generate!({
    inline: "
        package wasi:clocks@0.2.0;
        interface wall-clock {
            now: func() -> u64;
        }
        world clock {
            import wall-clock;
        }
    ",
});

procs! {
    /// Tells the time.
    nondistributed tell_time {}
}

fn tell_time(p: &Proc) -> Result {
    p.result("now", wasi::clocks::wall_clock::now())
}
