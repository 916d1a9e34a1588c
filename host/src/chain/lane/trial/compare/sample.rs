//! A difference in a form for people: as text on a terminal, as JSON over the control socket.

use serde::{Deserialize, Serialize};

use super::{DifferenceKind, DifferingPart, Effect, InputOutcome};
use crate::clock::WallTime;
use crate::message::{Headers, Marks, Message, hexadecimal};

/// Outputs of one input that a sample shows.
const MAX_SHOWN: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceSample {
    pub kind: DifferenceKind,
    /// The input; `None` for an output of a tick.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<SampleInput>,
    /// The key of the input, or of the tick's output.
    pub key: String,
    /// When the input arrived or the tick was: microseconds since 1970.
    pub at_us: u64,
    /// What differs, where the kind is `changed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<DifferingPart>,
    /// What the running version makes of it: the first eight.
    pub old: Vec<ShownEffect>,
    /// What the candidate makes of it: the first eight.
    pub new: Vec<ShownEffect>,
}

/// Which message two versions differ on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampleInput {
    /// Boot and number of its id.
    pub id: String,
    pub topic: String,
    pub payload: Excerpt,
}

/// One thing that a version makes of an input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownEffect {
    /// What becomes of it.
    pub outcome: InputOutcome,
    /// The port, or the queue, it leaves through.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub port: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub topic: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Its payload, or why there is none.
    pub payload: Excerpt,
    #[serde(default)]
    pub qos: u8,
    /// It is to be retained.
    #[serde(default)]
    pub retain: bool,
}

/// A part of a payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// The part as text, or as hexadecimal digits where the payload is not text.
    pub text: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hexadecimal: bool,
    /// Where it begins, bytes: near the first difference.
    #[serde(default)]
    pub from: usize,
    /// Bytes of the whole.
    pub bytes: usize,
}

impl Excerpt {
    /// `length` bytes at the most of `payload`, beginning so that byte `mark` is seen.
    fn of(payload: &[u8], mark: usize, length: usize) -> Self {
        let from = if mark < length { 0 } else { mark - length / 2 };
        let bytes = payload.len();
        let is_text = |text: &&str| {
            !text
                .chars()
                .any(|char| char.is_control() && !char.is_whitespace())
        };
        match std::str::from_utf8(payload).ok().filter(is_text) {
            Some(text) => {
                let end = text.floor_char_boundary(from + length);
                let from = text.floor_char_boundary(from);
                Self {
                    text: text[from..end].to_owned(),
                    hexadecimal: false,
                    from,
                    bytes,
                }
            }
            None => {
                let from = from.min(bytes);
                let shown = &payload[from..bytes.min(from + length / 2)];
                Self {
                    text: hexadecimal(shown),
                    hexadecimal: true,
                    from,
                    bytes,
                }
            }
        }
    }
}

impl std::fmt::Display for Excerpt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = if self.hexadecimal {
            self.text.len() / 2
        } else {
            self.text.len()
        };
        let before = self.from > 0;
        let behind = self.from + shown < self.bytes;
        let prefix = if self.hexadecimal { "0x" } else { "" };
        f.write_str(if before { "…" } else { "" })?;
        write!(f, "{prefix}{}", crate::words::line(&self.text, usize::MAX))?;
        if behind {
            write!(f, "… ({} bytes)", self.bytes)
        } else {
            Ok(())
        }
    }
}

impl DifferenceSample {
    pub(super) fn of_input<'a>(
        (kind, parts): (DifferenceKind, Vec<DifferingPart>),
        input: &Message,
        length: usize,
        old: impl Iterator<Item = Effect<'a>> + Clone,
        new: impl Iterator<Item = Effect<'a>> + Clone,
    ) -> Self {
        let id = format!("{}-{}", input.id.boot, input.id.seq);
        let payload = Excerpt::of(&input.payload, 0, length);
        let named = SampleInput {
            id,
            topic: input.topic_str().to_owned(),
            payload,
        };
        let key = lossy(input.key());
        let at_us = input.received.0;
        let (old, new) = shown(old, new, length);
        Self {
            kind,
            input: Some(named),
            key,
            at_us,
            parts,
            old,
            new,
        }
    }

    pub(super) fn of_tick<'a>(
        (kind, parts): (DifferenceKind, Vec<DifferingPart>),
        at: WallTime,
        length: usize,
        old: impl Iterator<Item = Effect<'a>> + Clone,
        new: impl Iterator<Item = Effect<'a>> + Clone,
    ) -> Self {
        let key = old
            .clone()
            .chain(new.clone())
            .next()
            .map(|made| lossy(made.key))
            .unwrap_or_default();
        let (old, new) = shown(old, new, length);
        Self {
            kind,
            input: None,
            key,
            at_us: at.0,
            parts,
            old,
            new,
        }
    }
}

/// Both sides; of payloads in the same place the part where they begin to differ.
fn shown<'a>(
    old: impl Iterator<Item = Effect<'a>> + Clone,
    new: impl Iterator<Item = Effect<'a>> + Clone,
    length: usize,
) -> (Vec<ShownEffect>, Vec<ShownEffect>) {
    let mark = |(old, new): (Effect<'_>, Effect<'_>)| {
        let differs = old
            .payload
            .iter()
            .zip(new.payload)
            .position(|(old, new)| old != new);
        differs.unwrap_or_else(|| old.payload.len().min(new.payload.len()))
    };
    let marks: Vec<usize> = old
        .clone()
        .zip(new.clone())
        .take(MAX_SHOWN)
        .map(mark)
        .collect();
    let show = |(index, made)| one(&made, marks.get(index).copied().unwrap_or(0), length);
    (
        old.take(MAX_SHOWN).enumerate().map(show).collect(),
        new.take(MAX_SHOWN).enumerate().map(show).collect(),
    )
}

fn one(made: &Effect<'_>, mark: usize, length: usize) -> ShownEffect {
    let headers = made.all_headers();
    let headers = Headers(&headers)
        .filter_map(Result::ok)
        .map(|(name, value)| (name.to_owned(), lossy(value)));
    // What two payloads have in common is the whole of both where they do not differ.
    let mark = if mark >= made.payload.len() && mark > length {
        0
    } else {
        mark
    };
    ShownEffect {
        outcome: made.outcome,
        port: made.port.to_owned(),
        topic: lossy(made.topic),
        headers: headers.collect(),
        payload: Excerpt::of(made.payload, mark, length),
        qos: Marks(made.marks).qos() as u8,
        retain: Marks(made.marks).has(Marks::RETAIN),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
