//! Frames before each of which stands how long it is.

use super::piece::{FrameFault, FramePiece, KeptBytes, unfit};
use crate::message::HEAD_BYTES;

/// How the length is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthField {
    U8,
    U16Big,
    U16Little,
    U32Big,
    U32Little,
}

/// What the length counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LengthCounts {
    /// What stands behind it.
    #[default]
    Payload,
    /// What stands behind it, and itself.
    Frame,
}

impl LengthField {
    /// Bytes that it takes.
    pub fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::U16Big | Self::U16Little => 2,
            Self::U32Big | Self::U32Little => 4,
        }
    }

    fn read(self, bytes: &[u8]) -> u64 {
        let is_little = matches!(self, Self::U16Little | Self::U32Little);
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if is_little {
            bytes.iter().rev().fold(0, add)
        } else {
            bytes.iter().fold(0, add)
        }
    }
}

#[derive(Debug)]
enum CountedState {
    /// The length comes, or nothing yet.
    Length,
    /// So many bytes of the frame are to come.
    Payload(usize),
    /// It is too long: so many bytes of it are to come, and whether that was told.
    Over(u64, bool),
    /// The length cannot be one.
    Lost,
}

#[derive(Debug)]
pub(super) struct Counted {
    field: LengthField,
    counts: LengthCounts,
    most: usize,
    length: Vec<u8>,
    pub(super) kept: KeptBytes,
    state: CountedState,
    /// Bytes of the frame that is not finished, kept or not.
    pub(super) begun: u64,
}

impl Counted {
    pub(super) fn new(field: LengthField, counts: LengthCounts, most: usize) -> Self {
        Self {
            field,
            counts,
            most,
            length: Vec::with_capacity(field.bytes()),
            kept: KeptBytes::up_to(most.max(HEAD_BYTES)),
            state: CountedState::Length,
            begun: 0,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], pieces: &mut Vec<FramePiece>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = match self.state {
                CountedState::Length => self.length(rest, pieces),
                CountedState::Payload(left) => self.payload(left, rest, pieces),
                CountedState::Over(left, is_told) => self.over(left, is_told, rest, pieces),
                CountedState::Lost => rest.len(),
            };
            rest = &rest[taken..];
            let is_at_start = matches!(self.state, CountedState::Length) && !self.is_half();
            self.begun = match is_at_start {
                true => 0,
                false => self.begun + taken as u64,
            };
        }
    }

    fn length(&mut self, bytes: &[u8], pieces: &mut Vec<FramePiece>) -> usize {
        let taken = bytes.len().min(self.field.bytes() - self.length.len());
        self.length.extend_from_slice(&bytes[..taken]);
        if self.length.len() < self.field.bytes() {
            return taken;
        }
        let told = self.field.read(&self.length);
        let own = match self.counts {
            LengthCounts::Payload => 0,
            LengthCounts::Frame => self.field.bytes() as u64,
        };
        self.state = match told.checked_sub(own) {
            None => {
                pieces.push(unfit(FrameFault::OutOfStep, &self.length));
                CountedState::Lost
            }
            // One without a byte is none.
            Some(0) => CountedState::Length,
            Some(payload) => match usize::try_from(payload).ok().filter(|it| *it <= self.most) {
                Some(payload) => CountedState::Payload(payload),
                None => CountedState::Over(payload, false),
            },
        };
        if matches!(self.state, CountedState::Length) {
            self.length.clear();
        }
        taken
    }

    fn payload(&mut self, left: usize, bytes: &[u8], pieces: &mut Vec<FramePiece>) -> usize {
        let taken = bytes.len().min(left);
        self.kept.add(&bytes[..taken]);
        if taken < left {
            self.state = CountedState::Payload(left - taken);
        } else {
            pieces.extend(self.kept.frame());
            self.begin();
        }
        taken
    }

    fn over(
        &mut self,
        left: u64,
        is_told: bool,
        bytes: &[u8],
        pieces: &mut Vec<FramePiece>,
    ) -> usize {
        let mut taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        if !is_told {
            taken = taken.min(HEAD_BYTES - self.kept.0.len());
            self.kept.add(&bytes[..taken]);
        }
        let left = left - taken as u64;
        let tells = !is_told && (left == 0 || self.kept.0.len() == HEAD_BYTES);
        if tells {
            pieces.push(self.kept.unfit(FrameFault::TooLong));
        }
        self.state = CountedState::Over(left, is_told || tells);
        if left == 0 {
            self.begin();
        }
        taken
    }

    fn begin(&mut self) {
        self.state = CountedState::Length;
        self.length.clear();
    }

    pub(super) fn end(&mut self, pieces: &mut Vec<FramePiece>) {
        match self.state {
            CountedState::Over(_, false) => pieces.push(self.kept.unfit(FrameFault::TooLong)),
            CountedState::Lost | CountedState::Over(_, true) => {}
            CountedState::Length | CountedState::Payload(_) => {
                if self.is_half() {
                    let begun = [self.length.as_slice(), &self.kept.0].concat();
                    pieces.push(unfit(FrameFault::CutOff, &begun));
                }
            }
        }
        self.kept.clear();
        self.begun = 0;
        self.begin();
    }

    pub(super) fn is_half(&self) -> bool {
        !self.length.is_empty()
    }

    pub(super) fn is_lost(&self) -> bool {
        matches!(self.state, CountedState::Lost)
    }
}
