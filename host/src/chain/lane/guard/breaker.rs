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

use crate::chain::settings::BreakerConfig;
use crate::clock::Uptime;

/// The window is counted in so many parts, of which the oldest is forgotten at a time.
const PARTS: usize = 2;

/// Longest pause between two probes.
const MAX_RETRY_US: u64 = 60_000_000;

/// How a breaker is; the label `state` of `tidegate_plugin_breaker_lanes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// The plugin gets every message.
    Closed,
    Open,
    /// It gets one at a time.
    HalfOpen,
}

impl BreakerState {
    /// The states that are shown; closed is the rest.
    pub(crate) const SHOWN: [Self; 2] = [Self::Open, Self::HalfOpen];

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
struct WindowPart {
    good: u64,
    bad: u64,
}

#[derive(Debug)]
pub(super) struct Breaker {
    config: BreakerConfig,
    state: BreakerState,
    /// The present part of the window first.
    parts: [WindowPart; PARTS],
    /// When the present part ends.
    part_ends: Uptime,
    /// While open: when the next probe is due.
    probe: Uptime,
    /// Pause before the next probe.
    retry_us: u64,
    /// While half-open: good ones since.
    good: u32,
}

impl Breaker {
    pub(crate) fn new(config: BreakerConfig) -> Self {
        let parts = [WindowPart::default(); PARTS];
        let retry_us = micros(config.retry);
        Self {
            config,
            state: BreakerState::Closed,
            parts,
            part_ends: Uptime::default(),
            probe: Uptime::default(),
            retry_us,
            good: 0,
        }
    }

    pub(crate) fn state(&self) -> BreakerState {
        self.state
    }

    /// How many of the next `waiting` messages the plugin is to get. All of them while it is closed.
    pub(crate) fn admit(&mut self, waiting: usize, now: Uptime) -> usize {
        if self.state == BreakerState::Closed {
            return waiting;
        }
        if self.state == BreakerState::Open && now >= self.probe {
            (self.state, self.good) = (BreakerState::HalfOpen, 0);
        }
        if self.state == BreakerState::HalfOpen {
            waiting.min(1)
        } else {
            0
        }
    }

    /// So many messages went well.
    pub(crate) fn succeed(&mut self, messages: usize, now: Uptime) {
        self.turn(now);
        self.parts[0].good += messages as u64;
        if self.state == BreakerState::HalfOpen {
            self.good = self
                .good
                .saturating_add(u32::try_from(messages).unwrap_or(u32::MAX));
            if self.good >= self.config.close_after {
                self.reset();
            }
        }
    }

    /// Whether any message went well within the window.
    pub(super) fn serves(&mut self, now: Uptime) -> bool {
        self.turn(now);
        self.parts.iter().any(|part| part.good > 0)
    }

    /// So many messages went well that it got although it is open: of those it had no reason to fail on.
    pub(super) fn vouch(&mut self, messages: usize) {
        if self.state == BreakerState::Open {
            self.good = self
                .good
                .saturating_add(u32::try_from(messages).unwrap_or(u32::MAX));
            if self.good >= self.config.close_after {
                self.reset();
            }
        }
    }

    /// The plugin failed on one message.
    pub(crate) fn fail(&mut self, now: Uptime) {
        self.turn(now);
        self.parts[0].bad += 1;
        match self.state {
            BreakerState::Closed if self.is_too_much() => self.open(now),
            BreakerState::HalfOpen => {
                self.retry_us = self
                    .retry_us
                    .saturating_mul(2)
                    .min(MAX_RETRY_US.max(micros(self.config.retry)));
                self.open(now);
            }
            BreakerState::Closed | BreakerState::Open => {}
        }
    }

    /// The same, and it opens whatever went well before.
    pub(super) fn trip(&mut self, now: Uptime) {
        self.fail(now);
        if self.state == BreakerState::Closed {
            self.open(now);
        }
    }

    /// When the next message may be tried; at once unless it is open.
    pub(super) fn probe(&self) -> Uptime {
        if self.state == BreakerState::Open {
            self.probe
        } else {
            Uptime::default()
        }
    }

    fn is_too_much(&self) -> bool {
        let sum = |of: fn(&WindowPart) -> u64| self.parts.iter().map(of).sum::<u64>();
        let good = sum(|part| part.good);
        let bad = sum(|part| part.bad);
        bad >= u64::from(self.config.after) && bad >= good
    }

