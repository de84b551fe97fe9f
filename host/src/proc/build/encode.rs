//! From a core module that `wit-bindgen` prepared to a component.

use wit_component::ComponentEncoder;

use crate::base::{Error, Result};

/// Wraps the core module `what` as a component and checks the result. Interfaces
/// that the module does not call are not among the component's imports.
pub fn componentize(core: &[u8], what: &str) -> Result<Vec<u8>> {
    let encoded = ComponentEncoder::default().validate(true).module(core).and_then(|encoder| encoder.encode());
    encoded.map_err(|error| {
        let reason = format!("{error:#}");
        let hint = if reason.contains("__wbindgen") || reason.contains("wasm-bindgen") {
            "; one of its dependencies expects a browser, turn off that dependency's `js` or `wasm` feature"
        } else {
            ""
        };
        Error::Component { what: format!("`{what}`"), reason: format!("{reason}{hint}") }
    })
}
