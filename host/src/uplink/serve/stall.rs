//! A connection that stands and is of no use. One that has fallen silent with messages under way, where a fallback stands by:
//! the queues are given away, the connection is kept and watched. One whose broker answers pings and acknowledges nothing:
//! what it was sent is sent again over a new one, others first.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::apart::COMPARISON;
use super::exchange::any_read;
use super::pull::{Pull, split};
use super::{Parting, Uplink};
use crate::clock::sleep_until;
use crate::link::Stop;
use crate::message::{LinkTurn, Qos, Stored};
use crate::uplink::carrier::{Answer, Carrier, CarrierEnded, FaultOf, UpstreamLimits};

/// An answer may take so many times what it takes usually.
const USUAL: u32 = 20;
/// How often to look how far a message is that is still on its way.
const LOOK: Duration = Duration::from_secs(1);
/// How late an answer is before others go on without it.
const LATE: Duration = Duration::from_millis(500);
const UNUSUAL: u32 = 4;

impl Uplink {
    /// Why this connection is not to be used: its broker would take messages without ever saying so.
    pub(in crate::uplink) fn is_unfit(&self, limits: &UpstreamLimits) -> bool {
        let is_lower =
            |wanted: &Qos| *wanted > Qos::AtMostOnce && limits.highest == Qos::AtMostOnce;
        !self.allows_level_0 && self.wanted.iter().any(is_lower)
    }

    /// How long the first answer of a turn took.
    pub(super) fn note_answer(&mut self, answers: &[Answer], now: Instant) {
        let token = answers.iter().find_map(|answer| {
            if let Answer::Accepted { token } = answer {
                Some(*token)
            } else {
                None
            }
        });
        let Some((index, number)) = token.map(split) else {
            return;
        };
        let Some(sent) = self.pulls.get(index).and_then(|pull| pull.sent(number)) else {
            return;
        };
        let time = now.saturating_duration_since(sent);
        self.usual = (self.usual * 7 + time) / 8;
        self.judge.took(time);
    }

    /// From when on an answer is late.
    pub(super) fn late(&self) -> Duration {
        LATE.max(self.usual * UNUSUAL)
    }

    /// When the oldest answer that is missing is overdue, or when to look again whether what is to be answered is through.
    pub(super) fn overdue_at<C: Carrier>(&self, carrier: &mut C) -> Option<Instant> {
        if C::KEEPS_TIME {
            return None;
        }
        let (.., sent) = self.oldest()?;
        let is_through = carrier.has_taken(sent.end);
        let at = Self::waits_since(carrier, sent) + self.patience();
        Some(if is_through {
            at
        } else {
            at.min(Instant::now() + LOOK)
        })
    }

    /// How long an answer may take.
    pub(super) fn patience(&self) -> Duration {
        self.answer.max(self.usual * USUAL)
    }

    /// When the connection counts as stalled: no more may go out, nothing is acknowledged, and the broker has read all there is,
    /// since it has answered a ping behind it. One that was seen to acknowledge nothing gets all its time: it may be slow. Where
    /// somebody stands in it gets none, and the window need not be full.
    pub(super) fn stalled_at<C: Carrier>(
        &mut self,
        carrier: &mut C,
        is_full: bool,
    ) -> Option<Instant> {
        if C::KEEPS_TIME {
            return None;
        }
        let now = Instant::now();
        let stands_in = self.post.has_stand_in();
        let is_waited_for = is_full || (stands_in && self.under_way > self.judge.mutes_out());
        if self.under_way == 0 || !is_waited_for {
            return None;
        }
        if self.judge.is_mute() {
            return stands_in.then_some(now);
        }
        let since = self.oldest()?.2.at.max(self.answered_at);
        let ask_at = since + self.judge.quiet(self.usual, now);
        if ask_at > now {
            return Some(ask_at);
        }
        if self.asked_at.is_none_or(|asked| asked < since) {
            self.asked_at = Some(now);
            carrier.ask();
            return None;
        }
        let stall = self.judge.stall(self.under_way, now);
        carrier.answered().map(|at| at + stall)
    }

