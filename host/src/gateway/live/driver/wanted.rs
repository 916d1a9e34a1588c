//! Changes of plugins that wait for their turn.

use std::sync::Arc;

use super::candidate::Candidate;
use super::job::InPlace;
use crate::chain::{BreakerOpened, PluginConfig};
use crate::gateway::live::board::PluginIndex;
use crate::gateway::live::order::{Rollback, SwapOrder};
use crate::versions::history::Who;

/// A change of a plugin that is wanted, and begins when no other of its flow is under way.
pub(super) enum Wanted {
    /// What an operator has, or the config's.
    Swap {
        id: u64,
        order: SwapOrder,
        component: Option<Vec<u8>>,
        who: Who,
    },
    Rollback {
        id: u64,
        order: Rollback,
        who: Who,
    },
    /// An earlier version, since the running one keeps failing.
    FailOver {
        flow: usize,
        opened: BreakerOpened,
    },
    /// What nobody waits for.
    ByItself {
        place: PluginIndex,
        who: Who,
        candidate: Candidate,
    },
    /// What the config says now.
    Setting {
        place: PluginIndex,
        who: Who,
        config: Box<PluginConfig>,
        reload: Option<Arc<InPlace>>,
    },
}
