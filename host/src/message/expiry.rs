//! How long a message may live: MQTT 5's Message Expiry Interval, counted from its arrival.
//!
//! The interval travels as the header `:message-expiry`, the arrival as the message's two clocks; together they are the
//! deadline, in RAM, on disk and over a restart. Within one run of the gateway only the monotonic clock counts. A message
//! of an earlier run is as old as the monotonic clock proves it to be, or as the wall clock says, where it was set then
//! and is now, whichever is more. A gateway without a battery clock does not know for how long it was off.

use bytes::{Bytes, BytesMut};

use super::legal::MESSAGE_EXPIRY as EXPIRY;
use super::{Headers, Marks, Message, push_header};
use crate::clock::Now;

const SECOND_US: u64 = 1_000_000;

/// What is left of a message's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It does not expire.
    Endless,
    /// It may be delivered.
    Left {
        /// For so long, rounded up.
        seconds: u32,
        /// That is less than its headers say.
        is_less: bool,
    },
    /// Its time is over: it must not be delivered any more.
    Over,
}

impl Message {
    /// What is left of its life at `now`, in the run of the gateway that has the number `boot`.
    pub fn life(&self, now: Now, boot: u32) -> Life {
        let Some(seconds) = expiry(&self.headers) else {
            return Life::Endless;
        };
        let left = (u64::from(seconds) * SECOND_US)
            .saturating_sub(self.age_us(now, boot))
            .div_ceil(SECOND_US);
        match u32::try_from(left).unwrap_or(u32::MAX) {
            0 => Life::Over,
            left => Life::Left {
                seconds: left,
                is_less: left < seconds,
            },
        }
    }

    /// Whether it has a time to live at all.
    pub fn expires(&self) -> bool {
        expiry(&self.headers).is_some()
    }

    /// Time since it arrived, microseconds, as far as that is known.
    fn age_us(&self, now: Now, boot: u32) -> u64 {
        // Where the machine has started anew since, its clock began at 0: the message is older than that.
        let proven = now
            .uptime
            .checked_us_since(self.uptime)
            .unwrap_or(now.uptime.0);
        let is_told = self.id.boot != boot && now.is_set() && !self.marks.has(Marks::CLOCK_UNSET);
        if is_told {
            proven.max(now.wall.us_since(self.received))
        } else {
            proven
        }
    }
}

/// The interval in a header block, seconds; none when there is none, or it is no number.
fn expiry(headers: &Bytes) -> Option<u32> {
    if headers.is_empty() {
        return None;
    }
    std::str::from_utf8(Headers(headers).get(EXPIRY)?)
        .ok()?
        .parse()
        .ok()
}

/// The headers with this interval, in seconds, in place of their own.
pub fn with_expiry(headers: &[u8], seconds: u32) -> Bytes {
    let mut block = BytesMut::with_capacity(headers.len() + 32);
    for (name, value) in Headers(headers)
        .flatten()
        .filter(|(name, _)| *name != EXPIRY)
    {
        put(&mut block, name, value);
    }
    put(&mut block, EXPIRY, seconds.to_string().as_bytes());
    block.freeze()
}

/// The headers with this interval at most: `None` when their own is not longer.
pub fn with_shorter_expiry(headers: &Bytes, most: u32) -> Option<Bytes> {
    expiry(headers)
        .is_none_or(|own| own > most)
        .then(|| with_expiry(headers, most))
}

/// The headers of what was made of a message: it lives no longer than that, unless it has an interval of its own.
pub fn inherit_expiry(headers: Bytes, origin: &Bytes) -> Bytes {
    match expiry(origin) {
        Some(seconds) if Headers(&headers).get(EXPIRY).is_none() => with_expiry(&headers, seconds),
        _ => headers,
    }
}

