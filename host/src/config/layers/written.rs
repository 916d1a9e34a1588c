//! What stands in the files of a config: the one that was named, and its parts in `conf.d` beside it.
//!
//! A key stands in one of them only, and so does a source, uplink, flow or class: there is no order in which one file could
//! take back what another says.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::tree::{Node, Table, TomlEntry};
use crate::file;

/// Bytes of a file of the config: a thousand flows take half of them.
pub(in crate::config) const MOST_BYTES: u64 = 1 << 20;
/// The folder of the parts, beside the config.
const FOLDER: &str = "conf.d";
/// Parts that are read.
const MOST_PARTS: usize = 256;
/// Begins the line, behind the first, that says which parts a kept config has, and how long they are.
const PARTS: &str = "# with conf.d: ";

/// What was written, or why it cannot be read.
type FileText = Result<String, String>;

/// All files of a config.
#[derive(Clone, Debug)]
pub(in crate::config) struct WrittenConfig {
    pub(in crate::config) file: FileText,
    /// In the order of their names.
    pub(in crate::config) parts: Vec<(PathBuf, FileText)>,
}

impl WrittenConfig {
    /// As they lie on disk.
    pub(in crate::config) fn read(path: &Path, folder: &Path) -> Self {
        let parts = match parts_in(&parts_folder(folder)) {
            Ok(parts) => {
                let read = |part: PathBuf| {
                    let written = read_text(&part);
                    (part, written)
                };
                parts.into_iter().map(read).collect()
            }
            Err(error) => vec![(
                parts_folder(folder),
                Err(format!("cannot read the parts of the config: {error}")),
            )],
        };
        Self {
            file: read_text(path),
            parts,
        }
    }

    /// One file without parts.
    pub(in crate::config) fn alone(text: impl Into<String>) -> Self {
        Self {
            file: Ok(text.into()),
            parts: Vec::new(),
        }
    }

    /// In one text, from which [`Self::from_kept`] makes it again.
    pub(in crate::config) fn to_kept(&self) -> String {
        let texts = self.parts.iter().map(|(path, written)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            (name.into_owned(), written.as_deref().unwrap_or_default())
        });
        let texts: Vec<_> = texts.collect();
        let file = self.file.as_deref().unwrap_or_default();
        if texts.is_empty() && !file.starts_with(PARTS) {
            return file.to_owned();
        }
        let lengths: Vec<_> = texts
            .iter()
            .map(|(name, text)| (name, text.len()))
            .collect();
        let lengths = serde_json::to_string(&lengths).unwrap_or_default();
        let parts: String = texts.iter().map(|(_, text)| *text).collect();
        format!("{PARTS}{lengths}\n{parts}{file}")
    }

    /// What [`Self::to_kept`] has made of files in this folder; `None` where it has not.
    pub(in crate::config) fn from_kept(kept: &str, folder: &Path) -> Option<Self> {
        let Some(rest) = kept.strip_prefix(PARTS) else {
            return Some(Self::alone(kept));
        };
        let (lengths, mut rest) = rest.split_once('\n')?;
        let lengths: Vec<(String, usize)> = serde_json::from_str(lengths).ok()?;
        let mut parts = Vec::new();
        for (name, length) in lengths {
            let (text, more) = rest.split_at_checked(length)?;
            parts.push((parts_folder(folder).join(name), Ok(text.to_owned())));
            rest = more;
        }
        Some(Self {
            file: Ok(rest.to_owned()),
            parts,
        })
    }
}

/// Where the parts of a config in `folder` lie.
pub(in crate::config) fn parts_folder(folder: &Path) -> PathBuf {
    folder.join(FOLDER)
}

/// The parts in a folder, in the order of their names: what ends in `.toml` and does not begin with a dot. None where there is
/// no such folder.
///
/// # Errors
/// It cannot be read, or there are too many.
pub fn parts_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let own = folder.to_owned();
    file::within(folder, move || parts_now(&own))
}

fn parts_now(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut parts = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        if name.ends_with(b".toml") && !name.starts_with(b".") {
            parts.push(path);
        }
        if parts.len() > MOST_PARTS {
            return Err(io::Error::other(format!(
                "there are more than {MOST_PARTS}"
            )));
        }
    }
    parts.sort();
    Ok(parts)
}

/// Puts what a part says beside what is there; answers what stands in both, by its name, where it stands in the part and where
/// it stood before.
pub(super) fn join(whole: &mut Table, part: Table) -> Vec<(String, TomlEntry, TomlEntry)> {
    let mut twice = Vec::new();
    for entry in part.entries {
        let known = whole
            .entries
            .iter_mut()
            .find(|known| known.key == entry.key);
        let Some(known) = known else {
            whole.entries.push(entry);
            continue;
        };
        let (Node::Table(inner), Node::Table(more)) = (&mut known.item.node, &entry.item.node)
        else {
            twice.push((entry.key.clone(), entry, known.clone()));
            continue;
        };
        for one in more.entries.clone() {
            match inner.entries.iter().find(|known| known.key == one.key) {
                Some(known) => {
                    twice.push((format!("{}.{}", entry.key, one.key), one, known.clone()));
                }
                None => inner.entries.push(one),
            }
        }
    }
    twice
}

/// The file, or why it is none. `/dev/null` is the usual name of an empty one, as a replay of a recording uses it.
fn read_text(path: &Path) -> Result<String, String> {
    if path == Path::new("/dev/null") {
        return Ok(String::new());
    }
    let bytes =
        file::read(path, MOST_BYTES).map_err(|error| format!("cannot read the config: {error}"))?;
    String::from_utf8(bytes).map_err(|error| {
        format!(
            "the config is not UTF-8 from byte {} on",
            error.utf8_error().valid_up_to()
        )
    })
}
