//! Packs messages into chunks.

use std::sync::Arc;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

use crate::clock::RunningTime;
use crate::message::{FlowId, Message, Record, Seq};
use crate::spool::disk::chunk::flows::FlowNames;
use crate::spool::disk::chunk::queue_sealer::QueueSealer;
use crate::spool::disk::chunk::{self, Chunk, Extent};

/// Packs messages into chunks; its buffers are used again from chunk to chunk.
pub(crate) struct Packer {
    raw: Vec<u8>,
    flows: Vec<Option<FlowId>>,
    count: u32,
    first: Seq,
    end: Seq,
    since: RunningTime,
    packed: Vec<u8>,
    table: CompressTable,
}

impl Packer {
    pub(crate) fn new() -> Self {
        let table = CompressTable::large();
        Self {
            raw: Vec::new(),
            flows: Vec::new(),
            count: 0,
            first: Seq::FIRST,
            end: Seq::FIRST,
            since: RunningTime::START,
            packed: Vec::new(),
            table,
        }
    }

    /// Begins a chunk whose first place is `first`.
    pub(crate) fn begin(&mut self, first: Seq) {
        self.raw.clear();
        self.flows.clear();
        (self.count, self.first, self.end) = (0, first, first);
    }

    /// Bytes packed since `begin`, before compression.
    pub(crate) fn raw_bytes(&self) -> usize {
        self.raw.len()
    }

    /// The place behind the last record.
    pub(crate) fn end(&self) -> Seq {
        self.end
    }

    /// The chunk answers for all places before `end`.
    pub(crate) fn reach(&mut self, end: Seq) {
        self.end = self.end.max(end);
    }

    /// Adds a message at a place behind all others.
    pub(crate) fn push(&mut self, place: Seq, message: &Message, since: RunningTime) {
        if self.count == 0 {
            self.since = since;
        }
        let flow = self
            .flows
            .iter()
            .position(|flow| *flow == message.flow)
            .unwrap_or_else(|| {
                self.flows.push(message.flow);
                self.flows.len() - 1
            });
        let record = Record::of(
            message,
            place.places_since(self.first),
            u16::try_from(flow).unwrap_or(u16::MAX),
        );
        rmp_serde::encode::write(&mut self.raw, &record)
            .expect("fields of known length always go into a Vec");
        self.count += 1;
        self.end = place.next();
    }

    /// Ends the chunk; `None` when nothing was pushed.
    pub(crate) fn finish(&mut self, flows: &FlowNames, sealer: QueueSealer<'_>) -> Option<Chunk> {
        if self.count == 0 {
            return None;
        }
        let names: Vec<Arc<str>> = self.flows.iter().map(|id| flows.name(*id)).collect();
        rmp_serde::encode::write(&mut self.raw, &names)
            .expect("a list of names always goes into a Vec");
        self.packed
            .resize(get_maximum_output_size(self.raw.len()), 0);
        let length = compress_into_with_table(&self.raw, &mut self.packed, &mut self.table)
            .expect("the output has the maximum size of a block");
        let raw = u32::try_from(self.raw.len()).expect(
            "an MQTT packet has at most 256 MiB, and a chunk ends with the one that fills it",
        );
        let extent = Extent {
            first: self.first,
            end: self.end,
            bytes: 0,
            since: self.since,
        };
        let chunk = chunk::write(extent, self.count, raw, &self.packed[..length], sealer);
        self.count = 0;
        Some(chunk)
    }
}
