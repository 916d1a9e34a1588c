//! The files of the records: where what is live lies in them, and what was found in them.
//!
//! ```text
//! <data>/records.<number>     pieces as `frame` says, numbered from 1 in the order they were begun
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::spool::disk::fault_injection::{DiskCall, FaultInjection};
use crate::spool::disk::frame::{HEAD, Piece, PieceKind, head, open_regular, pieces};
use crate::spool::disk::records::batch::{RecordBatch, Tree, Witness, decode, encode};

/// A file takes no more once it holds so much.
const FILE_BYTES: u64 = if cfg!(test) { 16 << 10 } else { 4 << 20 };
/// Bytes that are moved with one batch when the oldest file is emptied.
const MOVED_AT_ONCE: usize = if cfg!(test) { 4 << 10 } else { 1 << 20 };

/// Where a value is.
#[derive(Clone, Debug)]
pub(super) enum ValueLocation {
    File {
        /// Number of the file.
        file: u64,
        /// Where it begins there.
        offset: u64,
        length: u32,
    },
    /// It waits for the next batch.
    Memory(Vec<u8>),
}

/// The file that is written to.
#[derive(Debug)]
pub(super) struct ActiveRecordFile {
    number: u64,
    file: File,
    end: u64,
}

/// The files, and what is live in them.
#[derive(Debug, Default)]
pub(super) struct RecordFiles {
    /// Where the value of each key is.
    pub live: BTreeMap<Vec<u8>, ValueLocation>,
    /// Keys that the next batch removes.
    pub gone: Vec<Vec<u8>>,
    /// Keys whose values wait for it in memory.
    pub fresh: Vec<Vec<u8>>,
    /// Bytes of each file, and those of them that are live.
    pub sizes: BTreeMap<u64, (u64, u64)>,
    /// None until something is written: what a file held at its opening stays as it is.
    pub active: Option<ActiveRecordFile>,
    /// Number of the next file.
    pub next: u64,
    /// The last batch, with the totals as they will be with the next.
    pub witness: Witness,
    /// The same, with its own.
    pub last: Witness,
    /// Entries of plugins' state.
    pub states: u64,
    /// A batch was written, and no sync has been behind it.
    pub is_unsafe: bool,
    reading: Option<(u64, Arc<File>)>,
}

/// What was found at an opening.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Name of the store that the files belong to; `None` where it is not known and there are none.
    pub store: Option<String>,
    /// What must be there, as far as the files tell.
    pub witness: Witness,
    /// Batches that are missing or hurt.
    pub missing: u64,
    is_begun: bool,
    /// RecordFiles that cannot be read, or belong to another store, and why.
    pub strange: Vec<(PathBuf, String)>,
    /// RecordFiles that were asked for long enough.
    pub given_up: Vec<PathBuf>,
    /// RecordFiles with damaged bytes.
    pub damaged: Vec<PathBuf>,
}

/// The file of this number.
pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("records.{number:08}"))
}

/// Numbers of the files, rising.
pub(super) fn listed(folder: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        found.extend(
            name.to_str()
                .and_then(|name| name.strip_prefix("records.")?.parse::<u64>().ok()),
        );
    }
    found.sort_unstable();
    Ok(found)
}

impl RecordFiles {
    /// Live entries of a tree.
    pub(super) fn count(&self, tree: Tree) -> u64 {
        self.live
            .range(tree.key(&[])..)
            .take_while(|(key, _)| key[0] == tree as u8)
            .count() as u64
    }

    /// What one file says.
    pub(super) fn take(&mut self, file: u64, bytes: &[u8], path: &Path, scan: &mut Scan) {
        self.sizes.insert(file, (bytes.len() as u64, 0));
        let mut is_hurt = false;
        for piece in pieces(bytes) {
            let whole = match piece {
                Piece::Whole {
                    kind: PieceKind::Record,
                    at,
                    body,
                } => decode(body).map(|batch| (at, body, batch)),
                Piece::Whole { .. } | Piece::Torn => None,
            };
            let Some((at, body, batch)) = whole else {
                is_hurt = true;
                continue;
            };
            if *scan.store.get_or_insert_with(|| batch.store.to_owned()) != *batch.store {
                self.sizes.remove(&file);
                scan.strange.push((
                    path.to_owned(),
                    format!("it belongs to the store `{}`", batch.store),
                ));
                return;
            }
            let Witness { number, .. } = batch.witness;
            if number >= scan.witness.number {
                scan.witness = batch.witness.clone();
            }
            if !std::mem::replace(&mut scan.is_begun, true) {
                // A file begins with what was before it; where that is hurt, there may have been more.
                scan.missing += u64::from(!batch.changes.is_empty());
                self.witness.number = number.saturating_sub(u64::from(!batch.changes.is_empty()));
            }
            if batch.changes.is_empty() || number <= self.witness.number {
                continue;
            }
            scan.missing += number - self.witness.number - 1;
            self.witness = batch.witness;
            for (key, value) in batch.changes {
                let Some(value) = value else {
                    let old = self.live.remove(&key[..]);
                    self.let_go(key, old.as_ref());
                    continue;
                };
                let offset = at as u64 + (value.as_ptr().addr() - body.as_ptr().addr()) as u64;
                self.place(key.to_vec(), file, offset, value.len());
            }
        }
        if is_hurt {
            scan.damaged.push(path.to_owned());
        }
    }

    /// A value lies there now.
    pub(super) fn place(&mut self, key: Vec<u8>, file: u64, offset: u64, length: usize) {
        let size = (key.len() + length) as u64;
        self.sizes.entry(file).or_default().1 += size;
        let at = ValueLocation::File {
            file,
            offset,
            length: u32::try_from(length).unwrap_or(u32::MAX),
        };
        let old = self.live.insert(key.clone(), at);
        self.let_go(&key, old.as_ref());
    }

