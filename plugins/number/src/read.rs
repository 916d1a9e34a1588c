//! Reads a number as people and devices write it.

use tidegate_sdk::json;
use tidegate_sdk::prelude::*;

use crate::DecimalMark;

/// Letters of a unit at most.
const LONGEST_UNIT: usize = 16;

/// A number as JSON, and what stands behind it.
#[derive(Debug, PartialEq, Eq)]
pub struct Reading<'t> {
    pub number: String,
    pub unit: Option<&'t str>,
}

/// Reads `text`, which has no spaces around it.
pub fn read(text: &str, mark: DecimalMark) -> Result<Reading<'_>> {
    let no_number = || no_number(text);
    let (negative, rest) = match text.chars().next() {
        Some('-' | '\u{2212}') => (true, text.trim_start_matches(['-', '\u{2212}'])),
        Some('+') => (false, &text[1..]),
        _ => (false, text),
    };
    if text.len() - rest.len() > '\u{2212}'.len_utf8() || text.starts_with("--") {
        return Err(no_number());
    }
    let is_of_number = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b',');
    let length = rest.bytes().take_while(is_of_number).count();
    let (digits, behind) = rest.split_at(length);
    let (exponent, behind) = exponent(behind);
    let (whole, fraction) = parts(digits, mark, text)?;
    if whole.is_empty() && fraction.is_empty() {
        return Err(no_number());
    }
    let sign = if negative { "-" } else { "" };
    let number = json::plain_number(&format!("{sign}{whole}.{fraction}{exponent}"))
        .ok_or_else(|| format!("number `{}` is too large", shown(text)))?;
    Ok(Reading {
        unit: unit(behind, &whole).ok_or_else(no_number)?,
        number,
    })
}

/// An exponent, where one stands, and what follows.
fn exponent(text: &str) -> (&str, &str) {
    let Some(rest) = text.strip_prefix(['e', 'E']) else {
        return ("", text);
    };
    let digits = rest.strip_prefix(['+', '-']).unwrap_or(rest);
    let length = digits.bytes().take_while(u8::is_ascii_digit).count();
    if length == 0 {
        return ("", text);
    }
    text.split_at(text.len() - digits.len() + length)
}

/// What stands behind the number: `None` when it can be no unit, as in times, dates and addresses.
fn unit<'t>(text: &'t str, whole: &str) -> Option<Option<&'t str>> {
    let unit = text.trim();
    let Some(first) = unit.chars().next() else {
        return Some(None);
    };
    let may_begin = first.is_alphabetic() || "°%‰µΩ€$£/\"'".contains(first);
    let is_hexadecimal = whole == "0" && matches!(first, 'x' | 'X');
    // A fraction, a second exponent, or one apart from its number.
    let rest = &unit[first.len_utf8()..];
    let begins_with = |is_it: fn(char) -> bool| rest.chars().next().is_some_and(is_it);
    let is_of_number = match first {
        '/' => !begins_with(char::is_alphabetic),
        'e' | 'E' => begins_with(|next| next.is_ascii_digit() || matches!(next, '+' | '-')),
        _ => false,
    };
    let may_be =
        |letter: char| !letter.is_control() && (!letter.is_numeric() || "23²³".contains(letter));
    (may_begin
        && !is_hexadecimal
        && !is_of_number
        && unit.chars().count() <= LONGEST_UNIT
        && unit.chars().all(may_be))
    .then_some(Some(unit))
}

/// The digits before and behind the mark; thousands may be parted by the other one.
fn parts<'d>(digits: &'d str, mark: DecimalMark, text: &str) -> Result<(String, &'d str)> {
    let commas = digits.matches(',').count();
    let points = digits.matches('.').count();
    let mark = match (mark, commas, points) {
        (DecimalMark::Point, ..) | (DecimalMark::Auto, 0, _) => '.',
        (DecimalMark::Comma, ..) => ',',
        (DecimalMark::Auto, 1, 0) => {
            let (whole, fraction) = digits.split_once(',').unwrap_or_default();
            let may_be_thousands =
                fraction.len() == 3 && (1..=3).contains(&whole.len()) && !whole.starts_with('0');
            if may_be_thousands {
                return Err(format!(
                    "`{}` may be a fraction or thousands: set `decimal` to \"comma\" or \"point\"",
                    shown(text)
                )
                .into());
            }
            ','
        }
        (DecimalMark::Auto, _, 0) => return Err(no_number(text)),
        _ if digits.rfind(',') > digits.rfind('.') => ',',
        _ => '.',
    };
    let (whole, fraction) = digits.split_once(mark).unwrap_or((digits, ""));
    let is_whole = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let thousands = if mark == ',' { '.' } else { ',' };
    let mut groups = whole.split(thousands);
    let first = groups.next().unwrap_or_default();
    let is_grouped = groups.clone().next().is_some();
    let is_sound = groups.all(|group| group.len() == 3 && is_whole(group))
        && is_whole(first)
        && (!is_grouped || (1..=3).contains(&first.len()));
    if !is_sound || !is_whole(fraction) {
        return Err(no_number(text));
    }
    Ok((whole.replace(thousands, ""), fraction))
}

fn no_number(text: &str) -> Error {
    format!(
        "payload is neither a number nor a word with a meaning: `{}`",
        shown(text)
    )
    .into()
}

/// The first letters, for reasons in words.
fn shown(text: &str) -> &str {
    text.char_indices()
        .nth(40)
        .map_or(text, |(end, _)| &text[..end])
}
