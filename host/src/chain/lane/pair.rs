//! Two versions beside each other in a lane: both get every batch and tick, and a share of the keys says whose outputs
//! count. So the old version keeps exact state, and comes back by counting again, from the very batch on in which its
//! successor failed.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::guard::Guard;
use super::item::{Item, clock_message};
use super::live::Live;
use super::outbox::Outbox;
use super::stage::{Broken, Stage};
use super::trial::{Trial, Verdict, Work};
use crate::chain::lane::trial::compare::{Bounds, Side};
use crate::chain::lane::trial::phase::Share;
use crate::chain::lane::trial::report::Figures;
use crate::chain::sandbox::batch::{Action, Answer, Entry, Packed};
use crate::chain::sandbox::fault::Fault;
use crate::clock::{self, Now};
use crate::message::{FlowId, Message};

/// Why a change ends that nobody waits for.
pub(super) const STOPPED: &str = "the flow stopped before the new version was confirmed";

/// A candidate beside the running version.
pub(super) struct Pair {
    pub(crate) candidate: Live,
    pub(crate) trial: Arc<Trial>,
    pub(super) next_tick: Option<Instant>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        // A lane that ends before the verdict cannot say anything any more.
        self.trial.cancel(STOPPED);
        self.trial.settle();
    }
}

/// What a version made of some of the inputs of a batch, in their order.
enum Part {
    Answered { first: usize, count: usize, answer: Answer, entries: Vec<Entry> },
    Failed { index: usize, fault: Fault },
}

/// Some of the inputs of a batch, from number `first` on.
#[derive(Clone, Copy)]
struct Stretch<'a> {
    first: usize,
    items: &'a [Item],
}

/// What a call needs beside them.
struct Turn<'a> {
    packed: &'a mut Packed,
    now: Now,
}

/// What a version made of a batch.
#[derive(Default)]
struct Outcome {
    parts: Vec<Part>,
    faults: Vec<Fault>,
    cpu: Duration,
}

impl Outcome {
    /// Runs `items` through `live`; each message it fails on by itself is found.
    fn of(live: &mut Live, items: &[Item], packed: &mut Packed, now: Now) -> Result<Self, Broken> {
        let mut outcome = Self::default();
        let begun = clock::thread_cpu();
        outcome.run(live, Stretch { first: 0, items }, &mut Turn { packed, now })?;
        outcome.cpu = clock::thread_cpu().saturating_sub(begun);
        Ok(outcome)
    }

    fn run(&mut self, live: &mut Live, stretch: Stretch<'_>, turn: &mut Turn<'_>) -> Result<(), Broken> {
        let mut entries = Vec::new();
        match live.process(turn.packed, turn.now, &mut entries) {
            Ok(answer) => {
                let Stretch { first, items } = stretch;
                self.parts.push(Part::Answered { first, count: items.len(), answer, entries });
                Ok(())
            }
            Err(fault) => self.isolate(live, stretch, turn, fault),
        }
    }

    fn isolate(&mut self, live: &mut Live, stretch: Stretch<'_>, turn: &mut Turn<'_>, fault: Fault) -> Result<(), Broken> {
        live.recover(turn.now).map_err(|source| Broken::of(&live.version, source))?;
        self.faults.push(fault.clone());
        let Stretch { first, items } = stretch;
        if items.len() == 1 {
            self.parts.push(Part::Failed { index: first, fault });
            return Ok(());
        }
        let (before, after) = items.split_at(items.len() / 2);
        for (items, first) in [(before, first), (after, first + before.len())] {
            live.pack(turn.packed, items.iter().map(|item| &item.message), turn.now);
            self.run(live, Stretch { first, items }, turn)?;
        }
        Ok(())
    }

    /// Whether there is no message that it fails on and `other` does not.
    fn fails_no_more_than(&self, other: &Self) -> bool {
        let known: Vec<usize> = other.failed().collect();
        self.failed().all(|index| known.binary_search(&index).is_ok())
    }

    /// The first message that it fails on and `other` does not.
    fn culprit(&self, other: &Self) -> Option<(usize, &Fault)> {
        let known: Vec<usize> = other.failed().collect();
        self.parts.iter().find_map(|part| match part {
            Part::Failed { index, fault } if known.binary_search(index).is_err() => Some((*index, fault)),
            _ => None,
        })
    }

