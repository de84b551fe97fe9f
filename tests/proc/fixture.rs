//! The hostile guests, and a normal proc to execute after them.

use crate::support::components::component;
use crate::support::instance::Trial;

/// The hostile guests, one proc each.
pub(super) fn hostile() -> &'static [u8] {
    component("tests/evil/hostile")
}

/// A normal proc, to see that the host is well after a bad one: 1000 rows.
pub(super) fn works_normally() {
    let outcome = Trial::new(hostile(), "writes").run();
    outcome.result.unwrap();
    assert_eq!(outcome.outputs[0].1.rows(), 1000);
    assert_eq!(outcome.receipt.rows_out, 1000);
}
