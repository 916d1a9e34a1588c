//! Keep-alive: when to ping, and when silence means that the broker is gone.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    Rest,
    Ping,
    /// The broker did not answer the last one.
    Lost,
}

/// Pings when one direction has been silent for the interval, so that a half-open link is noticed by the side
/// that only sends, too.
#[derive(Debug)]
pub(super) struct KeepAlive {
    /// Zero: keep-alive is off.
    keep_alive: Duration,
    /// What answers to pings took: rises at once, falls slowly.
    round_trip: Duration,
    /// How long an answer may take.
    patience: Duration,
    sent: Instant,
    heard: Instant,
    /// Since when a ping is unanswered.
    asked: Option<Instant>,
    /// When the peer was last seen to take something that lay before the ping.
    moved: Instant,
    paused: bool,
}

impl KeepAlive {
    /// `patience` is the deadline of an answer; it is no longer than the keep-alive, unless [`Self::be_patient`].
    pub(super) fn new(keep_alive: Duration, patience: Duration, now: Instant) -> Self {
        let patience = patience.min(keep_alive);
        Self {
            keep_alive,
            round_trip: Duration::ZERO,
            patience,
            sent: now,
            heard: now,
            asked: None,
            moved: now,
            paused: false,
        }
    }

    /// Silence after which to ping. Earlier than promised by two round trips, an eighth at least and a half at most: the
    /// ping has to arrive in time, not to leave in time.
    fn interval(&self) -> Option<Duration> {
        let early = (self.round_trip * 2).clamp(self.keep_alive / 8, self.keep_alive / 2);
        (!self.keep_alive.is_zero()).then(|| self.keep_alive - early)
    }

