//! What becomes of frames, whatever brought them: messages, dead letters, or an entry in the ledger. No sockets; time is an
//! argument.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::frame::{FrameFault, FramePiece};
use super::letters::LetterRate;
use crate::clock::Now;
use crate::message::{LossReason, Qos, Reason, Settled};
use crate::source::conditions::{ConditionBoard, SourceCondition};
use crate::source::taker::{Arrival, Borders, Judged, Taker};
use crate::source::unsettled::AckOrder;

/// Something that came, with its topic, and with whom to tell that it is settled.
pub(super) struct TakenPiece<A> {
    pub(super) topic: Bytes,
    pub(super) piece: FramePiece,
    pub(super) claim: Option<A>,
}

pub(super) struct FrameDesk<A> {
    taker: Taker<Option<A>>,
    letters: LetterRate,
    max_payload_bytes: usize,
    name: Arc<str>,
    board: ConditionBoard,
    /// When was looked for what is settled last, and whether something was taken since.
    looked: Instant,
    is_new: bool,
    /// Since when, and how many, are left out for want of room.
    pressed: Option<(Instant, u64)>,
    /// The same of bytes without a frame that no letter is kept of.
    noisy: Option<(Instant, u64, Instant)>,
    /// A program that is run again and again does not end well.
    failing: Option<SourceCondition>,
    /// What whoever brings the frames tells.
    told: Vec<SourceCondition>,
}

/// What is settled from the start, as what no flow asks for, wakes nobody: it is looked for after that time.
const LOOK_AFTER: Duration = Duration::from_millis(10);

/// So long after the last bytes without a frame the line counts as sound again.
const SOUND_AFTER: Duration = Duration::from_secs(60);

impl<A: Copy> FrameDesk<A> {
    pub(super) fn new(
        config: &crate::source::Config,
        borders: Borders,
        metrics: &crate::source::Metrics,
    ) -> Self {
        Self {
            taker: Taker::new(config, AckOrder::Any, borders),
            letters: LetterRate::new(Instant::now()),
            max_payload_bytes: config.max_payload_bytes,
            name: Arc::clone(&config.name),
            board: metrics.board(&config.name),
            looked: Instant::now(),
            is_new: false,
            pressed: None,
            noisy: None,
            failing: None,
            told: Vec::new(),
        }
    }

    /// From now on nothing is taken.
    pub(super) fn cease(&mut self) {
        self.taker.cease();
    }

    /// Takes what came together; what comes of the same topic keeps its order. Whom nothing will be told.
    pub(super) fn take(&mut self, pieces: Vec<TakenPiece<A>>, now: Instant) -> Vec<A> {
        let mut arrivals = Vec::with_capacity(pieces.len());
        let mut noise = BTreeMap::<Bytes, u64>::new();
        let mut untold = Vec::new();
        for TakenPiece {
            topic,
            piece,
            claim,
        } in pieces
        {
            let (payload, judged) = match piece {
                FramePiece::Frame(payload) => (payload, Judged::Sound),
                FramePiece::Unfit(fault, head) if self.letters.allows(now) => {
                    (head, self.judged(fault))
                }
                FramePiece::Unfit(..) => {
                    *noise.entry(topic).or_default() += 1;
                    untold.extend(claim);
                    continue;
                }
            };
            arrivals.push(Arrival {
                topic,
                payload,
                headers: Bytes::new(),
                qos: Qos::AtLeastOnce,
                retain: false,
                duplicate: false,
                rounds: 0,
                // Where nobody waits for it, it is dropped as little as what somebody waits for.
                ack: Some(claim),
                judged,
            });
        }
        self.taker
            .take(arrivals.len(), Now::read(), arrivals.into_iter());
        self.is_new = true;
        self.taker.press(self.taker.is_pressed());
        self.taker.show();
        self.leave_out_noise(noise, now);
        untold
    }

    fn judged(&self, fault: FrameFault) -> Judged {
        match fault {
            FrameFault::TooLong => Judged::Unfit(
                Reason::TooLong,
                format!(
                    "it has more than {} bytes (`max_payload`); the rest of it was read past",
                    self.max_payload_bytes
                ),
            ),
            FrameFault::CutOff => Judged::Unfit(
                Reason::Unframed,
                "cut off: the line ended, or fell silent, before it was complete".to_owned(),
            ),
            FrameFault::OutOfStep => Judged::Unfit(
                Reason::Unframed,
                "out of step: no message begins like this (`framing`)".to_owned(),
            ),
        }
    }

    fn leave_out_noise(&mut self, noise: BTreeMap<Bytes, u64>, now: Instant) {
        if noise.is_empty() {
            return;
        }
        let (_, count, last) = self.noisy.get_or_insert((now, 0, now));
        *last = now;
        for (topic, stretches) in noise {
            *count += stretches;
            self.taker.left_out(LossReason::Unframed, &topic, stretches);
        }
        self.show();
    }

