//! What one version makes of a batch: its answers, the messages it fails on by itself, and what it took.

use std::borrow::Cow;
use std::time::Duration;

use crate::chain::lane::guard::Guard;
use crate::chain::lane::item::Item;
use crate::chain::lane::live::{Broken, Live};
use crate::chain::lane::outbox::Outbox;
use crate::chain::lane::trial::report::TrialFigures;
use crate::chain::sandbox::batch::{Action, GuestAnswer, OutputEntry, PackedBatch};
use crate::chain::sandbox::fault::Fault;
use crate::clock::Now;

/// What a version made of some of the inputs of a batch, in their order.
pub(super) enum PartOutcome {
    Answered {
        first: usize,
        count: usize,
        answer: GuestAnswer,
        entries: Vec<OutputEntry>,
    },
    Failed {
        index: usize,
        fault: Fault,
    },
}

/// Some of the inputs of a batch, from number `first` on.
#[derive(Clone, Copy)]
pub(super) struct Stretch<'a> {
    pub(super) first: usize,
    pub(super) items: &'a [Item],
}

/// What a call needs beside them.
pub(super) struct CallInput<'a> {
    pub(super) packed: &'a mut PackedBatch,
    pub(super) now: Now,
}

/// What a version made of a batch.
#[derive(Default)]
pub(super) struct BatchOutcome {
    pub(super) parts: Vec<PartOutcome>,
    pub(super) faults: Vec<Fault>,
    pub(super) cpu: Duration,
}

impl BatchOutcome {
    /// Runs `items` through `live`; each message it fails on by itself is found.
    pub(super) fn of(
        live: &mut Live,
        items: &[Item],
        packed: &mut PackedBatch,
        now: Now,
    ) -> Result<Self, Broken> {
        let mut outcome = Self::default();
        let begun = live.clock().thread_cpu();
        outcome.run(
            live,
            Stretch { first: 0, items },
            &mut CallInput { packed, now },
        )?;
        outcome.cpu = live.clock().thread_cpu().saturating_sub(begun);
        Ok(outcome)
    }

    fn run(
        &mut self,
        live: &mut Live,
        stretch: Stretch<'_>,
        turn: &mut CallInput<'_>,
    ) -> Result<(), Broken> {
        let mut entries = Vec::new();
        match live.process(turn.packed, turn.now, &mut entries) {
            Ok(answer) => {
                let Stretch { first, items } = stretch;
                self.parts.push(PartOutcome::Answered {
                    first,
                    count: items.len(),
                    answer,
                    entries,
                });
                Ok(())
            }
            Err(fault) => self.isolate(live, stretch, turn, fault),
        }
    }

    pub(super) fn isolate(
        &mut self,
        live: &mut Live,
        stretch: Stretch<'_>,
        turn: &mut CallInput<'_>,
        fault: Fault,
    ) -> Result<(), Broken> {
        live.mend(turn.now)?;
        self.faults.push(fault.clone());
        let Stretch { first, items } = stretch;
        if items.len() == 1 {
            self.parts.push(PartOutcome::Failed {
                index: first,
                fault,
            });
            return Ok(());
        }
        let (before, after) = items.split_at(items.len() / 2);
        for (items, first) in [(before, first), (after, first + before.len())] {
            live.pack(
                turn.packed,
                items.iter().map(|item| &item.message),
                turn.now,
            );
            self.run(live, Stretch { first, items }, turn)?;
        }
        Ok(())
    }

    /// Whether there is no message that it fails on and `other` does not.
    pub(super) fn fails_no_more_than(&self, other: &Self) -> bool {
        let known: Vec<usize> = other.failed().collect();
        self.failed()
            .all(|index| known.binary_search(&index).is_ok())
    }

    /// The first message that it fails on and `other` does not.
    pub(super) fn culprit(&self, other: &Self) -> Option<(usize, &Fault)> {
        let known: Vec<usize> = other.failed().collect();
        self.parts.iter().find_map(|part| match part {
            PartOutcome::Failed { index, fault } if known.binary_search(index).is_err() => {
                Some((*index, fault))
            }
            _ => None,
        })
    }

    fn failed(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().filter_map(|part| {
            if let PartOutcome::Failed { index, .. } = part {
                Some(*index)
            } else {
                None
            }
        })
    }

    pub(super) fn rejected(&self) -> impl Iterator<Item = usize> {
        let answered = self.parts.iter().filter_map(|part| match part {
            PartOutcome::Answered { first, entries, .. } => Some((*first, entries)),
            PartOutcome::Failed { .. } => None,
        });
        let rejects = |(first, entries): (usize, &Vec<OutputEntry>)| {
            let rejects = entries
                .iter()
                .filter(|entry| entry.action == Action::Reject);
            rejects
                .map(move |entry| first + entry.input as usize)
                .collect::<Vec<_>>()
        };
        answered.flat_map(rejects)
    }

    /// The one part of a batch that went through as a whole.
    pub(super) fn whole(&self) -> Option<(&GuestAnswer, &[OutputEntry])> {
        match self.parts.as_slice() {
            [
                PartOutcome::Answered {
                    answer, entries, ..
                },
            ] => Some((answer, entries)),
            _ => None,
        }
    }

    pub(super) fn figures(&self, messages: usize, live: &Live) -> TrialFigures {
        let entries = self.parts.iter().map(|part| {
            if let PartOutcome::Answered { entries, .. } = part {
                entries.len()
            } else {
                0
            }
        });
        TrialFigures {
            messages: messages as u64,
            rejected: self.rejected().count() as u64,
            entries: entries.sum::<usize>() as u64,
            faults: self.faults.len() as u64,
            calls: 1,
            cpu_us: u64::try_from(self.cpu.as_micros()).unwrap_or(u64::MAX),
            memory_bytes: live.memory_bytes() as u64,
        }
    }

    /// Distributes what was made of the inputs from number `first` on, which are `items`.
    pub(super) fn deliver(
        &self,
        live: &Live,
        items: &mut [Item],
        first: usize,
        hands: &mut Hands<'_>,
    ) {
        let end = first + items.len();
        for part in &self.parts {
            match part {
                PartOutcome::Answered {
                    first: own,
                    count,
                    answer,
                    entries,
                } => {
                    let start = first.max(*own);
                    let stop = end.min(own + count);
                    if start < stop {
                        let at = |index: usize| {
                            entries.partition_point(|entry| (entry.input as usize) < index - own)
                        };
                        let mut mine = Cow::Borrowed(&entries[at(start)..at(stop)]);
                        if start > *own {
                            // Fits: it is less than an input of the same entries.
                            mine.to_mut()
                                .iter_mut()
                                .for_each(|entry| entry.input -= (start - own) as u32);
                        }
                        hands.outbox.take(
                            &live.version,
                            &mut items[start - first..stop - first],
                            (answer, &mine),
                            hands.now,
                        );
                        hands
                            .guard
                            .settle_overflows(&live.version, hands.now, hands.outbox);
                    }
                }
                PartOutcome::Failed { index, fault } if (first..end).contains(index) => {
                    hands.guard.fail_for_good(
                        &live.version,
                        (&mut items[index - first], fault),
                        hands.now,
                        hands.outbox,
                    );
                }
                PartOutcome::Failed { .. } => {}
            }
        }
    }
}

pub(crate) struct Hands<'a> {
    pub(crate) guard: &'a mut Guard,
    pub(crate) now: Now,
    pub(crate) outbox: &'a mut Outbox,
}
