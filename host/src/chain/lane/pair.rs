//! Two versions beside each other in a lane: both get every batch and tick, and a share of the keys says whose outputs
//! count. Whose outputs count, his state counts: it goes along where that changes (`pair/voice.rs`). So the old version
//! comes back from the very batch on in which its successor failed, and what that one told is not told again.

mod figures;
mod outcome;
mod voice;

use std::sync::Arc;
use std::time::Instant;

use super::inbox::InitialState;
use super::item::Item;
use super::live::{Broken, Live};
use super::trial::{Trial, TrialVerdict};
use crate::chain::lane::trial::phase::KeyShare;
use crate::chain::sandbox::batch::{GuestAnswer, OutputEntry, PackedBatch};
use crate::chain::sandbox::fault::Fault;
use crate::clock::Now;
use crate::message::Message;
pub(super) use outcome::Hands;
use outcome::{BatchOutcome, CallInput, PartOutcome, Stretch};

/// Why a change ends that nobody waits for.
pub(super) const STOPPED: &str = "the flow stopped before the new version was confirmed";

/// The running version, and a candidate beside it.
pub(super) struct Pair {
    /// It is confirmed. The disk has its state, which is that of those whose outputs count.
    pub(super) old: Live,
    pub(super) candidate: Live,
    pub(super) trial: Joined,
    /// Keys for which the candidate's outputs have counted last.
    spoken: KeyShare,
    /// Something was brought to both since their states were the same where that matters.
    is_apart: bool,
    /// Why no state passes between the two.
    parted: Option<String>,
    /// Messages to which the candidate's answer counted.
    answered: u64,
    /// That the old version cannot take over the candidate's state was said.
    is_told: bool,
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
type TickAnswer = Option<Result<(GuestAnswer, Vec<OutputEntry>), Fault>>;

impl Pair {
    /// `candidate` begins with a copy of `old`'s state, or without.
    pub(super) fn new(old: Live, candidate: Live, trial: Joined, origin: InitialState) -> Self {
        let parted = match origin {
            _ if !old.has_state() => None,
            InitialState::Empty => Some("the new one began without state".to_owned()),
            InitialState::Copy if !candidate.has_state() => {
                Some("the new one keeps none".to_owned())
            }
            InitialState::Copy => None,
        };
        Self {
            old,
            candidate,
            trial,
            spoken: KeyShare::NONE,
            is_apart: false,
            parted,
            answered: 0,
            is_told: false,
        }
    }

    /// Says which of the two speaks for both: its log lines and its own metrics are the ones to be seen.
    fn speak(&mut self, share: KeyShare) {
        self.old.mute(share.is_most());
        self.candidate.mute(!share.is_most());
    }

    /// What the candidate made of a batch; the error is what speaks against it.
    fn answer(
        &mut self,
        old: &BatchOutcome,
        items: &[Item],
        packed: &mut PackedBatch,
        now: Now,
    ) -> Result<BatchOutcome, Fault> {
        self.candidate
            .pack(packed, items.iter().map(|item| &item.message), now);
        let begun = self.candidate.clock().thread_cpu();
        let mut new = BatchOutcome::default();
        let mut entries = Vec::new();
        match self.candidate.process(packed, now, &mut entries) {
            Ok(answer) => new.parts.push(PartOutcome::Answered {
                first: 0,
                count: items.len(),
                answer,
                entries,
            }),
            Err(fault) => {
                let past = self.candidate.past();
                let turn = &mut CallInput { packed, now };
                if let Err(fault) = self.isolate((&mut new, old), items, turn, fault) {
                    // The old version runs this batch, so it is none of what is handed back. One of which there is no
                    // instance any more has nothing to hand back, and that is said then.
                    drop(self.candidate.rewind(past, now));
                    return Err(fault);
                }
            }
        }
        new.cpu = self.candidate.clock().thread_cpu().saturating_sub(begun);
        if let Some(fault) = self.candidate.take_unsaved()
            && let Err(fault) = self.charge(&fault)
        {
            self.parted
                .get_or_insert_with(|| format!("the new one cannot save its own: {fault}"));
            return Err(fault);
        }
        Ok(new)
    }

    /// What the candidate makes of a batch that it failed on.
    fn isolate(
        &mut self,
        (new, old): (&mut BatchOutcome, &BatchOutcome),
        items: &[Item],
        turn: &mut CallInput<'_>,
        fault: Fault,
    ) -> Result<(), Fault> {
        self.candidate.version.metrics.error(fault.kind);
        let all = Stretch { first: 0, items };
        if let Err(broken) = new.isolate(&mut self.candidate, all, turn, fault.clone()) {
            self.trial.fail("no instance of it can be made any more");
            return Err(broken.source);
        }
        if !old.faults.is_empty() && new.fails_no_more_than(old) {
            return Ok(());
        }
        let culprit = new.culprit(old);
        self.charge_on(
            &fault,
            culprit.map(|(index, fault)| (&items[index].message, fault)),
        )
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
        self.trial.verdict() != TrialVerdict::Confirmed
    }

