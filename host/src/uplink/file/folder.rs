//! The files of one uplink, on a thread that may wait for the disk. A line counts once its file is synced, and its name leads
//! to that file; what stands behind the last sync is cut away, and owed again.
//!
//! The lanes of one gateway (its own, the one for flows with `priority`, the stand-ins for other uplinks) share the folder: each
//! has files of its own, and locks them. A file that nobody has locked is of a lane that is over, and any of them mends it.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use rustix::fs::{FlockOperation, flock};

use super::mount::{ask_for_disk, note_disk};
use super::name::{self, FilePlace, FileState, Name, PACKING};
use super::part::{Part, TWINS, claim, leads_to, make, mend, remove, rename, with};
use super::{Config, Error};
use crate::clock::Now;
use crate::file;
use crate::message::Seq;

/// Lines for files of one name.
#[derive(Debug)]
pub(super) struct Lot {
    /// What the names of its files begin with.
    pub(super) beginning: Arc<str>,
    /// Of the first message in it.
    pub(super) first: Seq,
    pub(super) lines: BytesMut,
}

/// The folder, and what is being written in it.
#[derive(Debug)]
pub(super) struct OutputFolder {
    config: Arc<Config>,
    /// Of the store that messages come from.
    boot: u32,
    open: BTreeMap<Arc<str>, Part>,
    /// Whole, and still to be compressed.
    plain: Vec<PathBuf>,
}

/// A file that is there.
#[derive(Debug)]
struct Entry {
    path: PathBuf,
    found: FileState,
    place: FilePlace,
    /// Whether this uplink gives such names.
    is_own: bool,
}

impl OutputFolder {
    /// Looks what is there: what was being written is cut to its last whole line, and is whole; what was being compressed is
    /// compressed again.
    pub(super) fn open(config: &Arc<Config>, boot: u32) -> Result<Self, Error> {
        let mut folder = Self {
            config: Arc::clone(config),
            boot,
            open: BTreeMap::new(),
            plain: Vec::new(),
        };
        folder.ask_for_disk()?;
        if let Some(note) = &config.mounted {
            note_disk(&config.folder, note)?;
        }
        // First, since there may be no room for what follows.
        folder.trim()?;
        for entry in folder.entries()? {
            let path = &entry.path;
            let plain = match entry.found {
                FileState::Part => mend(path, &config.id)?,
                FileState::Packing => {
                    remove_left(path)?;
                    None
                }
                FileState::Whole { is_packed } => Some(entry.path).filter(|_| !is_packed),
            };
            folder.plain.extend(plain.filter(|_| entry.is_own));
        }
        folder.sync()?;
        Ok(folder)
    }

    /// Refuses a mount point on which nothing is mounted any more.
    fn ask_for_disk(&self) -> Result<(), Error> {
        let Config {
            folder, mounted, ..
        } = &*self.config;
        mounted
            .as_ref()
            .map_or(Ok(()), |note| ask_for_disk(folder, note))
    }

