//! What a reply holds, for who knows of which kind it must be.

use super::protocol::Reply;
use super::view::{ComponentView, CreatedView, RunView, StartupView};
use crate::base::{Error, Result, RunId};
use crate::database::{ImportDone, Model};
use crate::device::Listed;
use crate::run::{Killed, SweepStatus};

/// A method for each kind; a reply of another kind than the request's is a fault of ours.
macro_rules! contents {
    ($($method:ident: $kind:ident($content:ty) $doc:literal;)*) => {
        impl Reply {
            $(
                #[doc = $doc]
                pub fn $method(self) -> Result<$content> {
                    match self {
                        Self::$kind(content) => Ok(content),
                        other => Err(Error::Internal(format!("a reply of another kind: {other:?}"))),
                    }
                }
            )*
        }
    };
}

contents! {
    imported: Imported(ImportDone) "What an import has done.";
    components: Components(Vec<ComponentView>) "Components.";
    created: Created(Box<CreatedView>) "What became of a component file.";
    proc: Proc(String) "The full name of a proc.";
    started: Started(RunId) "The run that was started.";
    sweep: Sweep(SweepStatus) "How the runs of a sweep stand.";
    startups: Startups(Vec<StartupView>) "Runs stored for every start of a server, oldest first.";
    killed: Killed(Vec<Killed>) "The runs that were killed.";
    run: Run(Box<RunView>) "A run with its instances.";
    runs: Runs(Vec<RunView>) "Runs, the newest first.";
    models: Models(Vec<Model>) "Models.";
    devices: Devices(Vec<Listed>) "Devices.";
}