    /// The socket took bytes.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// Bytes came in: whatever they are, the broker lives.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        if let Some(asked) = self.asked.take() {
            let took = now.saturating_duration_since(asked);
            self.round_trip = took.max((self.round_trip * 7 + took) / 8);
        }
    }

    /// An answer may take so many times as long.
    pub(super) fn be_patient(&mut self, times: u32) {
        self.patience *= times;
    }

    /// The peer's TCP has acknowledged bytes of ours: a link that carries something is alive, and a ping may lie behind a
    /// large message.
    pub(super) fn moved(&mut self, now: Instant) {
        self.moved = now;
    }

    /// Whether an answer to a ping is waited for.
    pub(super) fn is_asking(&self) -> bool {
        self.asked.is_some() && !self.paused
    }

    /// When something last came in.
    pub(super) fn last_heard(&self) -> Instant {
        self.heard
    }

    /// While nothing is read, no answer can be missed.
    pub(super) fn pause(&mut self, paused: bool, now: Instant) {
        if self.paused && !paused {
            self.heard = now;
            self.asked = self.asked.map(|_| now);
        }
        self.paused = paused;
    }

    /// How long an answer may take.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    fn ping_at(&self) -> Option<Instant> {
        let silent_since = if self.paused || self.asked.is_some() {
            self.sent
        } else {
            self.sent.min(self.heard)
        };
        Some(silent_since + self.interval()?)
    }

    fn lost_at(&self) -> Option<Instant> {
        if self.paused {
            None
        } else {
            Some(self.asked?.max(self.moved) + self.patience)
        }
    }

    /// When [`Self::beat`] has something to say.
    pub(super) fn due(&self) -> Option<Instant> {
        [self.ping_at(), self.lost_at()].into_iter().flatten().min()
    }

    /// What is due at `now`. A ping counts as sent.
    pub(super) fn beat(&mut self, now: Instant) -> Beat {
        if self.lost_at().is_some_and(|at| at <= now) {
            return Beat::Lost;
        }
        if self.ping_at().is_some_and(|at| at <= now) {
            self.asked.get_or_insert(now);
            self.sent = now;
            return Beat::Ping;
        }
        Beat::Rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_in_either_direction_brings_a_ping_and_its_answer_peace() {
        let start = Instant::now();
        let mut pulse = KeepAlive::new(8 * SECOND, 5 * SECOND, start);
        assert_eq!(pulse.due(), Some(start + 7 * SECOND));
        pulse.sent(start + 6 * SECOND);
        assert_eq!(pulse.beat(start + 6 * SECOND), Beat::Rest);
        assert_eq!(pulse.beat(start + 7 * SECOND), Beat::Ping);
        assert_eq!(pulse.beat(start + 7 * SECOND), Beat::Rest);
        pulse.heard(start + 7 * SECOND + SECOND / 2);
        assert_eq!(pulse.beat(start + 13 * SECOND), Beat::Rest);
        assert_eq!(pulse.beat(start + 14 * SECOND), Beat::Ping);
        assert_eq!(pulse.due(), Some(start + 19 * SECOND));
        assert_eq!(pulse.beat(start + 19 * SECOND), Beat::Lost);
    }

    #[test]
    fn on_a_slow_link_pings_leave_earlier_and_a_dead_one_is_noticed_within_two_keep_alives() {
        let mut now = Instant::now();
        let mut pulse = KeepAlive::new(16 * SECOND, 60 * SECOND, now);
        let mut silence_after_an_answer_in = |took: Duration| {
            now = pulse.due().unwrap();
            assert_eq!(pulse.beat(now), Beat::Ping);
            now += took;
            pulse.heard(now);
            pulse.sent(now);
            pulse.due().unwrap() - now
        };
        assert_eq!(silence_after_an_answer_in(SECOND / 2), 14 * SECOND);
        assert_eq!(silence_after_an_answer_in(3 * SECOND), 10 * SECOND);
        let after_a_quick_one = silence_after_an_answer_in(SECOND / 2);
        assert!(
            10 * SECOND < after_a_quick_one && after_a_quick_one < 11 * SECOND,
            "{after_a_quick_one:?}"
        );
        assert_eq!(silence_after_an_answer_in(12 * SECOND), 8 * SECOND);
        while pulse.beat(pulse.due().unwrap()) != Beat::Lost {}
        assert!(pulse.due().unwrap() <= now + 2 * 16 * SECOND);
    }

    #[test]
    fn while_reading_is_paused_pings_go_on_and_no_answer_is_missed() {
        let start = Instant::now();
        let mut pulse = KeepAlive::new(8 * SECOND, 5 * SECOND, start);
        pulse.pause(true, start);
        assert_eq!(pulse.beat(start + 7 * SECOND), Beat::Ping);
        assert_eq!(pulse.beat(start + 14 * SECOND), Beat::Ping);
        assert_eq!(pulse.beat(start + 15 * SECOND), Beat::Rest);
        pulse.pause(false, start + 20 * SECOND);
        assert_eq!(pulse.beat(start + 24 * SECOND), Beat::Ping);
        assert_eq!(pulse.beat(start + 25 * SECOND), Beat::Lost);
    }

    #[test]
    fn patience_counts_from_the_last_that_got_through() {
        let start = Instant::now();
        let mut pulse = KeepAlive::new(8 * SECOND, 5 * SECOND, start);
        assert_eq!(pulse.beat(start + 7 * SECOND), Beat::Ping);
        pulse.sent(start + 10 * SECOND);
        pulse.moved(start + 11 * SECOND);
        assert_eq!(pulse.beat(start + 15 * SECOND), Beat::Rest);
        pulse.moved(start + 15 * SECOND);
        pulse.sent(start + 19 * SECOND);
        assert_eq!(pulse.beat(start + 19 * SECOND), Beat::Rest);
        assert_eq!(pulse.beat(start + 20 * SECOND), Beat::Lost);
    }

    #[test]
    fn without_keep_alive_nothing_is_ever_due() {
        let start = Instant::now();
        let mut pulse = KeepAlive::new(Duration::ZERO, SECOND, start);
        assert_eq!(pulse.due(), None);
        assert_eq!(pulse.beat(start + 1_000_000 * SECOND), Beat::Rest);
    }
}
