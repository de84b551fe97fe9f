//! What the demo needs from outside: the images, the component.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::base::Error;
use crate::cli::context::Context;
use crate::cli::proc::build;

/// Where the images lie in the repository.
const IMAGES: &str = "tests/data/mnist";

/// Where the procs' project lies in the repository.
const PROJECT: &str = "udfs/mnist";

/// The two pairs of files, images first.
pub(crate) struct Images {
    pub(crate) training: [PathBuf; 2],
    pub(crate) test: [PathBuf; 2],
}

impl Images {
    /// In the given folder, else in the repository.
    pub(crate) fn find(folder: Option<PathBuf>) -> Result<Self> {
        let Some(folder) = folder.or_else(|| in_repository(IMAGES)) else {
            bail!(
                "the MNIST files are not in ./{IMAGES}; say with --files DIR where train-images-idx3-ubyte.gz and the other three are"
            );
        };
        let file = |name: &str| {
            let [packed, plain] = [format!("{name}.gz"), name.to_owned()].map(|name| folder.join(name));
            if plain.exists() && !packed.exists() { plain } else { packed }
        };
        Ok(Self {
            training: [file("train-images-idx3-ubyte"), file("train-labels-idx1-ubyte")],
            test: [file("t10k-images-idx3-ubyte"), file("t10k-labels-idx1-ubyte")],
        })
    }
}

/// The component's bytes: the given file, else built from the repository.
pub(crate) fn component(context: &Context, file: Option<PathBuf>) -> Result<Vec<u8>> {
    let file = match (file, in_repository(PROJECT)) {
        (Some(file), _) => file,
        (None, Some(project)) => build(context, &project, None)?.path,
        (None, None) => {
            bail!("./{PROJECT} is not here to build the procs from; give the built component with --component FILE")
        }
    };
    std::fs::read(&file).map_err(|e| Error::io("read", file, e).into())
}

/// A folder of the repository that this is run in, or that this program was built in.
fn in_repository(path: &str) -> Option<PathBuf> {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(|root| root.join(path));
    [Some(PathBuf::from(path)), built_in].into_iter().flatten().find(|path| path.is_dir())
}

/// Most memory that a process has used so far, bytes; none where the system does not tell.
pub(crate) fn peak_memory_bytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