    fn failed(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().filter_map(|part| if let Part::Failed { index, .. } = part { Some(*index) } else { None })
    }

    fn rejected(&self) -> impl Iterator<Item = usize> {
        let answered = self.parts.iter().filter_map(|part| match part {
            Part::Answered { first, entries, .. } => Some((*first, entries)),
            Part::Failed { .. } => None,
        });
        let rejects = |(first, entries): (usize, &Vec<Entry>)| {
            let rejects = entries.iter().filter(|entry| entry.action == Action::Reject);
            rejects.map(move |entry| first + entry.input as usize).collect::<Vec<_>>()
        };
        answered.flat_map(rejects)
    }

    /// The one part of a batch that went through as a whole.
    fn whole(&self) -> Option<(&Answer, &[Entry])> {
        match self.parts.as_slice() {
            [Part::Answered { answer, entries, .. }] => Some((answer, entries)),
            _ => None,
        }
    }

    fn figures(&self, messages: usize, live: &Live) -> Figures {
        let entries = self.parts.iter().map(|part| if let Part::Answered { entries, .. } = part { entries.len() } else { 0 });
        Figures {
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
    fn deliver(&self, live: &Live, items: &mut [Item], first: usize, hands: &mut Hands<'_>) {
        let end = first + items.len();
        for part in &self.parts {
            match part {
                Part::Answered { first: own, count, answer, entries } => {
                    let (start, stop) = (first.max(*own), end.min(own + count));
                    if start < stop {
                        let at = |index: usize| entries.partition_point(|entry| (entry.input as usize) < index - own);
                        let mut mine = Cow::Borrowed(&entries[at(start)..at(stop)]);
                        if start > *own {
                            // Fits: it is less than an input of the same entries.
                            mine.to_mut().iter_mut().for_each(|entry| entry.input -= (start - own) as u32);
                        }
                        hands.outbox.take(&live.version, &mut items[start - first..stop - first], (answer, &mine), hands.now);
                        hands.guard.settle_overflows(&live.version, hands.now, hands.outbox);
                    }
                }
                Part::Failed { index, fault } if (first..end).contains(index) => {
                    hands.guard.fail_for_good(&live.version, (&mut items[index - first], fault), hands.now, hands.outbox);
                }
                Part::Failed { .. } => {}
            }
        }
    }
}

/// Where it goes.
struct Hands<'a> {
    guard: &'a mut Guard,
    now: Now,
    outbox: &'a mut Outbox,
}

/// What a version said when it was told the time.
type Told = Option<Result<(Answer, Vec<Entry>), Fault>>;

impl Pair {
    /// Says which of the two speaks for both: its log lines and its own metrics are the ones to be seen.
    fn speak(&mut self, live: &mut Live, share: Share) {
        live.mute(share.is_most());
        self.candidate.mute(!share.is_most());
    }

    /// What the candidate made of a batch; the error is what speaks against it.
    fn answer(&mut self, old: &Outcome, items: &[Item], packed: &mut Packed, now: Now) -> Result<Outcome, Fault> {
        self.candidate.pack(packed, items.iter().map(|item| &item.message), now);
        let begun = clock::thread_cpu();
        let mut new = Outcome::default();
        let mut entries = Vec::new();
        match self.candidate.process(packed, now, &mut entries) {
            Ok(answer) => new.parts.push(Part::Answered { first: 0, count: items.len(), answer, entries }),
            Err(fault) => {
                self.candidate.version.metrics.error(fault.kind);
                let isolated =
                    new.isolate(&mut self.candidate, Stretch { first: 0, items }, &mut Turn { packed, now }, fault.clone());
                if let Err(broken) = isolated {
                    self.trial.fail("no instance of it can be made any more");
                    return Err(broken.source);
                }
                if old.faults.is_empty() || !new.fails_no_more_than(old) {
                    self.charge_on(&fault, new.culprit(old).map(|(index, fault)| (&items[index].message, fault)))?;
                }
            }
        }
        new.cpu = clock::thread_cpu().saturating_sub(begun);
        self.candidate.take_unsaved().map_or(Ok(()), |fault| self.charge(&fault))?;
        Ok(new)
    }

