//! What a session has to say while it waits for something else than its programs.

use std::sync::Arc;
use std::time::Duration;

/// Something that takes long, or took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Kernels that this machine has never needed are being compiled.
    Compiling {
        /// How many.
        kernels: usize,
        /// The capability of the GPU that they are for.
        capability: (u32, u32),
    },
    /// They were.
    Compiled {
        /// How many.
        kernels: usize,
        /// From the first that was missing to the last that was there.
        time: Duration,
    },
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kernels = |n: usize| format!("{n} kernel{}", if n == 1 { "" } else { "s" });
        match self {
            Self::Compiling { kernels: n, capability: (major, minor) } => {
                write!(f, "compiling {} for sm_{major}{minor}: first use, kept for the next", kernels(*n))
            }
            Self::Compiled { kernels: n, time } => {
                write!(f, "compiled {} in {:.1} s", kernels(*n), time.as_secs_f64())
            }
        }
    }
}

/// What is done with a notice.
type Tell = Arc<dyn Fn(&Notice) + Send + Sync>;

/// Who is told; nobody by default. It is called on any thread and must be quick.
#[derive(Clone, Default)]
pub struct Teller(Option<Tell>);

impl Teller {
    /// Tells by `tell`.
    pub fn new(tell: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    pub(crate) fn tell(&self, notice: &Notice) {
        if let Some(tell) = &self.0 {
            tell(notice);
        }
    }
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Teller")
    }
}
