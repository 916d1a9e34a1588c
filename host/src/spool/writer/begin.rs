//! The store is opened for a start, or for somebody who only wants to look.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;

use crate::clock::Now;
use crate::message::LossReason;
use crate::spool::dead_letters::kept::KeptLetters;
use crate::spool::disk::FORMAT;
use crate::spool::disk::audit::{Lost, empty_ledger_store};
use crate::spool::disk::chunk::Extent;
use crate::spool::disk::error::{StoreError, describe};
use crate::spool::disk::folder::{DataFolder, folder_error};
use crate::spool::disk::low_marks::LowMarks;
use crate::spool::disk::mark::QueueMark;
use crate::spool::disk::name::{self, StoreName};
use crate::spool::disk::open::{self, OpenedStore};
use crate::spool::disk::records::batch::Witness;
use crate::spool::disk::store::Store;
use crate::spool::error::Error;
use crate::spool::ledger::LedgerEntry;
use crate::spool::ledger::store::LedgerStore;
use crate::spool::settings::Config;
use crate::spool::space::condition::StoreCondition;
use crate::spool::space::free_space::FreeSpace;

/// A start that cannot sign takes a number so far beyond the last at random: the next such start takes another.
const UNSIGNED: u32 = 1_000;
/// Where such a number lies when not even the last one can be read: beyond all that a gateway's life brings.
const UNKNOWN: u32 = 1 << 20;

/// What a start begins with.
pub(crate) struct StoreContents {
    pub boot: u32,
    pub queues: Vec<(QueueMark, Option<Extent>)>,
    pub kept: KeptLetters,
    pub strangers: Vec<(String, u64)>,
    pub set_aside: Option<std::path::PathBuf>,
    pub ledger_store: LedgerStore,
    /// The store, unless it cannot even be read.
    pub store: Option<(Store, LowMarks)>,
    /// Why nothing can be written for now.
    pub failure: Option<StoreError>,
    /// It has lost what later starts wrote.
    pub went_back: bool,
    /// What letters, ledger and state have lost.
    pub lost: Option<Lost>,
    pub name: StoreName,
}

/// Opens the store for a start. A disk that is full, read-only or failing is no reason not to start.
pub(crate) fn begin(
    config: &Config,
    folder: &mut DataFolder,
    free_space: &mut FreeSpace,
) -> Result<StoreContents, Error> {
    let last = |opened: u32, folder: &DataFolder| folder.last_boot().unwrap_or(0).max(opened);
    let mut known = folder.last_boot();
    let mut went_back = false;
    // Makes the reserve file way, if that is needed; without any room opening fails and says so.
    free_space.admits();
    let opened = open(config, folder, free_space, &Witness::default()).and_then(|mut opened| {
        if let Some(lost) = &opened.lost {
            make_up(&mut opened.ledger_store, lost);
            opened.store.make_anew(&mut opened.ledger_store, folder)?;
        }
        let boot = last(opened.boot, folder).saturating_add(1);
        went_back = opened.set_aside.is_none() && known.is_some_and(|last| opened.boot < last);
        known = Some(boot);
        sign(folder, &opened.store, boot, &opened.name).map(|()| (boot, opened))
    });
    if went_back {
        let path = folder.path().display();
        tracing::error!(%path, "the store has gone back to an earlier start: what was written since is lost");
    }
    match opened {
        Ok((boot, opened)) => Ok(StoreContents {
            went_back,
            ..StoreContents::of(boot, opened)
        }),
        Err(error) => {
            let failure = Some(passing(config, folder, error)?);
            if let Some(opened) = opened_from_ram_copy(config, folder) {
                let boot = unsigned(Some(last(opened.boot, folder)));
                return Ok(StoreContents {
                    failure,
                    ..StoreContents::of(boot, opened)
                });
            }
            Ok(StoreContents {
                boot: unsigned(known),
                queues: vec![(QueueMark::default(), None); config.queues.len()],
                kept: KeptLetters::default(),
                strangers: Vec::new(),
                set_aside: None,
                ledger_store: empty_ledger_store(config),
                store: None,
                failure,
                went_back,
                lost: None,
                name: unknown_name(folder),
            })
        }
    }
}

impl StoreContents {
    fn of(boot: u32, opened: OpenedStore) -> Self {
        let OpenedStore {
            store,
            low_marks,
            queues,
            kept,
            ledger_store,
            strangers,
            set_aside,
            lost,
            name,
            ..
        } = opened;
        let store = Some((store, low_marks));
        Self {
            boot,
            queues,
            kept,
            strangers,
            set_aside,
            ledger_store,
            store,
            failure: None,
            went_back: false,
            lost,
            name,
        }
    }
}

/// What the ledger has lost is counted again, by reason alone; lost letters are lost messages.
pub(super) fn make_up(ledger_store: &mut LedgerStore, lost: &Lost) {
    let now = Now::read();
    let nobody = Arc::from("");
    let letters =
        Some((LossReason::Damaged, lost.totals.kept.total())).filter(|(_, count)| *count > 0);
    let given_up = lost
        .totals
        .given_up
        .iter()
        .map(|(reason, count)| (*reason, *count));
    for (reason, count) in given_up.chain(letters) {
        let entry = LedgerEntry::plain(reason, &nobody, &nobody, count, now.wall.0);
        ledger_store.post(LedgerEntry {
            is_clock_set: now.is_set(),
            ..entry
        });
    }
}

