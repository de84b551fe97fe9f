//! What `wit-bindgen` makes of `wit/testing.wit`.

#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction)]

wit_bindgen::generate!({
    world: "test-kit",
    path: "../wit",
    pub_export_macro: true,
    export_macro_name: "export_tests",
    default_bindings_module: "quern_udf::testing::bindings",
    with: { "quern:udf/types@0.1.0": crate::bindings::quern::udf::types },
});
