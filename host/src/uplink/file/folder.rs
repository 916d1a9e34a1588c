//! The files of one uplink, on a thread that may wait for the disk. A line counts once its file is synced; what stands behind
//! the last sync is cut away, and owed again.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use rustix::fs::{FlockOperation, OFlags, flock};

use super::name::{self, Found, PACKING, PART};
use super::{Config, Error};
use crate::clock::Now;
use crate::file;
use crate::message::Seq;

/// Files that one message begins, at most, until a name is free.
const TWINS: u32 = 1_000;
/// Bytes looked at together in a file that was not finished.
const LOOKED_AT: usize = 64 << 10;

/// Lines for files of one name.
#[derive(Debug)]
pub(super) struct Lot {
    /// What the names of its files begin with.
    pub(super) beginning: String,
    /// Of the first message in it.
    pub(super) first: Seq,
    pub(super) lines: BytesMut,
}

/// A file that is being written.
#[derive(Debug)]
struct Open {
    file: File,
    /// Without `.part`.
    path: PathBuf,
    /// What is in it and synced, bytes.
    synced: u64,
    begun: Instant,
}

/// The folder, and what is being written in it.
#[derive(Debug)]
pub(super) struct Folder {
    config: Arc<Config>,
    open: BTreeMap<String, Open>,
    /// Whole, and still to be compressed.
    plain: Vec<PathBuf>,
}

impl Folder {
    /// Looks what is there: what was being written is cut to its last whole line, and is whole; what was being compressed is
    /// compressed again.
    pub(super) fn open(config: &Arc<Config>) -> Result<Self, Error> {
        let folder = Self {
            config: Arc::clone(config),
            open: BTreeMap::new(),
            plain: Vec::new(),
        };
        let mut plain = Vec::new();
        for (path, found) in folder.files()? {
            match found {
                Found::Part => plain.extend(finish(&path)?),
                Found::Packing => remove(&path)?,
                Found::Whole { is_packed: false } => plain.push(path),
                Found::Whole { is_packed: true } => {}
            }
        }
        folder.sync()?;
        if !folder.config.compress.ending().is_empty() {
            return Ok(Self { plain, ..folder });
        }
        Ok(folder)
    }

