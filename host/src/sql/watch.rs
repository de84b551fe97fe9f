//! For whom a statement works, and whether it is still wanted: asked while it
//! works, by whoever waits.

use std::sync::Arc;

use crate::base::Result;
use crate::catalog::Rights;

/// For whom statements are executed.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// Whether the answer is still wanted.
    pub watch: Watch,
    /// What the user may do.
    pub rights: Rights,
}

/// Asked now and then while a statement works; its error ends the statement.
#[derive(Clone)]
pub struct Watch(Arc<dyn Fn() -> Result<()> + Send + Sync>);

impl Watch {
    /// A watch that asks `wanted`, which must answer quickly.
    pub fn new(wanted: impl Fn() -> Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(wanted))
    }

    /// The error that ends the statement, if it is to end.
    pub fn check(&self) -> Result<()> {
        (self.0)()
    }
}

impl Default for Watch {
    /// Of a statement that goes on to its end.
    fn default() -> Self {
        Self::new(|| Ok(()))
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}
