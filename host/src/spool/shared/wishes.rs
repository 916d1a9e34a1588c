//! Queues that are wanted while the spool is open: asked for by whoever changes the config, added by the writer between two
//! commits.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::clock::RunningTime;
use crate::spool::error::NotAdded;
use crate::spool::lock::locked;
use crate::spool::settings::QueueConfig;
use crate::spool::shared::Shared;

/// How long a commit under way may take: longer is a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether anybody still wants to wait.
const POLL: Duration = Duration::from_millis(50);

/// What is wanted, and who waits for it.
pub(crate) struct QueueRequest {
    pub(crate) queues: Vec<QueueConfig>,
    pub(crate) answer: SyncSender<Result<(), NotAdded>>,
}

impl Shared {
    /// Has the writer add these queues, those that are not there yet, and waits for that unless it `is_over` or the disk
    /// hangs: what is not added by then is not added later either.
    pub(crate) fn add_queues(
        &self,
        queues: Vec<QueueConfig>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<(), NotAdded> {
        let (answer, answered) = sync_channel(1);
        let wish = Arc::new(QueueRequest { queues, answer });
        locked(&self.wishes).push(Arc::clone(&wish));
        self.wake_up.due(RunningTime::START);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match answered.recv_timeout(POLL) {
                Ok(added) => return added,
                Err(RecvTimeoutError::Timeout) if Instant::now() < deadline && !is_over() => {}
                Err(_) => break,
            }
        }
        let mut wishes = locked(&self.wishes);
        let before = wishes.len();
        wishes.retain(|other| !Arc::ptr_eq(other, &wish));
        let is_taken_back = wishes.len() < before;
        drop(wishes);
        if is_taken_back {
            return Err(NotAdded::Hangs);
        }
        // The writer is at it.
        drop(wish);
        answered.recv().unwrap_or(Err(NotAdded::Hangs))
    }
}
