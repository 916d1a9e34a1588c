//! From bytes to frames. No sockets, no clock: that nothing came for a while, and that nothing will come, is told.
//!
//! However the bytes are cut on their way, the frames are the same. What is kept is bounded by the longest frame.

mod counted;
mod delimited;
mod piece;
mod synced;
#[cfg(test)]
mod tests;

use std::time::Duration;

use counted::Counted;
pub use counted::{LengthCounts, LengthField};
use delimited::Delimited;
use piece::KeptBytes;
pub(super) use piece::{FrameFault, FramePiece};
use synced::Synced;

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

    /// How many of the bytes that were pushed belong to a frame that is not finished: those before them are done with.
    pub(super) fn begun(&self) -> u64 {
        match &self.0 {
            Cutter::Delimited(cutter) => cutter.begun,
            Cutter::Counted(cutter) => cutter.begun,
            Cutter::Synced(cutter) => cutter.begun(),
            Cutter::Idle(kept, _) => kept.0.len() as u64,
        }
    }

    /// Whether nothing that follows can be a frame, unless the line falls silent first.
    pub(super) fn is_lost(&self) -> bool {
        matches!(&self.0, Cutter::Counted(cutter) if cutter.is_lost())
    }
}
