//! What a lane is told to do beside its messages.

use super::Broken;
use crate::chain::lane::Lane;
use crate::chain::lane::inbox::LaneRequest;
use crate::chain::lane::item::{Item, ReturnedLetter};
use crate::clock::Now;
use crate::message::Delivery;

impl Lane {
    pub(in crate::chain::lane) fn obey(
        &mut self,
        command: LaneRequest,
        now: Now,
    ) -> Result<(), Broken> {
        // A driver that has given up does not wait for the reply.
        match command {
            LaneRequest::Save { plugin, reply } => drop(reply.send(self.stages[plugin].save(now))),
            LaneRequest::Join {
                plugin,
                candidate,
                origin,
                trial,
                reply,
            } => {
                let begun = self.clock().moment();
                let joined = self.stages[plugin].join(*candidate, origin, trial, now);
                drop(reply.send(joined.map(|()| self.clock().since(begun))));
            }
            LaneRequest::Rerun { first, letters } => return self.rerun(first, letters, now),
            LaneRequest::Heed => {}
        }
        Ok(())
    }

    fn rerun(
        &mut self,
        first: usize,
        letters: Vec<ReturnedLetter>,
        now: Now,
    ) -> Result<(), Broken> {
        self.outbox.begin(letters.len());
        self.items.clear();
        let item = |(origin, letter): (usize, ReturnedLetter)| {
            let ReturnedLetter {
                delivery: Delivery { message, receipt },
                own_topic,
            } = letter;
            Item {
                message,
                receipt,
                origin: origin as u32,
                own_topic,
                sender: None,
            }
        };
        self.items.extend(letters.into_iter().enumerate().map(item));
        self.run_from(first, now)
    }
}
