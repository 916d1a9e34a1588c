//! Check and repair: every chunk and every dead letter is read.

use serde::{Deserialize, Serialize};

use crate::message::Seq;
use crate::spool::dead_letters::form;
use crate::spool::dead_letters::letter::LetterId;
use crate::spool::lock::locked;
use crate::spool::tools::{NextPart, ToolError, Tools};

/// Letters read at a time.
const LETTERS: (usize, usize) = (1_000, 4 << 20);

/// A part of a queue that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamageFinding {
    pub queue: String,
    pub from: Seq,
    /// The place behind the last.
    pub to: Seq,
    pub what: String,
}

/// One queue that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckedQueue {
    pub queue: String,
    /// Messages that are owed and can be read.
    pub messages: u64,
    /// Messages owed, as the store has noted.
    pub noted: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    pub queues: Vec<CheckedQueue>,
    /// What cannot be read of them.
    pub findings: Vec<DamageFinding>,
    /// Dead letters that can be read.
    pub letters: u64,
    pub damaged_letters: Vec<LetterId>,
    /// Damaged chunks and records that were set aside earlier and are kept for salvage.
    pub set_aside: u64,
    /// Dead letters that damage has cost.
    #[serde(default)]
    pub lost_letters: u64,
    /// Messages that the ledger had counted and has lost.
    #[serde(default)]
    pub lost_in_ledger: u64,
    /// Entries of plugins' state that damage has cost.
    #[serde(default)]
    pub lost_states: u64,
    /// Commits of all three that damage has cost, where nobody knows what they were about.
    #[serde(default)]
    pub lost_commits: u64,
}

impl Checked {
    /// Whether all of it can be read.
    pub fn is_well(&self) -> bool {
        let lost = self.lost_letters + self.lost_in_ledger + self.lost_states + self.lost_commits;
        self.findings.is_empty() && self.damaged_letters.is_empty() && lost == 0
    }
}

impl Tools {
    /// Reads everything; changes nothing.
    pub fn check(&self) -> Result<Checked, ToolError> {
        let store = self.store()?;
        let account = self.shared.account();
        let (lost_letters, lost_in_ledger, lost_states) = account.lost_records;
        let set_aside = store.set_aside();
        let mut checked = Checked {
            set_aside,
            lost_letters,
            lost_in_ledger,
            lost_states,
            lost_commits: account.lost_commits,
            ..Checked::default()
        };
        for index in 0..self.shared.slots.len() {
            self.check_queue(index, &mut checked)?;
        }
        let mut after = None;
        loop {
            let found = store.letters(after, LETTERS.0, LETTERS.1)?;
            let Some((last, _)) = found.last() else {
                return Ok(checked);
            };
            after = Some(*last);
            for (id, value) in found {
                match form::decode(id, &value) {
                    Ok(_) => checked.letters += 1,
                    Err(_) => checked.damaged_letters.push(id),
                }
            }
        }
    }

    fn check_queue(&self, index: usize, checked: &mut Checked) -> Result<(), ToolError> {
        let reader = self.reader(index);
        let store = self.store()?;
        let queue = reader.slot.name.clone();
        let noted = locked(&reader.slot.queue).tally();
        let mut place = Seq::FIRST;
        let mut messages = 0;
        loop {
            match self.next_part(&reader, &store, place)? {
                NextPart::Messages(found, end) => {
                    messages += found.len() as u64;
                    place = end;
                }
                NextPart::Lost(finding) => {
                    place = finding.to;
                    checked.findings.push(DamageFinding {
                        queue: queue.clone(),
                        ..finding
                    });
                }
                NextPart::End => break,
            }
        }
        checked.queues.push(CheckedQueue {
            queue,
            messages,
            noted: noted.in_ram + noted.on_disk,
        });
        Ok(())
    }

    /// Sets aside what a check finds damaged, counts what is left, and has the store note it. Answers what the check
    /// found.
    pub fn repair(&self) -> Result<Checked, ToolError> {
        let checked = self.check()?;
        for index in 0..self.shared.slots.len() {
            // Reading as an uplink does sets aside what is damaged and learns what each chunk holds.
            let reader = self.reader(index);
            let mut place = Seq::FIRST;
            while let Some(last) = reader.read(place).last() {
                place = last.seq.next();
            }
            let now = self.shared.clock.now();
            let due = {
                let mut queue = locked(&reader.slot.queue);
                queue.recount(now);
                queue.due(self.shared.limits(reader.slot))
            };
            due.into_iter().for_each(|due| self.shared.wake_up.due(due));
        }
        Ok(checked)
    }
}
