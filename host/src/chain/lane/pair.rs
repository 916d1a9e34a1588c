//! Two versions beside each other in a lane: both get every batch and tick, and a share of the keys says whose outputs
//! count. So the old version keeps exact state, and comes back by counting again, from the very batch on in which its
//! successor failed.

mod outcome;

use std::sync::Arc;
use std::time::Instant;

use super::item::Item;
use super::live::{Broken, Live};
use super::trial::{Trial, Verdict, Work};
use crate::chain::lane::trial::compare::{Bounds, Side};
use crate::chain::lane::trial::phase::Share;
use crate::chain::lane::trial::report::Figures;
use crate::chain::sandbox::batch::{Answer, Entry, Packed};
use crate::chain::sandbox::fault::Fault;
use crate::clock::Now;
use crate::message::Message;
pub(super) use outcome::Hands;
use outcome::{Outcome, Part, Stretch, Turn};

/// Why a change ends that nobody waits for.
pub(super) const STOPPED: &str = "the flow stopped before the new version was confirmed";

/// The running version, and a candidate beside it.
pub(super) struct Pair {
    /// It is confirmed. Only its state is kept.
    pub(super) old: Live,
    pub(super) candidate: Live,
    pub(super) trial: Joined,
}

/// A lane's part in a trial, which its lane has joined.
pub(super) struct Joined(Arc<Trial>);

impl Joined {
    /// # Errors
    /// The trial is over already.
    pub(super) fn new(trial: Arc<Trial>) -> Result<Self, String> {
        trial.join()?;
        Ok(Self(trial))
    }
}

impl std::ops::Deref for Joined {
    type Target = Trial;

    fn deref(&self) -> &Trial {
        &self.0
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        // A lane that ends before the verdict cannot say anything any more.
        self.0.cancel(STOPPED);
        self.0.settle();
    }
}

/// What a version said when it was told the time.
type Told = Option<Result<(Answer, Vec<Entry>), Fault>>;

impl Pair {
    /// Says which of the two speaks for both: its log lines and its own metrics are the ones to be seen.
    fn speak(&mut self, share: Share) {
        self.old.mute(share.is_most());
        self.candidate.mute(!share.is_most());
    }

    /// What the candidate made of a batch; the error is what speaks against it.
    fn answer(
        &mut self,
        old: &Outcome,
        items: &[Item],
        packed: &mut Packed,
        now: Now,
    ) -> Result<Outcome, Fault> {
        self.candidate
            .pack(packed, items.iter().map(|item| &item.message), now);
        let begun = self.candidate.clock().thread_cpu();
        let mut new = Outcome::default();
        let mut entries = Vec::new();
        match self.candidate.process(packed, now, &mut entries) {
            Ok(answer) => new.parts.push(Part::Answered {
                first: 0,
                count: items.len(),
                answer,
                entries,
            }),
            Err(fault) => {
                self.candidate.version.metrics.error(fault.kind);
                let isolated = new.isolate(
                    &mut self.candidate,
                    Stretch { first: 0, items },
                    &mut Turn { packed, now },
                    fault.clone(),
                );
                if let Err(broken) = isolated {
                    self.trial.fail("no instance of it can be made any more");
                    return Err(broken.source);
                }
                if old.faults.is_empty() || !new.fails_no_more_than(old) {
                    self.charge_on(
                        &fault,
                        new.culprit(old)
                            .map(|(index, fault)| (&items[index].message, fault)),
                    )?;
                }
            }
        }
        new.cpu = self.candidate.clock().thread_cpu().saturating_sub(begun);
        self.candidate
            .take_unsaved()
            .map_or(Ok(()), |fault| self.charge(&fault))?;
        Ok(new)
    }

    /// Holds a fault against the candidate, unless it is confirmed meanwhile: then it is an ordinary one.
    fn charge(&self, fault: &Fault) -> Result<(), Fault> {
        if self
            .trial
            .fail(format!("it fails on live messages: {fault}"))
        {
            Err(fault.clone())
        } else {
            Ok(())
        }
    }

