//! Stores of a format before, in which letters, ledger and state lay in sled beside the index: they are taken over.

use crate::spool::disk::FORMAT;
use crate::spool::disk::error::StoreError;
use crate::spool::disk::index::{IndexFile, guarded};
use crate::spool::disk::mark::MARK;
use crate::spool::disk::records::Records;
use crate::spool::disk::records::batch::Tree;
use crate::spool::disk::store::{BOOT, Store};

/// What lay in sled in formats before, besides the index.
const TREES_BEFORE: [(&str, Tree); 4] = [
    ("dead", Tree::Letters),
    ("ledger", Tree::Ledger),
    ("state", Tree::State),
    ("state-aside", Tree::StateAside),
];

/// What a store of a format before had in sled. It is recorded with the next commit.
pub(super) fn take_up(db: &IndexFile, records: &Records) -> Result<(), StoreError> {
    for (name, tree) in TREES_BEFORE {
        let entries = guarded(|| db.open_tree(name))?;
        for entry in entries.iter() {
            let (key, value) = guarded(|| entry)?;
            if tree != Tree::Letters || *key != *MARK {
                records.put(tree, &key, value.to_vec());
            }
        }
    }
    if let Some(boot) = guarded(|| db.get("boot"))? {
        records.put(Tree::Own, BOOT, boot.to_vec());
    }
    Ok(())
}

impl Store {
    /// What was taken up from a store of a format before is recorded for good, and only then goes there.
    pub(super) fn take_over(&self) -> Result<(), StoreError> {
        let format = guarded(|| self.db.get("format"))?.and_then(|value| value.first().copied());
        if format == Some(FORMAT) {
            return Ok(());
        }
        self.settle(true)?;
        guarded(|| self.db.insert("format", &[FORMAT]))?;
        self.record()?;
        for (name, _) in TREES_BEFORE {
            guarded(|| self.db.drop_tree(name))?;
        }
        tracing::info!(
            "letters, ledger and state of this store were taken over into files of their own"
        );
        Ok(())
    }
}

/// Opens the index of a store that was closed a moment ago: its files may be let go of a little later.
#[cfg(test)]
fn open_closed(path: &std::path::Path) -> IndexFile {
    let options = crate::spool::disk::index::IndexOptions::new()
        .path(path)
        .flush_every_ms(None);
    crate::spool::disk::open::open_when_free(&options).unwrap()
}

/// Writes the format version of a closed store.
#[cfg(test)]
pub(crate) fn set_format(path: &std::path::Path, format: u8) {
    let db = open_closed(path);
    db.insert("format", &[format]).unwrap();
    db.flush().unwrap();
}

/// Makes a closed store one of a format before: letters, ledger and state lie in sled.
#[cfg(test)]
pub(crate) fn put_back(folder: &std::path::Path, format: u8) {
    let (records, _) = Records::open(
        folder,
        None,
        &crate::spool::disk::fault_injection::FaultInjection::default(),
        &crate::spool::disk::records::failed_reads::FailedReads::default(),
    )
    .unwrap();
    let db = open_closed(&folder.join("store"));
    for (name, tree) in TREES_BEFORE {
        for entry in records.each(tree, &[]) {
            let (key, value) = entry.unwrap();
            db.open_tree(name).unwrap().insert(key, value).unwrap();
        }
    }
    let boot = records.get(Tree::Own, BOOT).unwrap().unwrap();
    db.insert("boot", boot).unwrap();
    db.remove("store").unwrap();
    db.insert("format", &[format]).unwrap();
    db.flush().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("records.")
        {
            std::fs::remove_file(path).unwrap();
        }
    }
    let low = std::fs::read_to_string(folder.join("low")).unwrap();
    let lines: Vec<&str> = low
        .lines()
        .skip(2)
        .filter(|line| !line.starts_with("crc="))
        .collect();
    let body = format!("low 1\n{}\n", lines.join("\n"));
    let sum = crc32fast::hash(body.as_bytes());
    std::fs::write(folder.join("low"), format!("{body}crc={sum:08x}\n")).unwrap();
}
