//! From bytes to frames. No sockets, no clock: that nothing came for a while, and that nothing will come, is told.
//!
//! However the bytes are cut on their way, the frames are the same. What is kept is bounded by the longest frame.

mod counted;
mod delimited;
mod synced;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;

use counted::Counted;
pub use counted::{LengthCounts, LengthField};
use delimited::Delimited;
use synced::Synced;

use crate::message::HEAD_BYTES;

/// Where a frame ends and the next one begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawFraming {
    /// LF ends a frame, and a CR before it belongs to that end.
    Line,
    /// These bytes end a frame; at least one.
    Delimiter(Box<[u8]>),
    /// Before each frame stands how long it is.
    Length(LengthField, LengthCounts),
    /// Each has so many bytes, of which these are the first.
    Fixed { bytes: usize, sync: Box<[u8]> },
    /// A silence of that length ends a frame.
    Idle(Duration),
}

/// What bytes turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FramePiece {
    Frame(Bytes),
    /// No frame, and the first bytes of it.
    Unfit(FrameFault, Bytes),
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameFault {
    /// It has more bytes than a frame may have. What follows is read past, up to the next frame.
    TooLong,
    /// It was not complete when the line ended, or fell silent.
    CutOff,
    /// It begins as no frame does.
    OutOfStep,
}

/// How the bytes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BytesEnd {
    /// The other end said that there are no more.
    Orderly,
    Broken,
}

#[derive(Debug)]
enum Cutter {
    Delimited(Delimited),
    Counted(Counted),
    Synced(Synced),
    /// Everything since the last silence, and whether it was too long.
    Idle(KeptBytes, bool),
}

/// Cuts what comes on one line.
#[derive(Debug)]
pub(super) struct Framer(Cutter);

impl Framer {
    /// No frame has more than `most` bytes.
    pub(super) fn new(framing: &RawFraming, most: usize) -> Self {
        Self(match framing {
            RawFraming::Line => Cutter::Delimited(Delimited::lines(most)),
            RawFraming::Delimiter(delimiter) => Cutter::Delimited(Delimited::by(delimiter, most)),
            RawFraming::Length(field, counts) => {
                Cutter::Counted(Counted::new(*field, *counts, most))
            }
            RawFraming::Fixed { bytes, sync } => Cutter::Synced(Synced::new(*bytes, sync)),
            RawFraming::Idle(_) => Cutter::Idle(KeptBytes::up_to(most), false),
        })
    }

    /// Takes the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8], pieces: &mut Vec<FramePiece>) {
        match &mut self.0 {
            Cutter::Delimited(cutter) => cutter.push(bytes, pieces),
            Cutter::Counted(cutter) => cutter.push(bytes, pieces),
            Cutter::Synced(cutter) => cutter.push(bytes, pieces),
            Cutter::Idle(kept, is_over) => {
                if !*is_over && !kept.add(bytes) {
                    *is_over = true;
                    pieces.push(kept.unfit(FrameFault::TooLong));
                }
            }
        }
    }

    /// Nothing came for a while: what was begun ends here.
    pub(super) fn silent(&mut self, pieces: &mut Vec<FramePiece>) {
        match &mut self.0 {
            Cutter::Delimited(_) => {}
            Cutter::Counted(cutter) => cutter.end(pieces),
            Cutter::Synced(cutter) => cutter.end(pieces),
            Cutter::Idle(kept, is_over) => {
                if !std::mem::take(is_over) {
                    pieces.extend(kept.frame());
                }
            }
        }
    }

    /// Nothing will come any more.
    pub(super) fn end(&mut self, end: BytesEnd, pieces: &mut Vec<FramePiece>) {
        match &mut self.0 {
            Cutter::Delimited(cutter) => cutter.end(pieces),
            Cutter::Idle(kept, false) if end == BytesEnd::Broken => {
                pieces.extend(kept.cut_off());
            }
            _ => self.silent(pieces),
        }
    }

    /// Whether a frame has begun, or what looks like one.
    pub(super) fn is_half(&self) -> bool {
        match &self.0 {
            Cutter::Delimited(cutter) => cutter.is_half(),
            Cutter::Counted(cutter) => cutter.is_half(),
            Cutter::Synced(cutter) => cutter.is_half(),
            Cutter::Idle(kept, is_over) => *is_over || !kept.0.is_empty(),
        }
    }

    /// Whether nothing that follows can be a frame, unless the line falls silent first.
    pub(super) fn is_lost(&self) -> bool {
        matches!(&self.0, Cutter::Counted(cutter) if cutter.is_lost())
    }
}

