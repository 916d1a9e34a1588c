//! A line that keeps coming is said some times, then counted, and its number is told: trouble that comes and goes ten times a
//! second must not push everything else out of the log.

use std::collections::VecDeque;
use std::time::Duration;

use tracing::Level;

use super::line::LogEvent;

/// A warning or an error may come so often within [`WINDOW`].
const OFTEN: u64 = 10;
/// Any other line: what an operator does is said each time.
const OFTEN_GOOD: u64 = 60;
/// A minute is what a person looks back over.
const WINDOW: Duration = Duration::from_secs(60);
/// Lines that are remembered; the one that came first makes way.
const MOST: usize = 64;

/// Which lines came of late, and how often.
#[derive(Debug, Default)]
pub(super) struct RepeatedLines(VecDeque<RepeatedLine>);

#[derive(Debug)]
struct RepeatedLine {
    level: Level,
    said: LogEvent,
    /// When it came first in this window.
    since: Duration,
    times: u64,
}

impl RepeatedLine {
    /// What is to be told of it when its window is over.
    fn left_out(self) -> Option<(Level, LogEvent)> {
        let left_out = self.times.saturating_sub(often(self.level));
        (left_out > 0).then(|| (self.level, self.said.with("left_out", left_out)))
    }
}

fn often(level: Level) -> u64 {
    if level <= Level::WARN {
        OFTEN
    } else {
        OFTEN_GOOD
    }
}

impl RepeatedLines {
    /// What is to be said when `said` comes at `now` (of a clock that only goes on): lines whose window is over and that
    /// were left out meanwhile, each once with their number, then the line itself, unless it came too often.
    pub(super) fn pass(
        &mut self,
        level: Level,
        said: LogEvent,
        now: Duration,
    ) -> Vec<(Level, LogEvent)> {
        let mut out = Vec::new();
        while self
            .0
            .front()
            .is_some_and(|seen| now.saturating_sub(seen.since) >= WINDOW)
        {
            out.extend(self.0.pop_front().and_then(RepeatedLine::left_out));
        }
        if let Some(seen) = self
            .0
            .iter_mut()
            .find(|seen| seen.level == level && seen.said.is_like(&said))
        {
            seen.times += 1;
            if seen.times > often(level) {
                seen.said = said;
                return out;
            }
        } else {
            if self.0.len() == MOST {
                out.extend(self.0.pop_front().and_then(RepeatedLine::left_out));
            }
            self.0.push_back(RepeatedLine {
                level,
                said: said.clone(),
                since: now,
                times: 1,
            });
        }
        out.push((level, said));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str, number: u64) -> LogEvent {
        LogEvent::default().saying(message).with("number", number)
    }

    fn pass(
        repeats: &mut RepeatedLines,
        message: &str,
        number: u64,
        seconds: u64,
    ) -> Vec<LogEvent> {
        repeats
            .pass(
                Level::WARN,
                said(message, number),
                Duration::from_secs(seconds),
            )
            .into_iter()
            .map(|(_, said)| said)
            .collect()
    }

    #[test]
    fn a_line_that_keeps_coming_is_counted_and_the_number_told() {
        let mut repeats = RepeatedLines::default();
        for number in 0..OFTEN {
            assert_eq!(
                pass(&mut repeats, "full", number, 1),
                [said("full", number)]
            );
        }
        for number in 0..150 {
            assert_eq!(pass(&mut repeats, "full", number, 2), []);
        }
        assert_eq!(pass(&mut repeats, "another", 0, 2), [said("another", 0)]);
        // A minute later whoever speaks next brings it out.
        assert_eq!(
            pass(&mut repeats, "full", 7, 61),
            [said("full", 149).with("left_out", 150), said("full", 7)]
        );
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_makes_way_is_told() {
        let mut repeats = RepeatedLines::default();
        for _ in 0..OFTEN + 5 {
            pass(&mut repeats, "full", 0, 1);
        }
        for number in 0..MOST - 1 {
            assert_eq!(pass(&mut repeats, &format!("line {number}"), 0, 1).len(), 1);
        }
        assert_eq!(
            pass(&mut repeats, "one more", 0, 1),
            [said("full", 0).with("left_out", 5), said("one more", 0)]
        );
        assert_eq!(repeats.0.len(), MOST);
    }
}
