//! What the files of one queue hold, and the one that is written to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::message::Seq;
use crate::spool::disk::frame::{HEAD, PieceKind, head};
use crate::spool::disk::log::located::Located;

/// A file takes no more once it holds so much. Smaller files give their room back sooner, larger ones are fewer.
pub(super) const FILE_BYTES: u64 = if cfg!(test) { 2 << 10 } else { 4 << 20 };
/// A file that is still written to is ended when nothing in it is owed and it holds so much.
pub(super) const IDLE_BYTES: u64 = FILE_BYTES / 4;
/// The file of a hole that stands in the index alone, as they did before.
pub(super) const NO_FILE: u64 = 0;

/// What a file holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// Chunks in the index.
    pub(super) chunks: u64,
    pub(super) live: u64,
    /// Bytes of the file.
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct ActiveFile {
    pub(super) number: u64,
    pub(super) file: File,
    pub(super) end: u64,
    /// Messages that it has got, and whether a stand tells of all of them.
    pub(super) messages: u64,
    pub(super) is_told: bool,
}

#[derive(Debug)]
pub(super) struct ChunkFiles {
    /// None until something is written: what a file held at its opening stays as it is.
    pub(super) active: Option<ActiveFile>,
    /// Number of the next file.
    pub(super) next: u64,
    pub(super) used: BTreeMap<u64, Usage>,
    pub(super) dead: Vec<u64>,
    /// ChunkFiles that could not be read when they were looked through.
    pub(super) sick: BTreeSet<u64>,
    /// The place behind the last chunk, and behind the last that is safe.
    pub(super) end: Seq,
    pub(super) safe: Seq,
    pub(super) buffer: Vec<u8>,
}

impl ChunkFiles {
    /// Writes a piece to the file; answers where its body begins.
    pub(super) fn write(&mut self, kind: PieceKind, body: &[u8]) -> io::Result<u64> {
        let Some(active) = &mut self.active else {
            return Err(io::Error::other("there is no file of chunks"));
        };
        let length = u32::try_from(body.len())
            .map_err(|_| io::Error::other("a chunk of more than 4 GiB"))?;
        self.buffer.clear();
        self.buffer
            .extend_from_slice(&head(kind, length, active.end));
        self.buffer.extend_from_slice(body);
        active.file.write_all_at(&self.buffer, active.end)?;
        let begin = active.end + HEAD as u64;
        active.end += self.buffer.len() as u64;
        self.used.entry(active.number).or_default().bytes = active.end;
        Ok(begin)
    }

    pub(super) fn hold(&mut self, located: &Located) {
        if located.file == NO_FILE {
            return;
        }
        let usage = self.used.entry(located.file).or_default();
        usage.chunks += 1;
        usage.live += located.extent.bytes;
    }

    /// The last file written to takes no more; if nothing in it is owed, it goes.
    pub(super) fn give_up_empty(&mut self) {
        let dead = &mut self.dead;
        let empty = self
            .used
            .iter()
            .filter(|(number, usage)| usage.chunks == 0 && !dead.contains(number));
        let empty: Vec<u64> = empty.map(|(number, _)| *number).collect();
        dead.extend(empty);
    }
}
