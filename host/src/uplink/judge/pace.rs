//! How fast messages go to an upstream that takes only so many in a time, and refuses the others with just that word.
//!
//! Each second shows how many it takes. Where it refuses none, more go out in the next one, to see whether it takes more;
//! where that was in vain it goes on as before, and the next try is later each time. Where it refuses some that it took
//! before, fewer go out. So nearly all that it grants is used, and few messages are refused.
//!
//! Some end the connection over what is too much, and say so. Each end has a price there, so tries are longer, and more seldom:
//! one that ends the connection leads back to the pace before it, any other end to half of the pace or more, by what was
//! accepted since the last one. Nothing goes out for a second then. An end over the same message again says nothing of the pace.

use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// Messages in the first second.
const FIRST: f64 = 128.0;
/// The least while some are accepted, and while none is.
const LEAST: f64 = 16.0;
const SELDOM: f64 = 0.25;
/// How many more are tried: at least, how much more so with each try that was worth it, and at most.
const MORE: (f64, f64, f64) = (1.1, 1.2, 2.0);
/// How many more have to be accepted then.
const WORTH: f64 = 1.04;
/// Which share of a pace is as good as all of it.
const NEARLY: f64 = 0.75;
/// The step down, and from which share of refusals on.
const FEWER: f64 = 0.9;
const FEW: f64 = 0.1;
/// Seconds until it is tried again, and at most where upstream ends connections.
const RESTS: (u8, u8) = (2, 8);
const LONG_REST: u8 = 32;
/// What is answered so soon after a change belongs to the time before it.
const SETTLES: Duration = Duration::from_millis(300);
/// One in so many is one that was refused, while there are others: so these go no more slowly than they are accepted.
const FRESH: u8 = 8;
/// So many that wait have half of the turns, so that they become fewer.
const MANY: usize = 16;
/// Who is late by no more than this makes up for it with the next one.
const BEHIND: Duration = Duration::from_millis(2);
/// It is over when nothing was refused for so long.
const OVER: Duration = Duration::from_secs(30);
/// The same after it ended a connection.
const LONG_OVER: Duration = Duration::from_secs(300);
/// How long nothing goes out then; and after so many ends in a row that were in vain.
const PAUSE: (Duration, Duration) = (SECOND, Duration::from_secs(4));
const IN_VAIN: u32 = 8;
/// How many messages a try takes there, about, and how long at most.
const TRY: f64 = 16.0;
const LONG_TRY: f64 = 4.0;
/// What was accepted after it had been refused shows that it was refused for the pace, until so long after the next refusal.
const SHOWN: Duration = Duration::from_secs(10);
/// How long it takes at most until it is known whether the pace is meant, or one message.
const UNKNOWN: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    per_second: f64,
    /// The pace before this one, which is only tried.
    before: Option<f64>,
    /// By how much it is raised next.
    more: f64,
    /// Seconds to the next try, and to the one after it.
    rests: u8,
    next_rests: u8,
    began: Instant,
    next: Instant,
    /// This second: since when, how many were accepted, and how many refused.
    since: Instant,
    accepted: u32,
    refused: u32,
    /// In the last one none was accepted.
    is_starved: bool,
    /// Upstream refuses single messages for it.
    refuses: bool,
    refused_at: Instant,
    /// It ended a connection for it: when it last did, and how many were accepted since.
    ended: Option<(Instant, u32)>,
    /// Such ends in a row with nothing accepted in between, or over the same message.
    in_vain: u32,
    sent_at: Instant,
    relented_at: Option<Instant>,
    /// The first refusal since then.
    doubted_at: Option<Instant>,
    /// Fresh messages take turns with those that were refused.
    turns: u8,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            per_second: FIRST,
            before: None,
            more: MORE.2,
            rests: 0,
            next_rests: RESTS.0,
            began: now,
            next: now,
            since: now,
            accepted: 0,
            refused: 0,
            is_starved: false,
            refuses: true,
            refused_at: now,
            ended: None,
            in_vain: 0,
            sent_at: now,
            relented_at: None,
            doubted_at: None,
            turns: 0,
        }
    }

    /// Of an upstream that ends connections, and has refused no single message.
    pub(super) fn of_ends(now: Instant) -> Self {
        Self {
            refuses: false,
            ..Self::new(now)
        }
    }

    /// When the next one may go, if not now. Where none that was refused is accepted later, while others are, it is not the
    /// pace that is meant.
    pub(super) fn wait(&self, now: Instant) -> Option<Instant> {
        let is_meant = self.is_starved || self.ends_connections() || self.is_strict(now);
        Some(self.next).filter(|next| is_meant && *next > now)
    }

    pub(super) fn sent(&mut self, now: Instant) {
        (self.turns, self.sent_at) = (self.turns.wrapping_add(1), now);
        let is_late = now.saturating_duration_since(self.next) > BEHIND;
        self.next = if is_late { now } else { self.next } + self.gap();
    }

    pub(super) fn accepted(&mut self, now: Instant) {
        self.accepted += u32::from(self.since <= now);
        if let Some((_, accepted)) = &mut self.ended {
            *accepted += 1;
        }
        if self.ends_connections() {
            self.is_starved = false;
        } else if self.is_starved {
            (self.per_second, self.is_starved, self.next) =
                (self.per_second.max(LEAST), false, now);
            (self.since, self.accepted, self.refused) = (now, 0, 0);
        }
        self.turn(now);
    }

    pub(super) fn refused(&mut self, now: Instant) {
        self.refused += u32::from(self.since <= now);
        (self.refuses, self.refused_at) = (true, now);
        self.doubted_at.get_or_insert(now);
        self.turn(now);
    }

    /// Upstream ended the connection, and said that it was too much; `is_again` says that it did over this message before.
    pub(super) fn ended(&mut self, is_again: bool, now: Instant) {
        self.refused_at = now;
        match self.ended {
            None => {}
            Some((since, accepted)) if accepted > 0 && !is_again => {
                // Nothing was left at the last end: it grants this much, or more where it keeps little of what is not used.
                let time = now.saturating_duration_since(since).max(SECOND);
                let granted = f64::from(accepted) / time.as_secs_f64();
                let fewer = granted.clamp(self.per_second / 2.0, self.per_second * FEWER);
                self.per_second = self.before.take().unwrap_or(fewer).max(SELDOM);
                (self.more, self.rests) = (MORE.0, self.next_rests);
                self.next_rests = (self.next_rests * 2).min(LONG_REST);
                self.in_vain = 0;
            }
            // After a pause one is not too much for any pace.
            Some(_) => self.in_vain = self.in_vain.saturating_add(1),
        }
        self.is_starved = self.in_vain > 0;
        let pause = if self.in_vain > IN_VAIN {
            PAUSE.1
        } else {
            PAUSE.0
        };
        self.next = now + pause.max(self.gap());
        self.ended = Some((now, 0));
        (self.since, self.accepted, self.refused) = (self.next, 0, 0);
    }

    /// One that was refused before is accepted.
    pub(super) fn relented(&mut self, now: Instant) {
        (self.relented_at, self.doubted_at) = (Some(now), None);
    }

    /// Looks whether the second is over.
    pub(super) fn turn(&mut self, now: Instant) {
        let time = now.saturating_duration_since(self.since);
        if time < self.period() {
            return;
        }
        let before = self.per_second;
        let a_second = |count: u32| f64::from(count) / time.as_secs_f64();
        let (accepted, refused) = (a_second(self.accepted), a_second(self.refused));
        if self.accepted == 0 {
            self.starve();
        } else if let Some(before) = self.before.take() {
            self.judge_try(before, accepted);
        } else if refused > accepted * FEW {
            let fewer = (self.per_second * FEWER).min(accepted * 2.0);
            self.per_second = fewer.max(accepted).max(LEAST);
        } else if self.refused == 0 {
            self.try_more(accepted);
        }
        let settles = if self.per_second == before {
            Duration::ZERO
        } else {
            SETTLES
        };
        (self.since, self.accepted, self.refused) = (now + settles, 0, 0);
    }

    /// How long what is accepted is counted.
    fn period(&self) -> Duration {
        if self.ends_connections() {
            let time = if self.before.is_some() && self.more < MORE.2 {
                LONG_TRY
            } else {
                (TRY / self.per_second).min(LONG_TRY)
            };
            SECOND.max(Duration::from_secs_f64(time)).max(self.gap())
        } else {
            SECOND
        }
    }

    /// The time between two messages.
    fn gap(&self) -> Duration {
        Duration::from_secs_f64(self.per_second.recip())
    }

    /// Halves the pace: none was accepted in this second.
    fn starve(&mut self) {
        if self.refused > 0 {
            self.per_second = (self.per_second / 2.0).max(SELDOM);
            (self.before, self.is_starved) = (None, true);
        }
    }

    /// None was refused: it is time for a try, if as many go as may.
    fn try_more(&mut self, accepted: f64) {
        if self.rests > 0 {
            self.rests -= 1;
        } else if accepted > self.per_second * NEARLY {
            self.before = Some(self.per_second);
            self.per_second *= self.more;
        }
    }

    /// More went out than `before`, and so many a second were accepted.
    fn judge_try(&mut self, before: f64, accepted: f64) {
        if accepted >= before * WORTH || self.ends_connections() {
            if self.refused > 0 {
                self.per_second = accepted.max(LEAST);
            }
            (self.more, self.next_rests) = ((self.more * MORE.1).min(MORE.2), RESTS.0);
        } else {
            self.per_second = before;
            (self.more, self.rests) = (MORE.0, self.next_rests);
            self.next_rests = (self.next_rests * 2).min(RESTS.1);
        }
    }

    /// A connection begins, which is a new chance unless it was ended for the pace.
    pub(super) fn begin(&mut self, now: Instant) {
        if !self.ends_connections() {
            self.next = now;
        }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        let over = if self.ends_connections() {
            LONG_OVER
        } else {
            OVER
        };
        self.refused_at + over <= now
    }

    /// Whether upstream ends connections over what is too much.
    pub(super) fn ends_connections(&self) -> bool {
        self.ended.is_some()
    }

    /// Where upstream ends connections: when nothing went out for so long that one message cannot be too much.
    pub(super) fn calm_at(&self) -> Option<Instant> {
        self.ended
            .map(|_| self.sent_at + SECOND.max(self.gap() * 2))
    }

    /// Upstream takes nothing at all.
    pub(super) fn is_starved(&self) -> bool {
        self.is_starved
    }

    /// Whether the next turn is one of those that were not refused yet, while so many wait.
    pub(super) fn is_fresh(&self, waiting: usize) -> bool {
        self.refuses
            && !self
                .turns
                .is_multiple_of(if self.is_starved || waiting > MANY {
                    2
                } else {
                    FRESH
                })
    }

    /// Whether the next turn of those that wait goes to one that was refused, before those behind it.
    pub(super) fn has_refused_first(&self) -> bool {
        (self.turns / FRESH).is_multiple_of(2)
    }

    /// Whether one that was refused since then shows that it is the pace that is meant.
    pub(super) fn has_relented_since(&self, since: Instant) -> bool {
        self.relented_at.is_some_and(|at| at >= since)
    }

    /// Whether it is known that the pace is meant.
    pub(super) fn has_relented(&self) -> bool {
        self.relented_at.is_some()
    }

    /// Whether any message may be refused at any time, so that each key has one at a time under way.
    pub(super) fn is_strict(&self, now: Instant) -> bool {
        let is_shown =
            self.relented_at.is_some() && self.doubted_at.is_none_or(|at| now < at + SHOWN);
        self.refuses && (is_shown || now < self.began + UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Upstream takes so many in a second, or one in so long, from a bucket that holds some.
        #[test]
        fn nearly_all_that_upstream_grants_is_used_and_little_is_refused(
            grant in 20.0_f64..500.0, depth in 1.0_f64..50.0, round_trip in 1_u64..300,
        ) {
            let mut now = Instant::now();
            let (start, mut pace) = (now, Pace::new(now));
            let (mut tokens, mut filled) = (0.0_f64, now);
            let mut answers = std::collections::VecDeque::new();
            let (mut accepted, mut refused) = (0_u32, 0_u32);
            while now < start + Duration::from_secs(60) {
                pace.relented(now);
                while answers.front().is_some_and(|(at, _)| *at <= now) {
                    if answers.pop_front().is_some_and(|(_, is_taken)| is_taken) {
                        pace.accepted(now);
                    } else {
                        pace.refused(now);
                    }
                }
                while pace.wait(now).is_none() {
                    pace.sent(now);
                    tokens = (tokens + grant * (now - filled).as_secs_f64()).min(depth);
                    filled = now;
                    let is_taken = tokens >= 1.0;
                    tokens -= if is_taken { 1.0 } else { 0.0 };
                    answers.push_back((now + Duration::from_millis(round_trip), is_taken));
                    let is_counted = now > start + Duration::from_secs(20);
                    accepted += u32::from(is_taken && is_counted);
                    refused += u32::from(!is_taken && is_counted);
                }
                let answer = answers.front().map(|(at, _)| *at);
                now = [pace.wait(now), answer].into_iter().flatten().min().unwrap_or(now);
            }
            prop_assert!(f64::from(accepted) >= 0.85 * 40.0 * grant, "{accepted} of {}", 40.0 * grant);
            prop_assert!(f64::from(refused) <= 0.7 * f64::from(accepted), "{refused} beside {accepted}");
        }
    }

    #[test]
    fn where_nothing_is_taken_it_is_tried_ever_more_seldom_and_goes_on_at_once_afterwards() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut tries = 0;
        let end = now + Duration::from_secs(600);
        while now < end {
            now = pace.wait(now).unwrap_or(now);
            pace.sent(now);
            pace.refused(now);
            tries += 1;
        }
        assert!(tries < 500, "{tries}");
        assert!(pace.is_starved());
        assert!(
            pace.wait(now)
                .is_some_and(|at| at <= now + Duration::from_secs(10))
        );
        pace.accepted(now);
        assert!(pace.wait(now).is_none() && !pace.is_starved());
    }
}
