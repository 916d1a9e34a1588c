//! Waiting for a state, with a deadline. Nothing in the tests waits for a duration.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long a state may take to come about before the case fails. Generous: two cases share two cores with their
/// brokers, and a machine that compiles beside them must not make a case fail.
pub const PATIENCE: Duration = Duration::from_secs(180);

const POLL: Duration = Duration::from_millis(10);

/// Waits until `condition` holds, or fails naming `what` was waited for.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) -> Result<()> {
    wait_at_most(PATIENCE, what, condition)
}

/// As [`wait_until`], with a deadline of its own.
#[track_caller]
pub fn wait_at_most(
    patience: Duration,
    what: &str,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    let place = std::panic::Location::caller();
    let deadline = Instant::now() + patience;
    while !condition() {
        if Instant::now() >= deadline {
            bail!(
                "{place}: waited {} s in vain until {what}",
                patience.as_secs()
            );
        }
        std::thread::park_timeout(POLL);
    }
    Ok(())
}
