//! How long things on a WebSocket may take: a message that has begun, a silence, what is written. No sockets; time is an argument.

use std::time::{Duration, Instant};

use super::end::SocketEnd;

/// As a body of a request: a message has so long to come, and the longer the more of it has come.
const MESSAGE_WITHIN: Duration = Duration::from_secs(30);
const LEAST_PACE: u64 = 4 << 10;
/// So long the other end may take nothing of what is said to it.
const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// What is due now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DueNow {
    Ping,
    End(SocketEnd),
}

pub(super) struct SocketPace {
    keep_alive: Duration,
    /// Bytes that came, in all, and before the message that is on its way.
    came: u64,
    before: u64,
    /// When something came last, and when that message began.
    heard: Instant,
    began: Option<Instant>,
    /// A ping is out.
    has_asked: bool,
    /// Nothing is read, so that nothing can be heard.
    is_paused: bool,
    writes_by: Option<Instant>,
}

impl SocketPace {
    pub(super) fn new(keep_alive: Duration, now: Instant) -> Self {
        Self {
            keep_alive,
            came: 0,
            before: 0,
            heard: now,
            began: None,
            has_asked: false,
            is_paused: false,
            writes_by: None,
        }
    }

    /// So many bytes have come in all.
    pub(super) fn heard(&mut self, came: u64, now: Instant) {
        if came > self.came {
            (self.came, self.heard, self.has_asked) = (came, now, false);
        }
        match self.half() {
            0 => self.began = None,
            _ => _ = self.began.get_or_insert(now),
        }
    }

    /// All that came belongs to messages that are whole.
    pub(super) fn message(&mut self, came: u64) {
        (self.before, self.began) = (came, None);
    }

    /// A ping or a pong of so many bytes is none of a message.
    pub(super) fn control(&mut self, bytes: usize) {
        // Its head and its mask are six bytes.
        self.before += bytes as u64 + 6;
    }

    /// Bytes of a message that is not whole.
    pub(super) fn half(&self) -> u64 {
        self.came.saturating_sub(self.before)
    }

    pub(super) fn pause(&mut self, is_paused: bool, now: Instant) {
        if self.is_paused && !is_paused {
            self.heard = now;
            self.began = self.began.map(|_| now);
        }
        self.is_paused = is_paused;
    }

    /// Something is being written, or no longer.
    pub(super) fn writes(&mut self, is_writing: bool, now: Instant) {
        if is_writing {
            self.writes_by.get_or_insert(now + WRITE_WITHIN);
        } else {
            self.writes_by = None;
        }
    }

    fn message_by(&self) -> Option<Instant> {
        let pace = Duration::from_secs(self.half() / LEAST_PACE);
        let began = self.began.filter(|_| !self.is_paused);
        began.map(|began| began + MESSAGE_WITHIN + pace)
    }

    fn silent_by(&self) -> Option<Instant> {
        let times = if self.has_asked { 2 } else { 1 };
        (!self.is_paused).then(|| self.heard + self.keep_alive * times)
    }

    /// When something may be over, for [`Self::look`].
    pub(super) fn due(&self) -> Option<Instant> {
        let all = [self.writes_by, self.message_by(), self.silent_by()];
        all.into_iter().flatten().min()
    }

    pub(super) fn look(&mut self, now: Instant) -> Option<DueNow> {
        let is_over = |by: Option<Instant>| by.is_some_and(|by| by <= now);
        let gone = |why: &str| Some(DueNow::End(SocketEnd::Gone(why.to_owned())));
        if is_over(self.writes_by) {
            return gone("the other end takes no acknowledgements");
        }
        if is_over(self.message_by()) {
            return Some(DueNow::End(SocketEnd::Slow));
        }
        if !is_over(self.silent_by()) {
            return None;
        }
        if self.has_asked {
            return gone("the other end is silent, and answers no ping");
        }
        self.has_asked = true;
        Some(DueNow::Ping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_silent_end_is_pinged_and_one_that_answers_stays() {
        let begin = Instant::now();
        let mut pace = SocketPace::new(10 * SECOND, begin);
        assert_eq!(pace.look(begin + 9 * SECOND), None);
        assert_eq!(pace.look(begin + 10 * SECOND), Some(DueNow::Ping));
        pace.heard(6, begin + 11 * SECOND);
        pace.control(0);
        assert_eq!((pace.half(), pace.look(begin + 20 * SECOND)), (0, None));
        assert_eq!(pace.look(begin + 21 * SECOND), Some(DueNow::Ping));
        assert_eq!(pace.due(), Some(begin + 31 * SECOND));
        let end = pace.look(begin + 31 * SECOND);
        assert!(
            matches!(end, Some(DueNow::End(SocketEnd::Gone(_)))),
            "{end:?}"
        );
    }

    #[test]
    fn while_nothing_is_read_nobody_is_silent() {
        let begin = Instant::now();
        let mut pace = SocketPace::new(10 * SECOND, begin);
        pace.heard(5, begin);
        pace.pause(true, begin);
        assert_eq!((pace.due(), pace.look(begin + 100 * SECOND)), (None, None));
        pace.pause(false, begin + 100 * SECOND);
        assert_eq!(pace.due(), Some(begin + 110 * SECOND));
    }

    #[test]
    fn a_message_that_drips_ends_it_and_a_large_one_on_a_thin_link_does_not() {
        let begin = Instant::now();
        let mut dripping = SocketPace::new(10 * SECOND, begin);
        let mut thin = SocketPace::new(10 * SECOND, begin);
        let end = (0..60).find_map(|passed| {
            let now = begin + passed * SECOND;
            dripping.heard(u64::from(passed) + 1, now);
            thin.heard((u64::from(passed) + 1) * LEAST_PACE, now);
            assert_eq!(thin.look(now), None, "{passed}");
            dripping.look(now).map(|due| (passed, due))
        });
        assert_eq!(end, Some((30, DueNow::End(SocketEnd::Slow))));
        thin.message(60 * LEAST_PACE);
        assert_eq!((thin.half(), thin.message_by()), (0, None));
    }

    #[test]
    fn an_end_that_takes_nothing_is_left() {
        let begin = Instant::now();
        let mut pace = SocketPace::new(60 * SECOND, begin);
        pace.writes(true, begin);
        pace.writes(true, begin + 9 * SECOND);
        assert!(pace.look(begin + 10 * SECOND).is_some());
        pace.writes(false, begin + 10 * SECOND);
        assert_eq!(pace.look(begin + 10 * SECOND), None);
    }
}
