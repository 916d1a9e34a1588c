//! A recording as bytes: in a file, and on its way through the control socket.
//!
//! ```text
//! "TGREC" version u8 0 0                                                              the file's first eight bytes
//! frame*:  length u32 │ crc u32 │ body                                  CRC-32 of the body; `length` is that of the body
//! the first body:   the header, JSON: flow, lanes, plugins with their digests (no settings unless asked for)
//! the others:       raw u32 │ events u32 │ messages u32 │ since u64 │ until u64 │ LZ4 block        wall clock, microseconds
//! the block, `raw` bytes when unpacked, in MessagePack: events, see `event.rs`
//! ```
//!
//! Numbers are little endian. A file is only ever appended to, so what a kill or power cut leaves is whole up to a last
//! frame, which is dropped and told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lz4_flex::block::{compress, decompress};
use serde::{Deserialize, Serialize};

/// The first bytes of a file.
pub(super) const MAGIC: [u8; 8] = *b"TGREC\x01\0\0";
/// Bytes before a body: its length and its sum.
pub(super) const FRAME: usize = 8;
/// Bytes of a body before its block.
const ABOUT: usize = 28;
/// No body is longer: a buffer has at most a batch beyond 64 KiB, and batches are bounded (`recorder.rs`).
pub(super) const LONGEST: usize = 32 << 20;
/// LZ4 expands a byte to 255 at the most, which bounds what a damaged length can make us reserve.
const MAX_EXPANSION: usize = 255;

/// Why bytes are no recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordingDamage {
    /// It does not begin as one does.
    #[error("it does not begin like a recording")]
    Strange,
    /// Written by another version.
    #[error("it has form {0}, and this program reads form 1")]
    Version(u8),
    /// It ends inside a frame.
    #[error("it ends inside a frame")]
    Torn,
    #[error("a checksum does not match")]
    Checksum,
    /// A frame contradicts itself.
    #[error("its lengths contradict each other")]
    Lengths,
    /// The header is not in the form this version knows.
    #[error("its header does not decode: {0}")]
    Header(String),
    /// A block does not unpack, or an event does not decode.
    #[error("event {0} of a segment does not decode")]
    Event(u32),
}

/// What a recording is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordingHeader {
    /// Name and version of the program that made it.
    pub made_by: String,
    /// Name of the flow.
    pub flow: String,
    /// Lanes it ran on.
    pub lanes: usize,
    /// Its plugins, when the recording began.
    pub plugins: Vec<RecordedPlugin>,
    /// Its ports, each with the queues it leads to.
    pub ports: Vec<(String, Vec<String>)>,
    pub topic: Option<String>,
    /// Its `topics`, as the config had them.
    pub topics: Vec<String>,
    pub key: Option<String>,
}

/// A plugin of a recorded flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordedPlugin {
    pub name: String,
    /// SHA-256 of its component.
    pub digest: String,
    /// Interval of its ticks, microseconds; 0 for none.
    pub tick_every_us: u64,
    /// Its settings, where they were asked for: they may hold secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<serde_json::Value>,
}

impl RecordedPlugin {
    /// Interval of its ticks.
    pub fn tick_every(&self) -> Option<Duration> {
        (self.tick_every_us > 0).then(|| Duration::from_micros(self.tick_every_us))
    }
}

impl RecordingHeader {
    pub(super) fn frame(&self) -> Vec<u8> {
        frame(&serde_json::to_vec(self).expect("text, numbers and JSON always go into JSON"))
    }

    /// Of the body of the first frame.
    pub(super) fn read(body: &[u8]) -> Result<Self, RecordingDamage> {
        serde_json::from_slice(body).map_err(|error| RecordingDamage::Header(error.to_string()))
    }
}

/// What a segment holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentSummary {
    pub events: u32,
    pub messages: u32,
    /// Wall clock of its first event, microseconds since 1970.
    pub since_us: u64,
    /// Wall clock of its last event, microseconds since 1970.
    pub until_us: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub about: SegmentSummary,
    raw: usize,
    frame: Arc<[u8]>,
}

impl Segment {
    pub(super) fn pack(about: SegmentSummary, raw: &[u8]) -> Self {
        let block = compress(raw);
        let mut body = Vec::with_capacity(ABOUT + block.len());
        body.extend_from_slice(&u32::try_from(raw.len()).unwrap_or(u32::MAX).to_le_bytes());
        body.extend_from_slice(&about.events.to_le_bytes());
        body.extend_from_slice(&about.messages.to_le_bytes());
        body.extend_from_slice(&about.since_us.to_le_bytes());
        body.extend_from_slice(&about.until_us.to_le_bytes());
        body.extend_from_slice(&block);
        Self {
            about,
            raw: raw.len(),
            frame: frame(&body).into(),
        }
    }

    /// Of a frame: one that came through the control socket.
    pub fn read(frame: Vec<u8>) -> Result<Self, RecordingDamage> {
        let (head, body) = frame
            .split_first_chunk::<FRAME>()
            .ok_or(RecordingDamage::Torn)?;
        check(head, body)?;
        let (about, raw) = about(body)?;
        Ok(Self {
            about,
            raw,
            frame: frame.into(),
        })
    }

    /// The frame, as it stands in a file.
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    pub(super) fn unpack(&self) -> Result<Bytes, RecordingDamage> {
        let block = decompress(&self.frame[FRAME + ABOUT..], self.raw)
            .map_err(|_| RecordingDamage::Event(0))?;
        if block.len() == self.raw {
            Ok(block.into())
        } else {
            Err(RecordingDamage::Lengths)
        }
    }
}

/// Length, sum and body.
fn frame(body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME + body.len());
    frame.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    frame.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    frame.extend_from_slice(body);
    frame
}

/// Length of the body behind this head.
pub(super) fn body_length(head: &[u8; FRAME]) -> Result<usize, RecordingDamage> {
    let length = half(head, 0) as usize;
    if length > LONGEST {
        Err(RecordingDamage::Lengths)
    } else {
        Ok(length)
    }
}

/// Whether a body is the one its head announces.
pub(super) fn check(head: &[u8; FRAME], body: &[u8]) -> Result<(), RecordingDamage> {
    if body_length(head)? != body.len() {
        return Err(RecordingDamage::Torn);
    }
    if crc32fast::hash(body) == half(head, 4) {
        Ok(())
    } else {
        Err(RecordingDamage::Checksum)
    }
}

/// What a segment's body holds, and its length when unpacked.
fn about(body: &[u8]) -> Result<(SegmentSummary, usize), RecordingDamage> {
    if body.len() < ABOUT {
        return Err(RecordingDamage::Lengths);
    }
    let word = |at: usize| {
        body[at..]
            .first_chunk()
            .copied()
            .map_or(0, u64::from_le_bytes)
    };
    let raw = half(body, 0) as usize;
    if raw > (body.len() - ABOUT).saturating_mul(MAX_EXPANSION) || half(body, 4) as usize > raw {
        return Err(RecordingDamage::Lengths);
    }
    Ok((
        SegmentSummary {
            events: half(body, 4),
            messages: half(body, 8),
            since_us: word(12),
            until_us: word(20),
        },
        raw,
    ))
}

fn half(bytes: &[u8], at: usize) -> u32 {
    bytes[at..]
        .first_chunk()
        .copied()
        .map_or(0, u32::from_le_bytes)
}
