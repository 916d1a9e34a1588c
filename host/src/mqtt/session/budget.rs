//! How many bytes may wait for the broker's answers: as many as the link carries in a second or two.
//!
//! A window counted in messages is no bound on a thin link: a thousand messages of 2 KB are a hundred seconds at 20 KB/s,
//! and an alarm waits behind all of them, wherever on the way they lie. So what is in flight is measured whenever the window
//! is full: how long the answer to its last message takes. Where that is soon, the window grows; where it is late, it grows
//! only as long as more in flight also brings more a second (a broker that is slow to answer), and else shrinks to what the
//! link carries in [`CALM`]. No clock: time is an argument.

use std::time::{Duration, Instant};

/// An answer within this time is soon.
const CALM: Duration = Duration::from_millis(1_200);

/// What is in flight before anything was measured. At 20 KB/s an answer takes 1.6 s.
const FIRST_BYTES: usize = 32 << 10;

/// The window is never smaller; one message may always be in flight, however large it is.
const LEAST_BYTES: usize = 4 << 10;

const MOST_BYTES: usize = 1 << 30;

/// By how much the rate has to rise for more in flight to be worth it.
const GAIN: f64 = 1.25;

/// A full window whose last answer is waited for.
#[derive(Clone, Copy, Debug)]
struct FullWindow {
    began: Instant,
    bytes: usize,
    /// It ends when so many publishes are over.
    until: u64,
}

/// The window in bytes.
#[derive(Debug)]
pub(super) struct ByteWindow {
    bytes: usize,
    round: Option<FullWindow>,
    /// Bytes a second, when last measured.
    rate: f64,
    /// The window was just made smaller: next it is tried whether more brings more.
    is_small: bool,
}

impl ByteWindow {
    /// Nothing is known of the link.
    pub(super) fn new() -> Self {
        Self {
            bytes: FIRST_BYTES,
            round: None,
            rate: 0.0,
            is_small: false,
        }
    }

    /// Whether `in_flight` bytes leave room for a message.
    pub(super) fn has_room(&self, in_flight: usize) -> bool {
        in_flight < self.bytes
    }

    /// Whether a window that is full now is one to measure.
    pub(super) fn wants_to_measure(&self) -> bool {
        self.round.is_none()
    }

    /// The window is full: `bytes` are in flight, and the last of them is answered when `until` publishes are over.
    pub(super) fn measure(&mut self, now: Instant, bytes: usize, until: u64) {
        self.round = Some(FullWindow {
            began: now,
            bytes,
            until,
        });
    }

    /// So many publishes are over.
    pub(super) fn answered(&mut self, now: Instant, over: u64) {
        let Some(round) = self.round.take_if(|round| round.until <= over) else {
            return;
        };
        let took = now
            .saturating_duration_since(round.began)
            .max(Duration::from_micros(1));
        let rate = round.bytes as f64 / took.as_secs_f64();
        let brings_more = rate >= self.rate * GAIN && self.rate > 0.0;
        let is_late = took > CALM;
        let factor = match (is_late, brings_more || self.is_small) {
            (false, _) if took < CALM / 2 => 2.0,
            (false, _) => 1.25,
            (true, true) => 1.5,
            (true, false) => CALM.as_secs_f64() * rate / self.bytes as f64,
        };
        self.is_small = factor < 1.0;
        self.rate = rate;
        let most = MOST_BYTES.min(round.bytes.saturating_mul(4).max(FIRST_BYTES));
        self.bytes = ((self.bytes as f64 * factor) as usize).clamp(LEAST_BYTES, most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link of so many bytes a second and such a round trip, whose window is always full of messages of `size` bytes: the
    /// longest that the answer to a message took in the last half of `rounds`, and the rate of that half.
    fn drive(
        budget: &mut ByteWindow,
        rate: f64,
        round_trip: f64,
        size: usize,
        rounds: usize,
    ) -> (f64, f64) {
        let (start, mut now, mut over) = (Instant::now(), 0.0_f64, 0_u64);
        let (mut longest, mut bytes_sent, mut since) = (0.0_f64, 0.0, 0.0);
        for round in 0..rounds {
            let mut in_flight = 0;
            while budget.has_room(in_flight) {
                in_flight += size;
                over += 1;
            }
            let took = (in_flight as f64 / rate).max(round_trip);
            budget.measure(start + Duration::from_secs_f64(now), in_flight, over);
            now += took;
            budget.answered(start + Duration::from_secs_f64(now), over);
            if round < rounds / 2 {
                since = now;
            } else {
                longest = longest.max(took);
                bytes_sent += in_flight as f64;
            }
        }
        (longest, bytes_sent / (now - since))
    }

    #[test]
    fn on_a_thin_link_no_answer_takes_longer_than_some_seconds() {
        for rate in [4_000.0, 20_000.0, 100_000.0] {
            for round_trip in [0.12, 0.85] {
                let (longest, reached) = drive(&mut ByteWindow::new(), rate, round_trip, 500, 40);
                assert!(longest < 4.0, "{longest} s at {rate} B/s");
                assert!(reached > rate * 0.9, "{reached} of {rate} B/s");
            }
        }
    }

    #[test]
    fn at_the_start_and_when_the_link_gets_thinner_it_is_found_out_within_some_rounds() {
        let mut budget = ByteWindow::new();
        let (longest, _) = drive(&mut budget, 20_000.0, 0.12, 2_000, 6);
        assert!(longest < 4.0, "{longest}");
        drive(&mut budget, 10e6, 0.05, 2_000, 30);
        drive(&mut budget, 20_000.0, 0.12, 2_000, 4);
        let (longest, _) = drive(&mut budget, 20_000.0, 0.12, 2_000, 10);
        assert!(longest < 4.0, "{longest}");
    }

    #[test]
    fn a_fast_link_is_used_whatever_its_round_trip() {
        for round_trip in [0.001, 0.05, 0.85, 2.5] {
            let (_, reached) = drive(&mut ByteWindow::new(), 1e6, round_trip, 300, 120);
            assert!(reached > 5e5, "{reached} at {round_trip} s");
        }
    }

    #[test]
    fn a_broker_that_answers_late_does_not_shrink_the_window_for_good() {
        let mut budget = ByteWindow::new();
        drive(&mut budget, 600.0, 0.1, 100, 30);
        let (_, reached) = drive(&mut budget, 50e6, 2.0, 300, 200);
        assert!(reached > 200_000.0, "{reached}");
    }

    #[test]
    fn one_message_may_always_be_in_flight() {
        let mut budget = ByteWindow::new();
        drive(&mut budget, 600.0, 0.1, 200_000, 10);
        assert!(budget.has_room(0));
    }
}
