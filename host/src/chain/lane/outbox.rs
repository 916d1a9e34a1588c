//! What a batch leaves behind on its way through the plugins: what goes on, what leaves, what is parked, and what
//! became of each input. Receipts are added to before anything is handed on.

mod ends;
mod leaving;
pub(in crate::chain) mod spread;

use std::sync::Arc;

use leaving::Departure;

use self::spread::{Amount, Most, Spreads};
use super::item::{Item, NO_ORIGIN};
use super::template::OutgoingTopic;
use super::version::Version;
use crate::chain::metrics::Fate;
use crate::chain::sandbox::batch::{Action, GuestAnswer, OutputEntry};
use crate::clock::Now;
use crate::message::DeadLetter;
use crate::message::Loss;
use crate::message::Message;
use crate::message::MessageId;
use crate::message::Mint;
use crate::message::PluginRef;
use crate::message::Reason;
use crate::message::Receipt;

/// What became of the inputs of a batch, where nobody takes it any further: each list in the order of the inputs.
#[derive(Debug, Default)]
pub(crate) struct BatchEnds {
    pub(crate) leaving: Vec<(u32, Departure)>,
    pub(crate) letters: Vec<(u32, DeadLetter)>,
    pub(crate) fates: Vec<Fate>,
}

/// The ends of one batch.
pub(crate) struct Outbox {
    /// Items for the next plugin.
    pub(crate) next: Vec<Item>,
    /// Items that the plugin is to get later, in order.
    pub(crate) held: Vec<Item>,
    leaving: Vec<(u32, Departure)>,
    /// Bytes of what was handed over since somebody asked.
    brought: usize,
    letters: Vec<(u32, DeadLetter)>,
    losses: Vec<Loss>,
    /// Devices whose payloads a plugin rejected or failed on; who judges them takes them out.
    pub(crate) bad: Vec<Box<[u8]>>,
    /// Messages that have led to too much, and the plugins at which they are poison; who guards the plugin takes them out.
    pub(super) overflows: Vec<(Item, PluginRef)>,
    spreads: Spreads,
    fates: Vec<Fate>,
    in_order: bool,
    flow: Arc<str>,
    mint: Arc<Mint>,
    template: Option<OutgoingTopic>,
    settles_with_any: bool,
}

impl Outbox {
    pub(crate) fn new(
        flow: Arc<str>,
        mint: Arc<Mint>,
        template: Option<OutgoingTopic>,
        settles_with_any: bool,
        most: Most,
    ) -> Self {
        let next = Vec::new();
        let leaving = Vec::new();
        let letters = Vec::new();
        let fates = Vec::new();
        let losses = Vec::new();
        let bad = Vec::new();
        let held = Vec::new();
        let overflows = Vec::new();
        let spreads = Spreads::new(most);
        Self {
            next,
            held,
            leaving,
            brought: 0,
            letters,
            losses,
            bad,
            overflows,
            spreads,
            fates,
            in_order: true,
            flow,
            mint,
            template,
            settles_with_any,
        }
    }

    /// Begins a batch of so many inputs.
    pub(crate) fn begin(&mut self, inputs: usize) {
        self.next.clear();
        self.held.clear();
        self.leaving.clear();
        self.letters.clear();
        self.losses.clear();
        self.bad.clear();
        self.overflows.clear();
        self.spreads.begin();
        self.fates.clear();
        self.fates.resize(inputs, Fate::Filtered);
        self.in_order = true;
    }

    /// Distributes what a plugin answered to a batch.
    pub(crate) fn take(
        &mut self,
        version: &Version,
        items: &mut [Item],
        (answer, entries): (&GuestAnswer, &[OutputEntry]),
        now: Now,
    ) {
        let mut rest = entries;
        for (index, item) in items.iter_mut().enumerate() {
            let count = rest
                .iter()
                .take_while(|entry| entry.input as usize == index)
                .count();
            let (mine, others) = rest.split_at(count);
            rest = others;
            let item = std::mem::take(item);
            match mine {
                _ if self.is_void(&item) => self.discard(item),
                [] => self.end(item, Fate::Filtered),
                [
                    OutputEntry {
                        action: Action::Pass,
                        port: 0,
                        ..
                    },
                ] => self.next.push(item),
                _ => self.split(version, item, (answer, mine), now),
            }
        }
    }

