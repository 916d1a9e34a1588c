//! The part of a queue in RAM: messages in the order they came, with what waits for them.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::RunningTime;
use crate::message::{Message, Receipt, Seq, Wait};
use crate::spool::memory::ram::{Ram, RamShare};

/// A message in RAM, and when it came.
#[derive(Debug)]
pub(crate) struct HeadMessage {
    /// Gone once it was accepted or dropped.
    pub(super) message: Option<Message>,
    pub(super) receipt: Option<Receipt>,
    pub(super) since: RunningTime,
}

/// The messages from `start` on.
#[derive(Debug)]
pub(super) struct Head {
    start: Seq,
    held: VecDeque<HeadMessage>,
    ram: RamShare,
    /// Messages that are neither accepted nor dropped, and receipts.
    live: u64,
    unsettled: u64,
    /// A source waits for what is here with a receipt.
    pressed: Option<Wait>,
    /// All before it was looked at for what can be dropped.
    shed_from: Seq,
}

impl Head {
    /// An empty one whose first message gets this place, on an account of its own.
    pub(super) fn new(start: Seq) -> Self {
        Self {
            start,
            held: VecDeque::new(),
            ram: RamShare::new(&Arc::new(Ram::new(usize::MAX))),
            live: 0,
            unsettled: 0,
            pressed: None,
            shed_from: start,
        }
    }

    /// What it holds is of this account. For one that holds nothing yet.
    pub(super) fn count_in(&mut self, ram: &Arc<Ram>) {
        self.ram = RamShare::new(ram);
    }

    pub(super) fn start(&self) -> Seq {
        self.start
    }

    /// The place the next message gets.
    pub(super) fn next(&self) -> Seq {
        self.start.plus(self.held.len() as u64)
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.ram.bytes()
    }

    /// Messages that are neither accepted nor dropped.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    pub(super) fn unsettled(&self) -> u64 {
        self.unsettled
    }

    /// When the oldest message came.
    pub(super) fn oldest(&self) -> Option<RunningTime> {
        let oldest = self.held.front().filter(|_| self.live > 0);
        oldest.map(|held| held.since)
    }

    pub(super) fn push(&mut self, message: Message, receipt: Option<Receipt>, now: RunningTime) {
        self.ram.add(message.weight());
        self.live += 1;
        if let Some(receipt) = &receipt {
            self.unsettled += 1;
            if receipt.pressed() {
                self.press(Wait::Sure);
            }
        }
        self.held.push_back(HeadMessage {
            message: Some(message),
            receipt,
            since: now,
        });
    }

    /// A source waits for what is here with a receipt.
    pub(super) fn press(&mut self, wait: Wait) {
        self.pressed = self.pressed.max(Some(wait));
    }

    /// A spill begins: what presses later asks for the next one.
    pub(super) fn begin_spill(&mut self) {
        self.pressed = None;
    }

    /// Whether it cannot stay: it is full, or a source is known to wait for it.
    pub(super) fn is_urgent(&self, most_bytes: usize) -> bool {
        self.live > 0
            && (self.ram.bytes() >= most_bytes
                || (self.pressed == Some(Wait::Sure) && self.unsettled > 0))
    }

    /// When it wants to be spilled (at once: the start), where a message may wait for so long.
    pub(super) fn spill_due(&self, most_bytes: usize, linger_us: u64) -> Option<RunningTime> {
        if self.live == 0 {
            return None;
        }
        if self.is_urgent(most_bytes) || (self.pressed.is_some() && self.unsettled > 0) {
            return Some(RunningTime::START);
        }
        self.held.front().map(|held| held.since.plus_us(linger_us))
    }

    /// What is at a place.
    pub(super) fn get(&self, place: Seq) -> Option<&HeadMessage> {
        self.held.get(self.index_of(place)?)
    }

    /// How many places there are from this one on.
    pub(super) fn count_from(&self, place: Seq) -> usize {
        self.held.len().saturating_sub(self.index(place))
    }

    /// All from a place on, with theirs.
    pub(super) fn iter_from(&self, place: Seq) -> impl Iterator<Item = (Seq, &HeadMessage)> {
        let index = self.index(place).min(self.held.len());
        let first = self.start.plus(index as u64);
        first.up_to(Seq::END).zip(self.held.range(index..))
    }

    fn index_of(&self, place: Seq) -> Option<usize> {
        usize::try_from(place.checked_places_since(self.start)?).ok()
    }

    /// The same; that of the first where it lies before all.
    fn index(&self, place: Seq) -> usize {
        usize::try_from(place.places_since(self.start)).unwrap_or(usize::MAX)
    }

    /// Takes a message out; its place stays until it is passed.
    pub(super) fn take(&mut self, place: Seq, released: &mut Vec<Receipt>) {
        let index = self.index_of(place);
        let Some(held) = index.and_then(|index| self.held.get_mut(index)) else {
            return;
        };
        if let Some(message) = held.message.take() {
            self.ram.sub(message.weight());
            self.live -= 1;
        }
        if let Some(receipt) = held.receipt.take() {
            self.unsettled -= 1;
            released.push(receipt);
        }
    }

    /// Forgets the places at its front that have nothing any more.
    pub(super) fn trim(&mut self) {
        while self
            .held
            .pop_front_if(|held| held.message.is_none())
            .is_some()
        {
            self.start = self.start.next();
        }
    }

    /// Everything before `low` is accepted.
    pub(super) fn pass(&mut self, low: Seq) {
        if low > self.start {
            let passed = self.index(low).min(self.held.len());
            self.held.drain(..passed);
            self.start = low;
        }
    }

    /// Splits off what lies before `end`: it is on disk.
    pub(super) fn let_go(&mut self, end: Seq) -> VecDeque<HeadMessage> {
        let count = self.index(end).min(self.held.len());
        if count == 0 {
            return VecDeque::new();
        }
        let rest = self.held.split_off(count);
        let done = std::mem::replace(&mut self.held, rest);
        self.start = self.start.plus(count as u64);
        for held in &done {
            if let Some(message) = &held.message {
                self.ram.sub(message.weight());
                self.live -= 1;
            }
            self.unsettled -= u64::from(held.receipt.is_some());
        }
        done
    }

    /// The next place to look at for what can be dropped, and its message where nobody waits for that.
    pub(super) fn next_to_shed(&mut self) -> Option<(Seq, Option<Message>)> {
        self.shed_from = self.shed_from.max(self.start);
        if self.shed_from >= self.next() {
            return None;
        }
        let place = self.shed_from;
        self.shed_from = self.shed_from.next();
        let held = self.get(place).filter(|held| held.receipt.is_none());
        Some((place, held.and_then(|held| held.message.clone())))
    }

    /// Places that it has room for, whether they are used or not.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.held.capacity()
    }
}

/// Releases the receipts of messages that are safe on disk.
pub(crate) fn release(done: VecDeque<HeadMessage>) {
    for receipt in done.into_iter().filter_map(|held| held.receipt) {
        receipt.release();
    }
}
