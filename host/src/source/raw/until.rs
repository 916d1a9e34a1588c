//! Waiting for a moment that there may be.

use std::time::Instant;

/// Without one it never ends.
pub(super) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
