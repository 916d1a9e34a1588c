//! What a lane was told, and the buffer events are gathered in.
//!
//! An event is an array `kind, lane, number, wall us, uptime us`; behind a batch follow its messages, `number` of them.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::form::{RecordingDamage, Segment, SegmentSummary};
use crate::clock::{Now, Uptime, WallTime};
use crate::message::{Delivery, FlowId, Message, Record};

const BATCH: u8 = 0;
const TICK: u8 = 1;
const MISSED: u8 = 2;

#[derive(Serialize, Deserialize)]
struct EventHeader {
    kind: u8,
    lane: u16,
    number: u32,
    wall_us: u64,
    uptime_us: u64,
}

/// Something that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordedEvent {
    /// A lane ran a batch.
    Batch {
        lane: usize,
        now: Now,
        /// The messages, as they came from the source; the flow's number is that of the recording gateway.
        messages: Vec<Message>,
    },
    /// A lane told a plugin the time.
    Tick {
        lane: usize,
        /// Which plugin, from 0 on.
        plugin: usize,
        now: Now,
    },
    /// The recording fell behind, and lacks messages here.
    Missed {
        messages: u32,
        /// When that was over.
        now: Now,
    },
}

impl RecordedEvent {
    pub fn now(&self) -> Now {
        match self {
            Self::Batch { now, .. } | Self::Tick { now, .. } | Self::Missed { now, .. } => *now,
        }
    }

    /// The events of a segment, in their order.
    ///
    /// # Errors
    /// Its block does not unpack or decode.
    pub fn all(segment: &Segment) -> Result<Vec<Self>, RecordingDamage> {
        let block = segment.unpack()?;
        let mut input = rmp_serde::Deserializer::from_read_ref(block.as_ref());
        input.set_max_depth(8);
        let mut event = || {
            let mark = EventHeader::deserialize(&mut input).ok()?;
            let messages = if mark.kind == BATCH { mark.number } else { 0 };
            let messages = read(&mut input, messages, &block).ok()?;
            mark.event(messages)
        };
        (0..segment.about.events)
            .map(|index| event().ok_or(RecordingDamage::Event(index)))
            .collect()
    }
}

type EventDeserializer<'a> = rmp_serde::Deserializer<rmp_serde::decode::ReadRefReader<'a, [u8]>>;

fn read(
    input: &mut EventDeserializer<'_>,
    count: u32,
    block: &Bytes,
) -> Result<Vec<Message>, rmp_serde::decode::Error> {
    (0..count)
        .map(|_| Record::deserialize(&mut *input).map(|record| record.message(block)))
        .collect()
}

impl EventHeader {
    fn event(self, messages: Vec<Message>) -> Option<RecordedEvent> {
        let now = Now {
            wall: WallTime(self.wall_us),
            uptime: Uptime(self.uptime_us),
        };
        let lane = usize::from(self.lane);
        match self.kind {
            BATCH => Some(RecordedEvent::Batch {
                lane,
                now,
                messages,
            }),
            TICK => Some(RecordedEvent::Tick {
                lane,
                plugin: self.number as usize,
                now,
            }),
            MISSED => Some(RecordedEvent::Missed {
                messages: self.number,
                now,
            }),
            _ => None,
        }
    }
}

/// Events on their way into a segment.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    pub(super) raw: Vec<u8>,
    pub(super) about: SegmentSummary,
    /// Messages that it tells to be missing.
    pub(super) missed: u32,
}

impl Buffer {
    pub(super) fn batch(&mut self, lane: usize, now: Now, batch: &[Delivery]) {
        let count = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        self.mark(BATCH, lane, count, now);
        for (place, delivery) in (0..).zip(batch) {
            let flow = delivery.message.flow.map(FlowId::index);
            let flow = flow.and_then(|index| u16::try_from(index).ok());
            rmp_serde::encode::write(
                &mut self.raw,
                &Record::of(&delivery.message, place, flow.unwrap_or(u16::MAX)),
            )
            .expect("fields of known length always go into a Vec");
        }
        self.about.messages += count;
    }

    pub(super) fn tick(&mut self, lane: usize, plugin: usize, now: Now) {
        self.mark(TICK, lane, u32::try_from(plugin).unwrap_or(u32::MAX), now);
    }

    pub(super) fn miss(&mut self, messages: u32, now: Now) {
        self.missed += messages;
        self.mark(MISSED, 0, messages, now);
    }

    fn mark(&mut self, kind: u8, lane: usize, number: u32, now: Now) {
        if self.raw.is_empty() {
            self.about = SegmentSummary {
                since_us: now.wall.0,
                until_us: now.wall.0,
                ..SegmentSummary::default()
            };
        }
        self.about.events += 1;
        self.about.until_us = self.about.until_us.max(now.wall.0);
        self.about.since_us = self.about.since_us.min(now.wall.0);
        let lane = u16::try_from(lane).unwrap_or(u16::MAX);
        let mark = EventHeader {
            kind,
            lane,
            number,
            wall_us: now.wall.0,
            uptime_us: now.uptime.0,
        };
        rmp_serde::encode::write(&mut self.raw, &mark)
            .expect("fields of known length always go into a Vec");
    }
}
