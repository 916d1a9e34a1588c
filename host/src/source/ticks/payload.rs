//! What a tick says.

use std::fmt::Write;

use bytes::Bytes;

use super::rhythm::TickZone;
use super::schedule::DueTick;
use crate::clock::Now;

/// In JSON. `ts`: when it was told, milliseconds since 1970; `time` and `weekday` (1 is Monday): the same in the clock's zone; `due`: when it
/// was due; `count`: its number; `missed`: how many before it are not told. Where the clock is not set, `ts` is null, and `uptime_ms` is what the
/// machine has for a clock.
pub(super) fn payload(tick: &DueTick, count: u64, now: Now, zone: &TickZone) -> Bytes {
    let mut text = String::with_capacity(160);
    match tick.due {
        Some(due) => {
            let (ts, due) = (now.wall.0 / 1_000, due.0 / 1_000);
            let _ = write!(text, "{{\"ts\":{ts},\"due\":{due}");
            if let Some(at) = zone.at(now.wall.0) {
                let time = at.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z");
                let weekday = at.weekday().to_monday_one_offset();
                let _ = write!(text, ",\"time\":\"{time}\",\"weekday\":{weekday}");
            }
        }
        None => {
            let uptime = now.uptime.0 / 1_000;
            let _ = write!(text, "{{\"ts\":null,\"uptime_ms\":{uptime}");
        }
    }
    let missed = tick.missed;
    let _ = write!(text, ",\"count\":{count},\"missed\":{missed}}}");
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{self, Uptime, WallTime};

    #[test]
    fn a_tick_says_when_it_is_there_and_that_nobody_knows() {
        let wall = WallTime(clock::moment("2026-07-12T04:00:00.012Z").unwrap());
        let now = Now {
            wall,
            uptime: Uptime(7_500_000),
        };
        let due = Some(wall.minus_us(12_000));
        let berlin = TickZone::find("Europe/Berlin").unwrap();
        let tick = DueTick { due, missed: 2 };
        let expected = r#"{"ts":1783828800012,"due":1783828800000,"time":"2026-07-12T06:00:00.012+02:00","weekday":7,"count":5,"missed":2}"#;
        assert_eq!(payload(&tick, 5, now, &berlin), expected);
        let tick = DueTick {
            due: None,
            missed: 0,
        };
        let expected = r#"{"ts":null,"uptime_ms":7500,"count":1,"missed":0}"#;
        assert_eq!(payload(&tick, 1, now, &berlin), expected);
    }
}