    /// The same, with the message it fails on by itself, where there is one.
    fn charge_on(&self, fault: &Fault, culprit: Option<(&Message, &Fault)>) -> Result<(), Fault> {
        let Some((message, own)) = culprit else {
            return self.charge(fault);
        };
        let why = format!("it fails on live messages: {own}; on {}", shown(message));
        if !self.trial.fail(why) {
            return Ok(());
        }
        let plugin = self.candidate.version.label();
        let detail = own.detail();
        tracing::warn!(plugin, detail, "a candidate fails on {}", shown(message));
        Err(fault.clone())
    }

    /// After a fault of the candidate that cannot be excused: it goes, unless it is confirmed meanwhile and has to stay.
    fn is_over(&mut self) -> bool {
        self.old.mute(false);
        self.trial.verdict() != Verdict::Confirmed
    }

    /// Tells the trial what both made of a batch.
    fn note(&self, lane: usize, items: &[Item], [old, new]: [&Outcome; 2]) {
        let known: Vec<usize> = old.rejected().collect();
        let newly_rejected = new
            .rejected()
            .filter(|index| known.binary_search(index).is_err())
            .count() as u64;
        let mut compared = 0;
        let mut differing = 0;
        let sample = self.trial.sample();
        if let (true, Some(before), Some(after)) = (sample != Share::NONE, old.whole(), new.whole())
        {
            let mut comparison = self.trial.comparison();
            let known = comparison.inputs.compared();
            let all = comparison.differing();
            let mine = Side::new(before.0, before.1, &self.old.version.setup.ports);
            let yours = Side::new(after.0, after.1, &self.candidate.version.setup.ports);
            let inputs = items
                .iter()
                .map(|item| sample.holds(item.message.key()).then_some(&item.message));
            comparison.batch(Bounds::default(), inputs, mine, yours);
            (compared, differing) = (
                comparison.inputs.compared() - known,
                comparison.differing() - all,
            );
        }
        let figures = |outcome: &Outcome, live| outcome.figures(items.len(), live);
        let old = figures(old, &self.old);
        let new = figures(new, &self.candidate);
        let work = Work {
            old,
            new,
            newly_rejected,
            compared,
            differing,
        };
        self.trial
            .note(lane, &work, self.candidate.clock().moment());
    }

    fn note_tick(&self, lane: usize, now: Now, told: [&Told; 2]) {
        let count = |told: &Told| match told {
            Some(Ok((_, entries))) => Figures {
                entries: entries.len() as u64,
                ..Figures::default()
            },
            Some(Err(_)) => Figures {
                faults: 1,
                ..Figures::default()
            },
            None => Figures::default(),
        };
        let mut differing = 0;
        if let (sample, [Some(Ok((before, old))), Some(Ok((after, new)))]) =
            (self.trial.sample(), told)
            && sample != Share::NONE
        {
            let mut comparison = self.trial.comparison();
            let known = comparison.differing();
            let old = sampled(before, old, sample);
            let new = sampled(after, new, sample);
            let mine = Side::new(before, &old, &self.old.version.setup.ports);
            let yours = Side::new(after, &new, &self.candidate.version.setup.ports);
            comparison.tick(Bounds::default(), now.wall_us, mine, yours);
            differing = comparison.differing() - known;
        }
        let memory = |live: &Live| live.memory_bytes() as u64;
        let old = Figures {
            memory_bytes: memory(&self.old),
            ..count(told[0])
        };
        let new = Figures {
            memory_bytes: memory(&self.candidate),
            ..count(told[1])
        };
        let work = Work {
            old,
            new,
            differing,
            ..Work::default()
        };
        self.trial
            .note(lane, &work, self.candidate.clock().moment());
    }

    /// Runs a batch through both versions. `false`: the candidate is to go.
    pub(super) fn run(
        &mut self,
        lane: usize,
        items: &mut [Item],
        packed: &mut Packed,
        hands: &mut Hands<'_>,
    ) -> Result<bool, Broken> {
        let share = self.trial.share();
        self.speak(share);
        let old = Outcome::of(&mut self.old, items, packed, hands.now)?;
        old.faults
            .iter()
            .for_each(|fault| hands.guard.report(&self.old.version, fault, hands.now));
        let Ok(new) = self.answer(&old, items, packed, hands.now) else {
            let is_over = self.is_over();
            old.deliver(&self.old, items, 0, hands);
            return Ok(!is_over);
        };
        self.note(lane, items, [&old, &new]);
        let mut start = 0;
        while start < items.len() {
            let counts = share.holds(items[start].message.key());
            let same = items[start..]
                .iter()
                .take_while(|item| share.holds(item.message.key()) == counts)
                .count();
            let (outcome, live) = if counts {
                (&new, &self.candidate)
            } else {
                (&old, &self.old)
            };
            outcome.deliver(live, &mut items[start..start + same], start, hands);
            start += same;
        }
        Ok(true)
    }

