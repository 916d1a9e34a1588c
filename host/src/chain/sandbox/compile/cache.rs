//! Code that is kept over restarts, so that a start needs no compiler.
//!
//! ```text
//! <folder>/key       32 random bytes, for this user's eyes only; made at the first start
//! <folder>/<name>    code, then its MAC: HMAC-SHA-256 under a key made of `key` and the name
//! ```
//!
//! The name is the SHA-256 of the component's digest and of all that decides what its code looks like. The folder is
//! expendable: what is missing, torn or altered is compiled again. So nothing but the key is synced, and no error here
//! stops a start.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use ring::digest::{Context, SHA256};
use ring::hmac::{self, HMAC_SHA256};
use ring::rand::{SecureRandom, SystemRandom};

use super::code::{Digest, MAX_CODE_BYTES, NativeCode};
use crate::file;
use crate::message::hexadecimal;

const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;

/// Entries in use that are remembered: more plugins than that fit no gateway.
const MOST_USED: usize = 64;

/// Entries not in use that are kept, newest first: to go back to the version before is then quick.
const SPARE: usize = 8;

/// Beside the key, everything in the folder that is not a name is a leftover.
const KEY: &str = "key";

/// Which code is meant.
pub(crate) struct CacheEntry(String);

impl CacheEntry {
    pub(crate) fn of(component: &Digest, settings: &str) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(component);
        context.update(settings.as_bytes());
        Self(hexadecimal(context.finish().as_ref()))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

/// What a look brought.
pub(crate) enum CacheLookup {
    Code(NativeCode),
    Nothing,
    /// Not what this host has written, or not readable; and why.
    Refused(String),
}

pub(super) struct Cache {
    folder: PathBuf,
    secret: [u8; KEY_BYTES],
    /// Names of entries that were found or kept, the last one first.
    used: Mutex<VecDeque<String>>,
}

impl Cache {
    /// Makes the folder and its key where there is none, and removes leftovers.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        // What lies there runs as native code.
        file::own_folder(folder)
            .map_err(|strange| io::Error::new(ErrorKind::PermissionDenied, strange))?;
        let secret = match read_key(&folder.join(KEY))? {
            Some(secret) => secret,
            None => make_key(folder)?,
        };
        let cache = Self {
            folder: folder.to_owned(),
            secret,
            used: Mutex::default(),
        };
        for name in cache
            .names()?
            .into_iter()
            .filter(|name| !is_entry(name) && name != KEY)
        {
            // What cannot be removed now is tried again at the next start.
            let _ = fs::remove_file(folder.join(name));
        }
        Ok(cache)
    }

    /// The code of `entry`, if this host has written it and it is unchanged.
    pub(crate) fn find(&self, entry: &CacheEntry) -> CacheLookup {
        let mut bytes = match file::read(&self.folder.join(entry.name()), MAX_CODE_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return CacheLookup::Nothing,
            Err(error) => return CacheLookup::Refused(error.to_string()),
        };
        let Some((code, mac)) = bytes.split_last_chunk::<MAC_BYTES>() else {
            return CacheLookup::Refused("the file is cut short".to_owned());
        };
        if hmac::verify(&self.key(entry), code, mac).is_err() {
            return CacheLookup::Refused(
                "the file has been altered, or was not written here".to_owned(),
            );
        }
        bytes.truncate(bytes.len() - MAC_BYTES);
        self.note(entry);
        CacheLookup::Code(NativeCode(bytes))
    }

    /// Keeps `code`; where that fails it is compiled again at the next start.
    pub(crate) fn keep(&self, entry: &CacheEntry, code: &NativeCode) {
        self.note(entry);
        let kept = self.write(entry, &code.0).and_then(|()| self.prune());
        if let Err(error) = kept {
            tracing::warn!(path = %self.folder.display(), %error, "a compiled plugin cannot be kept; it is compiled again at the next start");
        }
    }

    fn write(&self, entry: &CacheEntry, code: &[u8]) -> io::Result<()> {
        let beside = self.folder.join(format!("{}.new", entry.name()));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        let written = file
            .write_all(code)
            .and_then(|()| file.write_all(hmac::sign(&self.key(entry), code).as_ref()));
        // On a full disk what is half written only takes room.
        written.inspect_err(|_| drop(fs::remove_file(&beside)))?;
        fs::rename(&beside, self.folder.join(entry.name()))
    }

    /// The MAC's key is the entry's own, so that a file does not pass under another name.
    fn key(&self, entry: &CacheEntry) -> hmac::Key {
        let host = hmac::Key::new(HMAC_SHA256, &self.secret);
        hmac::Key::new(
            HMAC_SHA256,
            hmac::sign(&host, entry.name().as_bytes()).as_ref(),
        )
    }

