//! What ends the gateway, or keeps it from starting.

use std::sync::Arc;
use std::time::Duration;

use super::supervise;
use crate::{admin, chain, devices, file, spool};

/// Why the gateway did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Admin(#[from] admin::Error),
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// A plugin of this flow, which has never run: exit code 4.
    #[error("flow `{flow}`")]
    Chain {
        flow: Arc<str>,
        source: chain::Error,
    },
    #[error(transparent)]
    Engine(chain::Error),
    /// Names of metrics clash: a fault of tidegate.
    #[error("cannot register metrics")]
    Metrics(#[from] prometheus::Error),
    /// The data folder, or something in it, could be somebody else's work: code that runs, state that counts.
    #[error(transparent)]
    Strange(#[from] file::Strange),
    #[error("cannot set up the process")]
    Process(#[from] std::io::Error),
    #[error(transparent)]
    Devices(#[from] devices::Error),
    /// Something waits for what does not come: a disk, or a fault of ours.
    #[error(
        "not everything ended within `shutdown_grace` ({0:?}): what was under way is as after a kill"
    )]
    Late(Duration),
    /// The gateway's own thread has panicked.
    #[error("the gateway crashed; this is a fault in tidegate, please report the lines above")]
    Crashed,
    /// A stage failed for good or kept crashing.
    #[error(transparent)]
    Stage(#[from] supervise::StageFailed),
    /// A flow's lane ended for good.
    #[error("flow `{flow}` cannot go on: {why}")]
    Lane {
        flow: Arc<str>,
        /// In the lane's words.
        why: String,
    },
}
