//! Where the data folder is.

use std::path::PathBuf;

/// The environment variable that names the folder.
pub const FOLDER_VARIABLE: &str = "QUERN_DATA";

/// The folder when nothing names one.
pub const DEFAULT_FOLDER: &str = "./quern-data";

/// `--data DIR`, else the environment variable, else the default.
pub fn data_folder(argument: Option<PathBuf>) -> PathBuf {
    argument
        .or_else(|| std::env::var_os(FOLDER_VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from(DEFAULT_FOLDER))
}
