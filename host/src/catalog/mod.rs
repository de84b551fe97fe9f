//! Names to components and procs. Components are immutable by sha256 and
//! versioned by name; one version of a name is the active one. Knows no
//! WebAssembly: what a component declares comes from `proc`, which inspects it.

mod components;
mod declarations;
mod grants;
mod resolve;
pub mod spec;
mod users;

pub use components::{Activation, Catalog, Change, Created, NewComponent, ProcChange};
pub use declarations::{Declarations, MODEL_COLUMNS};
pub(crate) use grants::OWNER;
pub use grants::{Grant, Object, Privilege, Rights};
pub use resolve::{Resolved, at_version};
pub use spec::{ExecutionMode, ProcSpec};
pub use users::{UserKind, Users};

use declarations::check_word;
