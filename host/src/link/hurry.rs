//! Whoever waits for the next attempt may be told that what was wrong may be mended, and tries at once.

use tokio::sync::watch;

/// Tells all connections of one kind that are waiting.
#[derive(Clone, Debug, Default)]
pub struct Hurry(watch::Sender<()>);

impl Hurry {
    /// Those that wait out a back-off dial now. One that the other end has asked to wait does not.
    pub fn all(&self) {
        self.0.send_replace(());
    }

    pub(super) fn hear(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}
