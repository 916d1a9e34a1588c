//! The last config that worked, kept in the data folder as it was written: secrets stand there by reference only. A start whose
//! config has mistakes begins on it, and an operator's command needs no faultless file.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::layers::Layers;
use super::layers::written::{MOST_BYTES, WrittenConfig};
use super::tree::Node;
use super::{Config, Problems, Secrets, Sources, load_written};
use crate::file;

const FOLDER: &str = "config";
const FILE: &str = "last-good.toml";
/// Bytes of it, with all parts.
const MOST_KEPT: u64 = 8 * MOST_BYTES;
/// The first line says which file it is of: another's is not taken for it.
const HEAD: &str = "# What worked last of ";

/// Keeps what `config` was read from.
///
/// # Errors
/// The disk's.
pub fn keep(config: &Config, sources: &Sources) -> io::Result<()> {
    let folder = config.gateway.data_dir.join(FOLDER);
    let text = format!("{}{}", head(sources), config.origin.written.reveal());
    let path = folder.join(FILE);
    if file::read_text(&path, MOST_KEPT).is_ok_and(|kept| kept == text) {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    let beside = folder.join(format!("{FILE}.new"));
    // It must be new: the rights of a file that is there stay as they are.
    drop(fs::remove_file(&beside));
    let mut written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    written
        .write_all(text.as_bytes())
        .and_then(|()| written.sync_all())
        .inspect_err(|_| drop(fs::remove_file(&beside)))?;
    fs::rename(&beside, path)?;
    file::sync_folder(&folder)
}

/// Whether the file says something else by now than when `config` was read from it; one that cannot be read says nothing.
pub fn has_changed(config: &Config, sources: &Sources) -> bool {
    let now = WrittenConfig::read(&sources.path, sources.folder());
    now.file.is_ok() && now.to_kept() != config.origin.written.reveal()
}

/// The config that worked last, in place of what the file says today; `None` when none is kept of this file, or today's
/// machine or overrides do not go with it. Files that are read at each dial may be missing.
pub fn load_kept(sources: &Sources) -> Option<Config> {
    let sources = &Sources {
        secrets: Secrets::Proven,
        ..sources.clone()
    };
    let path = data_dir(sources)?.join(FOLDER).join(FILE);
    file::own(&path).ok()?;
    let text = file::read_text(&path, MOST_KEPT).ok()?;
    let text = text.strip_prefix(&head(sources))?;
    load_written(sources, WrittenConfig::from_kept(text, sources.folder())?).ok()
}

/// The data folder, whatever else the config says: as given, else as written, else none of its own.
pub fn data_dir(sources: &Sources) -> Option<PathBuf> {
    if let Some(given) = &sources.data_dir {
        return Some(given.clone());
    }
    let layers = Layers::read(
        sources,
        WrittenConfig::read(&sources.path, sources.folder()),
    );
    let written = match layers
        .tree
        .table("gateway")
        .and_then(|table| table.get("data_dir"))
        .map(|item| &item.node)
    {
        Some(Node::Text(path)) => Some(sources.folder().join(path)),
        _ => None,
    };
    written.or_else(|| super::globals::default_data_dir(sources))
}

/// Whether `folder` is where data is only because nobody says otherwise.
pub fn is_default_data_dir(sources: &Sources, folder: &Path) -> bool {
    sources.data_dir.is_none()
        && super::globals::default_data_dir(sources).as_deref() == Some(folder)
}

/// A config for looking at what is on disk: as [`super::load`], else what worked last, else with nothing in it but where the
/// data is. Problems are those of the file.
pub fn load_somehow(sources: &Sources) -> (Config, Option<Problems>) {
    let sources = &Sources {
        secrets: Secrets::AtDial,
        ..sources.clone()
    };
    let problems = match super::load(sources) {
        Ok(config) => return (config, None),
        Err(problems) => problems,
    };
    let sources = Sources {
        data_dir: data_dir(sources),
        ..sources.clone()
    };
    let config = load_kept(&sources).unwrap_or_else(|| super::bare(&sources));
    (config, Some(problems))
}

fn head(sources: &Sources) -> String {
    let path = fs::canonicalize(&sources.path).unwrap_or_else(|_| sources.path.clone());
    format!("{HEAD}{}\n", path.display())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const GOOD: &str = "[source.a]\nurl = \"mqtt://127.0.0.1\"\n[uplink.b]\nurl = \"mqtt://127.0.0.1:1884\"\n\
        [flow.c]\nfrom = \"a\"\ntopics = \"d/{device}\"\nto = \"b:telemetry\"\n";

    fn sources(folder: &Path) -> Sources {
        Sources {
            path: folder.join("tidegate.toml"),
            env: BTreeMap::new(),
            sets: Vec::new(),
            data_dir: Some(folder.join("data")),
            cores: 2,
            secrets: Secrets::default(),
        }
    }

    #[test]
    fn what_worked_last_stands_in_for_a_broken_file_and_only_for_that_one() {
        let folder = tempfile::tempdir().unwrap();
        let sources = sources(folder.path());
        fs::write(&sources.path, GOOD).unwrap();
        assert!(load_kept(&sources).is_none());
        keep(&super::super::load(&sources).unwrap(), &sources).unwrap();
        let kept = folder.path().join("data/config/last-good.toml");
        assert_eq!(
            fs::metadata(&kept).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::write(&sources.path, "[flow.c").unwrap();
        assert_eq!(load_kept(&sources).unwrap().flows.len(), 1);
        let (config, problems) = load_somehow(&sources);
        assert_eq!((config.flows.len(), problems.is_some()), (1, true));
        let other = Sources {
            path: folder.path().join("other.toml"),
            ..sources.clone()
        };
        assert!(load_kept(&other).is_none());
        // Others could have written it.
        fs::set_permissions(&kept, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(load_kept(&sources).is_none());
    }

    #[test]
    fn where_the_data_is_can_be_known_whatever_else_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let sources = Sources {
            data_dir: None,
            ..sources(folder.path())
        };
        fs::write(
            &sources.path,
            "[gateway]\ndata_dir = \"here\"\nnonsense = 1\n[flow.c]\ntopics = \n",
        )
        .unwrap();
        assert_eq!(data_dir(&sources).unwrap(), folder.path().join("here"));
        let (config, problems) = load_somehow(&sources);
        assert_eq!(config.gateway.data_dir, folder.path().join("here"));
        assert!(config.flows.is_empty() && problems.is_some_and(|problems| problems.errors() > 0));
    }
}
