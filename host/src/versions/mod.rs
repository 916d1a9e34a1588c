//! Which version of each plugin runs, over restarts, and the versions it can go back to.
//!
//! ```text
//! <data_dir>/plugins/running.json     what runs and why: a line of JSON, and its SHA-256
//!                    <sha256>.wasm    the components it names (<sha256>.wasm.minisig: their signatures)
//!                    history          who changed what, and what came of it (and history.1, which is older)
//! ```
//!
//! A [`StoredVersion`] is a component with its settings; neither changes alone without being another version. There are two
//! who say which is to run: the config, by its text and the files it names, and the operator, by `tidegate swap`. The
//! newest instruction wins: beside what runs stands what the config said when that was decided (`based_on`), and only
//! where the config says something else at a start does it count again.
//!
//! What was refused or rolled back does not run after a restart, where nothing would guard it. What had not proven
//! itself when the gateway was killed does not either: the version before runs, and what the config says is tried again
//! beside it, once.
//!
//! Nothing here is needed to run. A folder that cannot be written costs what a restart would have known; a component
//! that does not have its digest is never used.

mod choice;
mod entry;
mod files;
pub mod history;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use choice::{Choices, PassedOver};
pub use entry::{Attempt, Earlier, PluginVersions, RefusedVersion, StoredVersion};

use crate::file;
use crate::message::short_digest;
use crate::trust;

/// Good versions that are kept beside the one that runs, for each plugin.
const KEPT: usize = 3;
/// Refused versions that are remembered, for each plugin.
const REFUSED: usize = 16;
/// Plugins that are remembered, those that the config does not have any more included.
const PLUGINS: usize = 8_192;
/// Components that wait in memory for a disk that takes them.
const UNKEPT: usize = 4;

/// Folder of the versions in a data folder.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("plugins")
}

/// A component as it came in.
#[derive(Clone, Copy, Debug)]
pub struct IncomingComponent<'a> {
    pub component: &'a [u8],
    /// Its signature, if it came with one.
    pub signature: Option<&'a str>,
    /// The version that its signature gives it.
    pub signed: Option<&'a semver::Version>,
}

/// How a start came to what it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// By the newest instruction.
    Decided,
    /// What the config says cannot be used, so that the next start looks at it again.
    FellBack,
    /// What the config says is to be tried beside it.
    TryAgain,
}

/// The kept versions of a gateway. Cheap to clone, for any thread.
#[derive(Clone, Debug)]
pub struct Versions {
    folder: PathBuf,
    /// Held for memory work only.
    table: Arc<Mutex<Vec<PluginVersions>>>,
    /// Held, before the table's, by whoever changes the table, from reading it until it is written and shown: nobody else
    /// waits for the disk.
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    /// It has an older table.
    is_behind: bool,
    /// Why, when that is an error.
    error: Option<String>,
    /// Components that could not be kept: digest, component, signature.
    unkept: Vec<(String, Vec<u8>, Option<String>)>,
    /// The table is written later.
    is_put_off: bool,
}

/// Which plugin, and what the config says of it.
#[derive(Clone, Copy, Debug)]
pub struct Spot<'a> {
    pub flow: &'a str,
    /// Its name in the flow.
    pub plugin: &'a str,
    /// What the config says.
    pub written: &'a StoredVersion,
}

impl Versions {
    /// Reads what an earlier process has left. What cannot be read is moved aside and reported, and then the config
    /// alone counts.
    pub fn open(data_dir: &Path) -> Self {
        let folder = folder(data_dir);
        let entries = files::load(&folder).unwrap_or_else(|error| {
            tracing::error!(
                path = %folder.display(), %error,
                "it is not known which versions of the plugins ran: those of the config are taken"
            );
            files::set_aside(&folder);
            Vec::new()
        });
        Self {
            folder,
            table: Arc::new(Mutex::new(entries)),
            disk: Arc::default(),
        }
    }

