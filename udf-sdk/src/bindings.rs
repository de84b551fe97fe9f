//! What `wit-bindgen` makes of `wit/`: the host's functions as they are. The rest
//! of this crate is a thin layer over them.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction)]

wit_bindgen::generate!({
    world: "proc",
    path: "../wit",
    pub_export_macro: true,
    export_macro_name: "export_entry",
    default_bindings_module: "quern_udf::bindings",
});
