//! The pause after a burst under load: a moment's wait before the next read makes bursts grow, and what is paid
//! per burst (a wake-up of every stage, a read, a write) is shared by more messages. Nothing waits after quiet.
//!
//! [`Pace`] decides how long, without a clock; [`Pause`] waits, on a timerfd since tokio's timer is 1 ms coarse.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A gap this long is quiet: the burst after it is handed on at once and the estimate starts over.
const QUIET: Duration = Duration::from_millis(2);

/// Bursts of this size are large enough: more share hardly saves anything (7 ns a message in a hop at 256, 11 at 64).
const ENOUGH: f64 = 64.0;

/// A pause that gathers fewer than this saves no wake-up.
const WORTHWHILE: f64 = 2.0;

/// How much of the estimate one burst moves.
const SHARE: f64 = 0.25;

/// How long to pause after a burst.
#[derive(Clone, Debug)]
pub struct Pace {
    longest: Duration,
    per_second: f64,
    last: Option<Instant>,
}

impl Pace {
    /// Half of what the latency budget leaves (p50 of 0.8 ms, 0.4 ms of it without any pause), since source and
    /// uplink both pause.
    pub const LONGEST: Duration = Duration::from_micros(200);

    /// Pauses of up to `longest`; zero never pauses.
    pub fn new(longest: Duration) -> Self {
        Self { longest, per_second: 0.0, last: None }
    }

    /// The pause after a burst of `messages` that ended at `now`.
    pub fn after(&mut self, messages: usize, now: Instant) -> Duration {
        if messages == 0 || self.longest.is_zero() {
            return Duration::ZERO;
        }
        let gap = self.last.replace(now).map_or(QUIET, |last| now.saturating_duration_since(last));
        if gap >= QUIET {
            self.per_second = 0.0;
            return Duration::ZERO;
        }
        // A burst that follows within a microsecond says no more than one that follows after it.
        let seconds = gap.max(Duration::from_micros(1)).as_secs_f64();
        let messages = f64::from(u32::try_from(messages).unwrap_or(u32::MAX));
        self.per_second += SHARE * (messages / seconds - self.per_second);
        if self.per_second * self.longest.as_secs_f64() < WORTHWHILE {
            return Duration::ZERO;
        }
        self.longest.min(Duration::from_secs_f64(ENOUGH / self.per_second))
    }
}

/// A timer of microseconds.
#[derive(Debug)]
pub struct Pause {
    timer: AsyncFd<OwnedFd>,
}

impl Pause {
    /// Needs a running tokio reactor.
    ///
    /// # Errors
    /// The system has no file descriptor left.
    #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor keeps what that asks for")]
    pub fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self { timer: AsyncFd::with_interest(timer, Interest::READABLE)? })
    }

    /// Waits. Cancel safe: the next wait sets the timer anew.
    ///
    /// # Errors
    /// The system refuses the timer, which it never does to a valid one.
    pub async fn wait(&self, time: Duration) -> io::Result<()> {
        let Ok(nanoseconds) = i64::try_from(time.as_nanos().min(1_000_000_000 - 1)) else { return Ok(()) };
        if nanoseconds == 0 {
            return Ok(());
        }
        let at = Itimerspec { it_interval: Timespec::default(), it_value: Timespec { tv_sec: 0, tv_nsec: nanoseconds } };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &at)?;
        loop {
            let mut ready = self.timer.readable().await?;
            let mut expirations = [0; 8];
            if ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut expirations)?)).is_ok_and(|read| read.is_ok()) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steady(pace: &mut Pace, messages: usize, gap: Duration) -> Duration {
        let start = Instant::now();
        (0..64).map(|turn| pace.after(messages, start + gap * turn)).last().unwrap()
    }

    #[test]
    fn nothing_waits_after_quiet_or_at_a_low_rate() {
        let mut pace = Pace::new(Pace::LONGEST);
        assert_eq!(pace.after(1_000, Instant::now()), Duration::ZERO);
        assert_eq!(steady(&mut Pace::new(Pace::LONGEST), 1, QUIET), Duration::ZERO);
        assert_eq!(steady(&mut Pace::new(Pace::LONGEST), 1, Duration::from_millis(1)), Duration::ZERO);
    }

    #[test]
    fn under_load_the_pause_grows_a_burst_and_at_full_speed_it_shrinks_again() {
        assert_eq!(steady(&mut Pace::new(Pace::LONGEST), 2, Duration::from_micros(40)), Pace::LONGEST);
        let full = steady(&mut Pace::new(Pace::LONGEST), 100, Duration::from_micros(100));
        assert!(full > Duration::ZERO && full < Pace::LONGEST, "{full:?}");
        assert_eq!(steady(&mut Pace::new(Duration::ZERO), 100, Duration::from_micros(100)), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn no_pause_is_longer_than_allowed(bursts in proptest::collection::vec((0..5_000_usize, 0..5_000_u64), 1..50)) {
            let (mut pace, mut now) = (Pace::new(Pace::LONGEST), Instant::now());
            for (messages, gap) in bursts {
                now += Duration::from_micros(gap);
                prop_assert!(pace.after(messages, now) <= Pace::LONGEST);
            }
        }
    }

    #[tokio::test]
    async fn a_pause_ends_and_can_be_repeated_after_being_cancelled() {
        let pause = Pause::new().unwrap();
        pause.wait(Duration::from_micros(50)).await.unwrap();
        tokio::select! {
            biased;
            _ = pause.wait(Duration::from_millis(900)) => panic!("the shorter wait comes first"),
            () = std::future::ready(()) => {}
        }
        pause.wait(Duration::from_micros(50)).await.unwrap();
        pause.wait(Duration::ZERO).await.unwrap();
    }
}