    /// Where another stands in for an upstream that acknowledged nothing, or it turned everything away: why it does not get its
    /// queues back. It is sent one message beside the account, as soon as there is one, and has to answer it.
    pub(in crate::uplink) async fn mute<C: Carrier>(
        &mut self,
        carrier: &mut C,
        stop: &mut watch::Receiver<Stop>,
    ) -> Option<CarrierEnded<FaultOf<C>>> {
        let is_mute = self.post.has_stand_in() && self.judge.is_mute();
        if !is_mute && !carrier.is_unproven() {
            return None;
        }
        self.keep_to(&carrier.limits());
        let ready = std::sync::Arc::clone(&self.ready);
        let patience = self.patience();
        let mut answers = Vec::new();
        let mut asked_at = None;
        while *stop.borrow_and_update() == Stop::Run {
            let rung = ready.notified();
            if asked_at.is_none()
                && let Some((index, stored, is_sample)) = self.question(is_mute)
            {
                self.offer_copy((index, &stored), is_sample, carrier)?
                    .ok()?;
                asked_at = Some(Instant::now());
            }
            let until = asked_at.filter(|_| !C::KEEPS_TIME).map(|at| at + patience);
            if until.is_some_and(|until| until <= Instant::now()) {
                return Some(CarrierEnded::Silent {
                    count: 1,
                    waited: patience,
                });
            }
            tokio::select! {
                biased;
                read = any_read(&mut self.pulls), if asked_at.is_none() => read.ok()?,
                turned = carrier.turn(&mut answers) => if let Err(fault) = turned { return Some(fault.into()) },
                () = rung, if asked_at.is_none() => self.look_anew(),
                changed = stop.changed() => changed.ok()?,
                () = sleep_until(until) => {}
            }
            if answers
                .drain(..)
                .any(|answer| is_about_the_question(&answer))
            {
                // One that takes its time is given that from now on.
                self.usual = self
                    .usual
                    .max(asked_at.map(|at| at.elapsed()).unwrap_or_default());
                self.judge.spoke();
                return None;
            }
        }
        None
    }

    /// The other one may have had what was owed a moment ago.
    fn look_anew(&mut self) {
        self.pulls
            .iter_mut()
            .filter(|pull| !pull.is_reading())
            .for_each(Pull::rewind);
    }

    /// What upstream took before, or else a message that is owed: it comes a second time, so it is none that expires.
    /// Whether it is the one or the other is told with it.
    fn question(&mut self, may_be_sample: bool) -> Option<(usize, Stored, bool)> {
        if let Some((index, stored, _)) = self.sample.as_ref().filter(|_| may_be_sample) {
            return Some((*index, stored.clone(), true));
        }
        self.pulls.iter_mut().for_each(|pull| pull.refill(true));
        (0..).zip(&self.pulls).find_map(|(index, pull)| {
            let stored = pull.ready().find(|stored| !stored.message.expires())?;
            Some((index, stored.clone(), false))
        })
    }

    /// When the connection counts as silent, if it is.
    pub(super) fn silent_at<C: Carrier>(&mut self, carrier: &C) -> Option<Instant> {
        if C::KEEPS_TIME {
            return None;
        }
        let has_unanswered = self.in_flight() > 0;
        self.post
            .silent_at(has_unanswered, carrier.last_heard(), Instant::now())
    }

    /// Gives the queues away until upstream says something: what is under way may then arrive twice.
    pub(super) async fn stand_by<C: Carrier>(
        &mut self,
        carrier: &mut C,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<(), Parting<FaultOf<C>>> {
        tracing::warn!(uplink = %self.name, in_flight = self.in_flight(),
            "upstream is silent with messages under way: its fallback gets the queues, the connection is kept");
        self.release();
        self.link.turn(LinkTurn::Down);
        self.post.falter(Instant::now());
        let silent_since = carrier.last_heard();
        let mut answers = Vec::new();
        while carrier.last_heard() == silent_since && *stop.borrow() == Stop::Run {
            tokio::select! {
                biased;
                turned = carrier.turn(&mut answers) => turned.map_err(CarrierEnded::from)?,
                changed = stop.changed() => if changed.is_err() { break },
            }
            answers.clear();
        }
        self.post.take().await;
        tracing::info!(uplink = %self.name, "upstream is heard again: it has its queues back");
        self.start_over();
        self.link.turn(LinkTurn::Up);
        Ok(())
    }
}

/// Whether it answers what was sent beside the account.
fn is_about_the_question(answer: &Answer) -> bool {
    matches!(
        answer,
        Answer::Accepted { token: COMPARISON }
            | Answer::Refused {
                token: COMPARISON,
                ..
            }
    )
}
