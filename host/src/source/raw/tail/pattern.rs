//! Which files are followed: those of a folder whose names fit. No disk.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::message::legal;
use crate::words;

/// A folder, and a name in which `*` stands for any characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilePattern {
    pub(super) folder: PathBuf,
    name: Box<str>,
}

impl FilePattern {
    /// Reads one: the whole path of a file, with `*` in its name at most.
    ///
    /// # Errors
    /// It is none, in words.
    pub fn parse(path: &str) -> Result<Self, &'static str> {
        if !path.starts_with('/') {
            return Err("is not the whole path of a file");
        }
        if path.contains(['\0', '?', '#', '[', '{']) {
            return Err("has a character that means something elsewhere: only * stands for others");
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or_default();
        if folder.contains('*') {
            return Err("has a * in the name of a folder");
        }
        if name.is_empty() || name == "." || name == ".." {
            return Err("ends in no name of a file");
        }
        let folder = if folder.is_empty() { "/" } else { folder };
        Ok(Self {
            folder: folder.into(),
            name: name.into(),
        })
    }

    /// The one file, where no other name fits.
    pub(super) fn single(&self) -> Option<PathBuf> {
        (!self.name.contains('*')).then(|| self.folder.join(&*self.name))
    }

    pub(super) fn fits(&self, name: &OsStr) -> bool {
        fits(self.name.as_bytes(), name.as_bytes())
    }

    /// Whether a file that was found at a path is one of these.
    pub(super) fn covers(&self, home: &Path) -> bool {
        home.parent() == Some(&*self.folder) && home.file_name().is_some_and(|name| self.fits(name))
    }

    /// The path as it was written.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&*self.name)
    }
}

impl fmt::Display for FilePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path().display())
    }
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let mut parts = pattern.split(|byte| *byte == b'*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    let mut is_whole = true;
    while let Some(part) = parts.next() {
        is_whole = false;
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = (0..=rest.len()).find(|at| rest[*at..].starts_with(part)) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    is_whole && rest.is_empty()
}

/// Whether a file may be a rotation of another one by its name: that of the other, then `.`, `-` or `_`, and something behind it. What goes
/// on otherwise is somebody else's: `meter12` beside `meter1`.
pub(super) fn is_aside(own: &Path, other: &Path) -> bool {
    rest(own, other).is_some_and(|rest| {
        let is_parted = rest.first().is_some_and(|first| b".-_".contains(first));
        is_parted && rest.len() > 1
    })
}

/// Whether it is one also without a look at what stands in it: the numbers and dates of a rotation stand there, and nothing else.
pub(super) fn is_rotated(own: &Path, other: &Path) -> bool {
    let is_of_rotation = |byte: &u8| byte.is_ascii_digit() || b".-_T".contains(byte);
    is_aside(own, other) && rest(own, other).is_some_and(|rest| rest.iter().all(is_of_rotation))
}

/// Whether a file has the name of another one, or may be a rotation of it.
pub(super) fn is_named_after(own: &Path, other: &Path) -> bool {
    own.file_name() == other.file_name() || is_aside(own, other)
}

/// How the name of a file goes on behind that of another one.
fn rest<'a>(own: &Path, other: &'a Path) -> Option<&'a [u8]> {
    let (own, other) = (own.file_name()?, other.file_name()?);
    other.as_bytes().strip_prefix(own.as_bytes())
}

/// The name of a file as a level of a topic: what a level may not have is `_`, and a byte that is no text stands by its number, `%FF`.
pub(super) fn level(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    let legal = |letter: char| {
        let is_legal = legal::check_topic(letter.encode_utf8(&mut [0; 4]).as_bytes()).is_ok();
        if is_legal && letter != '/' {
            letter
        } else {
            '_'
        }
    };
    by_number(name.as_bytes(), legal, "%")
}

/// A path as it is shown: on one line, and a byte that is no text by its number, `\xFF`.
pub(super) fn shown(path: &Path) -> String {
    let text = by_number(path.as_os_str().as_bytes(), |letter| letter, "\\x");
    words::line(&text, 200)
}