    /// There was no room for these, and nobody to tell to wait.
    pub(super) fn leave_out(&mut self, messages: BTreeMap<Bytes, u64>, now: Instant) {
        if messages.is_empty() {
            return;
        }
        let (_, count) = self.pressed.get_or_insert((now, 0));
        for (topic, messages) in messages {
            *count += messages;
            self.taker
                .left_out(LossReason::SourcePressed, &topic, messages);
        }
        self.show();
    }

    /// So many are gone where they stood before they could be taken; 0 where that is not known.
    pub(super) fn lost(&self, reason: LossReason, topic: &Bytes, messages: u64) {
        self.taker.left_out(reason, topic, messages);
    }

    /// The system has dropped so many before they could be taken.
    pub(super) fn dropped_outside(&self, messages: u64) {
        self.taker
            .left_out(LossReason::SocketFull, &Bytes::new(), messages);
    }

    /// A program was run: all went well, or why not. It runs again at `next`.
    pub(super) fn came_round(&mut self, failure: Option<String>, now: Instant, next: Instant) {
        let source = &self.name;
        match failure {
            Some(words) => {
                let before = self.failing.take();
                if before.as_ref().is_none_or(|before| before.words != words) {
                    tracing::warn!(%source, cause = words, "the program failed; what it had said is taken");
                }
                self.failing = Some(SourceCondition {
                    kind: "program-failed",
                    words,
                    own: "its program does not end well",
                    messages: 0,
                    since: before.map_or(now, |before| before.since),
                    next_try: Some(next),
                });
            }
            None if self.failing.take().is_some() => {
                tracing::info!(%source, "the program ends well again");
            }
            None => return,
        }
        self.show();
    }

    /// These do not go as they should where the frames come from, and nothing else.
    pub(super) fn tell(&mut self, conditions: Vec<SourceCondition>) {
        if self.told != conditions {
            self.told = conditions;
            self.show();
        }
    }

    /// Takes back what is over.
    fn calm_down(&mut self, now: Instant) {
        let is_quiet = |(_, _, last): &mut (Instant, u64, Instant)| {
            now.saturating_duration_since(*last) >= SOUND_AFTER
        };
        let is_sound = self.noisy.take_if(is_quiet).is_some();
        let has_room = !self.taker.is_full() && self.pressed.take().is_some();
        if is_sound || has_room {
            self.show();
        }
    }

    /// Forgets what is settled, and tells `settled` who is to hear of it. Whether something can never settle.
    /// Looks at all that is under way, so this is for when something has settled, or [`Self::look_at`] has come.
    pub(super) fn settle(&mut self, draining: bool, mut settled: impl FnMut(A)) -> bool {
        self.looked = Instant::now();
        self.is_new = false;
        self.taker.settle_repeats();
        let found = self.taker.settle(usize::MAX, |claim| {
            if let Some(claim) = claim {
                settled(claim);
            }
        });
        self.taker.fell();
        self.taker.press(draining || self.taker.is_pressed());
        self.taker.show();
        self.calm_down(self.looked);
        found.has_fallen
    }

    /// When to look next, though nothing wakes.
    pub(super) fn look_at(&self) -> Option<Instant> {
        let new = self.is_new.then(|| self.looked + LOOK_AFTER);
        let quiet = self.noisy.map(|(_, _, last)| last + SOUND_AFTER);
        new.into_iter().chain(quiet).min()
    }

    /// Those who are to hear of something that is not settled.
    pub(super) fn claims(&self) -> impl Iterator<Item = A> {
        self.taker.claims().filter_map(|(claim, _)| claim)
    }

    /// What wakes when something settles.
    pub(super) fn settled(&self) -> Arc<Settled> {
        self.taker.settled()
    }

    /// Whether no more is to be taken until something settles.
    pub(super) fn is_full(&self) -> bool {
        self.taker.is_full()
    }

    /// Whether all that was taken is settled.
    pub(super) fn is_empty(&self) -> bool {
        self.taker.unsettled().messages() == 0
    }

    /// Tells what is not as it should be.
    fn show(&self) {
        let pressed = self.pressed.map(|(since, messages)| SourceCondition {
            kind: "no-room",
            words: "messages are left out, as what came before is not safe yet (`max_unsettled`): see the spool and its uplinks".to_owned(),
            own: "messages are left out, as what came before is not safe yet",
            messages,
            since,
            next_try: None,
        });
        let noisy = self.noisy.map(|(since, messages, _)| SourceCondition {
            kind: "unframed",
            words: "more comes that is no whole message than dead letters are kept of: check `framing` and, on a serial line, `baud`, `parity` and the wiring".to_owned(),
            own: "more comes that is no whole message than dead letters are kept of",
            messages,
            since,
            next_try: None,
        });
        let conditions = pressed.into_iter().chain(noisy);
        let others = self.failing.iter().chain(&self.told).cloned();
        self.board.show(conditions.chain(others).collect());
    }
}
