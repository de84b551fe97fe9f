//! How long the columns of a table stay where procs read them.

use std::fmt;
use std::str::FromStr;

use super::Error;

/// How long the columns of a table stay where procs read them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residency {
    /// On the device from their first use, until others need the room.
    #[default]
    Device,
    /// On the device from their first use, and nothing makes them leave.
    Pinned,
    /// In the machine's memory; a GPU gets them for each run anew.
    Host,
    /// On disk; they are read for each run anew.
    Disk,
}

impl Residency {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Device, Self::Pinned, Self::Host, Self::Disk];

    /// The word for it, in SQL and in the catalog.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Pinned => "pinned",
            Self::Host => "host",
            Self::Disk => "disk",
        }
    }
}

impl fmt::Display for Residency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Residency {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|residency| residency.word().eq_ignore_ascii_case(text));
        found.ok_or_else(|| Error::Invalid(format!("`{text}` is no residency; say device, pinned, host or disk")))
    }
}
