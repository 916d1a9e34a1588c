//! Objects: what stands in one, and its name, by which the same messages are never two. No sockets, no clock.

use std::fmt::Write;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use ring::digest::{Context, SHA256};

use super::super::form::compress::Compress;
use super::super::form::lines::LineFormat;
use super::super::form::template::{Filling, Template};
use super::Config;
use crate::clock::{self, WallTime};
use crate::message::Seq;

/// Bytes of a digest that stand in a name: what differs has another one.
const DIGEST: usize = 8;

const HOUR_US: u64 = 3_600_000_000;

/// What all messages of one object have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectPlace {
    /// `<gateway>/<store>/<uplink>/<class>/`, as ids begin.
    pub(super) prefix: Arc<str>,
    pub(super) boot: u64,
    /// Of their arrival, since 1970; `None` where nobody knows.
    hour: Option<u64>,
}

impl ObjectPlace {
    pub(super) fn of(prefix: &Arc<str>, seq: Seq, arrived: Option<WallTime>) -> Self {
        Self {
            prefix: Arc::clone(prefix),
            boot: seq.boot(),
            hour: arrived.map(|arrived| arrived.0 / HOUR_US),
        }
    }

    /// Whether both are of one class.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        self.prefix == other.prefix
    }
}

/// What stands for a message in an object.
#[derive(Clone, Debug)]
pub(in crate::uplink) struct ObjectLine {
    pub(super) place: ObjectPlace,
    pub(super) seq: Seq,
    pub(super) bytes: Bytes,
    /// Upstream has it, and is asked whether it would take it now: not what is there already is to answer.
    pub(super) is_asked_anew: bool,
}

/// An object as it is sent.
#[derive(Clone, Debug)]
pub(super) struct PackedObject {
    pub(super) name: String,
    pub(super) body: Bytes,
    pub(super) content_type: &'static str,
    /// Bytes of the name that stand behind what tells it from others.
    ending: usize,
}

impl PackedObject {
    /// Gives it a name that no object has.
    pub(super) fn rename(&mut self) {
        let place = self.name.len().saturating_sub(self.ending);
        let apart = again();
        self.name.insert_str(place, &apart);
    }
}

/// What stands in a name that is not to be that of what is there already.
fn again() -> String {
    format!("-again-{:08x}", fastrand::u32(..))
}

/// Puts an object together of what is sent at once.
pub(super) fn pack(config: &Config, lines: &[ObjectLine]) -> PackedObject {
    let head = config.form.head();
    let bytes = lines.iter().map(|line| line.bytes.len()).sum::<usize>();
    let mut plain = BytesMut::with_capacity(head.len() + bytes);
    plain.put_slice(&head);
    let mut digest = Context::new(&SHA256);
    digest.update(&head);
    for line in lines {
        plain.put_slice(&line.bytes);
        digest.update(&line.seq.number().to_be_bytes());
        digest.update(&line.bytes);
    }
    let digest = digest.finish();
    let compressed = config.compress.of(&plain);
    let form = config.form.ending();
    let (ending, content_type) = match (&compressed, &config.form) {
        (Some((_, "gzip")), _) => (Compress::Gzip.ending(), "application/gzip"),
        (Some(_), _) => (Compress::Zstd.ending(), "application/zstd"),
        (None, LineFormat::Csv(_)) => ("", "text/csv; charset=utf-8"),
        (None, LineFormat::Ndjson) => ("", "application/x-ndjson"),
    };
    let body = compressed.map_or_else(|| plain.freeze(), |(body, _)| body);
    let mut name = lines.first().map_or_else(String::new, |first| {
        let last = lines.last().unwrap_or(first).seq.number();
        let digest = &digest.as_ref()[..DIGEST];
        name(
            &config.prefix,
            &first.place,
            (first.seq.number(), last),
            digest,
        )
    });
    if lines.iter().any(|line| line.is_asked_anew) {
        name.push_str(&again());
    }
    let stem = name.len();
    // Writing into a text cannot fail.
    let _ = write!(name, ".{form}{ending}");
    PackedObject {
        ending: name.len() - stem,
        name,
        body,
        content_type,
    }
}

/// In the form `<prefix>/<class>/dt=<day>/hour=<hour>/<gateway>-<store>-<uplink>-<boot>-<first>-<last>-<digest>`.
fn name(
    prefix: &Template,
    place: &ObjectPlace,
    (first, last): (u64, u64),
    digest: &[u8],
) -> String {
    let filling = Filling {
        prefix: &place.prefix,
        topic: &[],
        device: &[],
    };
    let put = |value: &[u8], text: &mut String| {
        put_word(&String::from_utf8_lossy(value), text);
        Ok::<_, std::convert::Infallible>(())
    };
    let mut name = prefix.fill(filling, put).unwrap_or_default();
    if !name.is_empty() {
        name.push('/');
    }
    put_word(filling.class(), &mut name);
    let utc = place.hour.map(|hour| clock::utc(hour * HOUR_US));
    let (day, hour) = match &utc {
        Some(utc) => (utc.get(..10), utc.get(11..13)),
        None => (None, None),
    };
    let unset = "unset";
    // Writing into a text cannot fail.
    let _ = write!(
        name,
        "/dt={}/hour={}/",
        day.unwrap_or(unset),
        hour.unwrap_or(unset)
    );
    for part in place.prefix.split('/').take(3) {
        put_word(part, &mut name);
        name.push('-');
    }
    let _ = write!(name, "{}-{first}-{last}-", place.boot);
    for byte in digest {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// A value: it neither ends nor leaves its place in a name.
fn put_word(value: &str, name: &mut String) {
    let is_dots = value.bytes().all(|byte| byte == b'.');
    name.extend(value.chars().map(|character| match character {
        '.' if !is_dots => '.',
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => character,
        _ => '_',
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARRIVED: WallTime = WallTime(1_795_885_200_000_000 + 1_234_567);

    fn place(prefix: &str, arrived: Option<WallTime>) -> ObjectPlace {
        ObjectPlace::of(&prefix.into(), Seq(7), arrived)
    }

    #[test]
    fn a_name_has_its_class_its_hour_and_its_first_and_last_message() {
        let barn = "barn-7/abcdefgh/cloud/telemetry/";
        let prefix = Template::parse("farm/{gateway}").unwrap();
        let whole = name(&prefix, &place(barn, Some(ARRIVED)), (7, 9), &[0xab, 1]);
        let boot = Seq(7).boot();
        let ends = format!("barn-7-abcdefgh-cloud-{boot}-7-9-ab01");
        assert_eq!(
            whole,
            format!("farm/barn-7/telemetry/dt=2026-11-28/hour=17/{ends}")
        );
        let bare = name(&Template::default(), &place(barn, None), (7, 9), &[0xab, 1]);
        assert_eq!(bare, format!("telemetry/dt=unset/hour=unset/{ends}"));
    }

    #[test]
    fn whatever_stands_in_a_value_it_leads_nowhere_else() {
        let prefix = Template::parse("{gateway}").unwrap();
        for odd in ["..", ".", "a b", "ä", "%2e%2e", "?x#", "\n"] {
            let place = place(&format!("{odd}/s/u/{odd}/"), Some(ARRIVED));
            let name = name(&prefix, &place, (1, 2), &[0]);
            assert_eq!(name.split('/').count(), 5, "{name}");
            for part in name.split('/') {
                assert!(!matches!(part, "" | "." | ".."), "{name}");
            }
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=".contains(&byte);
            assert!(name.bytes().all(is_plain), "{name}");
        }
    }
}
