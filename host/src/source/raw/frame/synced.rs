//! Frames of one length that begin with certain bytes.

use super::piece::{FrameFault, FramePiece, KeptBytes, Seeker};
use crate::message::HEAD_BYTES;

#[derive(Debug)]
pub(super) struct Synced {
    bytes: usize,
    start: Seeker,
    /// The frame, from its first byte on; empty while that is looked for.
    pub(super) kept: KeptBytes,
    /// What came where a frame should begin, and whether it was told.
    pub(super) strays: KeptBytes,
    is_told: bool,
}

impl Synced {
    /// `sync` has at least one byte, and fewer than `bytes`.
    pub(super) fn new(bytes: usize, sync: &[u8]) -> Self {
        Self {
            bytes,
            start: Seeker::new(sync),
            kept: KeptBytes::up_to(bytes),
            strays: KeptBytes::up_to(HEAD_BYTES),
            is_told: false,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], pieces: &mut Vec<FramePiece>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.kept.0.is_empty() {
                rest = self.seek(rest, pieces);
                continue;
            }
            let taken = rest.len().min(self.bytes - self.kept.0.len());
            self.kept.add(&rest[..taken]);
            rest = &rest[taken..];
            if self.kept.0.len() == self.bytes {
                pieces.extend(self.kept.frame());
            }
        }
    }

    /// Looks for the next beginning; what is left of `bytes` behind it.
    fn seek<'a>(&mut self, bytes: &'a [u8], pieces: &mut Vec<FramePiece>) -> &'a [u8] {
        let Self {
            start,
            strays,
            is_told,
            ..
        } = self;
        for (at, byte) in bytes.iter().enumerate() {
            let is_met = start.next(*byte, |passed| {
                if !*is_told && (!strays.add(passed) || strays.0.len() == HEAD_BYTES) {
                    *is_told = true;
                    pieces.push(strays.unfit(FrameFault::OutOfStep));
                }
            });
            if is_met {
                self.tell_strays(pieces);
                self.kept.add(&self.start.wanted);
                return &bytes[at + 1..];
            }
        }
        &[]
    }

    fn tell_strays(&mut self, pieces: &mut Vec<FramePiece>) {
        if !std::mem::take(&mut self.is_told) && !self.strays.0.is_empty() {
            pieces.push(self.strays.unfit(FrameFault::OutOfStep));
        }
        self.strays.clear();
    }

    pub(super) fn end(&mut self, pieces: &mut Vec<FramePiece>) {
        let met = std::mem::take(&mut self.start.met);
        if !self.is_told {
            self.strays.add(&self.start.wanted[..met]);
        }
        self.tell_strays(pieces);
        pieces.extend(self.kept.cut_off());
    }

    /// Bytes of the frame that is not finished, or of what may be its beginning.
    pub(super) fn begun(&self) -> u64 {
        (self.start.met + self.kept.0.len()) as u64
    }

    pub(super) fn is_half(&self) -> bool {
        self.start.met > 0 || !self.kept.0.is_empty() || !self.strays.0.is_empty() || self.is_told
    }
}
