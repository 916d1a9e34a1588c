//! How long nothing may be acknowledged before the connection counts as stalled: everybody else waits for that long, and for each
//! message that is never answered again. Once there was such a message, it goes by what answers take.

use std::time::{Duration, Instant};

/// How long nothing is acknowledged before upstream is asked whether it reads, and how much longer than usual.
const QUIET: Duration = Duration::from_secs(2);
const UNUSUAL: u32 = 4;
/// How long it may then go on to acknowledge nothing.
const STALL: Duration = Duration::from_secs(3);
/// The same two where it swallowed a message lately, and answered others: by so many times what answers take, at least so long.
const QUIET_SHAKEN: Duration = Duration::from_millis(50);
const STALL_SHAKEN: Duration = Duration::from_millis(150);
const TIMES: u32 = 4;
/// For how long that is remembered.
const LATELY: Duration = Duration::from_secs(60);
/// So often it was seen that an answer had only been late, and it is not gone by any more.
const MOST_WRONG: u32 = 6;

#[derive(Debug, Default)]
pub(super) struct Stillness {
    /// The longest of the last answers, about, if there was one.
    longest: Option<Duration>,
    shaken_until: Option<Instant>,
    /// How often one was answered since that had been taken for one that is not.
    wrong: u32,
}

impl Stillness {
    /// An answer took so long.
    pub(super) fn took(&mut self, time: Duration) {
        let before = self.longest.unwrap_or_default();
        self.longest = Some(time.max(before - before / 8));
    }

    /// The connection was given up since nothing was acknowledged.
    pub(super) fn stalled(&mut self, now: Instant) {
        if self.shaken_until.is_none_or(|until| until <= now) {
            self.wrong = 0;
        }
        self.shaken_until = Some(now + LATELY);
    }

    /// One that had no answer has one now, or had only to be waited for.
    pub(super) fn was_wrong(&mut self) {
        self.wrong = (self.wrong + 1).min(MOST_WRONG);
    }

    /// How long nothing is acknowledged before upstream is asked whether it reads; an answer takes `usual`, about.
    pub(super) fn quiet(&self, usual: Duration, now: Instant) -> Duration {
        let quiet = QUIET.max(usual * UNUSUAL);
        self.shaken(QUIET_SHAKEN, now)
            .map_or(quiet, |shaken| shaken.min(quiet))
    }

    /// How long it may then go on to acknowledge nothing.
    pub(super) fn stall(&self, now: Instant) -> Duration {
        self.shaken(STALL_SHAKEN, now)
            .map_or(STALL, |shaken| shaken.min(STALL))
    }

    fn shaken(&self, least: Duration, now: Instant) -> Option<Duration> {
        let longest = self.longest?;
        self.shaken_until.filter(|until| *until > now)?;
        Some(longest.saturating_mul(TIMES).max(least) * (1 << self.wrong))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn once_one_was_swallowed_the_next_costs_what_answers_take() {
        let now = Instant::now();
        let mut still = Stillness::default();
        let whole = |still: &Stillness, usual, now| still.quiet(usual, now) + still.stall(now);
        still.stalled(now);
        assert_eq!(whole(&still, MS, now), QUIET + STALL, "nothing is known");
        let mut still = Stillness::default();
        still.took(MS);
        assert_eq!(whole(&still, MS, now), QUIET + STALL);
        still.stalled(now);
        assert_eq!(whole(&still, MS, now), QUIET_SHAKEN + STALL_SHAKEN);
        still.took(100 * MS);
        assert_eq!(whole(&still, MS, now), 800 * MS);
        // A slow thin link has all its time, and never more than it had.
        still.took(3_000 * MS);
        assert_eq!(whole(&still, 2_500 * MS, now), 2_500 * MS * UNUSUAL + STALL);
        assert_eq!(whole(&still, MS, now + LATELY), QUIET + STALL);
    }

    #[test]
    fn where_answers_were_only_late_they_get_all_their_time_in_the_end() {
        let now = Instant::now();
        let mut still = Stillness::default();
        still.took(MS);
        still.stalled(now);
        for wrong in 0..6 {
            assert_eq!(
                still.quiet(MS, now),
                (QUIET_SHAKEN * (1 << wrong)).min(QUIET)
            );
            still.was_wrong();
        }
        assert_eq!((still.quiet(MS, now), still.stall(now)), (QUIET, STALL));
        still.stalled(now + LATELY);
        assert_eq!(still.quiet(MS, now + LATELY), QUIET_SHAKEN);
    }
}
