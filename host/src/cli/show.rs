//! Numbers, sizes, ages and rows for people, on a terminal of 80 columns.

use std::time::Duration;

/// Columns a line may have.
pub const WIDTH: usize = 80;
/// Column where the details of a row begin.
const DETAILS: usize = 29;
/// Column where the name of a row begins.
const NAME: usize = 11;

/// A number with commas between its thousands: `1204` as `1,204`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1 message`, `1,204 messages`.
pub fn of(number: u64, noun: &str) -> String {
    format!(
        "{} {noun}{}",
        count(number),
        if number == 1 { "" } else { "s" }
    )
}

/// The one form of a moment for people: of an RFC 3339 text to the second, `2026-11-22 01:02:03`, UTC.
pub fn moment(rfc3339: &str) -> String {
    rfc3339.get(..19).unwrap_or(rfc3339).replace('T', " ")
}

/// `1204` as `1.2 KiB`.
pub fn bytes(number: u64) -> String {
    let mut value = number as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1_024.0 {
            break;
        }
        (value, unit) = (value / 1_024.0, next);
    }
    if unit == "B" || value >= 10.0 {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// The two largest units of a duration: `6 d 4 h`, `31 s`.
pub fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let first = parts
        .iter()
        .position(|(number, _)| *number > 0)
        .unwrap_or(3);
    let shown: Vec<_> = parts[first..]
        .iter()
        .take(2)
        .filter(|(number, _)| *number > 0)
        .collect();
    if shown.is_empty() {
        return "0 s".to_owned();
    }
    shown
        .iter()
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// One or several lines: a label, a name, and details that are broken where the line is full.
pub fn row(label: &str, name: &str, details: &[String]) -> String {
    let mut text = format!("  {label:<width$}{name}", width = NAME - 2);
    let mut column = text.chars().count();
    if column + 1 >= DETAILS && !details.is_empty() {
        text.push('\n');
        column = 0;
    }
    for (index, detail) in details.iter().enumerate() {
        let is_last = index + 1 == details.len();
        let length = detail.chars().count();
        if index > 0 && column + 1 + length + usize::from(!is_last) > WIDTH {
            text.push('\n');
            column = 0;
        }
        let gap = if column < DETAILS {
            DETAILS - column
        } else {
            1
        };
        text.push_str(&" ".repeat(gap));
        text.push_str(detail);
        column += gap + length;
        if !is_last {
            text.push(',');
            column += 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_get_their_unit() {
        assert_eq!(
            [of(1, "message"), of(0, "message"), of(1_204, "dead letter")],
            ["1 message", "0 messages", "1,204 dead letters"]
        );
        assert_eq!(moment("2026-11-22T01:02:03.004Z"), "2026-11-22 01:02:03");
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [0, 1_023, 1_024, 44 << 10, 3 << 29].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "44 KiB", "1.5 GiB"]
        );
    }

    #[test]
    fn an_age_has_its_two_largest_units() {
        let shown =
            [0, 31, 60, 3_661, 86_400, 532_800].map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(
            shown,
            ["0 s", "31 s", "1 min", "1 h 1 min", "1 d", "6 d 4 h"]
        );
    }

    #[test]
    fn a_row_is_broken_before_it_is_too_wide() {
        let details: Vec<_> = (0..9)
            .map(|number| format!("{number} somethings"))
            .collect();
        for name in ["cloud:alarm", "a-name-of-more-than-twenty-letters"] {
            let text = row("queue", name, &details);
            assert!(
                text.lines()
                    .all(|line| line.chars().count() <= WIDTH && line == line.trim_end()),
                "{text}"
            );
            assert!(
                details.iter().all(|detail| text.contains(detail)) && text.lines().count() > 1,
                "{text}"
            );
        }
    }
}
