//! What a source of files does on a thread that may wait for the disk.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::task::JoinHandle;

use super::handover::{LeftFiles, TailNext};
use super::leaving::GivenUp;
use super::mark::{FileId, ReadPlace};
use super::notes::PlaceNotes;
use super::pattern::FilePattern;
use super::reader::{TailOrders, TailReader, TailTurn};
use super::rest_notes::RestNotes;
use super::slot::RestingFile;
use crate::file;

/// What a source begins with: what the one before has left, or what is noted.
pub(super) struct KeptFiles {
    pub(super) notes: TailNotes,
    pub(super) places: BTreeMap<u64, ReadPlace>,
    pub(super) resting: BTreeMap<FileId, Arc<RestingFile>>,
    left: LeftFiles,
}

/// Where it is noted up to where files are read; `None`: it cannot be.
#[derive(Default)]
pub(super) struct TailNotes {
    places: Option<PlaceNotes>,
    resting: Option<RestNotes>,
}

/// What a turn needs that waits for the disk, and what it has brought: a turn that was given up leaves it for the next one.
pub(super) struct TailDisk {
    reader: Mutex<(TailReader, Vec<TailTurn>)>,
    orders: Mutex<Vec<ReadPlace>>,
    notes: Mutex<TailNotes>,
    folder: PathBuf,
}

/// What is to be done in a turn.
pub(super) struct DiskWork {
    /// Up to where files are safe, where that is to be noted now.
    pub(super) places: Option<BTreeMap<u64, ReadPlace>>,
    pub(super) resting: Option<Vec<Arc<RestingFile>>>,
    pub(super) may_read: bool,
    pub(super) leaves: Option<TailNext>,
}

/// What came of a turn: of the files, of the notes, and of those of files at rest.
pub(super) struct TurnEnd {
    pub(super) read: io::Result<()>,
    pub(super) noted: io::Result<()>,
    pub(super) resting: Option<io::Result<Vec<Arc<RestingFile>>>>,
}

impl KeptFiles {
    /// Finds it. What `pattern` does not name is nobody's any more.
    pub(super) fn find(
        config: &crate::source::Config,
        own: &crate::source::raw::Config,
        pattern: &FilePattern,
    ) -> Self {
        let (notes, places, resting) = match &own.kept {
            Some(path) => noted(&config.name, path),
            None => (TailNotes::default(), Vec::new(), Vec::new()),
        };
        let left = own.left.take();
        let by_number = |place: ReadPlace| (place.number, place);
        let mut kept = Self {
            notes,
            places: places.into_iter().map(by_number).collect(),
            resting: BTreeMap::new(),
            left: LeftFiles::default(),
        };
        match left {
            Some(mut left) => {
                kept.places = std::mem::take(&mut left.places);
                kept.resting = std::mem::take(&mut left.resting);
                kept.left = left;
            }
            // What has been read on since stands in the other notes.
            None => {
                let places = &kept.places;
                let resting = resting.into_iter();
                let resting = resting.filter(|one| !places.contains_key(&one.place.number));
                kept.resting = resting.map(|one| (one.place.id, Arc::new(one))).collect();
            }
        }
        kept.places.retain(|_, place| pattern.covers(&place.home));
        kept.resting
            .retain(|_, one| pattern.covers(&one.place.home));
        kept
    }

    /// For the reader, who has the places already.
    pub(super) fn left(&mut self) -> LeftFiles {
        LeftFiles {
            resting: self.resting.clone(),
            ..std::mem::take(&mut self.left)
        }
    }
}