    /// Tells both versions the time, each when it is due at `moment`; what they say takes its time and marks from `clock`.
    pub(super) fn tick(
        &mut self,
        lane: usize,
        moment: Instant,
        clock: &Message,
        hands: &mut Hands<'_>,
    ) -> Result<Ticked, Broken> {
        let share = self.trial.share();
        self.speak(share);
        let old = self.tick_old(moment, hands);
        let new = tell(&mut self.candidate, moment, hands.now);
        if let Some(Err(fault)) = &old {
            hands.guard.report(&self.old.version, fault, hands.now);
            self.old.mend(hands.now)?;
        }
        if let Some(Err(fault)) = &new
            && !self.excuses(fault, matches!(old, Some(Err(_))), hands.now)
        {
            self.trial.fail("no instance of it can be made any more");
            let is_over = self.is_over();
            for (answer, entries) in old.iter().flatten() {
                hands
                    .outbox
                    .take_tick(&self.old.version, (clock, hands.now), answer, entries);
            }
            return Ok(Ticked {
                is_told: true,
                stays: !is_over,
            });
        }
        self.note_tick(lane, hands.now, [&old, &new]);
        for (told, live, counts) in [(&old, &self.old, false), (&new, &self.candidate, true)] {
            if let Some(Ok((answer, entries))) = told {
                let mine = entries
                    .iter()
                    .filter(|entry| share.holds(entry.own_key(&answer.data)) == counts);
                hands
                    .outbox
                    .take_tick(&live.version, (clock, hands.now), answer, mine);
            }
        }
        Ok(Ticked {
            is_told: old.is_some() || new.is_some(),
            stays: true,
        })
    }

    fn tick_old(&mut self, moment: Instant, hands: &mut Hands<'_>) -> Told {
        let begun = self.old.clock().moment();
        if !hands.guard.admit_tick(&self.old.version, hands.now) {
            return None;
        }
        let told = tell(&mut self.old, moment, hands.now)?;
        hands
            .guard
            .ticked(&self.old.version, told.as_ref().err(), hands.now);
        let taken = self.old.clock().since(begun);
        self.old
            .put_off_tick(moment + hands.guard.tick_pause(hands.now).max(2 * taken));
        Some(told)
    }

    /// Whether the candidate may fail in a tick, since the old version does as well or it is confirmed, and can go on.
    fn excuses(&mut self, fault: &Fault, fails_too: bool, now: Now) -> bool {
        self.candidate.version.metrics.error(fault.kind);
        (fails_too || self.charge(fault).is_ok()) && self.candidate.recover(now).is_ok()
    }
}

/// How a tick of both went.
pub(super) struct Ticked {
    /// One of them was told the time.
    pub(super) is_told: bool,
    /// The candidate does not have to go.
    pub(super) stays: bool,
}

/// Bytes of a payload that a text shows.
const SHOWN_BYTES: usize = 80;

/// A message in words, one line of them.
fn shown(message: &Message) -> String {
    let topic = message.topic_str().escape_debug();
    let payload = &*message.payload;
    let head = String::from_utf8_lossy(&payload[..payload.len().min(SHOWN_BYTES)])
        .escape_debug()
        .to_string();
    let more = if payload.len() > SHOWN_BYTES {
        format!("... of {} bytes", payload.len())
    } else {
        String::new()
    };
    format!("topic `{topic}`, payload `{head}`{more}")
}

/// The outputs of a tick for the keys of `share`.
fn sampled(answer: &Answer, entries: &[Entry], share: Share) -> Vec<Entry> {
    entries
        .iter()
        .filter(|entry| share.holds(entry.own_key(&answer.data)))
        .copied()
        .collect()
}

/// Tells a version the time if it is due at `moment`.
fn tell(live: &mut Live, moment: Instant, now: Now) -> Told {
    if !live.is_tick_due(moment) {
        return None;
    }
    let mut entries = Vec::new();
    Some(live.tick(now, &mut entries).map(|answer| (answer, entries)))
}
