//! The pause of the network thread under load: a moment's sleep before it waits for the next event makes bursts grow,
//! and what is paid for each burst (a wake-up of every stage, a read, a write) is shared by more messages. Nothing
//! waits after quiet.
//!
//! It is one pause for the whole thread, at the point where nothing is left to do, and not one for each connection:
//! while one task paused, the events of the others would still wake the thread, and a wake-up is what costs.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use tokio::runtime::Builder;

/// A gap this long is quiet: what comes after it is handed on at once and the estimate starts over.
const QUIET: Duration = Duration::from_millis(4);

/// The rate is taken anew after so long.
const WINDOW: Duration = Duration::from_millis(1);

/// Events of this number are enough: more share hardly saves anything (7 ns a message in a hop at 256, 11 at 64).
const ENOUGH: f64 = 128.0;

/// A pause that gathers fewer than this saves no wake-up. A message is two events: it arrives, and it is accepted.
const WORTHWHILE: f64 = 2.0;

/// How much of the estimate one window moves.
const SHARE: f64 = 0.5;

/// Longest pause. A message waits for up to three of them (read, sent, acknowledged) and the latency budget is p50 of
/// 0.8 ms, 0.4 ms of it without any pause.
const LONGEST: Duration = Duration::from_micros(250);

thread_local! {
    /// Events on connections of this thread since it last paused.
    static EVENTS: Cell<usize> = const { Cell::new(0) };
    static PACE: RefCell<EventRate> = const { RefCell::new(EventRate::new()) };
}

/// Makes a current-thread runtime pause under load, as told by the events of its connections.
pub fn pause_under_load(builder: &mut Builder) -> &mut Builder {
    builder.on_thread_park(|| {
        let pause = PACE.with_borrow_mut(|pace| pace.after(EVENTS.take(), Instant::now()));
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    })
}

/// So many events came from a connection.
pub fn note(events: usize) {
    EVENTS.set(EVENTS.get() + events);
}

/// How long to pause.
#[derive(Clone, Debug)]
struct EventRate {
    per_second: f64,
    events: usize,
    /// Since when `events` are counted.
    since: Option<Instant>,
}

impl EventRate {
    const fn new() -> Self {
        Self {
            per_second: 0.0,
            events: 0,
            since: None,
        }
    }

    /// The pause after a turn that brought `events` and ended at `now`.
    fn after(&mut self, events: usize, now: Instant) -> Duration {
        self.events += events;
        let gap = self
            .since
            .map_or(QUIET, |since| now.saturating_duration_since(since));
        if gap >= QUIET {
            *self = Self {
                per_second: 0.0,
                events: 0,
                since: Some(now),
            };
        } else if gap >= WINDOW {
            let events = f64::from(u32::try_from(self.events).unwrap_or(u32::MAX));
            self.per_second += SHARE * (events / gap.as_secs_f64() - self.per_second);
            (self.events, self.since) = (0, Some(now));
        }
        if self.per_second * LONGEST.as_secs_f64() < WORTHWHILE {
            return Duration::ZERO;
        }
        LONGEST.min(Duration::from_secs_f64(ENOUGH / self.per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steady(events: usize, gap: Duration) -> Duration {
        let (mut pace, start) = (EventRate::new(), Instant::now());
        (0..200)
            .map(|turn| pace.after(events, start + gap * turn))
            .last()
            .unwrap()
    }

    #[test]
    fn nothing_waits_after_quiet_or_at_a_low_rate() {
        assert_eq!(
            EventRate::new().after(1_000, Instant::now()),
            Duration::ZERO
        );
        assert_eq!(steady(2, QUIET), Duration::ZERO);
        assert_eq!(steady(2, Duration::from_millis(1)), Duration::ZERO);
    }

    #[test]
    fn under_load_the_pause_grows_a_burst_and_at_full_speed_it_shrinks_again() {
        assert_eq!(steady(2, Duration::from_micros(100)), LONGEST);
        let full = steady(200, Duration::from_micros(100));
        assert!(full > Duration::ZERO && full < LONGEST, "{full:?}");
    }

    #[test]
    fn quiet_ends_the_pauses() {
        let (mut pace, start) = (EventRate::new(), Instant::now());
        let busy = (0..200)
            .map(|turn| pace.after(4, start + WINDOW / 10 * turn))
            .last()
            .unwrap();
        assert_eq!(busy, LONGEST);
        assert_eq!(pace.after(1, start + WINDOW * 20 + QUIET), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn no_pause_is_longer_than_allowed(bursts in proptest::collection::vec((0..5_000_usize, 0..5_000_u64), 1..50)) {
            let (mut pace, mut now) = (EventRate::new(), Instant::now());
            for (events, gap) in bursts {
                now += Duration::from_micros(gap);
                prop_assert!(pace.after(events, now) <= LONGEST);
            }
        }
    }
}