/// Bytes of one frame, up to a limit.
#[derive(Debug)]
struct KeptBytes(Vec<u8>, usize);

impl KeptBytes {
    fn up_to(most: usize) -> Self {
        Self(Vec::new(), most)
    }

    /// Keeps what there is room for; whether that was all.
    fn add(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len().min(self.1 - self.0.len());
        self.0.extend_from_slice(&bytes[..fits]);
        fits == bytes.len()
    }

    /// What was kept, as a frame; one without a byte is none.
    fn frame(&mut self) -> Option<FramePiece> {
        let frame =
            (!self.0.is_empty()).then(|| FramePiece::Frame(Bytes::copy_from_slice(&self.0)));
        self.clear();
        frame
    }

    fn cut_off(&mut self) -> Option<FramePiece> {
        (!self.0.is_empty()).then(|| self.unfit(FrameFault::CutOff))
    }

    /// The first bytes of what was kept, as no frame.
    fn unfit(&mut self, fault: FrameFault) -> FramePiece {
        let piece = unfit(fault, &self.0);
        self.clear();
        piece
    }

    /// A long frame does not hold its room for ever.
    fn clear(&mut self) {
        self.0.clear();
        self.0.shrink_to(HEAD_BYTES);
    }
}

fn unfit(fault: FrameFault, bytes: &[u8]) -> FramePiece {
    FramePiece::Unfit(
        fault,
        Bytes::copy_from_slice(&bytes[..bytes.len().min(HEAD_BYTES)]),
    )
}

/// How far some bytes that are looked for have come; all of a byte sequence is met, however it is cut or overlaps itself.
#[derive(Debug)]
struct Seeker {
    wanted: Box<[u8]>,
    /// For each number of bytes that were met, how many of them are the beginning again.
    back: Box<[usize]>,
    met: usize,
}

impl Seeker {
    /// `wanted` has at least one byte.
    fn new(wanted: &[u8]) -> Self {
        let mut back = vec![0; wanted.len()];
        let mut met = 0;
        for at in 1..wanted.len() {
            while met > 0 && wanted[at] != wanted[met] {
                met = back[met - 1];
            }
            met += usize::from(wanted[at] == wanted[met]);
            back[at] = met;
        }
        Self {
            wanted: wanted.into(),
            back: back.into(),
            met: 0,
        }
    }

    /// The next byte; whether it is the last of what is wanted. `passed` gets what was met and is none of it after all.
    fn next(&mut self, byte: u8, mut passed: impl FnMut(&[u8])) -> bool {
        while self.met > 0 && byte != self.wanted[self.met] {
            let left = self.back[self.met - 1];
            passed(&self.wanted[..self.met - left]);
            self.met = left;
        }
        if byte == self.wanted[self.met] {
            self.met += 1;
        } else {
            passed(&[byte]);
        }
        let is_met = self.met == self.wanted.len();
        if is_met {
            self.met = 0;
        }
        is_met
    }

    /// How many of `bytes` cannot begin it, where nothing was met.
    fn plain(&self, bytes: &[u8]) -> usize {
        let first = bytes.iter().position(|byte| *byte == self.wanted[0]);
        first.unwrap_or(bytes.len())
    }
}
