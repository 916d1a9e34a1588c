//! One file: read from a place on, cut into frames; whether it is still the one that was read.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::mark::{FileMark, ReadPlace};
use crate::source::raw::frame::{BytesEnd, FramePiece, Framer};

/// So long what may be a copy waits for the original to be cut: who copies a file and cuts it does so at once.
pub(super) const COPY: Duration = Duration::from_secs(30);

/// What was read together of one file.
#[derive(Debug)]
pub(super) struct FileChunk {
    pub(super) topic: Bytes,
    pub(super) pieces: Vec<FramePiece>,
    /// Before the first of them, and behind the last whole one.
    pub(super) from: ReadPlace,
    pub(super) end: ReadPlace,
}

/// What a look into a file came to.
#[derive(Debug)]
pub(super) enum FileStep {
    Read(Box<FileChunk>),
    AtEnd,
    /// What was read before is not what stands there now.
    Rewritten,
}

#[derive(Debug)]
pub(super) struct FollowedFile {
    pub(super) file: File,
    /// Where it is, while it is one of those that are looked for.
    pub(super) path: Option<PathBuf>,
    pub(super) topic: Bytes,
    /// Up to where whole frames were read.
    pub(super) done: ReadPlace,
    /// Up to where bytes were.
    offset: u64,
    framer: Framer,
    /// When its content changed last, as of the last look.
    pub(super) changed: (i64, i64),
    /// The same as it was when was looked for what stood in its place before.
    pub(super) looked_for: (i64, i64),
    /// Since when it is not one of those that are looked for, or when something was added to it since.
    pub(super) gone: Option<Instant>,
    /// It is read once that one is at its end.
    pub(super) behind: Option<u64>,
    /// While it may be a copy that is there before the original is cut.
    pub(super) twin: Option<FileTwin>,
}

/// Of which file one has nothing that this has not, and until when that keeps it from being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileTwin {
    pub(super) of: u64,
    pub(super) until: Instant,
}

impl FollowedFile {
    pub(super) fn from(file: File, topic: Bytes, place: ReadPlace, framer: Framer) -> Self {
        Self {
            file,
            path: None,
            topic,
            offset: place.mark.offset,
            looked_for: place.since,
            done: place,
            framer,
            changed: (0, 0),
            gone: None,
            behind: None,
            twin: None,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.done.number
    }

    /// Whether something was added to it that was not read.
    pub(super) fn has_more(&self) -> bool {
        let is_longer = |about: Metadata| about.len() > self.offset;
        !self.framer.is_lost() && self.file.metadata().is_ok_and(is_longer)
    }

    /// Whether it is read, without a half frame, and does not stand where it was found any more.
    pub(super) fn is_aside_and_read(&self) -> bool {
        let is_there = self.path.as_deref() == Some(Path::new(&self.done.home));
        !is_there && self.twin.is_none() && self.framer.begun() == 0 && !self.has_more()
    }

    /// Whether nothing in it can be a frame any more.
    pub(super) fn is_out_of_step(&self) -> bool {
        self.framer.is_lost()
    }

    /// Whether nothing was read of it and its content is another one than at the last call: it may have been cut meanwhile.
    pub(super) fn is_beginning(&mut self) -> bool {
        let about = self.file.metadata();
        let changed = about.map_or(self.looked_for, |about| (about.mtime(), about.mtime_nsec()));
        let before = std::mem::replace(&mut self.looked_for, changed);
        self.done.mark.offset == 0 && before != changed
    }

    /// Whether what was read is still there.
    pub(super) fn is_intact(&self) -> bool {
        let is_long_enough = |about: Metadata| about.len() >= self.offset;
        self.file.metadata().is_ok_and(is_long_enough)
            && self.done.mark.is_on(&self.file).unwrap_or_default()
    }

    /// Reads on, at most so many bytes.
    ///
    /// # Errors
    /// The system's; nothing was read then.
    pub(super) fn step(&mut self, most: usize) -> io::Result<FileStep> {
        let about = self.file.metadata()?;
        let changed = (about.mtime(), about.mtime_nsec());
        if about.len() == self.offset && changed == self.changed {
            return Ok(FileStep::AtEnd);
        }
        if about.len() < self.offset || !self.done.mark.is_on(&self.file)? {
            return Ok(FileStep::Rewritten);
        }
        self.changed = changed;
        let left = usize::try_from(about.len() - self.offset).unwrap_or(usize::MAX);
        let mut bytes = vec![0; left.min(most)];
        let read = self.file.read_at(&mut bytes, self.offset)?;
        self.offset += read as u64;
        if read == 0 {
            return Ok(FileStep::AtEnd);
        }
        let mut pieces = Vec::new();
        self.framer.push(&bytes[..read], &mut pieces);
        Ok(FileStep::Read(Box::new(self.chunk(pieces))))
    }

    /// Nothing more will be read: what was begun ends here.
    pub(super) fn end(&mut self) -> FileChunk {
        let mut pieces = Vec::new();
        self.framer.end(BytesEnd::Orderly, &mut pieces);
        self.chunk(pieces)
    }

    fn chunk(&mut self, pieces: Vec<FramePiece>) -> FileChunk {
        let from = self.done.clone();
        let done = self.offset - self.framer.begun().min(self.offset);
        if done > from.mark.offset && !self.framer.is_lost() {
            // One that was cut short just now is found out with the next step.
            if let Ok(mark) = FileMark::of(&self.file, done) {
                self.done.mark = mark;
            }
        }
        FileChunk {
            topic: self.topic.clone(),
            pieces,
            from,
            end: self.done.clone(),
        }
    }
}
