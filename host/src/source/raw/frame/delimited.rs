//! Frames that end in certain bytes.

use bytes::Bytes;

use super::piece::{FrameFault, FramePiece, KeptBytes, Seeker, unfit};

#[derive(Debug)]
pub(super) struct Delimited {
    end: Seeker,
    is_line: bool,
    most: usize,
    /// The frame with what ends it.
    pub(super) kept: KeptBytes,
    /// It is too long, and was told so: the rest of it is read past.
    is_over: bool,
    /// Bytes of the frame that is not finished, kept or not.
    pub(super) begun: u64,
}

impl Delimited {
    pub(super) fn lines(most: usize) -> Self {
        Self {
            is_line: true,
            // A CR may stand before the LF.
            kept: KeptBytes::up_to(most + 2),
            ..Self::by(b"\n", most)
        }
    }

    pub(super) fn by(delimiter: &[u8], most: usize) -> Self {
        Self {
            end: Seeker::new(delimiter),
            is_line: false,
            most,
            kept: KeptBytes::up_to(most + delimiter.len()),
            is_over: false,
            begun: 0,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], pieces: &mut Vec<FramePiece>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let plain = if self.end.met == 0 {
                self.end.plain(rest)
            } else {
                0
            };
            self.keep(&rest[..plain], pieces);
            self.begun += plain as u64;
            rest = &rest[plain..];
            let Some((byte, after)) = rest.split_first() else {
                return;
            };
            rest = after;
            self.begun += 1;
            let is_end = self.end.next(*byte, |_| ());
            self.keep(&[*byte], pieces);
            if is_end {
                self.complete(pieces);
            }
        }
    }

    fn keep(&mut self, bytes: &[u8], pieces: &mut Vec<FramePiece>) {
        if !self.is_over && !self.kept.add(bytes) {
            self.is_over = true;
            pieces.push(self.kept.unfit(FrameFault::TooLong));
        }
    }

    fn complete(&mut self, pieces: &mut Vec<FramePiece>) {
        let was_over = std::mem::take(&mut self.is_over);
        let kept = &self.kept.0;
        let frame = &kept[..kept.len().saturating_sub(self.end.wanted.len())];
        let frame = match frame.strip_suffix(b"\r") {
            Some(line) if self.is_line => line,
            _ => frame,
        };
        // One without a byte is none.
        if !was_over && !frame.is_empty() {
            pieces.push(if frame.len() > self.most {
                unfit(FrameFault::TooLong, frame)
            } else {
                FramePiece::Frame(Bytes::copy_from_slice(frame))
            });
        }
        self.kept.clear();
        self.begun = 0;
    }

    pub(super) fn end(&mut self, pieces: &mut Vec<FramePiece>) {
        pieces.extend(self.kept.cut_off());
        self.is_over = false;
        self.end.met = 0;
        self.begun = 0;
    }

    pub(super) fn is_half(&self) -> bool {
        self.is_over || !self.kept.0.is_empty()
    }
}
