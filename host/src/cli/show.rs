//! Numbers, sizes, ages and rows for people, on a terminal of 80 columns.

use std::time::Duration;

/// Columns a line may have.
pub const WIDTH: usize = 80;
/// Column where the details of a row begin.
const DETAILS: usize = 29;
/// Column where the name of a row begins.
const NAME: usize = 11;

/// `1204` as `1,204`.
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

/// `1204` as `1.2 KiB`.
pub fn bytes(number: u64) -> String {
    let (mut value, mut unit) = (number as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1_024.0 {
            break;
        }
        (value, unit) = (value / 1_024.0, next);
    }
    if unit == "B" || value >= 10.0 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// The two largest units of a duration: `6 d 4 h`, `31 s`.
pub fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let parts = [(seconds / 86_400, "d"), (seconds / 3_600 % 24, "h"), (seconds / 60 % 60, "min"), (seconds % 60, "s")];
    let first = parts.iter().position(|(number, _)| *number > 0).unwrap_or(3);
    let shown: Vec<_> = parts[first..].iter().take(2).filter(|(number, _)| *number > 0).collect();
    if shown.is_empty() {
        return "0 s".to_owned();
    }
    shown.iter().map(|(number, unit)| format!("{number} {unit}")).collect::<Vec<_>>().join(" ")
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
        let (is_last, length) = (index + 1 == details.len(), detail.chars().count());
        if index > 0 && column + 1 + length + usize::from(!is_last) > WIDTH {
            text.push('\n');
            column = 0;
        }
        let gap = if column < DETAILS { DETAILS - column } else { 1 };
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

/// As much of a text as fits into `width` columns, on one line, without what a terminal would act on.
pub fn cut(text: &str, width: usize) -> String {
    let mut shown: String = text.chars().take(width).map(visible).collect();
    if text.chars().nth(width).is_some() {
        shown.pop();
        shown.push('…');
    }
    shown
}

/// The text with line breaks and without other control characters: payloads come from devices, and a terminal obeys.
pub fn harmless(text: &str) -> String {
    text.chars().map(|symbol| if symbol == '\n' { symbol } else { visible(symbol) }).collect()
}

fn visible(symbol: char) -> char {
    match symbol {
        '\t' | '\n' => ' ',
        // Marks that turn the direction of writing can make a line read as something else.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        symbol if symbol.is_control() => '\u{fffd}',
        symbol => symbol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_sizes_get_their_unit() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1_023, 1_024, 44 << 10, 3 << 29].map(bytes), ["0 B", "1023 B", "1.0 KiB", "44 KiB", "1.5 GiB"]);
    }

    #[test]
    fn an_age_has_its_two_largest_units() {
        let shown = [0, 31, 60, 3_661, 86_400, 532_800].map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(shown, ["0 s", "31 s", "1 min", "1 h 1 min", "1 d", "6 d 4 h"]);
    }

    #[test]
    fn a_row_is_broken_before_it_is_too_wide() {
        let details: Vec<_> = (0..9).map(|number| format!("{number} somethings")).collect();
        for name in ["cloud:alarm", "a-name-of-more-than-twenty-letters"] {
            let text = row("queue", name, &details);
            assert!(text.lines().all(|line| line.chars().count() <= WIDTH && line == line.trim_end()), "{text}");
            assert!(details.iter().all(|detail| text.contains(detail)) && text.lines().count() > 1, "{text}");
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        assert_eq!(cut("a\x1b[2Jb\nc", 20), "a\u{fffd}[2Jb c");
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(harmless("a\nb\x07"), "a\nb\u{fffd}");
    }
}
