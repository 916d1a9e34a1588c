//! One chunk: some hundred messages of one queue, written and deleted together.
//!
//! ```text
//! byte 0         1           5           13          21          25          29              37
//! ┌────────────┬───────────┬───────────┬───────────┬───────────┬───────────┬───────────────┬───────────────┐
//! │ version u8 │ crc u32   │ first u64 │ span u64  │ count u32 │ raw u32   │ since u64     │ LZ4 block     │
//! └────────────┴───────────┴───────────┴───────────┴───────────┴───────────┴───────────────┴───────────────┘
//!                └ CRC-32 of the version and of all that follows the sum     └ running clock, microseconds,
//!                                                                              when the first record came
//! the block, `raw` bytes when unpacked, in MessagePack:
//! count × [place − first, boot, number, flow, topic, key offset, key length, headers, payload, marks, wall us, uptime us]
//! then    [name of flow 0, name of flow 1, ...]
//! ```
//!
//! With a key (`sealer`) the version is 2, and the block stands there sealed, together with the name of its queue and the
//! header's numbers; the sum is over what is written, so damage is seen without the key.
//!
//! Numbers are little endian. A chunk answers for the places `first..first + span`; one that has no record was settled
//! before the chunk was written. The next chunk of a queue begins where this one ends, so a lost chunk shows as a gap.
//! Flows go by name, since their numbers change with the config. A hole is a chunk of the header alone (`count` 0): it
//! answers for places that were given up in the middle of a queue.

pub(crate) mod flows;
pub(crate) mod packer;
pub(crate) mod queue_sealer;

use std::borrow::Cow;

use bytes::Bytes;
use lz4_flex::block::decompress;
use serde::Deserialize;

use crate::clock::RunningTime;
use crate::message::{FlowId, Record, Seq, Stored};
use crate::spool::disk::chunk::flows::FlowNames;
use crate::spool::disk::chunk::queue_sealer::QueueSealer;
use crate::spool::disk::sealing::sealer::{self, KeyId};

const VERSION: u8 = 1;
/// The same, with a sealed block.
const SEALED: u8 = 2;
/// Bytes before the block.
const HEADER: usize = 37;
/// LZ4 expands a byte to 255 at the most, which bounds what a damaged length can make us reserve.
const MAX_EXPANSION: usize = 255;
/// The smallest record there can be: an array of twelve with one byte each.
const MIN_RECORD: usize = 13;

/// Why a chunk cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkDamage {
    /// It ends inside its header.
    #[error("it is only {0} bytes long")]
    Short(usize),
    /// Written by another version.
    #[error(
        "it has version {0}, which is newer than this program: it reads up to version {SEALED}"
    )]
    Version(u8),
    #[error("its checksum does not match")]
    Checksum,
    /// The header contradicts itself or the block.
    #[error("its lengths contradict each other")]
    Lengths,
    /// The block does not unpack.
    #[error("its block does not unpack")]
    Block,
    /// A record does not decode.
    #[error("record {0} does not decode")]
    Record(u32),
    /// A record stands at the wrong place.
    #[error("record {0} is out of order")]
    Order(u32),
    /// It lies under another key.
    #[error("it lies at the wrong place")]
    Place,
    /// Its seal does not open.
    #[error(
        "its seal does not open: it was altered, or sealed for another queue or with a key that is not here"
    )]
    Seal,
}

/// The places a chunk answers for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub first: Seq,
    /// The place behind the last.
    pub end: Seq,
    /// Its size on disk.
    pub bytes: u64,
    /// When its first record came, microseconds.
    pub since: RunningTime,
}

impl Extent {
    /// Whether it answers for its places with nothing.
    pub(crate) fn is_hole(&self) -> bool {
        self.bytes == HEADER as u64
    }
}

/// A chunk ready to be written.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// What it answers for.
    pub extent: Extent,
    pub count: u32,
    pub value: Vec<u8>,
}

