//! Why there is no simulation.

use tokio::task::JoinError;

use super::crowd::descriptors::TooFewDescriptors;
use crate::mqtt;

/// Why a simulation did not start or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The devices' first connection failed; later ones are tried again.
    #[error("the devices have no connection to `{broker}`")]
    Devices { broker: String, source: mqtt::Error },
    /// The watcher's first connection failed.
    #[error("the watcher has no connection to `{broker}`")]
    Watcher { broker: String, source: mqtt::Error },
    /// The far end's broker does not let us watch.
    #[error("`{broker}` refused the subscription to `{filter}`: {why}")]
    Subscription {
        broker: String,
        /// What was asked for.
        filter: String,
        why: String,
    },
    /// The connection that counts wills failed.
    #[error("wills cannot be counted at `{broker}`")]
    Wills { broker: String, source: mqtt::Error },
    #[error(transparent)]
    Descriptors(#[from] TooFewDescriptors),
    /// A fault of the simulator.
    #[error("a task of the simulator failed")]
    Task(#[from] JoinError),
}

/// Host and port for messages.
pub(super) fn place(config: &mqtt::Config) -> String {
    format!("{}:{}", config.host, config.port)
}
