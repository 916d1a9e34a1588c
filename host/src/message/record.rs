//! A message in MessagePack, as the chunks of the spool and the segments of a recording have it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{FlowId, Marks, Message, MessageId, Span};
use crate::clock::{Uptime, WallTime};

/// An array: `place, boot, number, flow, topic, key offset, key length, headers, payload, marks, wall us, uptime us`, and the
/// key, where the topic does not hold it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record<'a> {
    /// Where it stands among its neighbours; what that means is theirs.
    pub(crate) place: u64,
    boot: u32,
    number: u64,
    flow: u16,
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
    #[serde(with = "serde_bytes", borrow, default, skip_serializing_if = "is_none")]
    device: &'a [u8],
}

/// Whether there is no key beside the topic.
fn is_none(device: &&[u8]) -> bool {
    device.is_empty()
}

impl<'a> Record<'a> {
    /// The record of `message`; `flow` is the number its neighbours know the flow by.
    pub(crate) fn of(message: &'a Message, place: u64, flow: u16) -> Self {
        Self {
            place,
            boot: message.id.boot,
            number: message.id.seq,
            flow,
            topic: &message.topic,
            key_offset: message.key.offset,
            key_len: message.key.len,
            headers: &message.headers,
            payload: &message.payload,
            marks: message.marks.0,
            received_us: message.received.0,
            uptime_us: message.uptime.0,
            device: message.device.as_deref().unwrap_or_default(),
        }
    }

    /// The message, its fields slices of the `block` the record was read from; the flow is the record's number.
    pub(crate) fn message(&self, block: &Bytes) -> Message {
        Message {
            id: MessageId {
                boot: self.boot,
                seq: self.number,
            },
            flow: FlowId::at(usize::from(self.flow)),
            topic: block.slice_ref(self.topic),
            key: Span {
                offset: self.key_offset,
                len: self.key_len,
            },
            headers: block.slice_ref(self.headers),
            payload: block.slice_ref(self.payload),
            marks: Marks(self.marks),
            received: WallTime(self.received_us),
            uptime: Uptime(self.uptime_us),
            device: (!self.device.is_empty()).then(|| self.device.into()),
            trace: None,
        }
    }
}
