//! Whether another one with our id throws us out again and again. Each time looks like a passing fault, since the next
//! connection stands: only their number tells.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Twin;
use super::troubles::ConnectionKey;

/// As long as that it is remembered.
const RECENT: Duration = Duration::from_secs(600);
/// So often within that time is no accident where the other end says why, and so often where it only hangs up.
const SAID: usize = 3;
const SILENT: usize = 6;
/// One that lasts is said again so often.
const REPEAT: Duration = Duration::from_secs(3_600);

/// Another one with our id, which comes again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Takeover {
    pub id: String,
    /// Whether the other end says so.
    pub twin: Twin,
    pub since: Instant,
    /// How often since then.
    pub times: u64,
    last: Instant,
}

impl Takeover {
    /// What it is and what to do, on one line.
    pub fn words(&self) -> String {
        let Self { id, times, .. } = self;
        match self.twin {
            Twin::Told => format!(
                "another client with the id `{id}` has thrown us out {times} times: give each its own"
            ),
            Twin::Perhaps => format!(
                "the broker has hung up on us {times} times without a word: its log may say why, or another client has the id `{id}`"
            ),
        }
    }
}

/// Those of all connections of one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Takeovers(Arc<Mutex<BTreeMap<ConnectionKey, Takeover>>>);

impl Takeovers {
    /// The one of `name` that happened most often, as long as it goes on.
    pub(super) fn of(&self, name: &str, now: Instant) -> Option<Takeover> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = |(known, takeover): &(&ConnectionKey, &Takeover)| {
            &*known.0 == name && now.saturating_duration_since(takeover.last) < RECENT
        };
        let there = all.iter().filter(is_there).map(|(_, takeover)| takeover);
        there.max_by_key(|takeover| takeover.times).cloned()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<ConnectionKey, Takeover>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Counts those of one connection; taken back at the end.
#[derive(Debug)]
pub(super) struct TakeoverCounter {
    board: Takeovers,
    key: ConnectionKey,
    recent: VecDeque<Instant>,
    times: u64,
    said_at: Option<Instant>,
}

impl TakeoverCounter {
    /// Of the connection `id` of `name`.
    pub(super) fn on(board: &Takeovers, name: Arc<str>, id: String) -> Self {
        Self {
            board: board.clone(),
            key: (name, id),
            recent: VecDeque::new(),
            times: 0,
            said_at: None,
        }
    }

    /// A connection in use ended as if another one had come. What is to be said, if it is time to.
    pub(super) fn taken_over(&mut self, twin: Twin, now: Instant) -> Option<Takeover> {
        let is_old = |at: &Instant| now.saturating_duration_since(*at) >= RECENT;
        if self.recent.back().is_none_or(is_old) {
            (self.times, self.said_at) = (0, None);
            self.recent.clear();
        }
        self.times += 1;
        self.recent.push_back(now);
        while self.recent.len() > SILENT || self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
        let often = if twin == Twin::Told { SAID } else { SILENT };
        if self.said_at.is_none() && self.recent.len() < often {
            return None;
        }
        let known = self.board.of(&self.key.0, now);
        let takeover = Takeover {
            id: self.key.1.clone(),
            twin,
            since: known.map_or(*self.recent.front()?, |known| known.since),
            times: self.times,
            last: now,
        };
        self.board.change(|all| {
            all.insert(self.key.clone(), takeover.clone());
        });
        if self
            .said_at
            .is_some_and(|at| now.saturating_duration_since(at) < REPEAT)
        {
            return None;
        }
        self.said_at = Some(now);
        Some(takeover)
    }
}

impl Drop for TakeoverCounter {
    fn drop(&mut self) {
        self.board.change(|all| {
            all.remove(&self.key);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn tally(board: &Takeovers) -> TakeoverCounter {
        TakeoverCounter::on(board, "cloud".into(), "barn-7".to_owned())
    }

    #[test]
    fn the_third_time_is_said_once_and_told_until_it_is_over() {
        let (board, start) = (Takeovers::default(), Instant::now());
        let mut tally = tally(&board);
        let mut said = Vec::new();
        for time in 0..50_u32 {
            said.extend(tally.taken_over(Twin::Told, start + SECOND * 2 * time));
            let told = board.of("cloud", start + SECOND * 2 * time);
            assert_eq!(
                told.map(|takeover| takeover.times),
                (time >= 2).then_some(u64::from(time) + 1)
            );
        }
        assert_eq!(said.len(), 1);
        assert!(said[0].words().contains("`barn-7`"), "{}", said[0].words());
        let last = start + SECOND * 98;
        assert!(board.of("cloud", last + RECENT - SECOND).is_some());
        assert_eq!(board.of("cloud", last + RECENT), None);
        assert_eq!(board.of("field", last), None);
        // A new cause is said again.
        let again = last + RECENT + SECOND;
        assert_eq!(
            (0..3)
                .filter_map(|_| tally.taken_over(Twin::Told, again))
                .count(),
            1
        );
        assert_eq!(
            board
                .of("cloud", again)
                .map(|takeover| (takeover.since, takeover.times)),
            Some((again, 3))
        );
        drop(tally);
        assert_eq!(board.of("cloud", again), None);
    }

    #[test]
    fn what_happens_now_and_then_is_no_condition_and_a_hang_up_may_have_another_reason() {
        let (board, start) = (Takeovers::default(), Instant::now());
        let mut tally = tally(&board);
        for time in 0..20_u32 {
            assert_eq!(
                tally.taken_over(Twin::Told, start + RECENT / 2 * time),
                None
            );
        }
        let start = start + RECENT * 20;
        let said: Vec<_> = (0..6)
            .filter_map(|time| tally.taken_over(Twin::Perhaps, start + SECOND * time))
            .collect();
        assert_eq!(said.len(), 1);
        assert!(said[0].times == 6 && said[0].words().contains("hung up"));
    }

    #[test]
    fn one_that_lasts_is_said_again_after_an_hour() {
        let (board, start) = (Takeovers::default(), Instant::now());
        let mut tally = tally(&board);
        let minutes = (0..180_u32)
            .filter_map(|minute| tally.taken_over(Twin::Told, start + SECOND * 60 * minute));
        assert_eq!(minutes.count(), 3);
        assert_eq!(tally.recent.len(), SILENT);
    }
}
