//! Why nothing can be measured, for whoever asked.

use std::path::PathBuf;

use crate::cli::plugin::rig::RigError;

/// Why nothing can be measured.
#[derive(Debug, thiserror::Error)]
pub(super) enum BenchError {
    #[error("`{}`: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error(
        "there is no message in {0} that the plugin is to take: write one a line, `devices/d7/telemetry {{\"temperature\": 21}}`"
    )]
    NoMessage(String),
    #[error(transparent)]
    Rig(#[from] RigError),
}