/// A chunk that was read.
#[derive(Debug)]
pub(crate) struct ChunkContent {
    /// What it answers for.
    pub extent: Extent,
    pub messages: Vec<Stored>,
}

/// The key that a chunk which begins with these bytes was sealed with, `Some(None)` for none; `None` when they do not
/// tell.
pub(crate) fn sealed_with(start: &[u8]) -> Option<Option<KeyId>> {
    match *start.first()? {
        VERSION => Some(None),
        SEALED => start
            .get(HEADER..)?
            .first_chunk()
            .map(|id| Some(KeyId(*id))),
        _ => None,
    }
}

/// The block of a chunk.
fn open<'v>(value: &'v [u8], sealer: QueueSealer<'_>) -> Result<Cow<'v, [u8]>, ChunkDamage> {
    let (header, block) = value
        .split_at_checked(HEADER)
        .ok_or(ChunkDamage::Short(value.len()))?;
    if value[0] == VERSION {
        return Ok(Cow::Borrowed(block));
    }
    sealer
        .sealer
        .open(&sealer.about(header), block)
        .map(Cow::Owned)
        .ok_or(ChunkDamage::Seal)
}

/// A chunk that answers for its places with nothing.
pub(crate) fn hole(first: Seq, end: Seq, since: RunningTime) -> Chunk {
    let value = begin(
        VERSION,
        Extent {
            first,
            end,
            bytes: 0,
            since,
        },
        0,
        0,
        0,
    );
    finish(
        value,
        Extent {
            first,
            end,
            bytes: 0,
            since,
        },
        0,
    )
}

/// Header and block; the extent learns its size.
pub(crate) fn write(
    extent: Extent,
    count: u32,
    raw: u32,
    block: &[u8],
    sealer: QueueSealer<'_>,
) -> Chunk {
    let is_sealed = sealer.sealer.current().is_some();
    let version = if is_sealed { SEALED } else { VERSION };
    let mut value = begin(version, extent, count, raw, block.len() + sealer::OVERHEAD);
    if is_sealed {
        let about = sealer.about(&value);
        sealer.sealer.seal(&about, block, &mut value);
    } else {
        value.extend_from_slice(block);
    }
    finish(value, extent, count)
}

fn begin(version: u8, extent: Extent, count: u32, raw: u32, room: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER + room);
    value.push(version);
    value.extend_from_slice(&[0; 4]);
    value.extend_from_slice(&extent.first.0.to_le_bytes());
    value.extend_from_slice(&extent.end.places_since(extent.first).to_le_bytes());
    value.extend_from_slice(&count.to_le_bytes());
    value.extend_from_slice(&raw.to_le_bytes());
    value.extend_from_slice(&extent.since.0.to_le_bytes());
    value
}

fn finish(mut value: Vec<u8>, extent: Extent, count: u32) -> Chunk {
    let sum = checksum(&value);
    value[1..5].copy_from_slice(&sum.to_le_bytes());
    Chunk {
        extent: Extent {
            bytes: value.len() as u64,
            ..extent
        },
        count,
        value,
    }
}

fn checksum(value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&value[..1]);
    hasher.update(&value[5..]);
    hasher.finalize()
}

struct ChunkHeader {
    extent: Extent,
    count: u32,
    raw: usize,
}

fn header(value: &[u8]) -> Result<ChunkHeader, ChunkDamage> {
    if value.len() < HEADER {
        return Err(ChunkDamage::Short(value.len()));
    }
    if checksum(value).to_le_bytes() != value[1..5] {
        return Err(ChunkDamage::Checksum);
    }
    let word = |at: usize| {
        value[at..]
            .first_chunk()
            .copied()
            .map_or(0, u64::from_le_bytes)
    };
    let half = |at: usize| {
        value[at..]
            .first_chunk()
            .copied()
            .map_or(0, u32::from_le_bytes)
    };
    let first = Seq(word(5));
    let span = word(13);
    let count = half(21);
    let raw = half(25) as usize;
    let end = first.checked_plus(span).ok_or(ChunkDamage::Lengths)?;
    let is_hole =
        value[0] == VERSION && value.len() == HEADER && count == 0 && raw == 0 && span > 0;
    if (count == 0 && !is_hole)
        || u64::from(count) > span
        || (value[0] <= SEALED && raw > (value.len() - HEADER).saturating_mul(MAX_EXPANSION))
    {
        return Err(ChunkDamage::Lengths);
    }
    Ok(ChunkHeader {
        extent: Extent {
            first,
            end,
            bytes: value.len() as u64,
            since: RunningTime(word(29)),
        },
        count,
        raw,
    })
}

