//! What a change asks of every lane, and how long it waits for their answers.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use crate::chain::Chain;
use crate::chain::lane::inbox::{Inbox, LaneRequest};
use crate::chain::sandbox::state::Snapshot;

/// How long a lane may take to answer. Its turns are bounded by the call time and the bisection of one batch.
pub(super) const ANSWER: Duration = Duration::from_secs(60);

impl Chain {
    /// A copy of the state of the plugin at `index` from every lane.
    pub(crate) fn copies(&self, index: usize) -> Result<Vec<Snapshot>, String> {
        self.ask(|reply| LaneRequest::Save {
            plugin: index,
            reply,
        })
        .iter()
        .map(answer)
        .collect()
    }

    /// Sends each lane a command; the answers come through what is given back.
    pub(super) fn ask<R>(
        &self,
        mut command: impl FnMut(SyncSender<R>) -> LaneRequest,
    ) -> Vec<Receiver<R>> {
        let send = |inbox: &Arc<Inbox>| {
            let (reply, answer) = sync_channel(1);
            inbox.command(command(reply));
            answer
        };
        self.inboxes.iter().map(send).collect()
    }
}

/// What a lane says, or that it says nothing.
pub(super) fn answer<T>(reply: &Receiver<Result<T, String>>) -> Result<T, String> {
    reply
        .recv_timeout(ANSWER)
        .unwrap_or_else(|_| Err("a lane does not answer, or has ended".to_owned()))
}
