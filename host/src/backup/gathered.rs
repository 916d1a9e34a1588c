//! Everything that belongs into a backup, in a folder of its own below the data folder, as it is at one moment. It goes with
//! this value; what a kill left behind makes way for the next.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{BackupError, CONFIG, DATA, is_below};
use crate::chain::Artefact;
use crate::config::{self, Config};
use crate::file;
use crate::spool::{SnapshotError, SnapshotFile};
use crate::trust::signature_path;
use crate::versions;

/// The folder in the data folder.
const FOLDER: &str = "backup";
/// Folders of the data folder that are copied, besides the spool.
const SESSIONS: &str = "sessions";

/// A file of a backup, as its list has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its path within the backup, with `/` on every system: `data/spool/lock`.
    pub name: String,
    /// So much of it counts: it may have grown since.
    pub bytes: u64,
}

/// What one run of `tidegate backup` has copied so far, below a folder of its own that is taken away when this is dropped.
#[derive(Debug)]
pub struct Gathered {
    folder: PathBuf,
    files: Vec<BackupFile>,
    /// Plugins whose files lie elsewhere than below the config's folder: the kept versions stand in for them.
    elsewhere: Vec<PathBuf>,
}

impl Drop for Gathered {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::warn!(path = %self.folder.display(), %error, "what was gathered for a backup stays behind, and makes way for the next");
        }
    }
}

/// Removes what a kill has left of a backup.
pub fn clear(data_dir: &Path) {
    // Mostly there is none.
    drop(fs::remove_dir_all(data_dir.join(FOLDER)));
}

impl Gathered {
    /// Gathers what this config, as it stands in `file` with its parts, and its data folder hold; `snapshot` puts the store into
    /// the new folder that it is given.
    pub fn gather(
        config: &Config,
        file: &Path,
        snapshot: impl FnOnce(&Path) -> Result<Vec<SnapshotFile>, SnapshotError>,
    ) -> Result<Self, BackupError> {
        let data_dir = &config.gateway.data_dir;
        clear(data_dir);
        let mut gathered = Self {
            folder: data_dir.join(FOLDER),
            files: Vec::new(),
            elsewhere: Vec::new(),
        };
        for folder in ["", CONFIG, DATA] {
            gathered.make(Path::new(folder))?;
        }
        gathered.add_config(config, file)?;
        // The store last: what runs is noted before anything follows from it.
        gathered.add_folder(&versions::folder(data_dir), "plugins")?;
        gathered.add_folder(&data_dir.join(SESSIONS), SESSIONS)?;
        let spool = Path::new(DATA).join("spool");
        let files = snapshot(&gathered.folder.join(&spool))?;
        gathered
            .files
            .extend(files.into_iter().map(|one| BackupFile {
                name: spool.join(&one.path).display().to_string(),
                bytes: one.bytes,
            }));
        Ok(gathered)
    }

    /// What is in it.
    pub fn files(&self) -> &[BackupFile] {
        &self.files
    }

    /// Plugins' files that are not in it.
    pub fn elsewhere(&self) -> &[PathBuf] {
        &self.elsewhere
    }

    /// Bytes of one of its files from `from` on, `most` at most; none behind its end.
    pub fn read(&self, name: &str, from: u64, most: u64) -> Result<Vec<u8>, BackupError> {
        let Some(known) = self.files.iter().find(|known| known.name == name) else {
            return Err(BackupError::Damaged(format!("there is no file `{name}`")));
        };
        let path = self.folder.join(name);
        let wanted = known.bytes.saturating_sub(from).min(most);
        let mut bytes = vec![0; usize::try_from(wanted).unwrap_or_default()];
        file::open(&path)
            .and_then(|file| file.read_exact_at(&mut bytes, from))
            .map_err(BackupError::file(&path))?;
        Ok(bytes)
    }

    fn make(&self, below: &Path) -> Result<(), BackupError> {
        let path = self.folder.join(below);
        DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(&path)
            .map_err(BackupError::file(&path))
    }

    fn add(&mut self, name: PathBuf, content: &[u8]) -> Result<(), BackupError> {
        self.make(name.parent().unwrap_or(Path::new("")))?;
        let path = self.folder.join(&name);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(content))
            .map_err(BackupError::file(&path))?;
        self.files.push(BackupFile {
            name: name.display().to_string(),
            bytes: content.len() as u64,
        });
        Ok(())
    }

    /// The files of the config, and the plugins and signatures that lie below its folder.
    fn add_config(&mut self, config: &Config, file: &Path) -> Result<(), BackupError> {
        let folder = file.parent().unwrap_or(Path::new("."));
        let text = file::read(file, file::BY_HAND).map_err(BackupError::file(file))?;
        self.add(Path::new(CONFIG).join("tidegate.toml"), &text)?;
        let parts = folder.join("conf.d");
        for part in config::parts_in(&parts).map_err(BackupError::file(&parts))? {
            let text = file::read(&part, file::BY_HAND).map_err(BackupError::file(&part))?;
            self.add(below_config(folder, &part), &text)?;
        }
        let mut seen = std::collections::BTreeSet::new();
        for plugin in config.flows.iter().flat_map(|flow| &flow.plugins) {
            let Artefact::File(path) = &plugin.artefact else {
                continue;
            };
            if !seen.insert(path.clone()) {
                continue;
            }
            if !is_below(&below_config(folder, path)) {
                self.elsewhere.push(path.clone());
                continue;
            }
            for path in [path.clone(), signature_path(path)] {
                // A signature need not be there, and for a component that is gone a kept version runs.
                if let Ok(content) = file::read(&path, file::COMPONENT) {
                    self.add(below_config(folder, &path), &content)?;
                }
            }
        }
        Ok(())
    }

    fn add_folder(&mut self, folder: &Path, name: &str) -> Result<(), BackupError> {
        let Ok(entries) = fs::read_dir(folder) else {
            return Ok(());
        };
        for entry in entries {
            let path = entry.map_err(BackupError::file(folder))?.path();
            let Ok(content) = file::read(&path, file::COMPONENT) else {
                continue;
            };
            let own = path.file_name().unwrap_or_default();
            self.add(Path::new(DATA).join(name).join(own), &content)?;
        }
        Ok(())
    }
}

fn below_config(folder: &Path, path: &Path) -> PathBuf {
    let below = path.strip_prefix(folder).unwrap_or(path);
    // Without the dots of `./rule.wasm`.
    Path::new(CONFIG).join(below).components().collect()
}
