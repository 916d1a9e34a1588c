//! What bytes turn out to be, and what the ways of cutting them have in common.

use bytes::Bytes;

use crate::message::HEAD_BYTES;

/// What bytes turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source::raw) enum FramePiece {
    Frame(Bytes),
    /// No frame, and the first bytes of it.
    Unfit(FrameFault, Bytes),
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::raw) enum FrameFault {
    /// It has more bytes than a frame may have. What follows is read past, up to the next frame.
    TooLong,
    /// It was not complete when the line ended, or fell silent.
    CutOff,
    /// It begins as no frame does.
    OutOfStep,
}

/// Bytes of one frame, up to a limit.
#[derive(Debug)]
pub(super) struct KeptBytes(pub(super) Vec<u8>, usize);

impl KeptBytes {
    pub(super) fn up_to(most: usize) -> Self {
        Self(Vec::new(), most)
    }

    /// Keeps what there is room for; whether that was all.
    pub(super) fn add(&mut self, bytes: &[u8]) -> bool {
        let fits = bytes.len().min(self.1 - self.0.len());
        self.0.extend_from_slice(&bytes[..fits]);
        fits == bytes.len()
    }

    /// What was kept, as a frame; one without a byte is none.
    pub(super) fn frame(&mut self) -> Option<FramePiece> {
        let frame =
            (!self.0.is_empty()).then(|| FramePiece::Frame(Bytes::copy_from_slice(&self.0)));
        self.clear();
        frame
    }

    pub(super) fn cut_off(&mut self) -> Option<FramePiece> {
        (!self.0.is_empty()).then(|| self.unfit(FrameFault::CutOff))
    }

    /// The first bytes of what was kept, as no frame.
    pub(super) fn unfit(&mut self, fault: FrameFault) -> FramePiece {
        let piece = unfit(fault, &self.0);
        self.clear();
        piece
    }

    /// A long frame does not hold its room for ever.
    pub(super) fn clear(&mut self) {
        self.0.clear();
        self.0.shrink_to(HEAD_BYTES);
    }
}

pub(super) fn unfit(fault: FrameFault, bytes: &[u8]) -> FramePiece {
    FramePiece::Unfit(
        fault,
        Bytes::copy_from_slice(&bytes[..bytes.len().min(HEAD_BYTES)]),
    )
}

/// How far some bytes that are looked for have come; all of a byte sequence is met, however it is cut or overlaps itself.
#[derive(Debug)]
pub(super) struct Seeker {
    pub(super) wanted: Box<[u8]>,
    /// For each number of bytes that were met, how many of them are the beginning again.
    back: Box<[usize]>,
    pub(super) met: usize,
}

impl Seeker {
    /// `wanted` has at least one byte.
    pub(super) fn new(wanted: &[u8]) -> Self {
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
    pub(super) fn next(&mut self, byte: u8, mut passed: impl FnMut(&[u8])) -> bool {
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
    pub(super) fn plain(&self, bytes: &[u8]) -> usize {
        let first = bytes.iter().position(|byte| *byte == self.wanted[0]);
        first.unwrap_or(bytes.len())
    }
}
