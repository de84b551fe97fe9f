//! `DIR/quern.toml`: how a folder is opened where neither the command line nor the
//! environment says. Read by the process that comes to hold the folder.
//!
//! ```toml
//! device = "cuda:1"
//! cores = 8
//!
//! [limits]
//! running_instances = 128
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use super::Options;
use crate::base::{Error, Result};

/// The file's name in the folder.
const SETTINGS_FILE: &str = "quern.toml";

/// Most threads for tensor work.
pub const MAX_CORES: usize = 1024;

/// Most bytes of the file.
const MOST_BYTES: u64 = 1 << 20;

/// What the file may say.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    device: Option<String>,
    cores: Option<usize>,
    #[serde(default)]
    limits: BTreeMap<String, u64>,
}

impl Options {
    /// These options, and what they leave open as the folder's file of settings says.
    pub fn in_folder(&self, folder: &Path) -> Result<Self> {
        let path = folder.join(SETTINGS_FILE);
        let size_bytes = match std::fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(self.clone()),
            Err(error) => return Err(Error::io("read", path, error)),
        };
        let wrong = |reason: String| Error::Invalid(format!("{}: {reason}", path.display()));
        if size_bytes > MOST_BYTES {
            return Err(wrong(format!("it has {size_bytes} bytes, settings have at most {MOST_BYTES}")));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
        let settings: Settings = toml::from_str(&text).map_err(|e| wrong(e.to_string().trim_end().to_owned()))?;
        let device = settings.device.map(|name| name.parse()).transpose();
        let device = device.map_err(|e: Error| wrong(e.to_string()))?;
        if settings.cores.is_some_and(|cores| !(1..=MAX_CORES).contains(&cores)) {
            return Err(wrong(format!("`cores` must be 1 to {MAX_CORES}")));
        }
        let mut known = crate::base::Limits::default();
        for (name, value) in &settings.limits {
            known.set(name, *value).map_err(|e| wrong(e.to_string()))?;
        }
        Ok(Self {
            device: self.device.or(device),
            cores: self.cores.or(settings.cores),
            // The later one counts.
            limits: settings.limits.into_iter().chain(self.limits.iter().cloned()).collect(),
        })
    }
}
