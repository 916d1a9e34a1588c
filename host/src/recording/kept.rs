//! What is kept of a recording, within its bytes.

use std::collections::VecDeque;

use super::folder::RecordingFolder;
use super::form::{RecordingHeader, Segment};
use super::{Config, Error, Keep};

/// Bytes of segments in one answer.
const PAGE_BYTES: usize = 4 << 20;

/// Segments in memory, or files.
#[derive(Debug)]
pub(super) enum KeptRecording {
    Ring {
        segments: VecDeque<(u64, Segment)>,
        bytes: u64,
        limit: u64,
        next: u64,
    },
    Files(Box<RecordingFolder>),
}

/// Some segments of a recording in memory.
#[derive(Clone, Debug, Default)]
pub struct SegmentPage {
    pub segments: Vec<Segment>,
    /// Where the next page begins; `None` behind the last.
    pub next: Option<u64>,
}

impl KeptRecording {
    pub(super) fn open(config: &Config, header: RecordingHeader) -> Result<Self, Error> {
        Ok(match &config.keep {
            Keep::Memory => Self::Ring {
                segments: VecDeque::new(),
                bytes: 0,
                limit: config.bytes,
                next: 0,
            },
            Keep::Disk(folder) => Self::Files(Box::new(RecordingFolder::open(
                folder.clone(),
                header,
                config,
            )?)),
        })
    }

    pub(super) fn push(&mut self, segment: Segment) -> Result<(), Error> {
        match self {
            Self::Files(folder) => folder.push(&segment),
            Self::Ring {
                segments,
                bytes,
                limit,
                next,
            } => {
                *bytes += segment.frame().len() as u64;
                segments.push_back((*next, segment));
                *next += 1;
                while *bytes > *limit
                    && let Some((_, oldest)) = segments.pop_front()
                {
                    *bytes -= oldest.frame().len() as u64;
                }
                Ok(())
            }
        }
    }

    /// Of a ring, what begins at segment number `from`.
    pub(super) fn page(&self, from: u64) -> SegmentPage {
        let Self::Ring { segments, .. } = self else {
            return SegmentPage::default();
        };
        let mut page = SegmentPage::default();
        let mut bytes = 0;
        for (number, segment) in segments.iter().skip_while(|(number, _)| *number < from) {
            if bytes > PAGE_BYTES {
                page.next = Some(*number);
                break;
            }
            bytes += segment.frame().len();
            page.segments.push(segment.clone());
        }
        page
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Files(folder) => folder.clear(),
            Self::Ring {
                segments, bytes, ..
            } => {
                segments.clear();
                *bytes = 0;
            }
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Ring { bytes, .. } => *bytes,
            Self::Files(folder) => folder.bytes(),
        }
    }

    /// Its folder, where it is on disk.
    pub(super) fn folder(&self) -> Option<&std::path::Path> {
        match self {
            Self::Ring { .. } => None,
            Self::Files(folder) => Some(folder.path()),
        }
    }
}
