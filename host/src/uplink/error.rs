//! Why an uplink ends by itself.

use std::sync::Arc;

/// Why an uplink ended without being told to. The network never ends it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The spool panicked under a read; nothing is lost, the stage may be started again.
    #[error("uplink `{uplink}` could not read what is spilled")]
    Read {
        uplink: Arc<str>,
        #[source]
        cause: tokio::task::JoinError,
    },
}
