//! The form of a dead letter on disk.
//!
//! ```text
//! key    [b'l', boot u32, number u64]   big endian, so that the oldest comes first
//! value  [version u8, reason u8, crc u32 of all else, MessagePack of the rest]
//! ```

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::{Uptime, WallTime};
use crate::message::{DeadLetter, Marks, Message, MessageId, PluginRef, Reason, Span};
use crate::spool::dead_letters::kept::{REASONS, reason_number};
use crate::spool::dead_letters::letter::{LetterId, LetterRecord};
use crate::spool::dead_letters::waiting::WaitingLetter;

/// The layout above. Version 1 lacked the last two fields, which then read as unknown.
pub(super) const VERSION: u8 = 2;
/// Bytes before the MessagePack.
pub(super) const HEADER: usize = 6;

/// Why a letter cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UnreadableLetter {
    /// Too short, or of another version.
    #[error("it is not a dead letter of a version up to {VERSION}")]
    Form,
    #[error("its checksum does not match")]
    Checksum,
    /// The rest does not decode.
    #[error("it does not decode")]
    Content,
}

#[derive(Serialize, Deserialize)]
struct LetterBody<'a> {
    boot: u32,
    number: u64,
    #[serde(with = "serde_bytes", borrow)]
    topic: &'a [u8],
    key_offset: u16,
    key_len: u16,
    #[serde(with = "serde_bytes", borrow)]
    headers: &'a [u8],
    #[serde(with = "serde_bytes", borrow)]
    payload: &'a [u8],
    marks: u32,
    received_us: u64,
    uptime_us: u64,
    flow: &'a str,
    plugin: Option<(&'a str, &'a str)>,
    detail: &'a str,
    parked_us: u64,
    #[serde(default)]
    own_topic: bool,
    #[serde(default, borrow)]
    queue: Option<(&'a str, &'a str)>,
    /// The key, where the topic does not hold it.
    #[serde(with = "serde_bytes", borrow, default)]
    device: &'a [u8],
}

/// The key of a letter.
pub(crate) fn key(id: LetterId) -> [u8; 13] {
    let mut key = [b'l'; 13];
    key[1..5].copy_from_slice(&id.boot.to_be_bytes());
    key[5..].copy_from_slice(&id.number.to_be_bytes());
    key
}

/// The letter a key belongs to.
pub(crate) fn id(key: &[u8]) -> Option<LetterId> {
    let (prefix, rest) = key.split_first()?;
    let (boot, rest) = rest.split_first_chunk::<4>()?;
    let number = <[u8; 8]>::try_from(rest).ok()?;
    (*prefix == b'l').then(|| LetterId {
        boot: u32::from_be_bytes(*boot),
        number: u64::from_be_bytes(number),
    })
}

/// The value of a letter. A refused one goes with the name of its queue (uplink and class), since numbers change with the
/// config.
pub(crate) fn encode(waiting: &WaitingLetter, queue: Option<(&str, &str)>) -> Vec<u8> {
    let DeadLetter {
        message,
        flow,
        plugin,
        reason,
        detail,
        own_topic,
        ..
    } = &waiting.letter;
    let number = u8::try_from(reason_number(*reason)).unwrap_or(u8::MAX);
    let body = LetterBody {
        boot: message.id.boot,
        number: message.id.seq,
        topic: &message.topic,
        key_offset: message.key.offset,
        key_len: message.key.len,
        headers: &message.headers,
        payload: &message.payload,
        marks: message.marks.0,
        received_us: message.received.0,
        uptime_us: message.uptime.0,
        flow,
        plugin: plugin
            .as_ref()
            .map(|plugin| (&*plugin.name, &*plugin.digest)),
        detail,
        parked_us: waiting.parked_us,
        own_topic: *own_topic,
        queue,
        device: message.device.as_deref().unwrap_or_default(),
    };
    let mut value = vec![VERSION, number, 0, 0, 0, 0];
    rmp_serde::encode::write(&mut value, &body)
        .expect("fields of known length always go into a Vec");
    let sum = checksum(&value);
    value[2..HEADER].copy_from_slice(&sum.to_le_bytes());
    value
}

pub(super) fn checksum(value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&value[..2]);
    hasher.update(&value[HEADER..]);
    hasher.finalize()
}

/// The reason of a letter, without decoding it.
pub(crate) fn reason(value: &[u8]) -> Option<Reason> {
    REASONS.get(usize::from(*value.get(1)?)).copied()
}

/// Reads a letter; never panics, whatever the bytes.
pub(crate) fn decode(id: LetterId, value: &[u8]) -> Result<LetterRecord, UnreadableLetter> {
    if value.len() < HEADER || !(1..=VERSION).contains(&value[0]) {
        return Err(UnreadableLetter::Form);
    }
    if checksum(value).to_le_bytes() != value[2..HEADER] {
        return Err(UnreadableLetter::Checksum);
    }
    let reason = reason(value).ok_or(UnreadableLetter::Form)?;
    let value = Bytes::copy_from_slice(&value[HEADER..]);
    let body: LetterBody<'_> =
        rmp_serde::from_slice(&value).map_err(|_| UnreadableLetter::Content)?;
    let message = Message {
        id: MessageId {
            boot: body.boot,
            seq: body.number,
        },
        flow: None,
        topic: value.slice_ref(body.topic),
        key: Span {
            offset: body.key_offset,
            len: body.key_len,
        },
        headers: value.slice_ref(body.headers),
        payload: value.slice_ref(body.payload),
        marks: Marks(body.marks),
        received: WallTime(body.received_us),
        uptime: Uptime(body.uptime_us),
        device: (!body.device.is_empty()).then(|| body.device.into()),
        trace: None,
    };
    let plugin = body.plugin.map(|(name, digest)| PluginRef {
        name: name.into(),
        digest: digest.into(),
    });
    let queue = body
        .queue
        .map(|(uplink, class)| (uplink.into(), class.into()));
    let flow = body.flow.into();
    let detail = body.detail.to_owned();
    let own_topic = body.own_topic;
    Ok(LetterRecord {
        id,
        message,
        flow,
        plugin,
        queue,
        reason,
        detail,
        own_topic,
        parked_us: body.parked_us,
    })
}
