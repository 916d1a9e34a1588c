//! Dead letters that wait for a commit.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::message::{DeadLetter, QueueId, Receipt, Seq};
use crate::spool::dead_letters::letter::LetterId;
use crate::spool::memory::ram::{Ram, RamShare};

/// What happens when the letter is committed.
#[derive(Debug)]
pub(crate) enum Then {
    /// Its receipt is released, if it has one.
    Release(Option<Receipt>),
    /// Its place counts as accepted: upstream refused it.
    Accept(QueueId, Seq),
}

/// A letter that waits for a commit. Its number is fixed, so that a repeated commit writes it to the same place.
#[derive(Debug)]
pub(crate) struct WaitingLetter {
    pub id: LetterId,
    pub letter: DeadLetter,
    pub parked_us: u64,
    pub then: Then,
}

/// The letters that wait, oldest first.
#[derive(Debug)]
pub(crate) struct WaitingLetters {
    boot: u32,
    next: u64,
    waiting: VecDeque<WaitingLetter>,
    ram: RamShare,
    /// Letters of the commit under way, and their bytes.
    writing: (usize, usize),
    forgotten: Vec<LetterId>,
    /// Requests to forget, and how many of them are through.
    asked: u64,
    done: u64,
}

/// Letters that the operator has taken out, on their way out of the store.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    pub ids: Vec<LetterId>,
    ticket: u64,
}

impl WaitingLetters {
    /// An empty one of this boot, on this account.
    pub(crate) fn new(boot: u32, ram: &Arc<Ram>) -> Self {
        let waiting = VecDeque::new();
        let forgotten = Vec::new();
        Self {
            boot,
            next: 1,
            waiting,
            ram: RamShare::new(ram),
            writing: (0, 0),
            forgotten,
            asked: 0,
            done: 0,
        }
    }

    /// Takes letters out of the store with the next commit; [`WaitingLetters::has_forgotten`] the ticket when they are gone.
    pub(crate) fn forget(&mut self, ids: &[LetterId]) -> u64 {
        self.forgotten.extend(ids);
        self.asked += 1;
        self.asked
    }

    /// Whether the letters of this ticket are gone for good.
    pub(crate) fn has_forgotten(&self, ticket: u64) -> bool {
        self.done >= ticket
    }

    /// What the next commit takes out.
    pub(crate) fn take_forgotten(&mut self) -> Forgotten {
        Forgotten {
            ids: std::mem::take(&mut self.forgotten),
            ticket: self.asked,
        }
    }

    /// The commit is through.
    pub(crate) fn forgot(&mut self, forgotten: &Forgotten) {
        self.done = self.done.max(forgotten.ticket);
    }

    pub(crate) fn keep(&mut self, forgotten: Forgotten) {
        self.forgotten.extend(forgotten.ids);
    }

    /// The letter that was named last; number 0 when there is none of this boot.
    pub(crate) fn newest(&self) -> LetterId {
        LetterId {
            boot: self.boot,
            number: self.next - 1,
        }
    }

    /// Whether there is something to commit.
    pub(crate) fn is_due(&self) -> bool {
        !self.waiting.is_empty() || self.done < self.asked
    }

    pub(crate) fn push(&mut self, letter: DeadLetter, parked_us: u64, then: Then) {
        let id = LetterId {
            boot: self.boot,
            number: self.next,
        };
        self.next += 1;
        self.ram.add(weight(&letter));
        self.waiting.push_back(WaitingLetter {
            id,
            letter,
            parked_us,
            then,
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The oldest of them, up to about `max_bytes`, one at least.
    pub(crate) fn take(&mut self, max_bytes: usize) -> Vec<WaitingLetter> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while let Some(first) = self.waiting.front() {
            let size = weight(&first.letter);
            if bytes > 0 && bytes + size > max_bytes {
                break;
            }
            bytes += size;
            taken.extend(self.waiting.pop_front());
        }
        self.ram.sub(bytes);
        self.writing = (taken.len(), bytes);
        taken
    }

    /// The commit with what was taken is through.
    pub(crate) fn wrote(&mut self) {
        self.writing = (0, 0);
    }

    /// Letters that are not in the store yet, and their bytes.
    pub(crate) fn on_the_way(&self) -> (u64, u64) {
        (
            (self.waiting.len() + self.writing.0) as u64,
            (self.ram.bytes() + self.writing.1) as u64,
        )
    }

    /// A commit failed: they wait again, in front.
    pub(crate) fn give_back(&mut self, taken: Vec<WaitingLetter>) {
        self.writing = (0, 0);
        for waiting in taken.into_iter().rev() {
            self.ram.add(weight(&waiting.letter));
            self.waiting.push_front(waiting);
        }
    }

    /// The store cannot write: drops the oldest letters nobody waits for until `most` bytes are left.
    pub(crate) fn shed(&mut self, most: usize) -> u64 {
        if self.ram.bytes() <= most {
            return 0;
        }
        let before = self.ram.bytes();
        let mut dropped = 0;
        let mut bytes = before;
        self.waiting.retain(|waiting| {
            let drop = bytes > most && matches!(waiting.then, Then::Release(None));
            if drop {
                bytes -= weight(&waiting.letter);
                dropped += 1;
            }
            !drop
        });
        self.ram.sub(before - bytes);
        dropped
    }
}

pub(super) fn weight(letter: &DeadLetter) -> usize {
    letter.message.weight() + letter.detail.len()
}