    /// Distributes what a tick brought; `clock` is a message with the time and marks it gets.
    pub(super) fn take_tick<'e>(
        &mut self,
        version: &Version,
        (clock, now): (&Message, Now),
        answer: &GuestAnswer,
        entries: impl IntoIterator<Item = &'e OutputEntry>,
    ) {
        for entry in entries {
            let message = Message {
                id: self.mint.take(1),
                ..entry.emitted(&answer.data, clock, now)
            };
            let item = Item {
                message,
                receipt: None,
                origin: NO_ORIGIN,
                own_topic: true,
                sender: None,
            };
            self.spreads.add(NO_ORIGIN);
            self.send(version, entry.port, item);
        }
    }

    /// Whether what it came from has led to too much.
    pub(super) fn is_void(&self, item: &Item) -> bool {
        self.spreads.has_over() && self.spreads.is_over(item.origin)
    }

    /// It is taken back: nobody waits for it but its sender, who is told by what it came from, or the ledger by itself.
    pub(super) fn discard(&mut self, item: Item) {
        if item.origin == NO_ORIGIN {
            return self.give_up(item);
        }
        item.receipt.into_iter().for_each(Receipt::release);
    }

    /// A plugin has done its work on the batch: what is void is gone.
    pub(super) fn forget_void(&mut self) {
        self.spreads.forget_over();
    }

    /// One more message of a batch that leads to several from the start.
    pub(crate) fn spread(&mut self, origin: u32) {
        self.spreads.add(origin);
    }

    /// Whether what `entries` make of `item` is as much as may come of one message.
    fn fits(
        &mut self,
        version: &Version,
        item: &Item,
        answer: &GuestAnswer,
        entries: &[OutputEntry],
    ) -> bool {
        let ends = entries
            .iter()
            .filter(|entry| entry.action != Action::Absorb)
            .count();
        if ends < 2 && !self.spreads.has(item.origin) {
            return true;
        }
        let of = |entry: &OutputEntry| match entry.action {
            Action::Absorb => 0,
            Action::Pass => item.message.weight(),
            Action::Emit | Action::Reject => entry
                .slices(&answer.data)
                .iter()
                .map(|part| part.len())
                .sum(),
        };
        let amount = Amount {
            messages: ends,
            bytes: entries.iter().map(of).sum(),
        };
        self.spreads
            .grow(item.origin, item.message.weight(), amount, || {
                (item.clone(), version.reference.clone())
            })
    }

    /// `item` has led to too much, or all of what it came from has.
    fn overflow(&mut self, version: &Version, item: Item) {
        let origin = item.origin;
        if origin == NO_ORIGIN {
            self.spreads.condemn_all(origin);
        } else {
            match self.spreads.condemn(origin) {
                Some((root, plugin)) => self.overflows.push((
                    Item {
                        receipt: item.receipt,
                        ..root
                    },
                    plugin,
                )),
                None => return self.overflows.push((item, version.reference.clone())),
            }
        }
        self.take_back(origin);
        if origin == NO_ORIGIN {
            self.give_up(Item::of_timer(item.message));
        }
    }

    /// Nothing of what came of `origin` leaves.
    fn take_back(&mut self, origin: u32) {
        let of = |number: &u32| *number == origin;
        let mut void: Vec<Item> = self.next.extract_if(.., |item| of(&item.origin)).collect();
        void.extend(self.held.extract_if(.., |item| of(&item.origin)));
        let leaving = self
            .leaving
            .extract_if(.., |(number, _)| of(number))
            .map(|(_, leaving)| (leaving.message, leaving.receipt));
        let letters = self
            .letters
            .extract_if(.., |(number, _)| of(number))
            .map(|(_, letter)| (letter.message, letter.receipt));
        let item = |(message, receipt)| Item {
            message,
            receipt,
            origin,
            ..Item::default()
        };
        void.extend(leaving.map(item));
        void.extend(letters.map(item));
        if let Some(fate) = self.fates.get_mut(origin as usize) {
            *fate = Fate::Filtered;
        }
        void.into_iter().for_each(|item| self.discard(item));
    }

    /// Why a message is poison that led to too much.
    pub(super) fn too_much(&self) -> String {
        self.spreads.too_much()
    }

    fn split(
        &mut self,
        version: &Version,
        item: Item,
        (answer, entries): (&GuestAnswer, &[OutputEntry]),
        now: Now,
    ) {
        let ends = entries
            .iter()
            .filter(|entry| entry.action != Action::Absorb)
            .count();
        if ends == 0 {
            return self.end(item, Fate::Absorbed);
        }
        if !self.fits(version, &item, answer, entries) {
            return self.overflow(version, item);
        }
        add(item.receipt.as_ref(), ends - 1);
        let mut first = true;
        for entry in entries {
            let message = match entry.action {
                Action::Absorb => continue,
                Action::Reject => {
                    if !entry.is_excused() {
                        self.accuse(&item);
                    }
                    self.park(
                        &version.reference,
                        &item,
                        Reason::Rejected,
                        entry.reason(&answer.data),
                    );
                    continue;
                }
                Action::Pass => item.message.clone(),
                Action::Emit => entry.emitted(&answer.data, &item.message, now),
            };
            let id = self.id(&item.message, &mut first);
            let own_topic = item.own_topic || entry.action == Action::Emit && entry.has_topic();
            let sender = item.sender_of(&message);
            let receipt = item.receipt.clone();
            let origin = item.origin;
            let message = Message { id, ..message };
            let output = Item {
                message,
                receipt,
                origin,
                own_topic,
                sender,
            };
            self.send(version, entry.port, output);
        }
    }

    /// The first output of a message keeps its name; a name stands for one message only.
    fn id(&self, input: &Message, first: &mut bool) -> MessageId {
        if std::mem::take(first) {
            input.id
        } else {
            self.mint.take(1)
        }
    }

    fn send(&mut self, version: &Version, port: u16, item: Item) {
        match version.route(port) {
            None => self.next.push(item),
            Some(targets) => {
                self.in_order = false;
                self.leave(item, targets);
            }
        }
    }
}

fn add(receipt: Option<&Receipt>, more: usize) {
    if more > 0
        && let Some(receipt) = receipt
    {
        receipt.add(u32::try_from(more).unwrap_or(u32::MAX));
    }
}
