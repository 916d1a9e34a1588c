//! The breaker of an uplink: when upstream takes too little of what it is sent, messages go out one at a time until it
//! does again. It never gives up. The caller brings the time.
//!
//! What upstream refuses for good is parked and blocks nothing, so a part of such refusals only raises the alarm. But
//! where *everything* is refused, somebody has to act, and going on at full speed would move all that is owed to the dead
//! letters meanwhile: there too only probes are sent.

use std::time::{Duration, Instant};

/// Answers over which a share is taken; both counts are halved at twice that.
const WINDOW: u32 = 100;
/// One in so many is too much: 5 %.
const ONE_IN: u32 = 20;
/// Passing failures before their share counts.
const FAILURES: u32 = 5;
/// Refusals in a row, with nothing accepted between them, that stop the flow.
const ALL_REFUSED: u32 = 40;
/// Accepted probes that close it.
const PROOFS: u32 = 3;
/// Pause after a refused probe: doubles from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// An open breaker.
#[derive(Clone, Copy, Debug)]
struct Open {
    accepted: u32,
    pause: Duration,
    /// No probe before.
    next: Option<Instant>,
}

/// The breaker.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    answers: u32,
    failed: u32,
    refused: u32,
    refused_in_a_row: u32,
    open: Option<Open>,
}

impl Breaker {
    /// Upstream accepted a message.
    pub(super) fn accepted(&mut self) {
        self.count(0, 0);
        self.refused_in_a_row = 0;
        if let Some(open) = &mut self.open {
            open.accepted += 1;
            if open.accepted >= PROOFS {
                *self = Self::default();
            }
        }
    }

    /// Upstream refused a message for good.
    pub(super) fn refused(&mut self, now: Instant) {
        self.count(0, 1);
        self.refused_in_a_row = self.refused_in_a_row.saturating_add(1);
        match &mut self.open {
            Some(open) => {
                open.accepted = 0;
                open.next = Some(now + open.pause);
                open.pause = (open.pause * 2).min(PAUSE.1);
            }
            None if self.refused_in_a_row >= ALL_REFUSED => {
                self.trip();
                self.open.iter_mut().for_each(|open| open.next = Some(now + open.pause));
            }
            None => {}
        }
    }

    /// Upstream could not take a message.
    pub(super) fn failed(&mut self) {
        self.count(1, 0);
        if self.failed >= FAILURES && self.failed * ONE_IN > self.answers {
            self.trip();
        }
    }

    /// Only probes from now on.
    pub(super) fn trip(&mut self) {
        self.open = Some(Open { accepted: 0, pause: self.open.map_or(PAUSE.0, |open| open.pause), next: None });
    }

    fn count(&mut self, failed: u32, refused: u32) {
        if self.answers >= 2 * WINDOW {
            for count in [&mut self.answers, &mut self.failed, &mut self.refused] {
                *count /= 2;
            }
        }
        self.answers += 1;
        self.failed += failed;
        self.refused += refused;
    }

    /// Whether only probes are sent.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether somebody should look: it is open, or too much is refused.
    pub(super) fn is_alarming(&self) -> bool {
        self.open.is_some() || (self.answers >= WINDOW && self.refused * ONE_IN > self.answers)
    }

    /// Whether a message may be sent while `in_flight` are under way.
    pub(super) fn lets(&self, in_flight: usize, now: Instant) -> bool {
        self.open.is_none_or(|open| in_flight == 0 && open.next.is_none_or(|next| next <= now))
    }

    /// When the next probe may go, if it has to wait.
    pub(super) fn next(&self) -> Option<Instant> {
        self.open.and_then(|open| open.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_topic_in_three_refused_raises_the_alarm_and_stops_nothing() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for turn in 0..1_000 {
            if turn % 3 == 0 { breaker.refused(now) } else { breaker.accepted() }
        }
        assert!(breaker.is_alarming() && !breaker.is_open() && breaker.lets(1_000, now));
    }

    #[test]
    fn where_everything_is_refused_only_probes_go_out_ever_more_seldom() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..ALL_REFUSED {
            assert!(breaker.lets(99, now));
            breaker.refused(now);
        }
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(!breaker.lets(0, now));
            let next = breaker.next().unwrap();
            pauses.push(next.duration_since(now).as_secs());
            now = next;
            assert!(breaker.lets(0, now) && !breaker.lets(1, now));
            breaker.refused(now);
        }
        assert_eq!(pauses, [1, 1, 2, 4, 8, 16, 32, 60]);
        now = breaker.next().unwrap();
        for _ in 0..PROOFS {
            assert!(breaker.is_open() && breaker.lets(0, now));
            breaker.accepted();
        }
        assert!(!breaker.is_open() && !breaker.is_alarming() && breaker.lets(99, now));
    }

    #[test]
    fn an_upstream_that_is_busy_too_often_gets_probes() {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            assert!(!breaker.is_open());
            (0..10).for_each(|_| breaker.accepted());
            breaker.failed();
        }
        assert!(breaker.is_open() && breaker.lets(0, Instant::now()));
    }

    proptest! {
        #[test]
        fn whatever_happens_a_probe_comes_within_a_minute(steps in proptest::collection::vec(0_u8..4, 0..400)) {
            let (mut breaker, now) = (Breaker::default(), Instant::now());
            for step in steps {
                match step {
                    0 => breaker.accepted(),
                    1 => breaker.failed(),
                    2 => breaker.trip(),
                    _ => breaker.refused(now),
                }
                prop_assert!(breaker.lets(0, now + PAUSE.1));
                prop_assert!(!breaker.is_open() || breaker.is_alarming());
            }
        }
    }
}
