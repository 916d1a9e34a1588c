//! The dead letters: listed, shown, taken out, sent on their way again.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::RunningTime;
use crate::message::{Append, Outlet, Receipt};
use crate::spool::dead_letters::form;
use crate::spool::dead_letters::letter::{LetterId, LetterRecord};
use crate::spool::lock::locked;
use crate::spool::tools::record::Letter;
use crate::spool::tools::{ToolError, Tools, wait};

/// Letters looked at in one go, and about how many bytes of them.
const GO: (usize, usize) = (1_000, 4 << 20);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LetterFilter {
    /// Of this flow only.
    pub flow: Option<String>,
    /// Of this reason only: `rejected`, `poison`, `too-long`, `refused`, `quarantined`,
    /// `malformed`, `circled`.
    pub reason: Option<String>,
}

impl LetterFilter {
    fn fits(&self, record: &LetterRecord) -> bool {
        self.flow.as_ref().is_none_or(|flow| **flow == *record.flow)
            && self
                .reason
                .as_ref()
                .is_none_or(|reason| reason == record.reason.name())
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LetterPage {
    pub letters: Vec<Letter>,
    /// The next page begins behind this one; `None` when this was the last.
    pub next: Option<LetterId>,
}

/// A refused letter on its way back into its queue.
#[derive(Debug)]
pub struct RequeuedLetter {
    pub record: LetterRecord,
    /// Tells when it is safe there.
    pub receipt: Receipt,
}

impl Tools {
    /// Letters behind `after`. One that cannot be read is left out; a check names it.
    pub fn letters(
        &self,
        filter: &LetterFilter,
        after: Option<LetterId>,
        max: usize,
    ) -> Result<LetterPage, ToolError> {
        let store = self.store()?;
        let mut page = LetterPage {
            letters: Vec::new(),
            next: after,
        };
        let mut bytes = 0;
        let max = max.clamp(1, GO.0);
        loop {
            let found = store.letters(page.next, GO.0, GO.1)?;
            if found.is_empty() {
                page.next = None;
                return Ok(page);
            }
            for (id, value) in found {
                if page.letters.len() >= max || bytes >= GO.1 {
                    return Ok(page);
                }
                page.next = Some(id);
                if let Some(record) = form::decode(id, &value)
                    .ok()
                    .filter(|record| filter.fits(record))
                {
                    bytes += value.len();
                    page.letters.push(Letter::of(&record));
                }
            }
        }
    }

    /// One letter, in full.
    pub fn letter(&self, id: LetterId) -> Result<LetterRecord, ToolError> {
        let value = self.store()?.letter(id)?.ok_or(ToolError::NoLetter(id))?;
        form::decode(id, &value)
            .map_err(|error| ToolError::Unreadable(format!("dead letter {id}: {error}")))
    }

    /// Takes letters out; returns when they are gone for good. Answers how many were there.
    pub fn forget(&self, ids: &[LetterId]) -> Result<u64, ToolError> {
        let store = self.store()?;
        let mut known = Vec::with_capacity(ids.len());
        for id in ids {
            if store.has_letter(*id) && !known.contains(id) {
                known.push(*id);
            }
        }
        drop(store);
        if known.is_empty() {
            return Ok(0);
        }
        let ticket = locked(&self.shared.letters.waiting).forget(&known);
        self.shared.wake_up.due(RunningTime::START);
        wait(|| locked(&self.shared.letters.waiting).has_forgotten(ticket))?;
        Ok(known.len() as u64)
    }

    /// Whether one of these messages has become a dead letter since `before`, and how many.
    pub fn parked_again(
        &self,
        before: Option<LetterId>,
        messages: &[crate::message::MessageId],
    ) -> Result<u64, ToolError> {
        let store = self.store()?;
        let mut after = before;
        let mut count = 0;
        loop {
            let found = store.letters(after, GO.0, GO.1)?;
            let Some((last, _)) = found.last() else {
                return Ok(count);
            };
            after = Some(*last);
            let again = |(id, value): &&(LetterId, Vec<u8>)| {
                form::decode(*id, value).is_ok_and(|record| messages.contains(&record.message.id))
            };
            count += found.iter().filter(again).count() as u64;
        }
    }

    /// The newest letter that has a name by now, in the store or on its way there.
    pub fn newest_letter(&self) -> LetterId {
        locked(&self.shared.letters.waiting).newest()
    }

    /// Puts refused letters back into the queue they were refused from, in order. Gives back those that do not know
    /// it, or whose queue the config does not have any more.
    pub fn back_to_queue(&self, letters: Vec<RequeuedLetter>) -> Vec<LetterRecord> {
        let mut appends = Vec::with_capacity(letters.len());
        let mut homeless = Vec::new();
        for RequeuedLetter { record, receipt } in letters {
            let queue = record
                .queue
                .as_ref()
                .and_then(|(uplink, class)| self.queue(&format!("{uplink}:{class}")).ok());
            match queue {
                Some(queue) => {
                    let flow = self.shared.flows.id(&record.flow);
                    let message = crate::message::Message {
                        flow,
                        ..record.message
                    };
                    appends.push(Append {
                        queue,
                        message,
                        receipt: Some(receipt),
                    });
                }
                None => homeless.push(record),
            }
        }
        Arc::clone(&self.shared).append(appends);
        homeless
    }
}
