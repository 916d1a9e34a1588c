//! One file: read from a place on, cut into frames; whether it is still the one that was read.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::mark::{FileMark, ReadPlace};
use crate::source::raw::frame::{BytesEnd, FramePiece, Framer};

/// So long what may be a copy waits for the original to be cut: who copies a file and cuts it does so at once.
pub(super) const COPY: Duration = Duration::from_secs(30);

/// Of what is lost of a file, so much is looked at to count its frames, and so much at once.
const COUNTED_BYTES: u64 = 64 << 20;
const COUNTED_AT_ONCE: usize = 64 << 10;

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
    /// How long it was when it was last looked at.
    pub(super) seen: u64,
    /// When it was opened, and when something of it was read last.
    pub(super) opened: Instant,
    pub(super) read: Instant,
}

/// Of which file one has nothing that this has not, and until when that keeps it from being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileTwin {
    pub(super) of: u64,
    pub(super) until: Instant,
}

impl FollowedFile {
    pub(super) fn from(
        file: File,
        topic: Bytes,
        place: ReadPlace,
        framer: Framer,
        now: Instant,
    ) -> Self {
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
            seen: 0,
            opened: now,
            read: now,
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

    /// Whether something of it was seen that was not read.
    pub(super) fn had_more(&self) -> bool {
        self.twin.is_none() && self.seen > self.offset
    }

    /// Whether it is read up to `length`.
    pub(super) fn is_read_to(&self, length: u64) -> bool {
        self.offset == length
    }

    /// Whether a frame of it has begun and is not complete.
    pub(super) fn is_within_frame(&self) -> bool {
        self.framer.begun() > 0
    }

    /// Whether no name leads to it any more: what it has is gone once it is closed.
    pub(super) fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|about| about.nlink() == 0)
    }

    /// What was not read of it: bytes, and the frames that they make.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn count_rest(mut self) -> io::Result<(u64, u64)> {
        let length = self.file.metadata()?.len();
        let from = self.done.mark.offset.min(length);
        let (mut frames, mut pieces) = (0, Vec::new());
        while self.offset < length.min(from + COUNTED_BYTES) {
            let mut bytes = vec![0; COUNTED_AT_ONCE];
            let read = self.file.read_at(&mut bytes, self.offset)?;
            if read == 0 {
                break;
            }
            self.offset += read as u64;
            self.framer.push(&bytes[..read], &mut pieces);
            frames += pieces.len() as u64;
            pieces.clear();
        }
        self.framer.end(BytesEnd::Orderly, &mut pieces);
        frames += pieces.len() as u64;
        let is_counted = self.offset >= length && !self.framer.is_lost();
        Ok((length - from, if is_counted { frames } else { 0 }))
    }

    /// Whether it is read, without a half frame, and does not stand where it was found any more.
    pub(super) fn is_aside_and_read(&self) -> bool {
        let is_there = self.path.as_ref() == Some(&self.done.home);
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
