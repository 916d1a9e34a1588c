//! What the operator does with a spool by hand: look into it, take out, put in, mend. The same on a running gateway,
//! asked through its control socket, and on the files of a stopped one.
//!
//! Looking changes nothing: a damaged chunk is reported and left where it is. Putting in is answered when it is safe
//! (accepted or on disk). Every call blocks on the disk.

mod base64;
mod check;
mod parked;
mod record;
mod stopped;

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use check::{Checked, DamageFinding};
pub use parked::{LetterFilter, LetterPage, RequeuedLetter};
pub use record::{Letter, QueueRecord, RecordContent, RecordError};
pub use stopped::Stopped;

use crate::clock::RunningTime;
use crate::message::{
    Append, Burst, Fetch, LossReason, Message, Outlet, QueueId, Seq, Settled, Stored,
};
use crate::spool::dead_letters::letter::LetterId;
use crate::spool::disk::error::{StoreError, describe};
use crate::spool::disk::store::Store;
use crate::spool::ledger::LedgerEntry;
use crate::spool::ledger::format::to_json;
use crate::spool::lock::locked;
use crate::spool::reading::reader::{QueueReader, ReadPart};
use crate::spool::shared::Shared;
use crate::spool::shared::slot::Slot;

/// How long the store may take to become usable, or a commit to get through.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(2);
/// Messages on one page, and about how many bytes of topic, headers and payload.
const PAGE: (usize, usize) = (10_000, 4 << 20);

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    #[error("there is no queue `{name}`; there are: {known}")]
    NoQueue { name: String, known: String },
    /// The store owes it something, and it was not opened.
    #[error(
        "the config has no queue `{0}`: lead a flow to it, and it goes out; or stop the gateway, and look into it, export or drop it then"
    )]
    NotInConfig(String),
    #[error("there is no dead letter {0}")]
    NoLetter(LetterId),
    /// A record that makes no message.
    #[error("record {index}")]
    Record { index: usize, source: RecordError },
    /// The store is being opened anew.
    #[error("the store is not open at the moment: the gateway's log says why")]
    Closed,
    /// The store cannot be read.
    #[error("the store cannot be read: {0}")]
    Unreadable(String),
    /// The store takes too long to write.
    #[error("the store did not write it, or not within {} s; it may still be done later", PATIENCE.as_secs())]
    Unwritten,
}

impl From<StoreError> for ToolError {
    fn from(error: StoreError) -> Self {
        Self::Unreadable(describe(&error))
    }
}

/// What is asked of a spool.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum ToolRequest {
    /// Messages of a queue from a place on: [`RecordPage`].
    Page {
        queue: String,
        from: Seq,
        /// How many at most.
        max: usize,
    },
    /// Messages for queues: [`AffectedCount`], when they are safe.
    Import {
        records: Vec<QueueRecord>,
    },
    /// Give a queue up: [`AffectedCount`].
    Drop {
        queue: String,
    },
    Check,
    /// The same, and set aside what is damaged: [`Checked`], as it was before.
    Repair,
    /// What was given up: entries as in a gap record.
    Ledger,
    Letters {
        filter: LetterFilter,
        after: Option<LetterId>,
        /// How many at most.
        max: usize,
    },
    /// One dead letter: [`Letter`].
    Letter {
        id: LetterId,
    },
    /// Take dead letters out: [`AffectedCount`], when they are gone for good.
    Forget {
        ids: Vec<LetterId>,
    },
}

/// How many it were.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct AffectedCount {
    pub count: u64,
}

/// A part of a queue, in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RecordPage {
    pub records: Vec<QueueRecord>,
    /// Where the next page begins; `None` when this was the last.
    pub next: Option<Seq>,
    /// What could not be read on the way.
    pub findings: Vec<DamageFinding>,
}

/// The tools of one spool.
#[derive(Clone)]
pub struct Tools {
    shared: Arc<Shared>,
}

