//! What live change is asked for.

use std::path::PathBuf;

use super::board::PluginIndex;
use super::order::{Rollback, SwapOrder};
use crate::chain::{BreakerOpened, PluginConfig};
use crate::versions::history::Who;

/// Changes that may wait while one is being applied.
pub(super) const WAITING: usize = 64;

/// What the thread is asked to do.
pub(super) enum DriverRequest {
    /// A watched file has new content.
    Changed {
        path: PathBuf,
        content: Vec<u8>,
    },
    /// The config is to be read again.
    Reload {
        id: Option<u64>,
        who: Who,
    },
    /// An operator has another version.
    Swap {
        id: u64,
        order: SwapOrder,
        component: Option<Vec<u8>>,
        who: Who,
    },
    /// An operator wants an earlier version.
    Rollback {
        id: u64,
        order: Rollback,
        who: Who,
    },
    /// A plugin keeps failing.
    Opened {
        flow: usize,
        opened: BreakerOpened,
    },
    /// A change of a plugin has ended; what the config says of it from now on, if that is another.
    Ended {
        place: PluginIndex,
        adopted: Option<Adopted>,
    },
    Stop,
}

/// What the config says of a plugin, unless the change was taken back for its sake.
pub(super) struct Adopted {
    pub(super) config: Box<PluginConfig>,
    /// It runs, and is not only not to be tried again.
    pub(super) is_running: bool,
}

impl DriverRequest {
    /// The number under which it is followed.
    pub(super) fn id(&self) -> Option<u64> {
        match self {
            Self::Swap { id, .. } | Self::Rollback { id, .. } => Some(*id),
            Self::Reload { id, .. } => *id,
            Self::Changed { .. } | Self::Opened { .. } | Self::Ended { .. } | Self::Stop => None,
        }
    }
}