/// What a chunk answers for, and its messages, without unpacking it: the header is the same in every version.
pub(crate) fn summary(value: &[u8]) -> Result<(Extent, u32), ChunkDamage> {
    header(value).map(|header| (header.extent, header.count))
}

/// Reads a chunk. Never panics and never reserves more than the value's length allows, whatever the bytes.
pub(crate) fn decode(
    value: &[u8],
    flows: &FlowNames,
    sealer: QueueSealer<'_>,
) -> Result<ChunkContent, ChunkDamage> {
    let ChunkHeader { extent, count, raw } = header(value)?;
    if value[0] != VERSION && value[0] != SEALED {
        return Err(ChunkDamage::Version(value[0]));
    }
    if count == 0 {
        return Ok(ChunkContent {
            extent,
            messages: Vec::new(),
        });
    }
    let block = decompress(&open(value, sealer)?, raw).map_err(|_| ChunkDamage::Block)?;
    if block.len() != raw || (count as usize).saturating_mul(MIN_RECORD) > raw {
        return Err(ChunkDamage::Lengths);
    }
    let block = Bytes::from(block);
    let mut input = rmp_serde::Deserializer::from_read_ref(block.as_ref());
    input.set_max_depth(8);
    let mut messages = Vec::with_capacity(count as usize);
    let mut next = extent.first;
    for index in 0..count {
        let record = Record::deserialize(&mut input).map_err(|_| ChunkDamage::Record(index))?;
        let place = extent
            .first
            .checked_plus(record.place)
            .filter(|place| (next..extent.end).contains(place));
        let place = place.ok_or(ChunkDamage::Order(index))?;
        next = place.next();
        messages.push(Stored {
            seq: place,
            message: record.message(&block),
        });
    }
    let names = Vec::<&str>::deserialize(&mut input).map_err(|_| ChunkDamage::Record(count))?;
    let ids: Vec<Option<FlowId>> = names.into_iter().map(|name| flows.id(name)).collect();
    for stored in &mut messages {
        let flow = &mut stored.message.flow;
        *flow = flow.and_then(|place| ids.get(place.index()).copied().flatten());
    }
    Ok(ChunkContent { extent, messages })
}