    fn note(&self, entry: &CacheEntry) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.retain(|name| name != entry.name());
        used.push_front(entry.name().to_owned());
        used.truncate(MOST_USED);
    }

    /// Removes the oldest entries that are not in use.
    fn prune(&self) -> io::Result<()> {
        let used = self
            .used
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let age = |name: &String| {
            fs::metadata(self.folder.join(name)).and_then(|metadata| metadata.modified())
        };
        let mut unused: Vec<(SystemTime, String)> = self
            .names()?
            .into_iter()
            .filter(|name| is_entry(name) && !used.contains(name))
            .map(|name| (age(&name).unwrap_or(SystemTime::UNIX_EPOCH), name))
            .collect();
        unused.sort();
        for (_, name) in unused.iter().rev().skip(SPARE) {
            fs::remove_file(self.folder.join(name))?;
        }
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }
}

fn is_entry(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The key, unless there is none that can be trusted: one that others could read or write proves nothing.
fn read_key(path: &Path) -> io::Result<Option<[u8; KEY_BYTES]>> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_ours =
        file::own(path).is_ok() && metadata.is_file() && metadata.permissions().mode() & 0o077 == 0;
    let key = if is_ours {
        file::read(path, KEY_BYTES as u64)
            .ok()
            .and_then(|key| key.try_into().ok())
    } else {
        None
    };
    if key.is_none() {
        tracing::warn!(path = %path.display(), "the key of the compiled plugins is damaged or open to others: a new one is made, and they are compiled again");
    }
    Ok(key)
}

/// Makes a key, for good: a rename, with file and folder synced.
fn make_key(folder: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let mut secret = [0; KEY_BYTES];
    SystemRandom::new()
        .fill(&mut secret)
        .map_err(|_| io::Error::other("the system has no random numbers"))?;
    let beside = folder.join("key.new");
    // It must be new: the rights of a file that is there stay as they are.
    drop(fs::remove_file(&beside));
    let mut written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    written.write_all(&secret)?;
    written.sync_all()?;
    fs::rename(&beside, folder.join(KEY))?;
    file::sync_folder(folder)?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn entry(number: u8) -> CacheEntry {
        CacheEntry::of(&[number; 32], "settings")
    }

    fn found(cache: &Cache, number: u8) -> Result<Vec<u8>, &'static str> {
        match cache.find(&entry(number)) {
            CacheLookup::Code(NativeCode(bytes)) => Ok(bytes),
            CacheLookup::Nothing => Err("nothing"),
            CacheLookup::Refused(_) => Err("refused"),
        }
    }

    #[test]
    fn what_was_kept_is_found_after_a_restart_and_only_under_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/cache");
        let cache = Cache::open(&path).unwrap();
        cache.keep(&entry(1), &NativeCode(b"native code".to_vec()));
        let cache = Cache::open(&path).unwrap();
        assert_eq!(found(&cache, 1).unwrap(), b"native code");
        assert_eq!(found(&cache, 2), Err("nothing"));
        fs::copy(path.join(entry(1).name()), path.join(entry(2).name())).unwrap();
        assert_eq!(found(&cache, 2), Err("refused"));
        assert_ne!(
            CacheEntry::of(&[1; 32], "other settings").name(),
            entry(1).name()
        );
    }

    #[test]
    fn a_file_with_any_bit_flipped_or_cut_anywhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        cache.keep(&entry(1), &NativeCode(b"native code".to_vec()));
        let path = folder.path().join(entry(1).name());
        let whole = fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).unwrap();
            assert_eq!(found(&cache, 1), Err("refused"), "bit {bit}");
        }
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(found(&cache, 1), Err("refused"), "{length} bytes");
        }
        cache.keep(&entry(1), &NativeCode(b"native code".to_vec()));
        assert!(found(&cache, 1).is_ok());
    }

    #[test]
    fn the_key_is_for_this_user_only_and_one_that_is_not_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(KEY);
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        Cache::open(folder.path())
            .unwrap()
            .keep(&entry(1), &NativeCode(b"code".to_vec()));
        assert_eq!((mode(), fs::read(&path).unwrap().len()), (0o600, 32));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        assert_eq!((mode(), found(&cache, 1)), (0o600, Err("refused")));
        fs::write(&path, "short").unwrap();
        Cache::open(folder.path()).unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), 32);
    }

    #[test]
    fn entries_in_use_stay_and_of_the_others_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let old = Cache::open(folder.path()).unwrap();
        for number in 0..20 {
            old.keep(&entry(number), &NativeCode(vec![number]));
            let file = File::open(folder.path().join(entry(number).name())).unwrap();
            file.set_modified(
                SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number.into()),
            )
            .unwrap();
        }
        fs::write(folder.path().join("torn.new"), "x").unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        assert!(found(&cache, 3).is_ok());
        cache.keep(&entry(100), &NativeCode(vec![100]));
        let left: Vec<u8> = (0..=100)
            .filter(|number| found(&cache, *number).is_ok())
            .collect();
        assert_eq!(left, [3, 12, 13, 14, 15, 16, 17, 18, 19, 100]);
        assert!(!folder.path().join("torn.new").exists());
    }
}
