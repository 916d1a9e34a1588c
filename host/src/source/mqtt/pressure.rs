//! Whether the field broker waits for us. It sends no more than its window of unacknowledged messages, and 3.1.1 and many
//! brokers have no word for how many that are: it shows only in that it falls silent and goes on at once when something is
//! acknowledged. While it waits it keeps what devices send in a queue of its own, which overflows. No clock: time is an
//! argument.
//!
//! ```text
//!   calm ──silent with messages in flight──► suspected ──acknowledged, and as many in flight again at once──► known window
//!    ▲                                           │                                                               │
//!    └── it goes on by itself, or not at once ───┴── it goes on by itself; or all settled in time, when tried ───┘
//! ```
//!
//! What a suspected one has in flight is written: its queue would overflow in the seconds for which upstream is waited for. A
//! source that is merely slow is suspected too, but after each suspicion that was wrong the next one waits longer, to a minute.
//! And every [`TRIAL`] one window waits for upstream, so that a healthy uplink is not made to go over the disk, and so that a
//! broker that does not wait shows it.

use std::time::{Duration, Instant};

use crate::message::Wait;

/// So long upstream has to accept what is in flight before it is written instead, where the broker is known to wait.
const PATIENCE: Duration = Duration::from_millis(20);

/// The same where that is not known: longer than most links take for an answer, and short for a broker's queue.
const SUSPICION: Duration = Duration::from_millis(200);

/// As many times its own pace a broker is silent before it is suspected.
const PACES: u32 = 4;

/// So soon behind an acknowledgement a broker that has waited sends the next messages. Less than half of the time between two
/// commits (`commit_every`), in which a steady source fills the same window again.
const REFILL: Duration = Duration::from_millis(200);

/// While its window is not known, it must be so many times shorter than the silence before: a slow source takes as long as ever.
const EAGERNESS: u32 = 4;

/// No broker is asked to be faster than that.
const QUICK_REFILL: Duration = Duration::from_millis(10);

/// How often it is tried whether upstream accepts in time again.
const TRIAL: Duration = Duration::from_secs(1);

/// So long a trial lasts. A slow source that was taken for a window sends within that.
const TRIAL_LASTS: Duration = Duration::from_millis(100);

/// Between a wrong suspicion and the next: twice as long each time, from the first of these to the second.
const TRUST: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(64));

/// What is known of the broker's window on one connection.
#[derive(Debug)]
pub(super) struct Pressure {
    /// Messages in flight at which it falls silent; 0 while that is not known.
    window: usize,
    /// When messages last came or were acknowledged.
    changed: Instant,
    /// Since messages last came, some were acknowledged.
    is_answered: bool,
    /// Mean time between messages that came without an acknowledgement in between.
    pace: Duration,
    /// Messages in flight when they were first acknowledged after a silence, and until when: to be filled again.
    emptied: Option<(usize, Instant)>,
    /// When one window is to wait for upstream again.
    trial: Instant,
    /// What is in flight is written on suspicion.
    is_suspected: bool,
    /// Until then a silence is no reason for a suspicion, and how long that was.
    trusted: (Instant, Duration),
}