impl QueueSealer<'_> {
    /// A chunk of this queue as the first key seals it; `None` when it is so already, or does not open.
    pub(crate) fn renew(self, chunk: &Chunk) -> Option<Chunk> {
        let current = self.sealer.current()?;
        if chunk.count == 0 || sealed_with(&chunk.value) == Some(Some(current)) {
            return None;
        }
        let ChunkHeader { extent, count, raw } = header(&chunk.value).ok()?;
        let block = open(&chunk.value, self).ok()?;
        Some(write(extent, count, u32::try_from(raw).ok()?, &block, self))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::clock::{Uptime, WallTime};
    use crate::message::Message;
    use crate::message::{Marks, MessageId, Span};
    use crate::spool::disk::chunk::packer::Packer;
    use crate::spool::disk::sealing::sealer::Sealer;
    use proptest::prelude::*;

    pub(crate) fn any_message() -> impl Strategy<Value = Message> {
        let bytes = |most| proptest::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from);
        (
            (any::<u32>(), any::<u64>(), 0_u16..3),
            "[a-z/]{0,20}",
            any::<(u16, u16)>(),
            bytes(30),
            bytes(300),
            any::<(u32, u64, u64, bool)>(),
        )
            .prop_map(
                |(
                    (boot, seq, flow),
                    topic,
                    (offset, len),
                    headers,
                    payload,
                    (marks, received_us, uptime_us, beside),
                )| Message {
                    id: MessageId { boot, seq },
                    flow: FlowId::at(usize::from(flow)),
                    topic: Bytes::from(topic),
                    key: Span { offset, len },
                    device: beside.then(|| std::sync::Arc::from(&b"d7"[..])),
                    headers,
                    payload,
                    marks: Marks(marks),
                    received: WallTime(received_us),
                    uptime: Uptime(uptime_us),
                    trace: None,
                },
            )
    }

    fn flows() -> FlowNames {
        FlowNames::new(&["one".into(), "two".into(), "three".into()])
    }

    fn plain() -> QueueSealer<'static> {
        static NOTHING: std::sync::LazyLock<Sealer> = std::sync::LazyLock::new(Sealer::default);
        QueueSealer {
            sealer: &NOTHING,
            queue: "cloud:alarm",
        }
    }

    fn pack(first: u64, messages: &[(u64, Message)]) -> Chunk {
        let mut packer = Packer::new();
        packer.begin(Seq(first));
        for (place, message) in messages {
            packer.push(Seq(*place), message, RunningTime(77));
        }
        packer.finish(&flows(), plain()).unwrap()
    }

    /// Messages at rising places from `first` on, some places left out.
    fn placed() -> impl Strategy<Value = (u64, Vec<(u64, Message)>)> {
        (
            0_u64..1 << 50,
            proptest::collection::vec((0_u64..4, any_message()), 1..40),
        )
            .prop_map(|(first, list)| {
                let mut place = first;
                let messages = list
                    .into_iter()
                    .map(|(skipped, message)| {
                        place += skipped + 1;
                        (place - 1, message)
                    })
                    .collect();
                (first, messages)
            })
    }

    proptest! {
        #[test]
        fn what_was_packed_is_read_back((first, messages) in placed()) {
            let chunk = pack(first, &messages);
            let content = decode(&chunk.value, &flows(), plain()).unwrap();
            prop_assert_eq!(content.extent, chunk.extent);
            prop_assert_eq!(summary(&chunk.value).unwrap(), (chunk.extent, chunk.count));
            prop_assert_eq!(content.extent.end, Seq(messages.last().unwrap().0).next());
            let read: Vec<_> = content.messages.into_iter().map(|stored| (stored.seq.0, stored.message)).collect();
            prop_assert_eq!(read, messages);
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(value in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(decode(&value, &flows(), plain()).is_err());
        }

        #[test]
        fn a_changed_bit_is_always_seen((first, messages) in placed(), at in any::<prop::sample::Index>(), bit in 0_u32..8) {
            let mut value = pack(first, &messages).value;
            let at = at.index(value.len());
            value[at] ^= 1 << bit;
            prop_assert!(decode(&value, &flows(), plain()).is_err());
        }

        #[test]
        fn a_changed_chunk_with_a_matching_checksum_never_panics(
            (first, messages) in placed(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut value = pack(first, &messages).value;
            for (at, byte) in changes {
                let at = at.index(value.len());
                value[at] = byte;
            }
            value.truncate(cut.index(value.len() + 1).max(HEADER.min(value.len())));
            value[0] = VERSION;
            let sum = checksum(&value);
            value[1..5].copy_from_slice(&sum.to_le_bytes());
            if let Ok(content) = decode(&value, &flows(), plain()) {
                let extent = content.extent;
                prop_assert!(content.messages.iter().all(|stored| (extent.first..extent.end).contains(&stored.seq)));
                prop_assert!(content.messages.windows(2).all(|pair| pair[0].seq < pair[1].seq));
            }
        }
    }

    proptest! {
        #[test]
        fn a_sealed_chunk_opens_in_its_queue_only_and_shows_nothing_but_its_extent(
            (first, messages) in placed(), at in any::<prop::sample::Index>(), bit in 0_u32..8,
        ) {
            let old = sealer::tests::sealer(&[1]);
            let new = sealer::tests::sealer(&[2, 1]);
            let of = |sealer, queue| QueueSealer { sealer, queue };
            let mut packer = Packer::new();
            packer.begin(Seq(first));
            messages.iter().for_each(|(place, message)| packer.push(Seq(*place), message, RunningTime(77)));
            let chunk = packer.finish(&flows(), of(&old, "cloud:alarm")).unwrap();
            prop_assert_eq!(summary(&chunk.value).unwrap(), (chunk.extent, chunk.count));
            prop_assert_eq!(chunk.value.len(), pack(first, &messages).value.len() + sealer::OVERHEAD);
            prop_assert_eq!(decode(&chunk.value, &flows(), of(&old, "cloud:debug")).unwrap_err(), ChunkDamage::Seal);
            prop_assert_eq!(decode(&chunk.value, &flows(), plain()).unwrap_err(), ChunkDamage::Seal);
            let renewed = of(&new, "cloud:alarm").renew(&chunk).unwrap();
            prop_assert!(of(&new, "cloud:alarm").renew(&renewed).is_none() && of(&old, "cloud:alarm").renew(&chunk).is_none());
            for chunk in [&chunk, &renewed, &of(&new, "cloud:alarm").renew(&pack(first, &messages)).unwrap()] {
                let content = decode(&chunk.value, &flows(), of(&new, "cloud:alarm")).unwrap();
                prop_assert_eq!(content.extent, chunk.extent);
                let read: Vec<_> = content.messages.into_iter().map(|stored| (stored.seq.0, stored.message)).collect();
                prop_assert_eq!(&read, &messages);
            }
            // A header that was altered with care, so that its checksum matches.
            let mut value = chunk.value;
            let at = at.index(value.len());
            value[at] ^= 1 << bit;
            prop_assert!(decode(&value, &flows(), of(&old, "cloud:alarm")).is_err());
            let sum = checksum(&value);
            value[1..5].copy_from_slice(&sum.to_le_bytes());
            prop_assert!((1..5).contains(&at) || decode(&value, &flows(), of(&old, "cloud:alarm")).is_err());
        }
    }

    #[test]
    fn flows_are_found_by_name_after_the_config_has_changed() {
        let message = |flow: u16| Message {
            flow: FlowId::at(usize::from(flow)),
            ..Message::default()
        };
        let chunk = pack(0, &[(0, message(0)), (1, message(2)), (2, message(9))]);
        let today = FlowNames::new(&["three".into()]);
        let found: Vec<_> = decode(&chunk.value, &today, plain())
            .unwrap()
            .messages
            .iter()
            .map(|stored| stored.message.flow)
            .collect();
        assert_eq!(found, [None, FlowId::at(0), None]);
    }

    #[test]
    fn a_hole_answers_for_its_places_with_nothing() {
        let hole = hole(Seq(7), Seq(30), RunningTime(9));
        let content = decode(&hole.value, &flows(), plain()).unwrap();
        assert_eq!((content.extent, content.messages.len()), (hole.extent, 0));
        assert!(hole.extent.is_hole() && hole.extent.end == Seq(30));
        assert!(!pack(0, &[(0, Message::default())]).extent.is_hole());
    }

    #[test]
    fn a_chunk_of_a_later_version_says_so() {
        let mut value = pack(0, &[(0, Message::default())]).value;
        value[0] = 3;
        assert_eq!(
            decode(&value, &flows(), plain()).unwrap_err(),
            ChunkDamage::Checksum,
            "a bit that has flipped is no version"
        );
        let sum = checksum(&value).to_le_bytes();
        value[1..5].copy_from_slice(&sum);
        assert_eq!(
            decode(&value, &flows(), plain()).unwrap_err(),
            ChunkDamage::Version(3)
        );
        assert_eq!(summary(&value).unwrap().1, 1);
    }
}