    /// What a stopped gateway has left, without changing anything.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn look(data_dir: &Path) -> std::io::Result<Vec<PluginVersions>> {
        files::load(&folder(data_dir))
    }

    /// What is known of a plugin.
    pub fn entry(&self, flow: &str, plugin: &str) -> Option<PluginVersions> {
        locked(&self.table)
            .iter()
            .find(|entry| entry.is_of(flow, plugin))
            .cloned()
    }

    /// What may run at a start, best first, when the config says `written`.
    pub fn choices(&self, flow: &str, plugin: &str, written: &StoredVersion) -> Choices {
        Choices::new(self.entry(flow, plugin).as_ref(), written)
    }

    /// The kept component of that digest and its file, if it is whole.
    pub fn component(&self, digest: &str) -> Option<(PathBuf, Vec<u8>)> {
        let path = files::component(&self.folder, digest);
        let bytes = file::read(&path, file::COMPONENT).ok()?;
        if *trust::digest(&bytes) == *digest {
            return Some((path, bytes));
        }
        tracing::error!(path = %path.display(), "a kept component is damaged: it is taken away and not used");
        // Where that fails it is found damaged again.
        let _ = std::fs::remove_file(path);
        None
    }

    /// A start runs `version` while the config says `written`.
    pub fn started(
        &self,
        spot: Spot<'_>,
        version: &StoredVersion,
        code: Option<IncomingComponent<'_>>,
        start: Start,
    ) {
        self.change(spot, code.map(|code| (&*version.digest, code)), |entry| {
            if start != Start::TryAgain {
                entry.give_up_attempt();
            }
            entry.confirm(version);
            entry.raise(code.and_then(|code| code.signed));
            start == Start::Decided
        });
    }

    /// `version` is about to be tried beside the one that runs; an operator has asked for it, or else the config does.
    pub fn begin(&self, spot: Spot<'_>, version: &StoredVersion, is_asked: bool) {
        self.change(spot, None, |entry| {
            entry.begin(version, is_asked);
            false
        });
    }

    /// `version` has proven itself and runs; without `code` it has that of the one that ran before.
    pub fn confirmed(
        &self,
        spot: Spot<'_>,
        version: &StoredVersion,
        code: Option<IncomingComponent<'_>>,
    ) {
        self.change(spot, code.map(|code| (&*version.digest, code)), |entry| {
            entry.confirm(version);
            entry.raise(code.and_then(|code| code.signed));
            true
        });
    }

    /// A version was not taken, and the one before runs on.
    pub fn refused(&self, spot: Spot<'_>, refusal: RefusedVersion) {
        self.change(spot, None, |entry| {
            entry.refuse(refusal);
            true
        });
    }

    /// The attempt under way was ended by the gateway's own stop: the version has neither proven itself nor failed.
    pub fn suspended(&self, spot: Spot<'_>) {
        self.change(spot, None, |entry| {
            entry.suspend();
            false
        });
    }

    /// What changes while `work` runs is shown at once, and written together behind it: a start changes many.
    pub fn together<R>(&self, work: impl FnOnce() -> R) -> R {
        locked(&self.disk).is_put_off = true;
        let done = work();
        let mut disk = locked(&self.disk);
        disk.is_put_off = false;
        if disk.is_behind {
            let entries = locked(&self.table).clone();
            self.written(&mut disk, files::save(&self.folder, &entries));
        }
        done
    }

    /// `change` answers whether what the config says now has been decided about.
    fn change(
        &self,
        spot: Spot<'_>,
        component: Option<(&str, IncomingComponent<'_>)>,
        change: impl FnOnce(&mut PluginVersions) -> bool,
    ) {
        let Spot {
            flow,
            plugin,
            written,
        } = spot;
        let mut disk = locked(&self.disk);
        let before = self.entry(flow, plugin);
        let mut entry = before
            .clone()
            .unwrap_or_else(|| PluginVersions::new(flow, plugin, written));
        if change(&mut entry) {
            entry.based_on = written.clone();
        }
        let is_new = before.as_ref() != Some(&entry);
        let component =
            component.filter(|(digest, code)| !files::is_kept(&self.folder, digest, *code));
        let kept = component.map_or(Ok(()), |(digest, code)| {
            files::keep(&self.folder, digest, code)
        });
        if let (Some((digest, code)), Err(_)) = (component, &kept) {
            disk.unkept.truncate(UNKEPT - 1);
            disk.unkept.insert(
                0,
                (
                    digest.to_owned(),
                    code.component.to_vec(),
                    code.signature.map(str::to_owned),
                ),
            );
        }
        if disk.is_put_off {
            put(&mut locked(&self.table), entry);
            let was_behind = disk.is_behind;
            self.written(&mut disk, kept);
            disk.is_behind |= was_behind || is_new;
            return;
        }
        // The table goes after the component, so that it never names one that is not there, and is shown once it is durable.
        // Where it cannot be, what runs is shown all the same.
        let mut entries = locked(&self.table).clone();
        put(&mut entries, entry);
        let saved = if is_new || disk.is_behind {
            files::save(&self.folder, &entries)
        } else {
            Ok(())
        };
        *locked(&self.table) = entries;
        self.written(&mut disk, kept.and(saved));
    }

    /// Why what runs is not written down, if it is not: a restart would run something else.
    pub fn unwritten(&self) -> Option<String> {
        locked(&self.disk).error.clone()
    }

    /// Tries again to write down what could not be.
    pub fn write_again(&self) {
        let mut disk = locked(&self.disk);
        if disk.error.is_none() {
            return;
        }
        let keep = |(digest, component, signature): &(String, Vec<u8>, Option<String>)| {
            let code = IncomingComponent {
                component,
                signature: signature.as_deref(),
                signed: None,
            };
            files::keep(&self.folder, digest, code)
        };
        let kept = disk.unkept.iter().rev().try_for_each(keep);
        let entries = locked(&self.table).clone();
        match kept.and_then(|()| files::save(&self.folder, &entries)) {
            Ok(()) => {
                (disk.is_behind, disk.error, disk.unkept) = (false, None, Vec::new());
                tracing::info!(path = %self.folder.display(), "which versions run is written down now");
            }
            Err(error) => disk.error = Some(error.to_string()),
        }
    }

    fn written(&self, disk: &mut Disk, written: std::io::Result<()>) {
        disk.is_behind = written.is_err();
        disk.error = written.as_ref().err().map(ToString::to_string);
        if let Err(error) = written {
            let path = self.folder.display();
            tracing::warn!(
                %path, %error,
                "which versions run cannot be written down: a restart falls back to what was written last, or to the config"
            );
        }
    }
}

fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts an entry in the place of that of its plugin, or behind the others, of which the oldest makes room.
fn put(entries: &mut Vec<PluginVersions>, entry: PluginVersions) {
    match entries
        .iter_mut()
        .find(|known| known.is_of(&entry.flow, &entry.plugin))
    {
        Some(known) => *known = entry,
        None => {
            if entries.len() >= PLUGINS {
                entries.remove(0);
            }
            entries.push(entry);
        }
    }
}

impl StoredVersion {
    /// As logs have it: the digest, short.
    pub fn label(&self) -> &str {
        short_digest(&self.digest)
    }
}

#[cfg(test)]
mod tests;