impl Tools {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
        }
    }

    /// Does what is asked, in the form of the control socket.
    pub fn answer(&self, request: ToolRequest) -> Result<serde_json::Value, ToolError> {
        fn value(answer: impl Serialize) -> serde_json::Value {
            serde_json::to_value(answer).expect("answers are maps with text keys")
        }
        Ok(match request {
            ToolRequest::Page { queue, from, max } => value(self.page(&queue, from, max)?),
            ToolRequest::Import { records } => value(AffectedCount {
                count: self.import(&records)?,
            }),
            ToolRequest::Drop { queue } => value(AffectedCount {
                count: self.drop_queue(&queue)?,
            }),
            ToolRequest::Check => value(self.check()?),
            ToolRequest::Repair => value(self.repair()?),
            ToolRequest::Ledger => to_json(self.shared.ledger().iter()),
            ToolRequest::Letters { filter, after, max } => {
                value(self.letters(&filter, after, max)?)
            }
            ToolRequest::Letter { id } => value(Letter::of(&self.letter(id)?)),
            ToolRequest::Forget { ids } => value(AffectedCount {
                count: self.forget(&ids)?,
            }),
        })
    }

    /// A queue that an uplink drains: what is put in goes out.
    fn queue(&self, name: &str) -> Result<QueueId, ToolError> {
        self.find(name, Slot::is_drained)
    }

    /// Any that is open: one that the config has lost still owes what it did.
    fn any_queue(&self, name: &str) -> Result<QueueId, ToolError> {
        self.find(name, |_| true)
    }

    fn find(&self, name: &str, is_meant: fn(&Slot) -> bool) -> Result<QueueId, ToolError> {
        let mut all = (0..).zip(self.shared.slots.iter());
        let found = all.find(|(_, slot)| slot.name == name && is_meant(slot));
        if let Some((index, _)) = found {
            return Ok(QueueId(index));
        }
        let name = name.to_owned();
        let is_stranger = |stranger: &(String, u64)| stranger.0 == name;
        if locked(&self.shared.found.strangers).iter().any(is_stranger) {
            return Err(ToolError::NotInConfig(name));
        }
        let known = self.shared.slots.iter().filter(|slot| is_meant(slot));
        let known: Vec<_> = known.map(|slot| &*slot.name).collect();
        Err(ToolError::NoQueue {
            name,
            known: known.join(", "),
        })
    }

    fn store(&self) -> Result<Arc<Store>, ToolError> {
        self.shared
            .store(Duration::from_secs(1))
            .ok_or(ToolError::Closed)
    }

    fn reader(&self, index: usize) -> QueueReader<'_> {
        QueueReader {
            shared: &self.shared,
            slot: &self.shared.slots[index],
            index,
        }
    }

    /// Messages of a queue from a place on, on disk and in RAM.
    pub fn page(&self, queue: &str, from: Seq, max: usize) -> Result<RecordPage, ToolError> {
        let index = usize::from(self.any_queue(queue)?.0);
        let reader = self.reader(index);
        let store = self.store()?;
        let mut page = RecordPage::default();
        let mut place = from;
        let mut bytes = 0;
        let max = max.clamp(1, PAGE.0);
        loop {
            let messages = match self.next_part(&reader, &store, place)? {
                NextPart::Messages(messages, end) => {
                    place = end;
                    messages
                }
                NextPart::Lost(finding) => {
                    place = finding.to;
                    page.findings.push(DamageFinding {
                        queue: queue.to_owned(),
                        ..finding
                    });
                    continue;
                }
                NextPart::End => return Ok(page),
            };
            for stored in messages {
                if page.records.len() >= max || bytes >= PAGE.1 {
                    page.next = Some(stored.seq);
                    return Ok(page);
                }
                bytes += stored.message.weight();
                let flow = self.shared.flows.name(stored.message.flow);
                page.records.push(QueueRecord {
                    queue: queue.to_owned(),
                    seq: stored.seq,
                    content: RecordContent::of(&stored.message, &flow),
                });
            }
        }
    }

    /// What lies at `place` or next behind it: a chunk's owed messages, some in RAM, or what is lost.
    fn next_part(
        &self,
        reader: &QueueReader<'_>,
        store: &Store,
        place: Seq,
    ) -> Result<NextPart, ToolError> {
        let queue = &reader.slot.queue;
        let Some(next) = locked(queue).owed_on_disk(place) else {
            let fetched = locked(queue).fetch(place, PAGE.0, PAGE.1);
            return Ok(match fetched {
                Fetch::Ready(messages) => {
                    let end = messages.last().map_or(place, |last| last.seq.next());
                    NextPart::Messages(messages, end)
                }
                // What was written between the two looks is found at the next.
                Fetch::Spilled => NextPart::Messages(Vec::new(), place),
                Fetch::Empty => NextPart::End,
            });
        };
        let lost = |to: Seq, what: String| {
            let queue = locked(queue);
            let to = to.min(queue.disk_end());
            // Accepted meanwhile, and therefore deleted, is not lost.
            if queue.is_owed(next) {
                NextPart::Lost(DamageFinding {
                    queue: String::new(),
                    from: next,
                    to,
                    what,
                })
            } else {
                NextPart::Messages(Vec::new(), next)
            }
        };
        let found = match reader.look(store, next) {
            // What cannot be read now is told, and not what lies behind it withheld.
            Err(error) if error.is_of_a_chunk() => {
                let end = store
                    .known(reader.index, next)?
                    .map_or(next.next(), |(places, _)| places.end);
                return Ok(lost(end, describe(&error)));
            }
            found => found?,
        };
        Ok(match found {
            ReadPart::Chunk(mut content) => {
                let queue = locked(queue);
                content
                    .messages
                    .retain(|stored| stored.seq >= next && queue.is_owed(stored.seq));
                NextPart::Messages(content.messages, content.extent.end)
            }
            ReadPart::Gap { to } => lost(to, "its chunk is missing".to_owned()),
            ReadPart::Damaged { near, damage } => {
                lost(near.end, format!("its chunk is damaged: {damage}"))
            }
        })
    }

    /// Appends messages; returns when upstream has accepted them or they are on disk.
    pub fn import(&self, records: &[QueueRecord]) -> Result<u64, ToolError> {
        let mut messages = Vec::with_capacity(records.len());
        for (index, record) in records.iter().enumerate() {
            let message = record
                .content
                .message()
                .map_err(|source| ToolError::Record {
                    index: index + 1,
                    source,
                })?;
            let flow = self.shared.flows.id(&record.content.flow);
            messages.push((self.queue(&record.queue)?, Message { flow, ..message }));
        }
        let settled = Arc::new(Settled::default());
        // Pressed, so that the spool writes at once.
        settled.press(true);
        let burst = Burst::new(settled, messages.iter().map(|_| 1));
        let append = |(index, (queue, message))| Append {
            queue,
            message,
            receipt: Some(burst.receipt(index)),
        };
        self.shared
            .append((0..).zip(messages).map(append).collect());
        let progress = burst.progress();
        // Only the receipts hold it now: it falls when the gateway ends before they are settled.
        drop(burst);
        wait(|| progress.all_settled() || progress.has_fallen())?;
        if !progress.all_settled() {
            return Err(ToolError::Unwritten);
        }
        Ok(records.len() as u64)
    }

    /// Gives up everything a queue owes; returns when the ledger has it for good.
    pub fn drop_queue(&self, queue: &str) -> Result<u64, ToolError> {
        let id = self.any_queue(queue)?;
        let (places, count) = self.shared.give_up_by_hand(id);
        let queue = &self.shared.slots[usize::from(id.0)].queue;
        wait(|| {
            places
                .iter()
                .all(|places| locked(queue).has_settled(places))
        })?;
        Ok(count)
    }
}

