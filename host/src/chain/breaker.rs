//! The breaker of a plugin in one lane: who keeps failing is not asked for a while, and then with one message at a time.
//!
//! ```text
//! closed ──── `after` at fault within `window`, half of all at least ────► open ◄────┐
//!   ▲                                                                       │        │ one at fault
//!   └──── `close_after` good ones in a row ──── half-open ◄── after `retry` ┘        │ (`retry` doubles)
//!                                                   └────────────────────────────────┘
//! ```
//!
//! Every lane has its own, so the data path needs no lock. A new version starts with a closed one.

use std::sync::Arc;

use super::settings::BreakerConfig;

/// The window is counted in so many parts, of which the oldest is forgotten at a time.
const PARTS: usize = 2;

/// Longest pause between two probes.
const MAX_RETRY_US: u64 = 60_000_000;

/// How a breaker is; the label `state` of `tidegate_plugin_breaker_lanes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// The plugin gets every message.
    Closed,
    /// It gets none.
    Open,
    /// It gets one at a time.
    HalfOpen,
}

impl BreakerState {
    /// The states that are shown; closed is the rest.
    pub(super) const SHOWN: [Self; 2] = [Self::Open, Self::HalfOpen];

    /// The name used in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    good: u64,
    bad: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Breaker {
    config: BreakerConfig,
    state: BreakerState,
    /// The present part of the window first.
    parts: [Part; PARTS],
    /// When the present part ends, microseconds of uptime.
    part_ends_us: u64,
    /// While open: when the next probe is due.
    probe_us: u64,
    /// Pause before the next probe.
    retry_us: u64,
    /// While half-open: good ones since.
    good: u32,
    /// Digest of the version this is about.
    digest: Option<Arc<str>>,
}

impl Breaker {
    pub(super) fn new(config: BreakerConfig) -> Self {
        let (parts, retry_us) = ([Part::default(); PARTS], micros(config.retry));
        Self { config, state: BreakerState::Closed, parts, part_ends_us: 0, probe_us: 0, retry_us, good: 0, digest: None }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.state
    }

    /// How many of the next `waiting` messages the version of `digest` is to get. All of them while it is closed.
    pub(super) fn admit(&mut self, waiting: usize, digest: &Arc<str>, now_us: u64) -> usize {
        if self.state == BreakerState::Closed {
            return waiting;
        }
        if self.digest.as_ref() != Some(digest) {
            self.reset();
            return waiting;
        }
        if self.state == BreakerState::Open && now_us >= self.probe_us {
            (self.state, self.good) = (BreakerState::HalfOpen, 0);
        }
        if self.state == BreakerState::HalfOpen { waiting.min(1) } else { 0 }
    }

    /// So many messages went well.
    pub(super) fn succeed(&mut self, messages: usize, now_us: u64) {
        self.turn(now_us);
        self.parts[0].good += messages as u64;
        if self.state == BreakerState::HalfOpen {
            self.good = self.good.saturating_add(u32::try_from(messages).unwrap_or(u32::MAX));
            if self.good >= self.config.close_after {
                self.reset();
            }
        }
    }

    /// The version of `digest` failed on one message, or on a tick.
    pub(super) fn fail(&mut self, digest: &Arc<str>, now_us: u64) {
        self.turn(now_us);
        if self.digest.as_ref() != Some(digest) {
            self.reset();
            self.digest = Some(Arc::clone(digest));
        }
        self.parts[0].bad += 1;
        match self.state {
            BreakerState::Closed if self.is_too_much() => self.open(now_us),
            BreakerState::HalfOpen => {
                self.retry_us = self.retry_us.saturating_mul(2).min(MAX_RETRY_US.max(micros(self.config.retry)));
                self.open(now_us);
            }
            BreakerState::Closed | BreakerState::Open => {}
        }
    }

    fn is_too_much(&self) -> bool {
        let sum = |of: fn(&Part) -> u64| self.parts.iter().map(of).sum::<u64>();
        let (good, bad) = (sum(|part| part.good), sum(|part| part.bad));
        bad >= u64::from(self.config.after) && bad >= good
    }

    fn open(&mut self, now_us: u64) {
        self.state = BreakerState::Open;
        self.probe_us = now_us.saturating_add(self.retry_us);
    }

    /// Closed, and nothing counted so far.
    fn reset(&mut self) {
        (self.state, self.parts, self.retry_us) = (BreakerState::Closed, Default::default(), micros(self.config.retry));
    }

    fn turn(&mut self, now_us: u64) {
        if now_us < self.part_ends_us {
            return;
        }
        let part_us = (micros(self.config.window) / PARTS as u64).max(1);
        let is_next = now_us < self.part_ends_us.saturating_add(part_us);
        self.parts = [Part::default(), if is_next { self.parts[0] } else { Part::default() }];
        self.part_ends_us = now_us.saturating_add(part_us);
    }
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SECOND: u64 = 1_000_000;

    fn breaker() -> (Breaker, Arc<str>) {
        let (window, retry) = (Duration::from_secs(30), Duration::from_secs(1));
        (Breaker::new(BreakerConfig { after: 3, window, retry, close_after: 2 }), "a".into())
    }

    fn opened(now_us: u64) -> (Breaker, Arc<str>) {
        let (mut breaker, a) = breaker();
        (0..3).for_each(|_| breaker.fail(&a, now_us));
        assert_eq!(breaker.state(), BreakerState::Open);
        (breaker, a)
    }

    #[test]
    fn faults_that_are_rare_among_good_ones_do_not_open_it() {
        let (mut breaker, a) = breaker();
        for second in 1..100 {
            breaker.succeed(2, second * SECOND);
            breaker.fail(&a, second * SECOND);
        }
        assert_eq!((breaker.state(), breaker.admit(9, &a, 100 * SECOND)), (BreakerState::Closed, 9));
    }

    #[test]
    fn faults_that_are_far_apart_do_not_open_it() {
        let (mut breaker, a) = breaker();
        (0..20).for_each(|round| breaker.fail(&a, round * 31 * SECOND));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn it_opens_lets_one_through_after_the_pause_and_closes_after_good_ones() {
        let (mut breaker, a) = opened(SECOND);
        assert_eq!(breaker.admit(5, &a, 2 * SECOND - 1), 0);
        assert_eq!((breaker.admit(5, &a, 2 * SECOND), breaker.state()), (1, BreakerState::HalfOpen));
        breaker.succeed(1, 2 * SECOND);
        assert_eq!((breaker.admit(5, &a, 2 * SECOND), breaker.state()), (1, BreakerState::HalfOpen));
        breaker.succeed(1, 2 * SECOND);
        assert_eq!((breaker.state(), breaker.admit(5, &a, 2 * SECOND)), (BreakerState::Closed, 5));
        breaker.fail(&a, 2 * SECOND);
        assert_eq!(breaker.state(), BreakerState::Closed, "the count starts anew");
    }

    #[test]
    fn a_probe_that_fails_doubles_the_pause_up_to_a_minute() {
        let (mut breaker, a) = opened(0);
        let mut now_us = 0;
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(breaker.admit(1, &a, now_us + pause * SECOND - 1), 0, "{pause}");
            now_us += pause * SECOND;
            assert_eq!(breaker.admit(1, &a, now_us), 1, "{pause}");
            breaker.fail(&a, now_us);
        }
    }

    #[test]
    fn another_version_starts_with_a_closed_one() {
        let (mut breaker, _) = opened(0);
        let b: Arc<str> = "b".into();
        assert_eq!((breaker.admit(5, &b, 1), breaker.state()), (5, BreakerState::Closed));
        breaker.fail(&b, 2);
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
