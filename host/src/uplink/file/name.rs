//! Names of files: `<name>-<begun>-<boot>-<number>.<form>`, where boot and number are those of the first message in it and
//! `begun` is the time, or `unset`. One that is being written ends in `.part`, one that is being compressed in `.packing`.

use super::super::form::template::{Filling, Template};
use crate::clock::{self, Now};
use crate::message::Seq;

/// A file that is being written.
pub(super) const PART: &str = ".part";
/// One that is being compressed.
pub(super) const PACKING: &str = ".packing";

/// Longest beginning, bytes: file systems take 255 in all.
const MOST: usize = 150;

/// What the names of the files begin with that a message may stand in.
pub(super) fn beginning(template: &Template, filling: Filling<'_>) -> String {
    let mut name: String = template
        .text(filling)
        .chars()
        .map(|character| match character {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => character,
            _ => '_',
        })
        .take(MOST)
        .collect();
    // Hidden otherwise, or no name at all.
    if name.is_empty() || name.starts_with('.') {
        name.insert(0, '_');
    }
    name
}

/// The name of a new file, without its form; the first of `twins` that is not taken counts.
pub(super) fn stem(beginning: &str, first: Seq, now: Now, twins: u32) -> String {
    let begun = if now.is_set() {
        let utc = clock::utc(now.wall_us);
        let day_and_time: String = utc
            .chars()
            .filter(|it| it.is_ascii_digit() || *it == 'T')
            .take(15)
            .collect();
        day_and_time + "Z"
    } else {
        "unset".to_owned()
    };
    let twin = if twins == 0 {
        String::new()
    } else {
        format!("~{twins}")
    };
    format!(
        "{beginning}-{begun}-{}-{}{twin}",
        first.boot(),
        first.number()
    )
}

/// What a file in the folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It was being written.
    Part,
    /// It was being compressed.
    Packing,
    /// It is whole, and may be compressed still.
    Whole { is_packed: bool },
}

/// Whether a file is one of ours.
pub(super) fn found(name: &str) -> Option<Found> {
    let (name, found) = if let Some(name) = name.strip_suffix(PART) {
        (name, Found::Part)
    } else if let Some(name) = name.strip_suffix(PACKING) {
        (name, Found::Packing)
    } else {
        (name, Found::Whole { is_packed: false })
    };
    let packed = name
        .strip_suffix(".gz")
        .or_else(|| name.strip_suffix(".zst"));
    let plain = packed.unwrap_or(name);
    let stem = plain
        .strip_suffix(".ndjson")
        .or_else(|| plain.strip_suffix(".csv"))?;
    let mut parts = stem.rsplitn(4, '-');
    let number = parts.next()?;
    let number = number.split_once('~').map_or(number, |(number, _)| number);
    let (boot, begun) = (parts.next()?, parts.next()?);
    parts.next()?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_time = begun == "unset" || (begun.len() == 16 && begun.ends_with('Z'));
    let is_ours = is_number(number) && is_number(boot) && is_time;
    is_ours.then_some(match found {
        Found::Whole { .. } => Found::Whole {
            is_packed: packed.is_some(),
        },
        found => found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(boot: u64, number: u64) -> Seq {
        Seq(boot << Seq::BOOT_SHIFT | number)
    }

    #[test]
    fn a_name_says_when_it_was_begun_and_with_which_message() {
        let now = Now {
            wall_us: 1_764_430_380_000_000,
            uptime_us: 0,
        };
        let first = seq(12, 345);
        assert_eq!(
            stem("alarm", first, now, 0),
            "alarm-20251129T153300Z-12-345"
        );
        assert_eq!(stem("a-b", first, Now::default(), 2), "a-b-unset-12-345~2");
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        for twins in 0..2 {
            let stem = stem("a-b.c", seq(1, 2), Now::default(), twins);
            let whole = |is_packed| Some(Found::Whole { is_packed });
            assert_eq!(found(&format!("{stem}.ndjson")), whole(false));
            assert_eq!(found(&format!("{stem}.csv.gz")), whole(true));
            assert_eq!(found(&format!("{stem}.csv.part")), Some(Found::Part));
            assert_eq!(
                found(&format!("{stem}.csv.zst.packing")),
                Some(Found::Packing)
            );
        }
        for name in [
            "notes.csv",
            "a-unset-1-2.txt",
            "unset-1-2.csv",
            "a-b-1-2.csv",
            "a-unset--2.csv",
            ".csv.part",
            "a-unset-x-2.ndjson",
        ] {
            assert_eq!(found(name), None, "{name}");
        }
    }
}