    /// Our files, by name.
    fn files(&self) -> Result<Vec<(PathBuf, Found)>, Error> {
        let folder = &self.config.folder;
        let wrong = |cause| Error::new("look into", folder, cause);
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let found = entry.file_name().to_str().and_then(name::found);
            // What is a link or a pipe by such a name is not ours.
            let is_file = entry.file_type().map_err(wrong)?.is_file();
            files.extend(found.filter(|_| is_file).map(|found| (entry.path(), found)));
        }
        files.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(files)
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
            for open in std::mem::take(&mut self.open).into_values() {
                // Best effort: it went wrong already, and that is told.
                let _ = open.file.set_len(open.synced);
            }
        }
        written
    }

    fn append(&mut self, lots: &[Lot], now: Now, at: Instant) -> Result<(), Error> {
        for lot in lots {
            if !self.open.contains_key(&lot.beginning) {
                let open = self.begin(lot, now, at)?;
                self.open.insert(lot.beginning.clone(), open);
            }
            if let Some(open) = self.open.get_mut(&lot.beginning) {
                let wrong = |cause| Error::new("write", &open.path, cause);
                (&open.file).write_all(&lot.lines).map_err(wrong)?;
            }
        }
        for lot in lots {
            if let Some(open) = self.open.get_mut(&lot.beginning) {
                let wrong = |cause| Error::new("sync", &open.path, cause);
                open.file.sync_data().map_err(wrong)?;
                open.synced = open.file.metadata().map_err(wrong)?.len();
            }
        }
        Ok(())
    }

    /// A new file, with its head.
    fn begin(&self, lot: &Lot, now: Now, at: Instant) -> Result<Open, Error> {
        let ending = self.config.form.ending();
        let mut twins = 0;
        loop {
            let stem = name::stem(&lot.beginning, lot.first, now, twins);
            let path = self.config.folder.join(format!("{stem}.{ending}"));
            let wrong = |cause| Error::new("make", &path, cause);
            let packed = with(&path, self.config.compress.ending());
            let is_taken =
                fs::symlink_metadata(&path).is_ok() || fs::symlink_metadata(&packed).is_ok();
            match make(&with(&path, PART)) {
                Ok(mut file) if !is_taken => {
                    file.write_all(&self.config.form.head()).map_err(wrong)?;
                    self.sync()?;
                    return Ok(Open {
                        file,
                        path,
                        synced: 0,
                        begun: at,
                    });
                }
                Ok(_) => remove(&with(&path, PART))?,
                Err(cause) if cause.kind() != ErrorKind::AlreadyExists || twins == TWINS => {
                    return Err(wrong(cause));
                }
                Err(_) => {}
            }
            twins += 1;
            if twins > TWINS {
                return Err(wrong(ErrorKind::AlreadyExists.into()));
            }
        }
    }

    /// When a file is old enough to be whole, if one is being written.
    pub(super) fn ripe_at(&self) -> Option<Instant> {
        let begun = self.open.values().map(|open| open.begun).min();
        begun.map(|begun| begun + self.config.file_age)
    }

    /// Whether there is something to be tidied up.
    pub(super) fn is_untidy(&self, at: Instant) -> bool {
        !self.plain.is_empty() || self.open.values().any(|open| self.is_ripe(open, at))
    }

    fn is_ripe(&self, open: &Open, at: Instant) -> bool {
        open.synced >= self.config.file_bytes || at >= open.begun + self.config.file_age
    }

    /// Finishes what is large or old enough, compresses a file, lets the oldest go.
    pub(super) fn tidy(&mut self, at: Instant) -> Result<(), Error> {
        let ripe: Vec<String> = self
            .open
            .iter()
            .filter(|(_, open)| self.is_ripe(open, at))
            .map(|(beginning, _)| beginning.clone())
            .collect();
        for beginning in &ripe {
            if let Some(open) = self.open.remove(beginning) {
                rename(&with(&open.path, PART), &open.path)?;
                self.plain.push(open.path);
            }
        }
        if !ripe.is_empty() {
            self.sync()?;
        }
        let is_packed = !self.config.compress.ending().is_empty();
        match self.plain.pop().filter(|_| is_packed) {
            Some(path) => self.pack(&path)?,
            None => self.plain.clear(),
        }
        self.trim()
    }

    /// Writes everything down as whole, before it is left.
    pub(super) fn close(mut self) -> Result<(), Error> {
        for open in std::mem::take(&mut self.open).into_values() {
            rename(&with(&open.path, PART), &open.path)?;
        }
        self.sync()
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
        let copied = make(&packing).and_then(|file| {
            self.config.compress.copy(&mut plain, &file)?;
            file.sync_all()
        });
        if let Err(cause) = copied {
            // Best effort: what is left of it goes at the next look into the folder.
            let _ = fs::remove_file(&packing);
            return Err(wrong(cause));
        }
        rename(&packing, &packed)?;
        self.sync()?;
        remove(path)
    }

    /// Lets the oldest whole files go until what is kept fits.
    fn trim(&self) -> Result<(), Error> {
        let Some(keep) = self.config.keep_bytes else {
            return Ok(());
        };
        let mut whole = Vec::new();
        for (path, found) in self.files()? {
            if matches!(found, Found::Whole { .. }) {
                let wrong = |cause| Error::new("look at", &path, cause);
                let about = fs::symlink_metadata(&path).map_err(wrong)?;
                whole.push(((about.mtime(), about.mtime_nsec()), about.len(), path));
            }
        }
        whole.sort_unstable();
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

/// Makes a file in a folder and takes it away again.
pub(super) fn try_out(folder: &Path) -> Result<(), Error> {
    let path = folder.join(format!(".tidegate-check-{}", std::process::id()));
    let made = make(&path).and_then(|file| file.sync_all());
    let removed = remove(&path);
    made.map_err(|cause| Error::new("write into", folder, cause))?;
    removed
}

/// A file that is new, and ours while it is open.
fn make(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Cuts a file to its last whole line, and names it as whole; gives its name. One without a line is removed.
fn finish(part: &Path) -> Result<Option<PathBuf>, Error> {
    let wrong = |cause| Error::new("mend", part, cause);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(part)
        .map_err(wrong)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(cause) if cause.kind() == ErrorKind::WouldBlock => {
            return Err(Error::Shared(part.to_path_buf()));
        }
        locked => locked.map_err(|cause| wrong(cause.into()))?,
    }
    let whole = whole_lines(&mut file).map_err(wrong)?;
    if whole == 0 {
        remove(part)?;
        return Ok(None);
    }
    file.set_len(whole).map_err(wrong)?;
    file.sync_all().map_err(wrong)?;
    let path = part.with_extension("");
    rename(part, &path)?;
    Ok(Some(path))
}

/// Bytes up to the end of the last whole line. None has a NUL in it: where one stands, a power cut took the data and left the
/// length.
fn whole_lines(file: &mut impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; LOOKED_AT];
    let (mut whole, mut seen) = (0, 0);
    loop {
        let count = match file.read(&mut buffer) {
            Err(cause) if cause.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        let (sound, is_sound) = match buffer[..count].iter().position(|byte| *byte == 0) {
            Some(place) => (&buffer[..place], false),
            None => (&buffer[..count], true),
        };
        if let Some(place) = sound.iter().rposition(|byte| *byte == b'\n') {
            whole = seen + place as u64 + 1;
        }
        seen += count as u64;
        if count == 0 || !is_sound {
            return Ok(whole);
        }
    }
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|cause| Error::new("rename", from, cause))
}

/// Takes a file away that may be gone already.
fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => Err(Error::new("remove", path, cause)),
        _ => Ok(()),
    }
}
