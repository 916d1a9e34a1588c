//! Names of files: `<name>-<begun>-<boot>-<number>.<form>`, where boot and number are those of the first message in it and
//! `begun` is the time, or `unset`. One that is being written ends in `.part`, one that is being compressed in `.packing`.

use super::super::form::template::{Filling, Template};
use crate::clock::{self, Now};
use crate::message::Seq;

/// A file that is being written.
pub(super) const PART: &str = ".part";
/// One that is being compressed.
pub(super) const PACKING: &str = ".packing";

/// What was cut off from one, behind its whole name.
pub(super) const DAMAGED: &str = ".damaged";

/// Longest beginning, bytes: file systems take 255 in all.
const MOST: usize = 150;

/// What the names of the files begin with for messages whose ids begin with `prefix`.
///
/// The template names neither topic nor device.
pub(super) fn beginning(template: &Template, prefix: &str) -> String {
    let filling = Filling {
        prefix,
        topic: &[],
        device: &[],
    };
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
        let utc = clock::utc(now.wall.0);
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
pub(super) enum FileState {
    /// It was being written.
    Part,
    /// It was being compressed.
    Packing,
    /// It is whole, and may be compressed still.
    Whole { is_packed: bool },
}

/// Where a file stands among others of one store; the newest is last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FilePlace {
    pub(super) boot: u64,
    number: u64,
    twin: u64,
}

/// What the name of a file says that is one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    pub(super) beginning: &'a str,
    pub(super) place: FilePlace,
    pub(super) found: FileState,
}

impl<'a> Name<'a> {
    /// Nothing if it is none of ours.
    pub(super) fn read(name: &'a str) -> Option<Self> {
        let (name, found) = if let Some(name) = name.strip_suffix(PART) {
            (name, Some(FileState::Part))
        } else if let Some(name) = name.strip_suffix(PACKING) {
            (name, Some(FileState::Packing))
        } else {
            (name, None)
        };
        let packed = name
            .strip_suffix(".gz")
            .or_else(|| name.strip_suffix(".zst"));
        let plain = packed.unwrap_or(name);
        let stem = plain
            .strip_suffix(".ndjson")
            .or_else(|| plain.strip_suffix(".csv"))?;
        let mut parts = stem.rsplitn(4, '-');
        let (number, boot, begun) = (parts.next()?, parts.next()?, parts.next()?);
        let beginning = parts.next()?;
        let (number, twin) = number.split_once('~').unwrap_or((number, "0"));
        let is_packed = packed.is_some();
        let name = Self {
            beginning,
            place: FilePlace {
                boot: count(boot)?,
                number: count(number)?,
                twin: count(twin)?,
            },
            found: found.unwrap_or(FileState::Whole { is_packed }),
        };
        let is_time = begun == "unset" || (begun.len() == 16 && begun.ends_with('Z'));
        is_time.then_some(name)
    }
}

/// A number as we write them.
fn count(digits: &str) -> Option<u64> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Uptime, WallTime};

    fn seq(boot: u64, number: u64) -> Seq {
        Seq(boot << Seq::BOOT_SHIFT | number)
    }

    #[test]
    fn a_name_says_when_it_was_begun_and_with_which_message() {
        let now = Now {
            wall: WallTime(1_764_430_380_000_000),
            uptime: Uptime(0),
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
        let found = |name: &str| Name::read(name).map(|name| name.found);
        for twins in 0..2 {
            let stem = stem("a-b.c", seq(1, 2), Now::default(), twins);
            let whole = |is_packed| Some(FileState::Whole { is_packed });
            assert_eq!(found(&format!("{stem}.ndjson")), whole(false));
            assert_eq!(found(&format!("{stem}.csv.gz")), whole(true));
            assert_eq!(found(&format!("{stem}.csv.part")), Some(FileState::Part));
            assert_eq!(
                found(&format!("{stem}.csv.zst.packing")),
                Some(FileState::Packing)
            );
        }
        let newest = Name::read("a-b-unset-3-12~2.csv").unwrap();
        assert_eq!(newest.beginning, "a-b");
        for older in ["a-unset-2-99.csv", "a-unset-3-9.csv", "a-unset-3-12~1.csv"] {
            assert!(Name::read(older).unwrap().place < newest.place, "{older}");
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
