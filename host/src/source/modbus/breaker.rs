//! Whether a station is asked: as always, or now and then since it is silent. Time is an argument.

use std::time::{Duration, Instant};

use crate::link::{Backoff, delay};

/// Whether one station is asked, and why not.
#[derive(Debug)]
pub(super) struct StationBreaker {
    stale_after: u32,
    probe: Backoff,
    /// Failed polls in a row, and what the last one said.
    failures: u32,
    cause: String,
    since: Option<Instant>,
    /// When it is asked next, where it counts as silent.
    next_try: Option<Instant>,
    probes: u32,
}

impl StationBreaker {
    pub(super) fn new(stale_after: u32, probe: Backoff) -> Self {
        Self {
            stale_after,
            probe,
            failures: 0,
            cause: String::new(),
            since: None,
            next_try: None,
            probes: 0,
        }
    }

    /// A poll failed; whether it counts as silent from now on.
    pub(super) fn failed(&mut self, cause: String, now: Instant, random: f64) -> bool {
        self.since.get_or_insert(now);
        self.cause = cause;
        self.failures = self.failures.saturating_add(1);
        if self.failures < self.stale_after {
            return false;
        }
        let was_open = self.is_open();
        self.next_try = Some(now + delay(&self.probe, self.probes, random));
        self.probes = self.probes.saturating_add(1);
        !was_open
    }

    /// A poll was answered; how long the station was silent, if it counted as that.
    pub(super) fn answered(&mut self, now: Instant) -> Option<Duration> {
        let since = self.since.take();
        self.failures = 0;
        self.probes = 0;
        self.next_try.take()?;
        since.map(|since| now.saturating_duration_since(since))
    }

    /// Whether it counts as silent.
    pub(super) fn is_open(&self) -> bool {
        self.next_try.is_some()
    }

    /// Whether the last poll was answered.
    pub(super) fn is_trusted(&self) -> bool {
        self.failures == 0
    }

    pub(super) fn next_try(&self) -> Option<Instant> {
        self.next_try
    }

    /// How many probes there were.
    pub(super) fn probes(&self) -> u32 {
        self.probes
    }

    /// A silent station is asked at `at` next.
    pub(super) fn try_at(&mut self, at: Instant) {
        if let Some(next) = &mut self.next_try {
            *next = at;
        }
    }

    /// What the last poll said, and since when polls fail.
    pub(super) fn cause(&self) -> (&str, Option<Instant>) {
        (&self.cause, self.since)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn breaker() -> StationBreaker {
        let probe = Backoff {
            first: Duration::from_secs(5),
            cap: Duration::from_secs(60),
            jitter: 0.0,
        };
        StationBreaker::new(3, probe)
    }

    #[test]
    fn after_three_failures_it_is_asked_less_and_less_until_it_answers() {
        let (mut breaker, start) = (breaker(), Instant::now());
        let second = |seconds| start + Duration::from_secs(seconds);
        let fails =
            |breaker: &mut StationBreaker, at| breaker.failed("silent".to_owned(), second(at), 0.5);
        assert!(!fails(&mut breaker, 0) && !fails(&mut breaker, 10) && !breaker.is_open());
        assert!(fails(&mut breaker, 20) && breaker.is_open());
        assert_eq!(breaker.next_try(), Some(second(25)));
        assert!(!fails(&mut breaker, 25));
        assert_eq!(breaker.next_try(), Some(second(35)));
        for _ in 0..10 {
            fails(&mut breaker, 100);
        }
        assert_eq!(breaker.next_try(), Some(second(160)));
        assert_eq!(breaker.cause(), ("silent", Some(start)));
        assert_eq!(
            breaker.answered(second(160)),
            Some(Duration::from_secs(160))
        );
        assert!(breaker.is_trusted() && !fails(&mut breaker, 170));
        assert_eq!(breaker.answered(second(171)), None);
    }

    proptest! {
        #[test]
        fn a_station_that_answers_never_counts_as_silent_for_less_than_three(answers in prop::collection::vec(any::<bool>(), 0..60)) {
            let (mut breaker, now, mut row) = (breaker(), Instant::now(), 0);
            for answers in answers {
                row = if answers { 0 } else { row + 1 };
                if answers {
                    breaker.answered(now);
                } else {
                    prop_assert_eq!(breaker.failed(String::new(), now, 0.5), row == 3);
                }
                prop_assert_eq!(breaker.is_open(), row >= 3);
            }
        }
    }
}