fn by_number(bytes: &[u8], letter: impl Fn(char) -> char, mark: &str) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.extend(chunk.valid().chars().map(&letter));
        let invalid = chunk.invalid().iter();
        text.extend(invalid.map(|byte| format!("{mark}{byte:02X}")));
    }
    text
}

/// A path in the notes: as it is, or, where it is no text, by its bytes. No whole path begins as that does.
pub(super) mod noted {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serializer, de};

    use crate::message::hexadecimal;

    const BYTES: &str = "hex:";

    pub(in crate::source::raw::tail) fn serialize<S: Serializer>(
        path: &Path,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let by_bytes = || format!("{BYTES}{}", hexadecimal(path.as_os_str().as_bytes()));
        match path.to_str().filter(|text| !text.starts_with(BYTES)) {
            Some(text) => serializer.serialize_str(text),
            None => serializer.serialize_str(&by_bytes()),
        }
    }

    pub(in crate::source::raw::tail) fn deserialize<'a, D: Deserializer<'a>>(
        deserializer: D,
    ) -> Result<PathBuf, D::Error> {
        let text = String::deserialize(deserializer)?;
        let Some(digits) = text.strip_prefix(BYTES) else {
            return Ok(text.into());
        };
        let odd = || de::Error::custom("a path that is not noted as one is");
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        };
        let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
        Ok(OsString::from_vec(bytes.ok_or_else(odd)?).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_where_stars_stand_for_the_rest() {
        for (pattern, name, is_it) in [
            ("app.log", "app.log", true),
            ("app.log", "app.log.1", false),
            ("*.log", "app.log", true),
            ("*.log", ".log", true),
            ("app*.log*", "app-1.log.2", true),
            ("app*.log*", "ap.log", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("*", "anything", true),
        ] {
            let pattern = FilePattern::parse(&format!("/var/log/{pattern}")).unwrap();
            assert_eq!(pattern.fits(OsStr::new(name)), is_it, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_no_path_of_a_file_is_told() {
        for path in [
            "",
            "app.log",
            "/var/*/app.log",
            "/var/log/",
            "/",
            "/var/..",
            "/a/[x]",
            "/a/b?c",
        ] {
            assert!(FilePattern::parse(path).is_err(), "{path}");
        }
        assert_eq!(
            FilePattern::parse("/a").unwrap().single(),
            Some("/a".into())
        );
    }

    #[test]
    fn a_file_is_covered_by_its_folder_and_its_name() {
        let pattern = FilePattern::parse("/var/log/*.log").unwrap();
        assert!(pattern.covers(Path::new("/var/log/a.log")));
        for other in ["/var/a.log", "/var/log/x/a.log", "/var/log/a.txt", "/"] {
            assert!(!pattern.covers(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn a_rotation_has_a_name_that_goes_on_behind_a_mark() {
        for (name, aside, rotated) in [
            ("meter1", false, false),
            ("meter12", false, false),
            ("meter1.", false, false),
            ("meter1.1", true, true),
            ("meter1-20260131", true, true),
            ("meter1-2026-01-31T10.00", true, true),
            ("meter1_2", true, true),
            ("meter1.old", true, false),
            ("meter1.1.gz", true, false),
            ("meter1x.1", false, false),
            ("meter", false, false),
        ] {
            let (own, other) = (Path::new("/a/meter1"), Path::new(name));
            assert_eq!(is_aside(own, other), aside, "{name}");
            assert_eq!(is_rotated(own, other), rotated, "{name}");
        }
    }

    #[test]
    fn a_name_becomes_a_level() {
        assert_eq!(level(Path::new("/x/a+b#c\n\u{fdd0}ü.log")), "a_b_c__ü.log");
        let odd = Path::new(OsStr::from_bytes(b"/x/a\xff\x1b\xe2\x82.log"));
        assert_eq!(level(odd), "a%FF_%E2%82.log");
        assert_eq!(shown(odd), "/x/a\\xFF\u{fffd}\\xE2\\x82.log");
    }
}
