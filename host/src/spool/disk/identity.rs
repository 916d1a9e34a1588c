//! Which store it is: its files, its index and its lock file each say so, and may be those of several.

use std::sync::Arc;

use crate::spool::disk::error::StoreError;
use crate::spool::disk::folder::DataFolder;
use crate::spool::disk::index::{IndexFile, guarded};
use crate::spool::disk::log::listing;
use crate::spool::disk::name::{self, StoreName};
use crate::spool::disk::records::Records;
use crate::spool::disk::records::batch::Tree;
use crate::spool::disk::records::files::Scan;

/// Key of the name that message ids carry.
const IDS: &[u8] = b"ids";

/// What the store is called, if its lock file is whole and lies where it was signed.
pub(super) fn own_name(folder: &DataFolder) -> Option<String> {
    let signed = folder.signed();
    let is_here = signed
        .at
        .is_some_and(|at| at == name::whereabouts(folder.path()));
    signed.store.filter(|store| is_here && name::is_name(store))
}

/// What the store is called; a new one, and one that was copied, gets a name.
pub(super) fn find_name(
    folder: &DataFolder,
    records: &Records,
    scan: &Scan,
) -> Result<StoreName, StoreError> {
    let signed = folder.signed();
    let in_lock = signed.store.as_deref().filter(|store| name::is_name(store));
    let in_chunks = listing::owner(&folder.chunks(), &folder.fault_injection);
    let found = scan
        .store
        .as_deref()
        .or(in_lock)
        .or(in_chunks.as_deref())
        .filter(|store| name::is_name(store));
    let store = found.map_or_else(name::any, Arc::from);
    let path = folder.path().display();
    let is_mixed = in_lock.is_some_and(|signed| *signed != *store);
    if is_mixed {
        tracing::error!(%path, signed = in_lock, %store, "files of two stores are mixed here: those of the one are used, the others are left alone");
    }
    let is_copied = signed
        .at
        .is_some_and(|at| at != name::whereabouts(folder.path()));
    let noted = records.get(Tree::Own, IDS).map_err(StoreError::Disk)?;
    let noted: Option<Arc<str>> = noted
        .and_then(|noted| String::from_utf8(noted).ok())
        .map(Arc::from);
    let ids = match noted.clone() {
        _ if is_mixed || is_copied => name::any(),
        Some(noted) => noted,
        None => Arc::clone(&store),
    };
    // Who only looks gives it none.
    if is_copied && !folder.is_looked_at() {
        tracing::warn!(%path, %store, %ids, "the store was copied, restored or moved to another machine: the ids of its messages carry a new name");
    }
    if noted.as_ref() != Some(&ids) {
        records.put(Tree::Own, IDS, ids.as_bytes().to_vec());
    }
    Ok(StoreName {
        store,
        ids,
        is_copied: is_mixed || is_copied,
    })
}

/// An index of another store is as good as none.
pub(super) fn belong(db: &IndexFile, store: &str) -> Result<(), StoreError> {
    match guarded(|| db.get("store"))? {
        Some(noted) if *noted != *store.as_bytes() => Err(StoreError::Damaged(
            "it belongs to another store".to_owned(),
        )),
        Some(_) => Ok(()),
        None => guarded(|| db.insert("store", store)).map(drop),
    }
}