/// A store that cannot be read has the name that its lock file says, if it does.
fn unknown_name(folder: &DataFolder) -> StoreName {
    let signed = folder.signed().store.filter(|store| name::is_name(store));
    StoreName {
        store: signed.map_or_else(name::any, Arc::from),
        ids: name::any(),
        is_copied: true,
    }
}

/// What can be read of a store whose disk takes nothing.
fn opened_from_ram_copy(config: &Config, folder: &mut DataFolder) -> Option<OpenedStore> {
    if !folder.store().exists() {
        return None;
    }
    let opened = folder
        .ram_copy()
        .map_err(StoreError::Disk)
        .and_then(|()| open::open_files(config, folder, &Witness::default()));
    let path = folder.path().display();
    match opened {
        Ok(opened) => {
            tracing::info!(%path, "the store is read from a copy in memory until its disk can be written");
            Some(opened)
        }
        Err(error) => {
            let error = describe(&error);
            tracing::warn!(%path, error, "the store cannot be read: what it owes follows later, behind what comes");
            folder.forget_ram_copy();
            None
        }
    }
}

/// Opens the store as it is, for somebody who only wants to look: nothing is signed, moved or written. sled writes to the
/// files that it opens, so it gets a copy of them.
pub(crate) fn look(config: &Config, folder: &mut DataFolder) -> Result<StoreContents, Error> {
    if folder.store().exists() {
        folder.look().map_err(|source| Error::NotCopied {
            path: config.path.clone(),
            source,
        })?;
    }
    let opened =
        open::open_files(config, folder, &Witness::default()).map_err(|error| match error {
            StoreError::Format(found) => Error::Format {
                path: config.path.clone(),
                found,
                known: FORMAT,
            },
            StoreError::Key(key) => config.no_key(key),
            other => Error::Store {
                path: config.path.clone(),
                source: Box::new(other),
            },
        })?;
    let boot = opened
        .boot
        .max(folder.last_boot().unwrap_or(0))
        .saturating_add(1);
    Ok(StoreContents::of(boot, opened))
}

/// The number of a start that cannot write it down. Places and message ids come from it, so that it must be no other's.
fn unsigned(known: Option<u32>) -> u32 {
    let random = u32::try_from(RandomState::new().hash_one(0_u8) >> 44).unwrap_or(0);
    match known {
        Some(last) => last.saturating_add(1 + random % UNSIGNED),
        None => UNKNOWN + random % UNKNOWN,
    }
}

/// The error again if waiting can help, or else why the gateway does not start.
fn passing(config: &Config, folder: &DataFolder, error: StoreError) -> Result<StoreError, Error> {
    let path = config.path.clone();
    match error {
        StoreError::Format(found) => Err(Error::Format {
            path,
            found,
            known: FORMAT,
        }),
        StoreError::Key(key) => Err(config.no_key(key)),
        StoreError::Disk(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(folder_error(&folder.store(), error))
        }
        StoreError::Disk(error) if !open::is_held(&error) => Ok(StoreError::Disk(error)),
        other => Err(Error::Store {
            path,
            source: Box::new(other),
        }),
    }
}

/// Opens the store; on a full disk the reserve file makes way first.
pub(super) fn open(
    config: &Config,
    folder: &mut DataFolder,
    free_space: &mut FreeSpace,
    known: &Witness,
) -> Result<OpenedStore, StoreError> {
    if folder.is_away() {
        return Err(StoreError::Away);
    }
    folder.take_lock().map_err(|error| match error {
        Error::Folder { source, .. } | Error::Denied { source, .. } => StoreError::Disk(source),
        other => StoreError::Disk(io::Error::other(other)),
    })?;
    match open::open(config, folder, known) {
        Err(StoreError::Disk(error))
            if StoreCondition::of(&error) == StoreCondition::DiskFull && free_space.release() =>
        {
            open::open(config, folder, known)
        }
        other => other,
    }
}

/// Notes the boot in the store, for good, and then in the lock file: that it is behind there shows what the store has lost.
pub(super) fn sign(
    folder: &mut DataFolder,
    store: &Store,
    boot: u32,
    name: &StoreName,
) -> Result<(), StoreError> {
    store.write_boot(boot);
    store.settle(true)?;
    folder.sign(boot, name).map_err(StoreError::Disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_cannot_sign_takes_a_number_of_its_own() {
        let numbers: Vec<u32> = (0..20).map(|_| unsigned(Some(41))).collect();
        assert!(
            numbers
                .iter()
                .all(|number| (42..42 + UNSIGNED).contains(number))
        );
        assert!(numbers.iter().any(|number| *number != numbers[0]));
        assert!((UNKNOWN..2 * UNKNOWN).contains(&unsigned(None)));
    }
}