    fn open(&mut self, now: Uptime) {
        (self.state, self.good) = (BreakerState::Open, 0);
        self.probe = now.plus_us(self.retry_us);
    }

    /// Closed, and nothing counted so far: as it is for a new version.
    pub(super) fn reset(&mut self) {
        (self.state, self.parts, self.retry_us) = (
            BreakerState::Closed,
            Default::default(),
            micros(self.config.retry),
        );
    }

    fn turn(&mut self, now: Uptime) {
        if now < self.part_ends {
            return;
        }
        let part_us = (micros(self.config.window) / PARTS as u64).max(1);
        let is_next = now < self.part_ends.plus_us(part_us);
        self.parts = [
            WindowPart::default(),
            if is_next {
                self.parts[0]
            } else {
                WindowPart::default()
            },
        ];
        self.part_ends = now.plus_us(part_us);
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

    fn breaker() -> Breaker {
        let (window, retry) = (Duration::from_secs(30), Duration::from_secs(1));
        Breaker::new(BreakerConfig {
            after: 3,
            window,
            retry,
            close_after: 2,
        })
    }

    fn opened(now: Uptime) -> Breaker {
        let mut breaker = breaker();
        (0..3).for_each(|_| breaker.fail(now));
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker
    }

    #[test]
    fn faults_that_are_rare_among_good_ones_do_not_open_it() {
        let mut breaker = breaker();
        for second in 1..100 {
            breaker.succeed(2, Uptime(second * SECOND));
            breaker.fail(Uptime(second * SECOND));
        }
        assert_eq!(
            (breaker.state(), breaker.admit(9, Uptime(100 * SECOND))),
            (BreakerState::Closed, 9)
        );
    }

    #[test]
    fn faults_that_are_far_apart_do_not_open_it() {
        let mut breaker = breaker();
        (0..20).for_each(|round| breaker.fail(Uptime(round * 31 * SECOND)));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn it_opens_lets_one_through_after_the_pause_and_closes_after_good_ones() {
        let mut breaker = opened(Uptime(SECOND));
        assert_eq!(breaker.admit(5, Uptime(2 * SECOND - 1)), 0);
        assert_eq!(
            (breaker.admit(5, Uptime(2 * SECOND)), breaker.state()),
            (1, BreakerState::HalfOpen)
        );
        breaker.succeed(1, Uptime(2 * SECOND));
        assert_eq!(
            (breaker.admit(5, Uptime(2 * SECOND)), breaker.state()),
            (1, BreakerState::HalfOpen)
        );
        breaker.succeed(1, Uptime(2 * SECOND));
        assert_eq!(
            (breaker.state(), breaker.admit(5, Uptime(2 * SECOND))),
            (BreakerState::Closed, 5)
        );
        breaker.fail(Uptime(2 * SECOND));
        assert_eq!(
            breaker.state(),
            BreakerState::Closed,
            "the count starts anew"
        );
    }

    #[test]
    fn a_probe_that_fails_doubles_the_pause_up_to_a_minute() {
        let mut breaker = opened(Uptime(0));
        let mut now = 0;
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(
                breaker.admit(1, Uptime(now + pause * SECOND - 1)),
                0,
                "{pause}"
            );
            now += pause * SECOND;
            assert_eq!(breaker.admit(1, Uptime(now)), 1, "{pause}");
            breaker.fail(Uptime(now));
        }
    }

    #[test]
    fn one_that_is_tripped_opens_at_once_and_says_when_to_try_again() {
        let mut breaker = breaker();
        breaker.succeed(1_000, Uptime(SECOND));
        breaker.trip(Uptime(SECOND));
        assert_eq!(
            (breaker.state(), breaker.probe()),
            (BreakerState::Open, Uptime(2 * SECOND))
        );
        assert_eq!(breaker.admit(5, Uptime(2 * SECOND)), 1);
        breaker.trip(Uptime(2 * SECOND));
        assert_eq!(
            breaker.probe(),
            Uptime(4 * SECOND),
            "a second fault doubles the pause"
        );
    }

    #[test]
    fn another_version_starts_with_a_closed_one() {
        let mut breaker = opened(Uptime(0));
        breaker.reset();
        assert_eq!(
            (breaker.admit(5, Uptime(1)), breaker.state()),
            (5, BreakerState::Closed)
        );
        breaker.fail(Uptime(2));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
