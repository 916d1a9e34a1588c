//! One file that is being written: ours for as long as its name leads to it and it is as long as we made it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{FlockOperation, OFlags, flock};

use super::Error;
use super::error::Meddling;
use super::name::{DAMAGED, PART};

/// Files of one name, at most, until one is free.
pub(super) const TWINS: u32 = 1_000;
/// Bytes looked at together in a file that was not finished.
const LOOKED_AT: usize = 64 << 10;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    /// What it is called once it is whole: without `.part`.
    path: PathBuf,
    /// What was written, bytes.
    length: u64,
    /// What of it counts: it is synced, and was in the file of this name after that.
    synced: u64,
    begun: Instant,
}

impl Part {
    /// Makes `path` with `.part` behind it; nothing if somebody got between its name and us, or another one has the name.
    pub(super) fn begin(path: &Path, at: Instant) -> Result<Option<Self>, Error> {
        let wrong = |cause| Error::new("make", path, cause);
        let name = with(path, PART);
        let file = match make(&name) {
            Err(cause) if is_anothers(&cause) => return Ok(None),
            made => made.map_err(wrong)?,
        };
        let part = Self {
            file,
            path: path.to_path_buf(),
            length: 0,
            synced: 0,
            begun: at,
        };
        if part.check(&name).is_err() {
            return Ok(None);
        }
        Ok(Some(part))
    }

    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    pub(super) fn synced(&self) -> u64 {
        self.synced
    }

    /// Writes them behind what is there. They count after [`Self::sync`] and [`Self::count`].
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), Error> {
        self.check(&with(&self.path, PART))?;
        self.length += lines.len() as u64;
        let wrong = |cause| Error::new("write", &self.path, cause);
        (&self.file).write_all(lines).map_err(wrong)
    }

    pub(super) fn sync(&mut self) -> Result<(), Error> {
        let wrong = |cause| Error::new("sync", &self.path, cause);
        self.file.sync_data().map_err(wrong)
    }

    /// What was synced counts from now on.
    pub(super) fn count(&mut self) -> Result<(), Error> {
        self.check(&with(&self.path, PART))?;
        self.synced = self.length;
        Ok(())
    }

    /// Names it as whole.
    pub(super) fn finish(self) -> Result<PathBuf, Error> {
        let name = with(&self.path, PART);
        self.check(&name)?;
        rename(&name, &self.path)?;
        self.check(&self.path)?;
        Ok(self.path)
    }

    /// Takes it away again: its name is another one's.
    pub(super) fn discard(self) -> Result<(), Error> {
        remove(&with(&self.path, PART))
    }

    /// Takes away what was written and does not count, unless somebody else has a hand in it. What cannot be cut stands there
    /// twice, or is cut at the next look into the folder.
    pub(super) fn cut_back(self) {
        let length = self.file.metadata().map_or(0, |about| about.len());
        if (self.synced..=self.length).contains(&length) {
            // Best effort: it went wrong already, and that is told.
            let _ = self.file.set_len(self.synced);
        }
    }

    /// Whether what was written is in the file that `name` leads to, and nothing else is.
    fn check(&self, name: &Path) -> Result<(), Error> {
        let wrong = |cause| Error::new("look at", name, cause);
        let meddled = |how| Error::Meddled {
            path: name.to_path_buf(),
            how,
        };
        let named = match fs::symlink_metadata(name) {
            Err(cause) if is_gone(&cause) => return Err(meddled(Meddling::Taken)),
            seen => seen.map_err(wrong)?,
        };
        let own = self.file.metadata().map_err(wrong)?;
        if (named.dev(), named.ino()) != (own.dev(), own.ino()) {
            return Err(meddled(Meddling::Replaced));
        }
        if own.len() != self.length {
            return Err(meddled(Meddling::Edited {
                written: self.length,
                found: own.len(),
            }));
        }
        Ok(())
    }
}

