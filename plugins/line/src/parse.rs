//! One line: a measurement, tags, fields, perhaps a time.

use std::borrow::Cow;

use tidegate_sdk::foreign;
use tidegate_sdk::json::plain_number;

/// A line, without what escapes its letters.
#[derive(Debug)]
pub struct Line<'t> {
    pub measurement: Cow<'t, str>,
    pub tags: Vec<(Cow<'t, str>, Cow<'t, str>)>,
    /// Values are JSON.
    pub fields: Vec<(Cow<'t, str>, String)>,
    pub time: Option<i64>,
}

type Step<T> = Result<T, String>;

/// The first line of a text and what follows it; `None` for an empty one, or a comment.
///
/// # Errors
/// In words, what was expected and what is there instead.
pub fn line(text: &str) -> Step<(Option<Line<'_>>, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\r']);
    if text.is_empty() || text.starts_with(['\n', '#']) {
        let end = text.find('\n').map_or(text.len(), |end| end + 1);
        return Ok((None, &text[end..]));
    }
    let (measurement, mut rest) = word(text, b", ");
    if measurement.is_empty() {
        return Err(format!("expected a measurement at {}", shown(text)));
    }
    let mut tags = Vec::new();
    while let Some(behind) = rest.strip_prefix(',') {
        let (name, behind) = name(behind)?;
        let (value, behind) = word(behind, b", =");
        if value.is_empty() {
            return Err(format!("tag `{name}` has no value"));
        }
        tags.push((name, value));
        rest = behind;
    }
    rest = rest
        .strip_prefix(' ')
        .ok_or_else(|| format!("expected a space and fields at {}", shown(rest)))?
        .trim_start_matches(' ');
    let mut fields = Vec::new();
    loop {
        let (name, behind) = name(rest)?;
        let (value, behind) = value(behind).ok_or_else(|| {
            let value = shown(behind);
            format!("field `{name}` has no value that is one: {value}")
        })?;
        fields.push((name, value));
        rest = behind;
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None => break,
        }
    }
    let end = rest.find('\n').unwrap_or(rest.len());
    let (last, behind) = rest.split_at(end);
    if !last.is_empty() && !last.starts_with([' ', '\r']) {
        return Err(format!("expected the end of a value at {}", shown(rest)));
    }
    let time = match last.trim() {
        "" => None,
        time => {
            let number = time.parse::<i64>().ok();
            Some(number.ok_or_else(|| format!("expected a time at {}", shown(time)))?)
        }
    };
    let line = Line {
        measurement,
        tags,
        fields,
        time,
    };
    Ok((Some(line), behind.strip_prefix('\n').unwrap_or(behind)))
}

/// The beginning of what is left, for people.
fn shown(rest: &str) -> String {
    let line: String = rest
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(40)
        .collect();
    match line.as_str() {
        "" => "the end of the line".to_owned(),
        line => format!("`{line}`"),
    }
}

/// A name with its `=`.
fn name(text: &str) -> Step<(Cow<'_, str>, &str)> {
    let (name, rest) = word(text, b", =");
    match rest.strip_prefix('=') {
        Some(rest) if !name.is_empty() => Ok((name, rest)),
        _ => Err(format!("expected a name and `=` at {}", shown(text))),
    }
}

/// Up to the first of these signs, or the end of the line; a backslash takes one of them, and no other, as a letter.
fn word<'t>(text: &'t str, ends: &[u8]) -> (Cow<'t, str>, &'t str) {
    let bytes = text.as_bytes();
    let (mut at, mut is_escaped) = (0, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if bytes.get(at + 1).is_some_and(|next| b", =".contains(next)) => {
                (at, is_escaped) = (at + 2, true);
            }
            b'\n' => break,
            byte if ends.contains(byte) => break,
            _ => at += 1,
        }
    }
    let (word, rest) = text.split_at(at);
    match is_escaped {
        false => (Cow::Borrowed(word), rest),
        true => {
            let word = word.replace("\\,", ",").replace("\\ ", " ");
            (Cow::Owned(word.replace("\\=", "=")), rest)
        }
    }
}

/// A field's value as JSON.
fn value(text: &str) -> Option<(String, &str)> {
    if let Some(inside) = text.strip_prefix('"') {
        return quoted(inside);
    }
    let end = text.find([',', ' ', '\n', '\r']).unwrap_or(text.len());
    let (value, rest) = text.split_at(end);
    let json = match value {
        "t" | "T" | "true" | "True" | "TRUE" => "true".to_owned(),
        "f" | "F" | "false" | "False" | "FALSE" => "false".to_owned(),
        value => match (value.strip_suffix('i'), value.strip_suffix('u')) {
            (Some(whole), _) => whole.parse::<i64>().ok()?.to_string(),
            (_, Some(whole)) => whole.parse::<u64>().ok()?.to_string(),
            _ => plain_number(value)?,
        },
    };
    Some((json, rest))
}

/// A text behind its first quote.
fn quoted(inside: &str) -> Option<(String, &str)> {
    let (mut text, mut letters) = (String::new(), inside.chars());
    loop {
        match letters.next()? {
            '"' => break,
            '\\' => match letters.next()? {
                letter @ ('"' | '\\') => text.push(letter),
                letter => text.extend(['\\', letter]),
            },
            letter => text.push(letter),
        }
    }
    let mut json = Vec::new();
    foreign::text(&text, &mut json);
    Some((String::from_utf8(json).ok()?, letters.as_str()))
}