    /// Holds a fault against the candidate, unless it is confirmed meanwhile: then it is an ordinary one.
    fn charge(&self, fault: &Fault) -> Result<(), Fault> {
        if self.trial.fail(format!("it fails on live messages: {fault}")) { Err(fault.clone()) } else { Ok(()) }
    }

    /// The same, with the message it fails on by itself, where there is one.
    fn charge_on(&self, fault: &Fault, culprit: Option<(&Message, &Fault)>) -> Result<(), Fault> {
        let Some((message, own)) = culprit else { return self.charge(fault) };
        let why = format!("it fails on live messages: {own}; on {}", shown(message));
        if !self.trial.fail(why) {
            return Ok(());
        }
        let (plugin, detail) = (self.candidate.version.label(), own.detail());
        tracing::warn!(plugin, detail, "a candidate fails on {}", shown(message));
        Err(fault.clone())
    }

    /// After a fault that cannot be excused: nothing, unless it is confirmed meanwhile and has to stay.
    fn remains(self: Box<Self>) -> Option<Box<Self>> {
        (self.trial.verdict() == Verdict::Confirmed).then_some(self)
    }

    /// Tells the trial what both made of a batch.
    fn note(&self, lane: usize, live: &Live, items: &[Item], [old, new]: [&Outcome; 2]) {
        let known: Vec<usize> = old.rejected().collect();
        let newly_rejected = new.rejected().filter(|index| known.binary_search(index).is_err()).count() as u64;
        let (mut compared, mut differing) = (0, 0);
        let sample = self.trial.sample();
        if let (true, Some(before), Some(after)) = (sample != Share::NONE, old.whole(), new.whole()) {
            let mut comparison = self.trial.comparison();
            let (known, all) = (comparison.inputs.compared(), comparison.differing());
            let mine = Side::new(before.0, before.1, &live.version.setup.ports);
            let yours = Side::new(after.0, after.1, &self.candidate.version.setup.ports);
            let inputs = items.iter().map(|item| sample.holds(item.message.key()).then_some(&item.message));
            comparison.batch(Bounds::default(), inputs, mine, yours);
            (compared, differing) = (comparison.inputs.compared() - known, comparison.differing() - all);
        }
        let figures = |outcome: &Outcome, live| outcome.figures(items.len(), live);
        let (old, new) = (figures(old, live), figures(new, &self.candidate));
        self.trial.note(lane, &Work { old, new, newly_rejected, compared, differing }, Instant::now());
    }