    /// What looks like ours, by name.
    fn entries(&self) -> Result<Vec<Entry>, Error> {
        let folder = &self.config.folder;
        let wrong = |cause| Error::new("look into", folder, cause);
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            // What is a link or a pipe by such a name is not ours.
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            let file_name = entry.file_name();
            let name = file_name.to_str().and_then(Name::read);
            entries.extend(name.filter(|_| is_file).map(|name| Entry {
                path: entry.path(),
                found: name.found,
                place: name.place,
                is_own: self.config.gives(name.beginning),
            }));
        }
        entries.sort_unstable_by(|one, other| one.path.cmp(&other.path));
        Ok(entries)
    }

    fn sync(&self) -> Result<(), Error> {
        let folder = &self.config.folder;
        file::sync_folder(folder).map_err(|cause| Error::new("sync", folder, cause))
    }

    /// Appends all, and syncs it. What was written when something goes wrong is cut away again, as far as that can be done;
    /// what cannot is at the next look into the folder, or stands there twice.
    pub(super) fn write(&mut self, lots: &[Lot], now: Now, at: Instant) -> Result<(), Error> {
        let written = self.append(lots, now, at);
        if written.is_err() {
            let open = std::mem::take(&mut self.open);
            open.into_values().for_each(Part::cut_back);
        }
        written
    }

    fn append(&mut self, lots: &[Lot], now: Now, at: Instant) -> Result<(), Error> {
        for lot in lots {
            if !self.open.contains_key(&lot.beginning) {
                let part = self.begin(lot, now, at)?;
                self.open.insert(Arc::clone(&lot.beginning), part);
            }
            if let Some(part) = self.open.get_mut(&lot.beginning) {
                part.append(&lot.lines)?;
            }
        }
        for lot in lots {
            if let Some(part) = self.open.get_mut(&lot.beginning) {
                part.sync()?;
            }
        }
        // What was synced last may have taken long: what was first counts only if it is there still.
        for lot in lots {
            if let Some(part) = self.open.get_mut(&lot.beginning) {
                part.count()?;
            }
        }
        Ok(())
    }

    /// A new file, with its head.
    fn begin(&self, lot: &Lot, now: Now, at: Instant) -> Result<Part, Error> {
        self.ask_for_disk()?;
        self.trim()?;
        let ending = self.config.form.ending();
        let head = self.config.form.head();
        for twins in 0..=TWINS {
            let stem = name::stem(&lot.beginning, lot.first, now, twins);
            let path = self.config.folder.join(format!("{stem}.{ending}"));
            let Some(mut part) = Part::begin(&path, at)? else {
                continue;
            };
            // Looked at only now: another lane may have named its file as whole a moment ago. The plain one first, since it
            // goes when the other is there.
            let packed = with(&path, self.config.compress.ending());
            let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
            if is_there(&path) || is_there(&packed) {
                part.discard()?;
                continue;
            }
            part.append(&head)?;
            self.sync()?;
            return Ok(part);
        }
        let cause = ErrorKind::AlreadyExists.into();
        Err(Error::new(
            "make another file in",
            &self.config.folder,
            cause,
        ))
    }

    /// When a file is old enough to be whole, if one is being written.
    pub(super) fn ripe_at(&self) -> Option<Instant> {
        let begun = self.open.values().map(Part::begun).min();
        begun.map(|begun| begun + self.config.file_age)
    }

    /// Whether there is something to be tidied up.
    pub(super) fn is_untidy(&self, at: Instant) -> bool {
        !self.plain.is_empty() || self.open.values().any(|part| self.is_ripe(part, at))
    }

    fn is_ripe(&self, part: &Part, at: Instant) -> bool {
        part.synced() >= self.config.file_bytes || at >= part.begun() + self.config.file_age
    }

    /// Finishes what is large or old enough, compresses a file, lets the oldest go.
    pub(super) fn tidy(&mut self, at: Instant) -> Result<(), Error> {
        let ripe: Vec<Arc<str>> = self
            .open
            .iter()
            .filter(|(_, part)| self.is_ripe(part, at))
            .map(|(beginning, _)| Arc::clone(beginning))
            .collect();
        for beginning in &ripe {
            if let Some(part) = self.open.remove(beginning) {
                self.plain.push(part.finish()?);
            }
        }
        if !ripe.is_empty() {
            self.sync()?;
        }
        let is_packed = !self.config.compress.ending().is_empty();
        match self.plain.pop().filter(|_| is_packed) {
            Some(path) => {
                if let Err(error) = self.pack(&path) {
                    tracing::warn!(uplink = %self.config.id, %error, "a file stays as it is, and is compressed at the next look into the folder");
                }
            }
            None => self.plain.clear(),
        }
        self.trim()
    }

    /// Names everything as whole, before it is left. One that cannot be so named keeps no other from it.
    pub(super) fn close(mut self) -> Result<(), Error> {
        let mut closed = Ok(());
        for part in std::mem::take(&mut self.open).into_values() {
            closed = closed.and(part.finish().map(drop));
        }
        closed.and(self.sync())
    }

    /// Puts a compressed file in the place of a whole one.
    fn pack(&self, path: &Path) -> Result<(), Error> {
        let packed = with(path, self.config.compress.ending());
        let packing = with(&packed, PACKING);
        let wrong = |cause| Error::new("compress", path, cause);
        let mut plain = match file::open(path) {
            // Somebody took it away.
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(wrong)?,
        };
        // Another lane compresses it otherwise, or has done so.
        let is_free = flock(&plain, FlockOperation::NonBlockingLockExclusive).is_ok();
        if !is_free || !leads_to(path, &plain).map_err(wrong)? {
            return Ok(());
        }
        remove_left(&packing)?;
        let copied = make(&packing).and_then(|file| {
            self.config.compress.copy(&mut plain, &file)?;
            file.sync_all()?;
            leads_to(&packing, &file)
        });
        if !matches!(copied, Ok(true)) {
            // Best effort: what is left of it goes at the next look into the folder.
            let _ = fs::remove_file(&packing);
            let cause = copied.err().unwrap_or_else(|| ErrorKind::NotFound.into());
            return Err(wrong(cause));
        }
        rename(&packing, &packed)?;
        self.sync()?;
        remove(path)
    }

    /// Lets the oldest whole files go until what is kept fits. Which ones are the oldest their names say, as the store counts:
    /// by a clock that is behind, as after a start without a network, it would be what came last.
    fn trim(&self) -> Result<(), Error> {
        let Some(keep) = self.config.keep_bytes else {
            return Ok(());
        };
        let mut whole = Vec::new();
        for entry in self.entries()? {
            if entry.is_own && matches!(entry.found, FileState::Whole { .. }) {
                // Another lane may have let it go.
                let about = fs::symlink_metadata(&entry.path);
                whole.extend(about.map(|about| (entry.place, about.len(), entry.path)));
            }
        }
        // Of a start that this store has not had yet is what another one wrote, before.
        let age = |place: FilePlace| (place.boot <= u64::from(self.boot), place);
        whole.sort_unstable_by_key(|(place, ..)| age(*place));
        let mut bytes: u64 = whole.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in whole {
            if bytes <= keep {
                break;
            }
            remove(&path)?;
            bytes -= length;
            tracing::info!(uplink = %self.config.id, file = %path.display(), bytes = length, "the oldest file went, as `files.keep` says");
        }
        Ok(())
    }
}

/// Takes away what is left of a file that was being compressed.
fn remove_left(packing: &Path) -> Result<(), Error> {
    let claimed = claim(packing).map_err(|cause| Error::new("look at", packing, cause))?;
    claimed.map_or(Ok(()), |_| remove(packing))
}

/// Makes a file in a folder and takes it away again.
pub(super) fn try_out(folder: &Path) -> Result<(), Error> {
    let path = folder.join(format!(".tidegate-check-{}", std::process::id()));
    let made = make(&path).and_then(|file| file.sync_all());
    let removed = remove(&path);
    made.map_err(|cause| Error::new("write into", folder, cause))?;
    removed
}
