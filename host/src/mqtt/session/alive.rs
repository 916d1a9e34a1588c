//! Whether the broker is still there: pings, how long their answers may take, and a question of ours.

use std::time::Instant;

use super::Session;
use super::pulse::Beat;
use crate::mqtt::{Error, wire};

impl Session {
    /// While paused no answer to a ping can be missed.
    pub(in crate::mqtt) fn pause(&mut self, paused: bool, now: Instant) {
        self.pulse.pause(paused, now);
    }

    /// An answer to a ping may take so many times as long.
    pub(in crate::mqtt) fn be_patient(&mut self, times: u32) {
        self.pulse.be_patient(times);
    }

    /// The peer's TCP has acknowledged bytes of ours.
    pub(in crate::mqtt) fn moved(&mut self, now: Instant) {
        self.pulse.moved(now);
    }

    /// Whether an answer to a ping is waited for.
    pub(in crate::mqtt) fn is_asking(&self) -> bool {
        self.pulse.is_asking()
    }

    /// When something last came in.
    pub(in crate::mqtt) fn last_heard(&self) -> Instant {
        self.pulse.last_heard()
    }

    /// Queues a ping at once, beside the keep-alive: its answer says that the broker has read all that lies before it.
    pub(in crate::mqtt) fn ask(&mut self) {
        self.ping();
        self.question = Some((self.pings, None));
    }

    /// When the last question was answered.
    pub(in crate::mqtt) fn answered(&self) -> Option<Instant> {
        self.question.and_then(|(_, answered)| answered)
    }

    fn ping(&mut self) {
        self.pings += 1;
        wire::ping(&mut self.out);
    }

    /// When [`Self::tick`] has something to do.
    pub(in crate::mqtt) fn due(&self) -> Option<Instant> {
        self.pulse.due()
    }

    /// Queues a ping that is due; fails when the last one was not answered.
    pub(in crate::mqtt) fn tick(&mut self, now: Instant) -> Result<(), Error> {
        match self.pulse.beat(now) {
            Beat::Rest => Ok(()),
            Beat::Ping => {
                self.ping();
                Ok(())
            }
            Beat::Lost => {
                let deadline = self.pulse.patience();
                let unanswered = self.has_unanswered() && self.window.over() == 0;
                Err(Error::Silent {
                    deadline,
                    unanswered,
                })
            }
        }
    }
}