impl Pressure {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            window: 0,
            changed: now,
            is_answered: true,
            pace: Duration::ZERO,
            emptied: None,
            trial: now,
            is_suspected: false,
            trusted: (now, Duration::ZERO),
        }
    }

    /// Messages came; so many are in flight now.
    pub(super) fn took(&mut self, in_flight: usize, now: Instant) {
        let silence = now.saturating_duration_since(self.changed);
        if !std::mem::replace(&mut self.is_answered, false) {
            self.pace = (self.pace * 3 + silence) / 4;
            if silence >= PATIENCE && (self.is_suspected || self.window > 0) {
                self.goes_on_by_itself(now);
            }
        }
        self.changed = now;
        if let Some((level, until)) = self.emptied
            && in_flight * 8 >= level * 7
        {
            if now > until {
                self.not_refilled(now)
            } else {
                self.refilled(in_flight, now)
            }
        } else if self.window > 0 {
            self.window = self.window.max(in_flight);
        }
    }

    /// As many are in flight again as before the acknowledgement, and at once.
    fn refilled(&mut self, in_flight: usize, now: Instant) {
        self.emptied = None;
        if self.window == 0 {
            // A window that came of a suspicion may be a slow source: it is tried at once.
            self.trial = if self.is_suspected { now } else { now + TRIAL };
        }
        self.is_suspected = false;
        // What it holds may be more than was in flight when it first fell silent.
        self.window = self.window.max(in_flight);
    }

    fn not_refilled(&mut self, now: Instant) {
        (self.window, self.emptied) = (0, None);
        if self.is_suspected {
            self.goes_on_by_itself(now);
        }
    }

    /// It did not wait.
    fn goes_on_by_itself(&mut self, now: Instant) {
        let trust = (self.trusted.1 * 2).clamp(TRUST.0, TRUST.1);
        (self.window, self.emptied, self.is_suspected, self.trusted) =
            (0, None, false, (now + trust, trust));
    }

    /// Messages were acknowledged; so many had been in flight before.
    pub(super) fn acknowledged(&mut self, in_flight: usize, now: Instant) {
        let silence = now.saturating_duration_since(self.changed);
        let was_silent = silence >= PATIENCE;
        if self.window > 0 && self.changed >= self.trial && self.is_full(in_flight) {
            // It was tried: either upstream accepts in time by now, or all goes on as it was.
            self.trial = now + TRIAL;
            if was_silent {
                self.trusted = (now, Duration::ZERO);
            } else {
                self.window = 0;
            }
        }
        if self.emptied.is_none() && (self.window > 0 || was_silent) {
            let patience = if self.window > 0 {
                REFILL
            } else {
                (silence / EAGERNESS).clamp(QUICK_REFILL, REFILL)
            };
            self.emptied = Some((in_flight.max(self.window), now + patience));
        }
        (self.changed, self.is_answered) = (now, true);
    }

    /// Whether it waits for us with so many in flight.
    pub(super) fn waits(&mut self, in_flight: usize, now: Instant) -> Option<Wait> {
        if self.emptied.is_some_and(|(_, until)| now > until) {
            self.not_refilled(now);
        }
        if self.due(in_flight).is_some_and(|due| due > now) {
            return None;
        }
        let is_suspicious = self.is_suspicious(in_flight);
        self.is_suspected |= is_suspicious;
        if self.is_full(in_flight) {
            Some(Wait::Sure)
        } else {
            is_suspicious.then_some(Wait::Likely)
        }
    }

    /// When [`Self::waits`] may say otherwise with nothing else happening: a trial comes to its end, or a silence is long.
    pub(super) fn due(&self, in_flight: usize) -> Option<Instant> {
        if self.is_suspicious(in_flight) {
            return Some(
                self.trusted
                    .0
                    .max(self.changed + SUSPICION.max(self.pace * PACES)),
            );
        }
        (self.is_full(in_flight) && self.changed >= self.trial).then(|| self.changed + TRIAL_LASTS)
    }

    /// Whether a silence with so many in flight may be that of a broker that waits.
    fn is_suspicious(&self, in_flight: usize) -> bool {
        self.window == 0 && in_flight > 0 && self.emptied.is_none()
    }

    /// An eighth is for what a broker counts and we do not: a PUBREL under way, a message of another session of its own.
    fn is_full(&self, in_flight: usize) -> bool {
        self.window > 0 && in_flight * 8 >= self.window * 7
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A broker with a window, a producer that sends a message every `every`, and upstream that accepts after `accepts`
    /// (never, while it is away). What is pressed is acknowledged after `write`, and all that is in flight every 500 ms.
    struct World {
        window: usize,
        every: Duration,
        accepts: Option<Duration>,
        write: Duration,
    }

    struct Outcome {
        taken: usize,
        pressed: usize,
    }

    impl World {
        /// Steps of half a millisecond, for so long.
        fn run(&self, lasting: Duration) -> Outcome {
            let begin = Instant::now();
            let mut pressure = Pressure::new(begin);
            let (mut queue, mut made, mut taken, mut commits) = (0_usize, 0, 0, 0);
            // In flight: when each came.
            let mut flying: std::collections::VecDeque<Instant> = Default::default();
            let (mut commit, mut written_at): (Instant, Option<Instant>) = (begin, None);
            let mut now = begin;
            while now < begin + lasting {
                now += MS / 2;
                while self.every * made < now - begin {
                    made += 1;
                    queue += 1;
                }
                let takes = queue.min(self.window - flying.len());
                if takes > 0 {
                    queue -= takes;
                    taken += takes;
                    flying.extend(std::iter::repeat_n(now, takes));
                    pressure.took(flying.len(), now);
                }
                if pressure.waits(flying.len(), now).is_some() && written_at.is_none() {
                    written_at = Some(now + self.write);
                    commits += 1;
                }
                let before = flying.len();
                if written_at.is_some_and(|at| at <= now) || now - commit >= MS * 500 {
                    flying.clear();
                    (commit, written_at) = (now, None);
                }
                if let Some(accepts) = self.accepts {
                    while flying.pop_front_if(|came| now - *came >= accepts).is_some() {}
                }
                if flying.len() < before {
                    pressure.acknowledged(before, now);
                }
            }
            Outcome {
                taken,
                pressed: commits,
            }
        }
    }

    #[test]
    fn a_small_window_is_taken_at_the_pace_of_the_disk_while_upstream_is_away() {
        for window in [1, 10, 20, 50] {
            let world = World {
                window,
                every: MS / 20,
                accepts: None,
                write: MS * 5,
            };
            let taken = world.run(Duration::from_secs(10)).taken;
            // A window for each write, but for the first moments and a trial each second.
            assert!(taken > 1_500 * window, "window {window}: {taken} in 10 s");
        }
    }

    #[test]
    fn a_small_window_does_not_wait_for_the_first_commit() {
        for window in [1, 10, 50] {
            // It is 500 ms away, and alone would bring a third of that.
            let world = World {
                window,
                every: MS / 20,
                accepts: None,
                write: MS * 5,
            };
            let taken = world.run(SUSPICION + Duration::from_millis(400)).taken;
            assert!(
                taken > 30 * window,
                "window {window}: {taken} within 400 ms of a suspicion"
            );
        }
    }

    #[test]
    fn a_first_message_alone_puts_nothing_off() {
        let mut now = Instant::now();
        let mut pressure = Pressure::new(now);
        pressure.took(1, now);
        now += SUSPICION;
        assert!(pressure.waits(1, now).is_some());
        now += MS * 2;
        pressure.took(10, now);
        assert!(
            pressure
                .due(10)
                .is_some_and(|due| due <= now + SUSPICION * 5 / 4),
            "it goes on by itself, and then waits"
        );
    }

    #[test]
    fn when_upstream_falls_silent_later_it_shows_at_once() {
        let mut now = Instant::now();
        let mut pressure = Pressure::new(now);
        for _ in 0..1_000 {
            pressure.took(10, now);
            now += MS * 3;
            assert!(pressure.waits(10, now).is_none());
            pressure.acknowledged(10, now);
            now += MS;
        }
        pressure.took(10, now);
        assert_eq!(pressure.due(10), Some(now + SUSPICION));
        assert!(
            pressure.waits(10, now + SUSPICION / 2).is_none()
                && pressure.waits(10, now + SUSPICION).is_some()
        );
    }

    #[test]
    fn with_an_uplink_that_accepts_in_time_nothing_is_written() {
        for window in [1, 10, 50] {
            let world = World {
                window,
                every: MS / 20,
                accepts: Some(MS * 5),
                write: MS * 5,
            };
            let Outcome { taken, pressed } = world.run(Duration::from_secs(10));
            assert!(
                pressed == 0 && taken > 1_500 * window,
                "window {window}: {taken}, {pressed}"
            );
        }
    }

    #[test]
    fn a_slow_source_is_not_taken_for_one_that_waits() {
        for every in [10, 22, 26, 30, 40, 50, 70, 100, 200] {
            for accepts in [None, Some(MS * 400)] {
                let world = World {
                    window: 1_000,
                    every: MS * every,
                    accepts,
                    write: MS * 5,
                };
                let Outcome { pressed, .. } = world.run(Duration::from_secs(60));
                assert!(
                    pressed <= 10,
                    "every {every} ms, {accepts:?}: written {pressed} times in a minute out of turn"
                );
            }
        }
    }

    #[test]
    fn when_upstream_is_back_the_disk_is_left_alone_again() {
        let begin = Instant::now();
        let mut pressure = Pressure::new(begin);
        let mut now = begin;
        pressure.took(10, now);
        now += MS * 500;
        pressure.acknowledged(10, now);
        now += MS;
        pressure.took(10, now);
        assert!(
            pressure.waits(10, now).is_some(),
            "it was silent, and filled its window at once"
        );
        for _ in 0..500 {
            now += MS * 3;
            pressure.acknowledged(10, now);
            now += MS;
            pressure.took(10, now);
        }
        assert!(
            pressure.waits(10, now).is_none(),
            "upstream has accepted in time for a second"
        );
    }
}