/// What came out of a header block, or was made here, fits one.
fn put(block: &mut BytesMut, name: &str, value: &[u8]) {
    let pushed = push_header(block, name, value);
    debug_assert!(pushed.is_ok(), "header `{name}` is too long");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Uptime, WallTime};
    use crate::message::MessageId;

    fn left(seconds: u32) -> Life {
        Life::Left {
            seconds,
            is_less: seconds < 10,
        }
    }

    const SET: u64 = 1_800_000_000_000_000;

    fn now(wall_us: u64, uptime_us: u64) -> Now {
        Now {
            wall: WallTime(wall_us),
            uptime: Uptime(uptime_us),
        }
    }

    /// Arrived in run 7, an hour after the machine's start, with ten seconds to live.
    fn command(marks: Marks) -> Message {
        Message {
            id: MessageId { boot: 7, seq: 1 },
            headers: with_expiry(b"", 10),
            marks,
            received: WallTime(SET),
            uptime: Uptime(3_600 * SECOND_US),
            ..Message::default()
        }
    }

    #[test]
    fn what_is_left_is_rounded_up_and_ends_to_the_microsecond() {
        let at =
            |after_us| command(Marks::default()).life(now(SET, 3_600 * SECOND_US + after_us), 7);
        assert_eq!(at(0), left(10));
        assert_eq!(at(999_999), left(10));
        assert_eq!(at(1_000_000), left(9));
        assert_eq!(at(9_999_999), left(1));
        assert_eq!(at(10_000_000), Life::Over);
        assert_eq!(Message::default().life(now(SET, 0), 7), Life::Endless);
    }

    #[test]
    fn within_a_run_the_wall_clock_may_jump_as_it_likes() {
        for wall in [0, SET - 1, SET + 86_400 * SECOND_US] {
            assert_eq!(
                command(Marks::default()).life(now(wall, 3_602 * SECOND_US), 7),
                left(8)
            );
        }
    }

    #[test]
    fn over_a_restart_the_wall_clock_counts_where_it_was_set_then_and_now() {
        let told = command(Marks::default());
        assert_eq!(told.life(now(SET + 4 * SECOND_US, SECOND_US), 8), left(6));
        assert_eq!(
            told.life(now(SET + 3_600 * SECOND_US, SECOND_US), 8),
            Life::Over
        );
        assert_eq!(told.life(now(5, SECOND_US), 8), left(9));
        let untold = command(Marks::default().with(Marks::CLOCK_UNSET, true));
        assert_eq!(
            untold.life(now(SET + 3_600 * SECOND_US, SECOND_US), 8),
            left(9)
        );
    }

    #[test]
    fn over_a_restart_it_is_at_least_as_old_as_the_machine_runs() {
        let command = command(Marks::default().with(Marks::CLOCK_UNSET, true));
        assert_eq!(command.life(now(0, 10 * SECOND_US), 8), Life::Over);
        assert_eq!(command.life(now(0, 3_604 * SECOND_US), 8), left(6));
    }

    #[test]
    fn an_interval_takes_the_place_of_a_longer_one_and_leaves_other_headers_alone() {
        let mut block = Vec::new();
        push_header(&mut block, "unit", b"C").unwrap();
        let (plain, long) = (Bytes::from(block.clone()), with_expiry(&block, 60));
        let shortened = with_shorter_expiry(&long, 30).unwrap();
        assert_eq!(
            (Headers(&shortened).get("unit"), expiry(&shortened)),
            (Some(&b"C"[..]), Some(30))
        );
        assert_eq!(Headers(&shortened).count(), 2);
        assert_eq!(
            (
                with_shorter_expiry(&long, 60),
                with_shorter_expiry(&plain, 5).as_ref().and_then(expiry)
            ),
            (None, Some(5))
        );
    }

    #[test]
    fn what_is_made_of_a_message_lives_no_longer_than_that_unless_it_says_so() {
        let origin = with_expiry(b"", 10);
        assert_eq!(expiry(&inherit_expiry(Bytes::new(), &origin)), Some(10));
        assert_eq!(
            expiry(&inherit_expiry(with_expiry(b"", 99), &origin)),
            Some(99)
        );
        assert_eq!(inherit_expiry(Bytes::new(), &Bytes::new()), Bytes::new());
    }
}
