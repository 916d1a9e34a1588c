//! The store is opened: at the start, and again after each failure.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{Keeper, WAIT_US};
use crate::clock::Now;
use crate::message::{LossReason, Receipt};
use crate::spool::chunk::Extent;
use crate::spool::folder::{Folder, folder_error};
use crate::spool::ledger::{Books, Entry};
use crate::spool::letters::Kept;
use crate::spool::name::{self, Name};
use crate::spool::notes::Notes;
use crate::spool::queue::Mark;
use crate::spool::room::{Condition, Room};
use crate::spool::store::{self, Lost, Opened, QueueChange, Store, StoreError, Witness};
use crate::spool::{Config, Error, describe, locked};

/// How long readers of a failed store may take to let go of it.
const LET_GO: Duration = Duration::from_secs(2);
/// A start that cannot sign takes a number so far beyond the last at random: the next such start takes another.
const UNSIGNED: u32 = 1_000;
/// Where such a number lies when not even the last one can be read: beyond all that a gateway's life brings.
const UNKNOWN: u32 = 1 << 20;

/// What a start begins with.
pub(in crate::spool) struct Begin {
    pub boot: u32,
    pub queues: Vec<(Mark, Option<Extent>)>,
    pub kept: Kept,
    pub strangers: Vec<(String, u64)>,
    pub set_aside: Option<std::path::PathBuf>,
    pub books: Books,
    /// The store, unless it cannot even be read.
    pub store: Option<(Store, Notes)>,
    /// Why nothing can be written for now.
    pub failure: Option<StoreError>,
    /// It has lost what later starts wrote.
    pub went_back: bool,
    /// What letters, ledger and state have lost.
    pub lost: Option<Lost>,
    pub name: Name,
}