/// Cuts a file that nobody writes any more to its last whole line, and names it as whole; gives its name. One without a line
/// is removed. What is cut and has line ends in it, somebody's work or a disk's, is kept beside it.
pub(super) fn mend(part: &Path, uplink: &str) -> Result<Option<PathBuf>, Error> {
    let wrong = |cause| Error::new("mend", part, cause);
    let Some(mut file) = claim(part).map_err(wrong)? else {
        return Ok(None);
    };
    let whole = whole_lines(&mut file).map_err(wrong)?;
    let cut = file.metadata().map_err(wrong)?.len().saturating_sub(whole);
    if has_lines(&mut file, whole).map_err(wrong)? {
        let saved = save(&mut file, whole, part)?;
        tracing::warn!(%uplink, file = %part.display(), bytes = cut, saved = %saved.display(), "lines behind a hole in a file were cut off: a power cut leaves it so, or somebody who writes to it");
    } else if cut > 0 {
        tracing::info!(%uplink, file = %part.display(), bytes = cut, "a file was cut to its last whole line: what was cut is owed, and is written again");
    }
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

/// Puts what stands in `file` from `whole` on into a file of its own.
fn save(file: &mut File, whole: u64, part: &Path) -> Result<PathBuf, Error> {
    let mut twins = 0;
    loop {
        let path = match twins {
            0 => with(&part.with_extension(""), DAMAGED),
            twin => with(&part.with_extension(""), &format!("{DAMAGED}~{twin}")),
        };
        let wrong = |cause| Error::new("save", &path, cause);
        match make(&path) {
            Err(cause) if is_anothers(&cause) && twins < TWINS => twins += 1,
            made => {
                let mut copy = made.map_err(wrong)?;
                file.seek(SeekFrom::Start(whole)).map_err(wrong)?;
                let copied = io::copy(file, &mut copy).and_then(|_| copy.sync_all());
                if let Err(cause) = copied {
                    // Best effort: what could not be saved is still in its file, and is tried again.
                    let _ = fs::remove_file(&path);
                    return Err(wrong(cause));
                }
                return Ok(path);
            }
        }
    }
}

/// A file that is new, and ours while it is open; all is written to its end.
pub(super) fn make(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o640)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// Makes a file ours that is there; nothing if its writer lives, or it is gone.
pub(super) fn claim(path: &Path) -> io::Result<Option<File>> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path);
    let file = match opened {
        Err(cause) if is_gone(&cause) => return Ok(None),
        opened => opened?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from) {
        Err(cause) if is_anothers(&cause) => return Ok(None),
        locked => locked?,
    }
    // Whoever had it may have given it another name meanwhile.
    Ok(leads_to(path, &file)?.then_some(file))
}

/// Whether `path` is a name of `file`.
pub(super) fn leads_to(path: &Path, file: &File) -> io::Result<bool> {
    let own = file.metadata()?;
    match fs::symlink_metadata(path) {
        Err(cause) if is_gone(&cause) => Ok(false),
        named => named.map(|named| (named.dev(), named.ino()) == (own.dev(), own.ino())),
    }
}

/// Bytes up to the end of the last whole line. None has a NUL in it: where one stands, a power cut took the data and left the
/// length.
fn whole_lines(file: &mut impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; LOOKED_AT];
    let (mut whole, mut seen) = (0, 0);
    loop {
        let count = read(file, &mut buffer)?;
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

/// Whether a line ends behind `from`.
fn has_lines(file: &mut (impl Read + Seek), from: u64) -> io::Result<bool> {
    file.seek(SeekFrom::Start(from))?;
    let mut buffer = vec![0; LOOKED_AT];
    loop {
        match read(file, &mut buffer)? {
            0 => return Ok(false),
            count if buffer[..count].contains(&b'\n') => return Ok(true),
            _ => {}
        }
    }
}

fn read(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

pub(super) fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(|cause| Error::new("rename", from, cause))
}

/// Takes a file away that may be gone already.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => Err(Error::new("remove", path, cause)),
        _ => Ok(()),
    }
}

fn is_gone(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Whether another one has the name, or the file.
fn is_anothers(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        ErrorKind::AlreadyExists | ErrorKind::WouldBlock
    )
}
