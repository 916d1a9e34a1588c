//! What was expected against what came: whether they agree, and where they part.

use super::line::show_payload;
use super::{Outcome, WrittenMessage};

/// Columns of what is shown of a line.
const WIDTH: usize = 200;
/// Columns before the place where two lines part.
const BEFORE: usize = 40;

/// Whether what came is what was expected. Of several ports each keeps its own order; JSON may be spaced in any way; of a
/// reason the words that are written have to be there.
pub fn agree(expected: &[Outcome], came: &[Outcome], input: Option<&WrittenMessage>) -> bool {
    let expected = ordered(expected, input);
    let came = ordered(came, input);
    match expected.as_slice() {
        [] | [Outcome::Nothing] => came.iter().all(|came| {
            matches!(
                came,
                Outcome::Nothing | Outcome::Filtered | Outcome::Absorbed
            )
        }),
        expected => {
            expected.len() == came.len()
                && expected
                    .iter()
                    .zip(&came)
                    .all(|(expected, came)| is_met(expected, came))
        }
    }
}

fn is_met(expected: &Outcome, came: &Outcome) -> bool {
    match (expected, came) {
        (Outcome::Rejected(words), Outcome::Rejected(reason))
        | (Outcome::Failed(words), Outcome::Failed(reason))
        | (Outcome::Refused(words), Outcome::Refused(reason)) => reason.contains(words.as_str()),
        (expected, came) => expected == came,
    }
}

/// By port, and each in the one form that is compared: `pass` as the message that it is, JSON without spaces.
fn ordered(outcomes: &[Outcome], input: Option<&WrittenMessage>) -> Vec<Outcome> {
    let mut outcomes: Vec<_> = outcomes
        .iter()
        .map(|outcome| plain(outcome, input))
        .collect();
    outcomes.sort_by_key(|outcome| match outcome {
        Outcome::Message { port, .. } if port == "out" => (0, String::new()),
        Outcome::Message { port, .. } => (1, port.clone()),
        _ => (2, String::new()),
    });
    outcomes
}

fn plain(outcome: &Outcome, input: Option<&WrittenMessage>) -> Outcome {
    match (outcome, input) {
        (Outcome::Pass, Some(input)) => Outcome::Message {
            port: "out".to_owned(),
            sent: spaceless(input),
        },
        (Outcome::Message { port, sent }, _) => Outcome::Message {
            port: port.clone(),
            sent: spaceless(sent),
        },
        (other, _) => other.clone(),
    }
}

fn spaceless(sent: &WrittenMessage) -> WrittenMessage {
    // Who sends, and how often, is not for the plugin to say.
    WrittenMessage {
        payload: without_spaces(&sent.payload),
        duplicate: false,
        ..sent.clone()
    }
}

/// JSON without the spaces between its parts; anything else as it is.
pub(super) fn without_spaces(payload: &[u8]) -> Vec<u8> {
    let is_json = payload.trim_ascii_start().starts_with(b"{")
        || payload.trim_ascii_start().starts_with(b"[");
    if !is_json || serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_err() {
        return payload.to_vec();
    }
    let mut is_text = false;
    let mut is_escaped = false;
    let is_kept = |byte: &u8| {
        let was_text = is_text;
        match byte {
            b'"' if !is_escaped => is_text = !is_text,
            _ => {}
        }
        is_escaped = is_text && !is_escaped && *byte == b'\\';
        was_text || !byte.is_ascii_whitespace()
    };
    let mut is_kept = is_kept;
    payload
        .iter()
        .filter(|byte| is_kept(byte))
        .copied()
        .collect()
}

/// Two lines to be read above each other; one of them may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinePair {
    pub expected: Option<String>,
    pub came: Option<String>,
    /// Column of both at which they part; `None` where they agree.
    pub parts_at: Option<usize>,
}

/// What was expected beside what came, line by line.
pub fn pairs(
    expected: &[Outcome],
    came: &[Outcome],
    input: Option<&WrittenMessage>,
) -> Vec<LinePair> {
    let mut expected = ordered(expected, input);
    let mut came = ordered(came, input);
    if expected.is_empty() {
        expected.push(Outcome::Nothing);
    }
    if came.is_empty() {
        came.push(Outcome::Nothing);
    }
    let count = expected.len().max(came.len());
    (0..count)
        .map(|index| pair(expected.get(index), came.get(index)))
        .collect()
}

fn pair(expected: Option<&Outcome>, came: Option<&Outcome>) -> LinePair {
    let is_met = expected
        .zip(came)
        .is_some_and(|(expected, came)| is_met(expected, came));
    let expected = expected.map(Outcome::show);
    let came = came.map(Outcome::show);
    let (Some(one), Some(other)) = (&expected, &came) else {
        let cut = |text: Option<String>| text.map(|text| window(&text, 0).0);
        return LinePair {
            expected: cut(expected),
            came: cut(came),
            parts_at: None,
        };
    };
    let same = one
        .chars()
        .zip(other.chars())
        .take_while(|(one, other)| one == other)
        .count();
    let from = if is_met {
        0
    } else {
        same.saturating_sub(BEFORE)
    };
    let (one, cut) = window(one, from);
    let (other, _) = window(other, from);
    LinePair {
        expected: Some(one),
        came: Some(other),
        parts_at: (!is_met).then_some(same - from + cut),
    }
}

/// So much of a line as is shown, from character `from` on, and how much stands before that.
fn window(text: &str, from: usize) -> (String, usize) {
    let begins = if from > 0 { "…" } else { "" };
    let shown: String = text.chars().skip(from).take(WIDTH).collect();
    let ends = if text.chars().nth(from + WIDTH).is_some() {
        "…"
    } else {
        ""
    };
    (format!("{begins}{shown}{ends}"), begins.chars().count())
}

impl WrittenMessage {
    /// Its payload as it is shown.
    pub fn shown_payload(&self) -> String {
        show_payload(&self.payload)
    }
}