/// Opens the store for a start. A disk that is full, read-only or failing is no reason not to start.
pub(in crate::spool) fn begin(
    config: &Config,
    folder: &mut Folder,
    room: &mut Room,
) -> Result<Begin, Error> {
    let last = |opened: u32, folder: &Folder| folder.last_boot().unwrap_or(0).max(opened);
    let (mut known, mut went_back) = (folder.last_boot(), false);
    // Makes the ballast way, if that is needed; without any room opening fails and says so.
    room.admits();
    let opened = open(config, folder, room, &Witness::default()).and_then(|mut opened| {
        if let Some(lost) = &opened.lost {
            make_up(&mut opened.books, lost);
            opened.store.make_anew(&mut opened.books, folder)?;
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
        Ok((boot, opened)) => Ok(Begin {
            went_back,
            ..Begin::of(boot, opened)
        }),
        Err(error) => {
            let failure = Some(passing(config, folder, error)?);
            if let Some(opened) = mirrored(config, folder) {
                let boot = unsigned(Some(last(opened.boot, folder)));
                return Ok(Begin {
                    failure,
                    ..Begin::of(boot, opened)
                });
            }
            Ok(Begin {
                boot: unsigned(known),
                queues: vec![(Mark::default(), None); config.queues.len()],
                kept: Kept::default(),
                strangers: Vec::new(),
                set_aside: None,
                books: store::no_books(config),
                store: None,
                failure,
                went_back,
                lost: None,
                name: unknown_name(folder),
            })
        }
    }
}

impl Begin {
    fn of(boot: u32, opened: Opened) -> Self {
        let Opened {
            store,
            notes,
            queues,
            kept,
            books,
            strangers,
            set_aside,
            lost,
            name,
            ..
        } = opened;
        let store = Some((store, notes));
        Self {
            boot,
            queues,
            kept,
            strangers,
            set_aside,
            books,
            store,
            failure: None,
            went_back: false,
            lost,
            name,
        }
    }
}

/// What the ledger has lost is counted again, by reason alone; lost letters are lost messages.
fn make_up(books: &mut Books, lost: &Lost) {
    let (now, nobody) = (Now::read(), Arc::from(""));
    let letters =
        Some((LossReason::Damaged, lost.totals.kept.total())).filter(|(_, count)| *count > 0);
    let given_up = lost
        .totals
        .given_up
        .iter()
        .map(|(reason, count)| (*reason, *count));
    for (reason, count) in given_up.chain(letters) {
        let entry = Entry::plain(reason, &nobody, &nobody, count, now.wall_us);
        books.post(Entry {
            is_clock_set: now.is_set(),
            ..entry
        });
    }
}

/// A store that cannot be read has the name that its lock file says, if it does.
fn unknown_name(folder: &Folder) -> Name {
    let signed = folder.signed().store.filter(|store| name::is_name(store));
    Name {
        store: signed.map_or_else(name::any, Arc::from),
        ids: name::any(),
    }
}

/// What can be read of a store whose disk takes nothing.
fn mirrored(config: &Config, folder: &mut Folder) -> Option<Opened> {
    if !folder.store().exists() {
        return None;
    }
    let opened = folder
        .mirror()
        .map_err(StoreError::Disk)
        .and_then(|()| store::open_files(config, folder, &Witness::default()));
    let path = folder.path().display();
    match opened {
        Ok(opened) => {
            tracing::info!(%path, "the store is read from a copy in memory until its disk can be written");
            Some(opened)
        }
        Err(error) => {
            let error = describe(&error);
            tracing::warn!(%path, error, "the store cannot be read: what it owes follows later, behind what comes");
            folder.forget_mirror();
            None
        }
    }
}

/// Opens the store as it is, for somebody who only wants to look: nothing is signed, and nothing is moved.
pub(in crate::spool) fn look(config: &Config, folder: &Folder) -> Result<Begin, Error> {
    let opened =
        store::open_files(config, folder, &Witness::default()).map_err(|error| match error {
            StoreError::Format(found) => Error::Format {
                path: config.path.clone(),
                found,
                known: store::FORMAT,
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
    Ok(Begin::of(boot, opened))
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
fn passing(config: &Config, folder: &Folder, error: StoreError) -> Result<StoreError, Error> {
    let path = config.path.clone();
    match error {
        StoreError::Format(found) => Err(Error::Format {
            path,
            found,
            known: store::FORMAT,
        }),
        StoreError::Key(key) => Err(config.no_key(key)),
        StoreError::Disk(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(folder_error(&folder.store(), error))
        }
        StoreError::Disk(error) if !store::is_held(&error) => Ok(StoreError::Disk(error)),
        other => Err(Error::Store {
            path,
            source: Box::new(other),
        }),
    }
}

/// Opens the store; on a full disk the ballast makes way first.
fn open(
    config: &Config,
    folder: &mut Folder,
    room: &mut Room,
    known: &Witness,
) -> Result<Opened, StoreError> {
    if folder.is_away() {
        return Err(StoreError::Away);
    }
    folder.take_lock().map_err(|error| match error {
        Error::Folder { source, .. } | Error::Denied { source, .. } => StoreError::Disk(source),
        other => StoreError::Disk(io::Error::other(other)),
    })?;
    match store::open(config, folder, known) {
        Err(StoreError::Disk(error))
            if Condition::of(&error) == Condition::DiskFull && room.release() =>
        {
            store::open(config, folder, known)
        }
        other => other,
    }
}

/// Notes the boot in the store, for good, and then in the lock file: that it is behind there shows what the store has lost.
fn sign(folder: &mut Folder, store: &Store, boot: u32, name: &Name) -> Result<(), StoreError> {
    store.write_boot(boot);
    store.settle(true)?;
    folder.sign(boot, name).map_err(StoreError::Disk)
}

impl Keeper {
    /// Closes the failed store and opens it anew. False when that failed, too.
    pub(super) fn reopen(&mut self) -> bool {
        if !self.room.admits() {
            self.spare_ram();
            self.retry_at = Some(self.shared.clock.now().saturating_add(WAIT_US));
            return false;
        }
        // The failed store takes nothing, but what it holds can be read and sent: it goes when a new one has a chance.
        // The proof is needed too, as ext4 may refuse all writes without being read-only by its own word.
        // A folder that was removed is made again.
        let is_refused =
            || self.folder.is_away() || (self.folder.is_in_place() && self.folder.prove().is_err());
        if locked(&self.shared.store).is_some() && is_refused() {
            self.spare_ram();
            self.postpone();
            return false;
        }
        locked(&self.shared.notes).take();
        let failed = locked(&self.shared.store).take();
        if let Some(store) = failed.and_then(let_go) {
            store.close();
        }
        self.folder.forget_mirror();
        match self.open_again() {
            Ok(()) => {
                self.retry_at = None;
                self.shared
                    .slots
                    .iter()
                    .for_each(|slot| drop(locked(&slot.sick).take()));
                self.shared.trouble.store(false, Ordering::Release);
                self.shared.store_changed.notify_all();
                for link in &self.shared.links {
                    link.ready.notify_one();
                }
                self.look();
                true
            }
            Err(error) => {
                tracing::debug!(%error, "the store does not open yet");
                self.spare_ram();
                self.postpone();
                false
            }
        }
    }

    fn open_again(&mut self) -> Result<(), StoreError> {
        let known = locked(&self.shared.witness).clone();
        let opened = open(
            &self.shared.config,
            &mut self.folder,
            &mut self.room,
            &known,
        )?;
        if opened.boot > self.shared.boot {
            return Err(StoreError::Overtaken(opened.boot));
        }
        // What is in memory is more exact than what a damaged store can tell.
        let knows_less = self.was_open
            && (opened.lost.is_some() || opened.books.stamp() < locked(&self.shared.books).stamp());
        let released = if std::mem::replace(&mut self.was_open, true) {
            let survived = if knows_less { 0 } else { opened.books.stamp() };
            self.set_right(&opened, survived)?
        } else {
            self.adopt(&opened);
            Vec::new()
        };
        let mut books = if knows_less {
            locked(&self.shared.books).clone()
        } else {
            opened.books
        };
        if let Some(lost) = &opened.lost {
            let letters = Lost {
                totals: store::Totals {
                    kept: lost.totals.kept,
                    ..Default::default()
                },
                ..lost.clone()
            };
            make_up(&mut books, if knows_less { &letters } else { lost });
        }
        if opened.lost.is_some() || knows_less {
            opened.store.make_anew(&mut books, &self.folder)?;
        }
        sign(
            &mut self.folder,
            &opened.store,
            self.shared.boot,
            &opened.name,
        )?;
        released.into_iter().for_each(Receipt::release);
        opened
            .lost
            .iter()
            .for_each(|lost| self.shared.know_lost(lost));
        *locked(&self.shared.letters) = opened.kept;
        *locked(&self.shared.witness) = opened.store.witness();
        if opened.set_aside.is_some() {
            *locked(&self.shared.set_aside) = opened.set_aside;
        }
        if knows_less {
            *locked(&self.shared.books) = books;
        } else {
            locked(&self.shared.books).adopt(books);
        }
        *locked(&self.shared.notes) = Some(opened.notes);
        self.shared.note_bell.due(0);
        *locked(&self.shared.store) = Some(Arc::new(opened.store));
        Ok(())
    }

    /// The store follows the queues: what a failed commit has left behind would pass for a part of them after a kill. What
    /// that commit gave up is given up now if the ledger has it. Answers the receipts to release.
    fn set_right(&mut self, opened: &Opened, survived: u64) -> Result<Vec<Receipt>, StoreError> {
        let released = self.settle_doubt(survived);
        for (index, slot) in self.shared.slots.iter().enumerate() {
            let mark = locked(&slot.queue).mark_now(self.shared.clock.now());
            opened.store.remove_from(index, mark.end)?;
            opened.store.write_queue(
                index,
                QueueChange {
                    chunks: Vec::new(),
                    gone: &[],
                    mark,
                    given_up: None,
                },
            )?;
        }
        Ok(released)
    }

    /// The queues follow the store: this start had to begin without it.
    fn adopt(&self, opened: &Opened) {
        for (slot, (mark, first)) in self.shared.slots.iter().zip(&opened.queues) {
            locked(&slot.queue).adopt(*mark, *first);
        }
        self.shared.know_strangers(opened.strangers.clone());
    }
}

/// Waits until nobody else reads from the store, so that it can be closed here. One that is still held is closed by its
/// last reader; opening it anew waits for that.
fn let_go(mut store: Arc<Store>) -> Option<Store> {
    let deadline = Instant::now() + LET_GO;
    loop {
        match Arc::try_unwrap(store) {
            Ok(store) => return Some(store),
            Err(_) if Instant::now() >= deadline => return None,
            Err(held) => store = held,
        }
        std::thread::sleep(Duration::from_millis(5));
    }
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
