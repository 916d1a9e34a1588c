//! From readings to the JSON of a message, and whether they are worth one.

use std::fmt::Write;

use bytes::Bytes;

use super::decode::{PointValue, Reading};
use super::map::{Point, PointGroup};
use crate::clock::Now;

/// Why values are not fresh.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stale<'a> {
    pub(super) since: Now,
    pub(super) why: &'a str,
}

/// Its readings, one for each value of the group. Where the clock was not set, `ts` says so, and `uptime_ms` what the machine
/// has for a clock then; values that were never read have no time at all.
pub(super) fn payload(
    group: &PointGroup,
    readings: &[Option<Reading>],
    read_at: Option<Now>,
    stale: Option<Stale<'_>>,
) -> Bytes {
    let mut text = String::with_capacity(64 + 32 * group.points.len());
    let _ = write!(text, "{{\"ts\":{}", time(read_at));
    if let Some(at) = read_at.filter(|at| !at.is_set()) {
        let _ = write!(text, ",\"uptime_ms\":{}", at.uptime.0 / 1_000);
    }
    if let Some(Stale { since, why }) = stale {
        let since = time(Some(since));
        let _ = write!(
            text,
            ",\"stale\":{{\"since\":{since},\"why\":{}}}",
            quoted(why)
        );
    }
    let all = || group.points.iter().zip(readings);
    let values = all().filter_map(|(point, reading)| match reading {
        Some(Ok(value)) => Some((point, json(value))),
        _ => None,
    });
    members(&mut text, "values", true, values);
    let units = group.points.iter();
    let units = units.filter_map(|point| Some((point, quoted(point.unit.as_ref()?))));
    members(&mut text, "units", false, units);
    let errors = all().filter_map(|(point, reading)| match reading {
        Some(Err(why)) => Some((point, quoted(why))),
        _ => None,
    });
    members(&mut text, "errors", false, errors);
    text.push('}');
    text.into()
}

/// Milliseconds since 1970; `null` while the clock is not set.
fn time(at: Option<Now>) -> String {
    match at.filter(|at| at.is_set()) {
        Some(at) => (at.wall.0 / 1_000).to_string(),
        None => "null".to_owned(),
    }
}

fn members<'a>(
    text: &mut String,
    name: &str,
    always: bool,
    all: impl Iterator<Item = (&'a Point, String)>,
) {
    let mut is_first = true;
    for (point, value) in all {
        let before = if is_first {
            format!(",\"{name}\":{{")
        } else {
            ",".to_owned()
        };
        let _ = write!(text, "{before}{}:{value}", quoted(&point.name));
        is_first = false;
    }
    if !is_first {
        text.push('}');
    } else if always {
        let _ = write!(text, ",\"{name}\":{{}}");
    }
}

fn json(value: &PointValue) -> String {
    match value {
        PointValue::Nothing => "null".to_owned(),
        PointValue::Flag(flag) => flag.to_string(),
        PointValue::Number(number) => number.to_string(),
        PointValue::Text(text) => quoted(text),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Whether one of them is another one than before, by more than its deadband.
pub(super) fn differ(
    points: &[Point],
    before: &[Option<Reading>],
    now: &[Option<Reading>],
) -> bool {
    let is_other = |((point, before), now): ((&Point, &Option<Reading>), &Option<Reading>)| match (
        before, now,
    ) {
        (Some(Ok(PointValue::Number(before))), Some(Ok(PointValue::Number(now))))
            if point.deadband > 0.0 =>
        {
            // A difference that is no number is one.
            let moved = (before.nearly() - now.nearly()).abs();
            moved.is_nan() || moved > point.deadband
        }
        _ => before != now,
    };
    points.iter().zip(before).zip(now).any(is_other)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::decimal::Decimal;
    use super::super::map::{Area, ByteOrder, ReportMode, Size, ValueFormat, point};
    use super::*;
    use crate::clock::{Uptime, WallTime};

    const SET: Now = Now {
        wall: WallTime(1_796_000_000_123_456),
        uptime: Uptime(5_000_000),
    };

    fn group() -> PointGroup {
        let number = ValueFormat::Unsigned(Size::One, ByteOrder::default());
        let mut voltage = point("voltage", Area::Holding, 0, number);
        voltage.unit = Some("V".into());
        voltage.deadband = 0.5;
        let running = point("running", Area::Coil, 3, ValueFormat::Flag);
        let label = point(
            "label",
            Area::Holding,
            9,
            ValueFormat::Text(4, ByteOrder::default()),
        );
        PointGroup {
            name: "power".into(),
            topic: Bytes::new(),
            every: Duration::from_secs(1),
            within: Duration::from_secs(1),
            report: ReportMode::Always,
            points: vec![voltage, running, label],
        }
    }

    fn volts(value: f64) -> Option<Reading> {
        Some(Ok(PointValue::Number(Decimal::of_f64(value).unwrap())))
    }

    #[test]
    fn a_message_has_values_units_and_what_is_missing() {
        let readings = [
            volts(230.1),
            Some(Ok(PointValue::Flag(true))),
            Some(Err("illegal-data-address")),
        ];
        let shown = payload(&group(), &readings, Some(SET), None);
        assert_eq!(
            shown,
            r#"{"ts":1796000000123,"values":{"voltage":230.1,"running":true},"units":{"voltage":"V"},"errors":{"label":"illegal-data-address"}}"#
        );
    }

    #[test]
    fn without_a_clock_it_says_so_and_what_is_stale_says_since_when_and_why() {
        let readings = [
            Some(Ok(PointValue::Nothing)),
            None,
            Some(Ok(PointValue::Text("a\"\u{7}\n".to_owned()))),
        ];
        let unset = Now {
            wall: WallTime(7),
            ..SET
        };
        let stale = Stale {
            since: SET,
            why: "no answer",
        };
        assert_eq!(
            payload(&group(), &readings, Some(unset), Some(stale)),
            r#"{"ts":null,"uptime_ms":5000,"stale":{"since":1796000000123,"why":"no answer"},"values":{"voltage":null,"label":"a\"\u0007\n"},"units":{"voltage":"V"}}"#
        );
        let never = payload(&group(), &[None, None, None], None, Some(stale));
        assert!(never.starts_with(br#"{"ts":null,"stale""#) && !never.is_empty());
        assert!(String::from_utf8_lossy(&never).contains(r#""values":{}"#));
    }

    #[test]
    fn a_change_within_the_deadband_is_none() {
        let points = group().points;
        let with = |value, running| {
            [
                volts(value),
                Some(Ok(PointValue::Flag(running))),
                Some(Err("x")),
            ]
        };
        let first = with(230.0, true);
        assert!(!differ(&points, &first, &with(230.5, true)));
        assert!(differ(&points, &first, &with(230.6, true)));
        assert!(differ(&points, &first, &with(229.4, true)));
        assert!(differ(&points, &first, &with(230.0, false)));
        let gone = [
            Some(Ok(PointValue::Nothing)),
            Some(Ok(PointValue::Flag(true))),
            Some(Err("x")),
        ];
        assert!(differ(&points, &first, &gone));
    }
}