impl Shared {
    /// Bars everything a queue owes: it is settled with its entry in the ledger.
    pub(super) fn give_up_by_hand(&self, queue: QueueId) -> (Vec<Range<Seq>>, u64) {
        let slot = &self.slots[usize::from(queue.0)];
        let uplink = &slot.uplink;
        let class = &slot.class;
        let (places, messages) = locked(&slot.queue).abandon();
        if messages > 0 {
            tracing::warn!(%uplink, %class, messages, "an operator gave up what this queue owed");
            let plain = self.plain(LossReason::ByHand, messages);
            let entry = LedgerEntry {
                uplink: Arc::clone(uplink),
                class: Arc::clone(class),
                ..plain
            };
            self.record_losses_with([entry], |pending| {
                pending.settle_soon(queue, places.iter().cloned())
            });
            self.wake_up.due(RunningTime::START);
        }
        (if messages > 0 { places } else { Vec::new() }, messages)
    }
}

/// What [`Tools::next_part`] found at a place.
enum NextPart {
    /// Messages, perhaps none, and where to go on.
    Messages(Vec<Stored>, Seq),
    /// What cannot be read.
    Lost(DamageFinding),
    End,
}

/// Waits until something is through the store.
fn wait(mut is_done: impl FnMut() -> bool) -> Result<(), ToolError> {
    let deadline = Instant::now() + PATIENCE;
    while !is_done() {
        if Instant::now() >= deadline {
            return Err(ToolError::Unwritten);
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
