//! Which keys the store needs, in a file of its own: a wrong or missing key is found out before anything is touched.
//!
//! ```text
//! <path>/keys     keys 1
//!                 1f0c22a94e6b7d35       id of a key that has sealed something in the store; the first is today's
//!                 plain                  something is not sealed
//!                 crc=…                  of all before
//! ```
//!
//! A store without that file was never sealed, or has lost it; then its chunks are asked.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use crate::spool::disk::error::StoreError;
use crate::spool::disk::fault_injection::DiskCall;
use crate::spool::disk::folder::DataFolder;
use crate::spool::disk::log::listing::chunks_sealed_with;
use crate::spool::disk::sealing::sealer::{KeyId, Sealer};

const TITLE: &str = "keys 1\n";
const PLAIN: &str = "plain";

/// How what lies in the store is sealed: `None` is not at all.
pub(crate) type Sealing = BTreeSet<Option<KeyId>>;

fn read(folder: &Path) -> Option<Sealing> {
    let text = fs::read_to_string(folder.join("keys")).ok()?;
    let (body, crc) = text.rsplit_once("crc=")?;
    if u32::from_str_radix(crc.trim_end(), 16).ok()? != crc32fast::hash(body.as_bytes()) {
        return None;
    }
    let line = |line: &str| {
        if line == PLAIN {
            Some(None)
        } else {
            KeyId::parse(line).map(Some)
        }
    };
    body.strip_prefix(TITLE)?.lines().map(line).collect()
}

fn write(folder: &DataFolder, used: &Sealing) -> io::Result<()> {
    let names = used
        .iter()
        .map(|key| key.map_or_else(|| PLAIN.to_owned(), |key| key.to_string()));
    let body = names.fold(TITLE.to_owned(), |text, name| text + &name + "\n");
    let text = format!("{body}crc={:08x}\n", crc32fast::hash(body.as_bytes()));
    let path = folder.path().join("keys");
    let fresh = folder.path().join("keys.new");
    folder.fault_injection.pass(DiskCall::Write)?;
    let mut file = File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    folder.fault_injection.pass(DiskCall::Sync)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(folder.path())?.sync_all()
}

/// What the store is sealed with, as far as that can be read.
fn used(folder: &Path) -> Sealing {
    read(folder)
        .or_else(|| chunks_sealed_with(&folder.join("chunks")).ok())
        .unwrap_or_default()
}

/// Whether `sealer` opens all there is in the store; touches nothing.
///
/// # Errors
/// A key that it needs and that is not there.
pub(crate) fn check(folder: &Path, sealer: &Sealer) -> Result<(), KeyId> {
    match used(folder)
        .into_iter()
        .flatten()
        .find(|key| !sealer.has(*key))
    {
        Some(missing) => Err(missing),
        None => Ok(()),
    }
}

/// Notes, for good, that today's key is about to be used.
pub(crate) fn register(folder: &DataFolder, sealer: &Sealer) -> Result<(), StoreError> {
    check(folder.path(), sealer).map_err(StoreError::Key)?;
    let Some(current) = sealer.current() else {
        return Ok(());
    };
    let noted = read(folder.path());
    let mut used = noted.clone().unwrap_or_else(|| used(folder.path()));
    if noted.is_none() && folder.store().exists() {
        used.insert(None);
    }
    if used.insert(Some(current)) || noted.is_none() {
        write(folder, &used).map_err(StoreError::Disk)?;
    }
    Ok(())
}

/// Whether something may be there that today's key has not sealed.
pub(crate) fn is_mixed(folder: &DataFolder, sealer: &Sealer) -> bool {
    sealer.current().is_some() && read(folder.path()).is_none_or(|used| used.len() > 1)
}

/// Notes that today's key has sealed all but chunks: those tell by themselves. Keys that nothing needs any more may then
/// leave the config.
pub(crate) fn retire(folder: &DataFolder, sealer: &Sealer) -> io::Result<()> {
    let (Some(current), Some(noted)) = (sealer.current(), read(folder.path())) else {
        return Ok(());
    };
    let mut used = chunks_sealed_with(&folder.chunks())?;
    used.insert(Some(current));
    if used.is_superset(&noted) {
        return Ok(());
    }
    write(folder, &used)?;
    for key in noted.difference(&used).flatten() {
        tracing::info!(%key, "nothing in the store is sealed with this key any more: it may leave `old_keys`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::disk::sealing::sealer::tests::sealer;

    #[test]
    fn what_is_noted_is_read_back_and_a_torn_or_altered_note_is_none() {
        let path = crate::spool::tests::tempdir();
        let folder = DataFolder::lock(path.path()).unwrap();
        let (one, two) = (sealer(&[1]).current(), sealer(&[2]).current());
        let used: Sealing = [None, one, two].into();
        write(&folder, &used).unwrap();
        assert_eq!(read(path.path()), Some(used));
        let text = fs::read_to_string(path.path().join("keys")).unwrap();
        for length in 0..text.len() - 1 {
            fs::write(path.path().join("keys"), &text[..length]).unwrap();
            assert_eq!(read(path.path()), None, "{length}");
        }
    }

    #[test]
    fn a_key_that_has_sealed_something_is_needed_until_it_is_retired() {
        let path = crate::spool::tests::tempdir();
        let folder = DataFolder::lock(path.path()).unwrap();
        fs::create_dir(folder.chunks()).unwrap();
        register(&folder, &Sealer::default()).unwrap();
        assert!(!path.path().join("keys").exists() && !is_mixed(&folder, &Sealer::default()));
        register(&folder, &sealer(&[1])).unwrap();
        assert_eq!(
            check(path.path(), &Sealer::default()).err(),
            sealer(&[1]).current()
        );
        assert_eq!(
            check(path.path(), &sealer(&[2])).err(),
            sealer(&[1]).current()
        );
        assert!(!is_mixed(&folder, &sealer(&[1])));
        register(&folder, &sealer(&[2, 1])).unwrap();
        assert!(is_mixed(&folder, &sealer(&[2, 1])) && check(path.path(), &sealer(&[2])).is_err());
        retire(&folder, &sealer(&[2, 1])).unwrap();
        assert!(check(path.path(), &sealer(&[2])).is_ok() && !is_mixed(&folder, &sealer(&[2])));
    }
}
