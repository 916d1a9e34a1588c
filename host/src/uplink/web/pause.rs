//! How long a server wants to be left alone. No sockets; time is an argument.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use hyper::header::RETRY_AFTER;

use super::wire::Reply;
use crate::clock::Now;

/// Longest pause that a server is granted: it may have meant another unit, or another clock.
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// Until when a server wants to be left alone, for all connections to it.
#[derive(Clone, Debug, Default)]
pub struct Pause(Arc<Mutex<Option<Instant>>>);

impl Pause {
    /// It asked for so long.
    fn ask(&self, pause: Duration, now: Instant) {
        let mut until = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *until = Some(now + pause).max(*until);
    }

    /// It asked for some time in its answer, if it did: how long.
    pub(in crate::uplink) fn asked_by(&self, reply: &Reply) -> Option<Duration> {
        let asked = reply.headers.get(RETRY_AFTER)?.to_str().ok()?;
        let pause = asked_for(asked, Now::read()).filter(|pause| !pause.is_zero())?;
        self.ask(pause, Instant::now());
        Some(pause)
    }

    /// How much of it is left.
    pub(in crate::uplink) fn left(&self, now: Instant) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

/// How long the server asks to be left alone: seconds, or a date, which says nothing to a clock that is not set.
fn asked_for(retry_after: &str, now: Now) -> Option<Duration> {
    let text = retry_after.trim();
    let asked = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        let date = date.duration_since(UNIX_EPOCH).ok()?;
        let wall = Duration::from_micros(now.wall.0);
        Some(date.saturating_sub(wall)).filter(|_| now.is_set())?
    };
    Some(asked.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Uptime, WallTime};

    #[test]
    fn a_pause_is_asked_for_all_and_the_longest_counts() {
        let (pause, now, second) = (Pause::default(), Instant::now(), Duration::from_secs(1));
        assert_eq!(pause.left(now), None);
        pause.clone().ask(9 * second, now);
        pause.ask(2 * second, now + second);
        assert_eq!(pause.left(now + 4 * second), Some(5 * second));
        assert_eq!(pause.left(now + 9 * second), None);
    }

    #[test]
    fn a_pause_is_seconds_or_a_date_and_an_hour_at_most() {
        // Sun, 06 Nov 1994 08:49:37 GMT is long ago; this is a year in which clocks are set.
        let now = Now {
            wall: WallTime(1_764_374_400_000_000),
            uptime: Uptime(0),
        };
        let seconds = |text: &str| asked_for(text, now).map(|pause| pause.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("86400"), Some(3_600));
        assert_eq!(seconds("Sat, 29 Nov 2025 00:00:10 GMT"), Some(10));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0));
        assert_eq!(seconds("Fri, 01 Jan 2100 00:00:00 GMT"), Some(3_600));
        for odd in ["", "-1", "soon", "1.5", "99999999999999999999999"] {
            assert_eq!(seconds(odd), None, "{odd}");
        }
        let unset = Now {
            wall: WallTime(5_000_000),
            uptime: Uptime(5_000_000),
        };
        assert_eq!(asked_for("Sat, 29 Nov 2025 00:00:10 GMT", unset), None);
        assert_eq!(asked_for("9", unset), Some(Duration::from_secs(9)));
    }
}