fn noted(source: &str, path: &Path) -> (TailNotes, Vec<ReadPlace>, Vec<RestingFile>) {
    const AGAIN: &str = "up to where files were read is not known, as the notes of it are damaged: they are read from their beginning, and what was sent before comes again";
    let resting = RestNotes::beside(path);
    let at_rest = resting.read().unwrap_or_else(|error| {
        tracing::warn!(source, %error, "{AGAIN}");
        Vec::new()
    });
    let mut notes = TailNotes {
        places: None,
        resting: Some(resting),
    };
    match PlaceNotes::open(path, Instant::now()) {
        Ok((own, known)) => {
            if own.is_damaged {
                let notes = path.display().to_string();
                tracing::warn!(source, notes, "{AGAIN}");
            }
            notes.places = Some(own);
            (notes, known, at_rest)
        }
        Err(error) => {
            tracing::warn!(source, %error, "up to where files are read cannot be kept: after a restart they are read again");
            (notes, Vec::new(), at_rest)
        }
    }
}

impl TailDisk {
    pub(super) fn new(reader: TailReader, notes: TailNotes, folder: PathBuf) -> Self {
        Self {
            reader: Mutex::new((reader, Vec::new())),
            orders: Mutex::default(),
            notes: Mutex::new(notes),
            folder,
        }
    }

    /// The path that files fit.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What turns have brought.
    pub(super) fn turns(&self) -> Vec<TailTurn> {
        std::mem::take(&mut self.reader().1)
    }

    /// A file is to be read again from a place on.
    pub(super) fn order(&self, place: ReadPlace) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.push(place);
    }

    fn reader(&self) -> MutexGuard<'_, (TailReader, Vec<TailTurn>)> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn turn(self: Arc<Self>, work: DiskWork) -> TurnEnd {
        // What is forgotten by the one stands in the other by then.
        let resting = work.resting.map(|files| self.note_resting(files));
        let places = work.places;
        let noted = places.map_or(Ok(()), |places| self.note(&places, false));
        let (path, may_read, leaves) = (self.folder.clone(), work.may_read, work.leaves);
        let read = file::within(&path, move || {
            let mut own = self.reader();
            let orders = TailOrders {
                may_read,
                leaves,
                go_back: std::mem::take(
                    &mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner),
                ),
            };
            let turn = own.0.turn(orders, Instant::now());
            own.1.push(turn);
            Ok(())
        });
        TurnEnd {
            read,
            noted,
            resting,
        }
    }

    fn note_resting(&self, files: Vec<Arc<RestingFile>>) -> io::Result<Vec<Arc<RestingFile>>> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resting) = &notes.resting {
            resting.write(&files)?;
        }
        Ok(files)
    }

    fn note(&self, places: &BTreeMap<u64, ReadPlace>, for_good: bool) -> io::Result<()> {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(notes) = notes.places.as_mut() else {
            return Ok(());
        };
        let now = Instant::now();
        notes.write(places, now)?;
        if for_good { notes.sync(now) } else { Ok(()) }
    }

    /// Notes all of it on the medium.
    pub(super) fn note_all(
        &self,
        places: &BTreeMap<u64, ReadPlace>,
        resting: Option<Vec<Arc<RestingFile>>>,
    ) -> io::Result<()> {
        resting.map_or(Ok(Vec::new()), |files| self.note_resting(files))?;
        self.note(places, true)
    }

    /// Closes what is gone then; of a disk that hangs that is not known.
    pub(super) fn give_up(self: Arc<Self>, next: TailNext) -> Vec<GivenUp> {
        let path = self.folder.clone();
        let given_up = file::within(&path, move || {
            let reader = self.reader.try_lock();
            Ok(reader.map_or_else(|_| Vec::new(), |mut own| own.0.give_up(&next)))
        });
        given_up.unwrap_or_default()
    }

    /// What is open, for whoever comes next; of a disk that hangs, nothing.
    pub(super) fn leave(&self, places: BTreeMap<u64, ReadPlace>) -> Option<LeftFiles> {
        let reader = self.reader.try_lock();
        reader.ok().map(|mut own| own.0.leave(places))
    }
}

/// The end of a turn; while none runs, never.
pub(super) async fn ended(running: &mut Option<JoinHandle<TurnEnd>>) -> TurnEnd {
    let Some(turn) = running.as_mut() else {
        return std::future::pending().await;
    };
    let ended = turn.await;
    *running = None;
    // A panic is one of the whole source, which then begins anew.
    ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