    /// Runs a batch through both versions. `false`: the candidate is to go.
    pub(super) fn run(
        &mut self,
        lane: usize,
        items: &mut [Item],
        packed: &mut PackedBatch,
        hands: &mut Hands<'_>,
    ) -> Result<bool, Broken> {
        let share = self.trial.share();
        let goes_on = self.pass_on(share, hands.now);
        if !goes_on {
            self.hand_back(hands.now);
        }
        self.speak(self.spoken);
        let old = self.run_old(items, packed, hands)?;
        if !goes_on {
            old.deliver(&self.old, items, 0, hands);
            return Ok(false);
        }
        self.is_apart = true;
        let Ok(new) = self.answer(&old, items, packed, hands.now) else {
            if !self.is_over() {
                old.deliver(&self.old, items, 0, hands);
                return Ok(true);
            }
            let again = if self.hand_back(hands.now) {
                share
            } else {
                KeyShare::NONE
            };
            self.run_again(again, &old, items, (packed, hands))?;
            return Ok(false);
        };
        self.note(lane, items, [&old, &new]);
        let mut start = 0;
        while start < items.len() {
            let (same, counts) = alike(&items[start..], share);
            self.answered += if counts { same as u64 } else { 0 };
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

    fn run_old(
        &mut self,
        items: &[Item],
        packed: &mut PackedBatch,
        hands: &mut Hands<'_>,
    ) -> Result<BatchOutcome, Broken> {
        self.old
            .pack(packed, items.iter().map(|item| &item.message), hands.now);
        let old = BatchOutcome::of(&mut self.old, items, packed, hands.now)?;
        old.faults
            .iter()
            .for_each(|fault| hands.guard.report(&self.old.version, fault, hands.now));
        Ok(old)
    }

    /// Delivers what the old version made of a batch on which the candidate failed. For the keys of `again` it has the
    /// state from before that batch, and runs it once more.
    fn run_again(
        &mut self,
        again: KeyShare,
        old: &BatchOutcome,
        items: &mut [Item],
        (packed, hands): (&mut PackedBatch, &mut Hands<'_>),
    ) -> Result<(), Broken> {
        let mut start = 0;
        while start < items.len() {
            let (same, is_again) = alike(&items[start..], again);
            let stretch = &mut items[start..start + same];
            if is_again {
                let anew = self.run_old(stretch, packed, hands)?;
                anew.deliver(&self.old, stretch, 0, hands);
            } else {
                old.deliver(&self.old, stretch, start, hands);
            }
            start += same;
        }
        Ok(())
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
        if !self.pass_on(share, hands.now) {
            // It is told the time as soon as it is alone.
            self.hand_back(hands.now);
            return Ok(Ticked {
                is_told: false,
                stays: false,
            });
        }
        self.speak(share);
        let old = self.tick_old(moment, hands);
        let new = tell(&mut self.candidate, moment, hands.now);
        self.is_apart |= old.is_some() || new.is_some();
        if let Some(Err(fault)) = &old {
            hands.guard.report(&self.old.version, fault, hands.now);
            self.old.mend(hands.now)?;
        }
        if let Some(Err(fault)) = &new
            && !self.excuses(fault, matches!(old, Some(Err(_))), hands.now)
        {
            self.trial.fail("no instance of it can be made any more");
            return Ok(self.give_up(share, &old, clock, hands));
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

    /// After a tick in which the candidate failed: delivers what the old version said.
    fn give_up(
        &mut self,
        share: KeyShare,
        old: &TickAnswer,
        clock: &Message,
        hands: &mut Hands<'_>,
    ) -> Ticked {
        let is_over = self.is_over();
        // What the old version says is of its own state; with the candidate's it is told the time at its next tick.
        let other = if is_over && self.take_back(hands.now) {
            share
        } else {
            KeyShare::NONE
        };
        for (answer, entries) in old.iter().flatten() {
            let mine = entries
                .iter()
                .filter(|entry| !other.holds(entry.own_key(&answer.data)));
            hands
                .outbox
                .take_tick(&self.old.version, (clock, hands.now), answer, mine);
        }
        Ticked {
            is_told: true,
            stays: !is_over,
        }
    }

    fn tick_old(&mut self, moment: Instant, hands: &mut Hands<'_>) -> TickAnswer {
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

/// How many of `items` are alike, from the first on, in whether their keys are in `share`, and whether they are.
fn alike(items: &[Item], share: KeyShare) -> (usize, bool) {
    let is_in = |item: &Item| share.holds(item.message.key());
    let first = items.first().is_some_and(is_in);
    let same = items.iter().take_while(|item| is_in(item) == first);
    (same.count(), first)
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
    let topic = crate::words::line(message.topic_str(), 400);
    let payload = &*message.payload;
    let head = &payload[..payload.len().min(SHOWN_BYTES)];
    let head = crate::words::line_of_bytes(head, SHOWN_BYTES);
    let more = if payload.len() > SHOWN_BYTES {
        format!("... of {} bytes", payload.len())
    } else {
        String::new()
    };
    format!("topic `{topic}`, payload `{head}`{more}")
}

/// Tells a version the time if it is due at `moment`.
fn tell(live: &mut Live, moment: Instant, now: Now) -> TickAnswer {
    if !live.is_tick_due(moment) {
        return None;
    }
    let mut entries = Vec::new();
    Some(live.tick(now, &mut entries).map(|answer| (answer, entries)))
}