    /// A value lies there no more.
    pub(super) fn let_go(&mut self, key: &[u8], old: Option<&ValueLocation>) {
        if let Some(ValueLocation::File { file, length, .. }) = old
            && let Some((_, live)) = self.sizes.get_mut(file)
        {
            *live = live.saturating_sub((key.len() + *length as usize) as u64);
        }
    }

    /// A value, from where it is.
    pub(super) fn read(
        &mut self,
        folder: &Path,
        fault_injection: &FaultInjection,
        at: &ValueLocation,
    ) -> io::Result<Vec<u8>> {
        let (file, offset, length) = match at {
            ValueLocation::Memory(value) => return Ok(value.clone()),
            ValueLocation::File {
                file,
                offset,
                length,
            } => (*file, *offset, *length as usize),
        };
        let opened = match self.reading.as_ref().filter(|(open, _)| *open == file) {
            Some((_, opened)) => Arc::clone(opened),
            None => {
                let opened = Arc::new(open_regular(&path(folder, file), fault_injection)?);
                self.reading = Some((file, Arc::clone(&opened)));
                opened
            }
        };
        fault_injection.pass(DiskCall::Read)?;
        let mut value = vec![0; length];
        opened.read_exact_at(&mut value, offset)?;
        Ok(value)
    }

    /// A value is written again with the next batch.
    pub(super) fn take_up(
        &mut self,
        folder: &Path,
        fault_injection: &FaultInjection,
        key: Vec<u8>,
    ) -> io::Result<usize> {
        let Some(at @ ValueLocation::File { .. }) = self.live.get(&key).cloned() else {
            return Ok(0);
        };
        let value = self.read(folder, fault_injection, &at)?;
        let bytes = key.len() + value.len();
        self.let_go(&key, Some(&at));
        self.live.insert(key.clone(), ValueLocation::Memory(value));
        self.fresh.push(key);
        Ok(bytes)
    }

    /// Takes up some of the oldest file when too little of all files is live.
    pub(super) fn empty_the_oldest(
        &mut self,
        folder: &Path,
        fault_injection: &FaultInjection,
    ) -> io::Result<()> {
        let (bytes, live) = self
            .sizes
            .values()
            .fold((0, 0), |(bytes, live), (all, used)| {
                (bytes + all, live + used)
            });
        let is_active = |file: u64| {
            self.active
                .as_ref()
                .is_some_and(|active| active.number == file)
        };
        let Some((oldest, (_, used))) = self
            .sizes
            .first_key_value()
            .filter(|(file, _)| !is_active(**file))
        else {
            return Ok(());
        };
        if *used == 0 || bytes <= live * 2 + 2 * FILE_BYTES {
            return Ok(());
        }
        let oldest = *oldest;
        let in_oldest =
            |at: &ValueLocation| matches!(at, ValueLocation::File { file, .. } if *file == oldest);
        let keys: Vec<Vec<u8>> = self
            .live
            .iter()
            .filter(|(_, at)| in_oldest(at))
            .map(|(key, _)| key.clone())
            .collect();
        let mut moved = 0;
        for key in keys {
            moved += self.take_up(folder, fault_injection, key)?;
            if moved >= MOVED_AT_ONCE {
                break;
            }
        }
        Ok(())
    }

    /// Removes old files of which nothing is live.
    pub(super) fn remove_the_oldest(&mut self, folder: &Path) {
        let active = self.active.as_ref().map(|active| active.number);
        while let Some((file, _)) = self
            .sizes
            .first_key_value()
            .filter(|(file, (_, live))| *live == 0 && Some(**file) != active)
        {
            let file = *file;
            match fs::remove_file(path(folder, file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::debug!(file, %error, "old records cannot be removed yet");
                    return;
                }
                Ok(()) | Err(_) => drop(self.sizes.remove(&file)),
            }
        }
    }

    /// Begins a file, where the last one is full or was there at the opening.
    pub(super) fn begin(
        &mut self,
        folder: &Path,
        fault_injection: &FaultInjection,
        store: &str,
    ) -> io::Result<()> {
        if self
            .active
            .as_ref()
            .is_some_and(|active| active.end < FILE_BYTES)
        {
            return Ok(());
        }
        let number = self.next;
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path(folder, number))?;
        self.next += 1;
        self.active = Some(ActiveRecordFile {
            number,
            file,
            end: 0,
        });
        let mut piece = encode(&RecordBatch {
            store,
            witness: self.last.clone(),
            changes: Vec::new(),
        });
        self.write(fault_injection, &mut piece).map(drop)
    }

    /// Writes a piece whose head is still missing; answers its file and where it begins.
    pub(super) fn write(
        &mut self,
        fault_injection: &FaultInjection,
        piece: &mut [u8],
    ) -> io::Result<(u64, u64)> {
        fault_injection.pass(DiskCall::Write)?;
        let Some(active) = &mut self.active else {
            return Err(io::Error::other("there is no file of records"));
        };
        let length = u32::try_from(piece.len() - HEAD)
            .map_err(|_| io::Error::other("a batch of more than 4 GiB"))?;
        piece[..HEAD].copy_from_slice(&head(PieceKind::Record, length, active.end));
        active.file.write_all_at(piece, active.end)?;
        let begin = active.end;
        active.end += piece.len() as u64;
        self.sizes.entry(active.number).or_default().0 = active.end;
        Ok((active.number, begin))
    }
}