    fn note_tick(&self, lane: usize, live: &Live, now: Now, told: [&Told; 2]) {
        let count = |told: &Told| match told {
            Some(Ok((_, entries))) => Figures { entries: entries.len() as u64, ..Figures::default() },
            Some(Err(_)) => Figures { faults: 1, ..Figures::default() },
            None => Figures::default(),
        };
        let mut differing = 0;
        if let (sample, [Some(Ok((before, old))), Some(Ok((after, new)))]) = (self.trial.sample(), told)
            && sample != Share::NONE
        {
            let mut comparison = self.trial.comparison();
            let known = comparison.differing();
            let (old, new) = (sampled(before, old, sample), sampled(after, new, sample));
            let mine = Side::new(before, &old, &live.version.setup.ports);
            let yours = Side::new(after, &new, &self.candidate.version.setup.ports);
            comparison.tick(Bounds::default(), now.wall_us, mine, yours);
            differing = comparison.differing() - known;
        }
        let memory = |live: &Live| live.memory_bytes() as u64;
        let old = Figures { memory_bytes: memory(live), ..count(told[0]) };
        let new = Figures { memory_bytes: memory(&self.candidate), ..count(told[1]) };
        self.trial.note(lane, &Work { old, new, differing, ..Work::default() }, Instant::now());
    }
}

/// Bytes of a payload that a text shows.
const SHOWN_BYTES: usize = 80;

/// A message in words, one line of them.
fn shown(message: &Message) -> String {
    let (topic, payload) = (message.topic_str().escape_debug(), &*message.payload);
    let head = String::from_utf8_lossy(&payload[..payload.len().min(SHOWN_BYTES)]).escape_debug().to_string();
    let more = if payload.len() > SHOWN_BYTES { format!("... of {} bytes", payload.len()) } else { String::new() };
    format!("topic `{topic}`, payload `{head}`{more}")
}

/// The outputs of a tick for the keys of `share`.
fn sampled(answer: &Answer, entries: &[Entry], share: Share) -> Vec<Entry> {
    entries.iter().filter(|entry| share.holds(entry.own_key(&answer.data))).copied().collect()
}

impl Stage {
    /// Runs a batch through both versions.
    pub(super) fn run_pair(
        &mut self,
        mut pair: Box<Pair>,
        items: &mut [Item],
        now: Now,
        outbox: &mut Outbox,
    ) -> Result<(), Broken> {
        let share = pair.trial.share();
        pair.speak(&mut self.live, share);
        let old = Outcome::of(&mut self.live, items, &mut self.packed, now)?;
        old.faults.iter().for_each(|fault| self.report(fault, now));
        let Ok(new) = pair.answer(&old, items, &mut self.packed, now) else {
            self.live.mute(false);
            old.deliver(&self.live, items, 0, &mut Hands { guard: &mut self.guard, now, outbox });
            self.pair = pair.remains();
            return Ok(());
        };
        pair.note(self.lane, &self.live, items, [&old, &new]);
        let mut start = 0;
        while start < items.len() {
            let counts = share.holds(items[start].message.key());
            let same = items[start..].iter().take_while(|item| share.holds(item.message.key()) == counts).count();
            let (outcome, live) = if counts { (&new, &pair.candidate) } else { (&old, &self.live) };
            let mut hands = Hands { guard: &mut self.guard, now, outbox: &mut *outbox };
            outcome.deliver(live, &mut items[start..start + same], start, &mut hands);
            start += same;
        }
        self.pair = Some(pair);
        Ok(())
    }

    /// Tells both versions the time, each when it is due.
    pub(super) fn tick_pair(&mut self, moment: Instant, now: Now, flow: FlowId, outbox: &mut Outbox) -> Result<bool, Broken> {
        let Some(mut pair) = self.pair.take() else { return Ok(false) };
        let share = pair.trial.share();
        pair.speak(&mut self.live, share);
        let begun = Instant::now();
        let old = self.guard.admit_tick(&self.live.version, now).then(|| tell(&mut self.live, &mut self.next_tick, moment, now));
        let old = old.flatten();
        if let Some(told) = &old {
            self.guard.ticked(&self.live.version, told.as_ref().err(), now);
            self.put_off_tick(begun.elapsed(), moment, now);
        }
        let new = tell(&mut pair.candidate, &mut pair.next_tick, moment, now);
        if let Some(Err(fault)) = &old {
            self.report(fault, now);
            self.recover(now)?;
        }
        let clock = clock_message(flow, now);
        if let Some(Err(fault)) = &new {
            pair.candidate.version.metrics.error(fault.kind);
            let excused = matches!(old, Some(Err(_))) || pair.charge(fault).is_ok();
            if !excused || pair.candidate.recover(now).is_err() {
                pair.trial.fail("no instance of it can be made any more");
                self.live.mute(false);
                old.iter()
                    .flatten()
                    .for_each(|(answer, entries)| outbox.take_tick(&self.live.version, (&clock, now), answer, entries));
                self.pair = pair.remains();
                return Ok(true);
            }
        }
        pair.note_tick(self.lane, &self.live, now, [&old, &new]);
        for (told, live, counts) in [(&old, &self.live, false), (&new, &pair.candidate, true)] {
            if let Some(Ok((answer, entries))) = told {
                let mine = entries.iter().filter(|entry| share.holds(entry.own_key(&answer.data)) == counts);
                outbox.take_tick(&live.version, (&clock, now), answer, mine);
            }
        }
        self.pair = Some(pair);
        Ok(old.is_some() || new.is_some())
    }
}

/// Tells a version the time if it is due at `moment`.
fn tell(live: &mut Live, next: &mut Option<Instant>, moment: Instant, now: Now) -> Told {
    let every = live.version.tick_every()?;
    if !super::stage::is_due(next, every, moment) {
        return None;
    }
    let mut entries = Vec::new();
    Some(live.tick(now, &mut entries).map(|answer| (answer, entries)))
}
