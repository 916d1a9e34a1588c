//! How fast messages go to an upstream that takes only so many in a time, and refuses the others with just that word.
//!
//! Each second shows how many it takes: a little more goes out in the next one, twice as many where it refused none, half
//! as many where it took none. So nearly all that it grants is used, and few messages are refused.

use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// Messages in the first second.
const FIRST: f64 = 128.0;
/// The least while some are accepted, and while none is.
const LEAST: f64 = 16.0;
const SELDOM: f64 = 0.25;
/// How many more go out than were accepted.
const MORE: f64 = 1.25;
/// One in so many is one that was refused, while there are others: so these go no more slowly than they are accepted.
const FRESH: u8 = 8;
/// What was not sent in so long may follow at once.
const BEHIND: Duration = Duration::from_millis(20);
/// It is over when nothing was refused for so long.
const OVER: Duration = Duration::from_secs(30);
/// How long one that was accepted after it had been refused shows that it was refused for the pace.
const SHOWN: Duration = Duration::from_secs(10);
/// How long it takes at most until it is known whether the pace is meant, or one message.
const UNKNOWN: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    per_second: f64,
    began: Instant,
    next: Instant,
    /// This second: since when, how many were accepted, and how many refused.
    since: Instant,
    accepted: u32,
    refused: u32,
    /// In the last one none was accepted.
    is_starved: bool,
    refused_at: Instant,
    relented_at: Option<Instant>,
    /// Fresh messages take turns with those that were refused.
    turns: u8,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            per_second: FIRST,
            began: now,
            next: now,
            since: now,
            accepted: 0,
            refused: 0,
            is_starved: false,
            refused_at: now,
            relented_at: None,
            turns: 0,
        }
    }

    /// When the next one may go, if not now. Where none that was refused is accepted later, while others are, it is not the
    /// pace that is meant.
    pub(super) fn wait(&self, now: Instant) -> Option<Instant> {
        let is_meant = self.is_starved || self.is_strict(now);
        Some(self.next).filter(|next| is_meant && *next > now)
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.turns = self.turns.wrapping_add(1);
        let from = self.next.max(now.checked_sub(BEHIND).unwrap_or(now));
        self.next = from + Duration::from_secs_f64(self.per_second.recip());
    }

    pub(super) fn accepted(&mut self, now: Instant) {
        self.accepted += 1;
        if self.is_starved {
            (self.per_second, self.is_starved, self.next) =
                (self.per_second.max(LEAST), false, now);
            (self.since, self.accepted, self.refused) = (now, 0, 0);
        }
        self.turn(now);
    }

    pub(super) fn refused(&mut self, now: Instant) {
        self.refused += 1;
        self.refused_at = now;
        self.turn(now);
    }

    /// One that was refused before is accepted.
    pub(super) fn relented(&mut self, now: Instant) {
        self.relented_at = Some(now);
    }

    /// Looks whether the second is over.
    pub(super) fn turn(&mut self, now: Instant) {
        let time = now.saturating_duration_since(self.since);
        if time < SECOND {
            return;
        }
        let accepted = f64::from(self.accepted) / time.as_secs_f64();
        self.per_second = match (self.accepted, self.refused) {
            (0, 0) => self.per_second,
            (_, 0) => self.per_second * 2.0,
            (0, _) => (self.per_second / 2.0).max(SELDOM),
            _ => (accepted * MORE).max(LEAST).min(self.per_second * 2.0),
        };
        self.is_starved |= self.accepted == 0 && self.refused > 0;
        (self.since, self.accepted, self.refused) = (now, 0, 0);
    }

    /// A connection begins, which is a new chance.
    pub(super) fn begin(&mut self, now: Instant) {
        self.next = now;
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.refused_at + OVER <= now
    }

    /// Upstream takes nothing at all.
    pub(super) fn is_starved(&self) -> bool {
        self.is_starved
    }

    /// Whether the next turn is one of those that were not refused yet.
    pub(super) fn is_fresh(&self) -> bool {
        !self
            .turns
            .is_multiple_of(if self.is_starved { 2 } else { FRESH })
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
        now < self.began + UNKNOWN || self.relented_at.is_some_and(|at| now < at + SHOWN)
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
            grant in 20.0_f64..500.0, depth in 3.0_f64..50.0, round_trip in 1_u64..300,
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
                now += Duration::from_millis(1);
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
