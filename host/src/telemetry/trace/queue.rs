//! Spans that wait for the collector: so many, and so many bytes of them. What comes when it is full is given up, since what
//! waits already belongs together.

use std::collections::VecDeque;

use super::span::TraceSpan;

/// Spans that may wait: what 5 % of 1,000 messages a second make in a quarter of a minute.
const MOST: usize = 4_096;
/// Bytes that those hold at most.
const MOST_BYTES: usize = 2 << 20;
/// Spans that are sent together.
pub(super) const BATCH: usize = 256;

/// What became of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushResult {
    Kept,
    /// It is kept, and somebody should send what there is.
    ManyWait,
    NoRoom,
}

#[derive(Debug, Default)]
pub(super) struct SpanQueue {
    spans: VecDeque<TraceSpan>,
    bytes: usize,
}

impl SpanQueue {
    pub(super) fn push(&mut self, span: TraceSpan) -> PushResult {
        let weight = span.weight();
        if self.spans.len() >= MOST || self.bytes + weight > MOST_BYTES {
            return PushResult::NoRoom;
        }
        self.bytes += weight;
        self.spans.push_back(span);
        match self.spans.len() {
            1 | BATCH => PushResult::ManyWait,
            _ => PushResult::Kept,
        }
    }

    /// The next ones to be sent, in the order they came.
    pub(super) fn take(&mut self) -> Vec<TraceSpan> {
        let count = self.spans.len().min(BATCH);
        let batch: Vec<_> = self.spans.drain(..count).collect();
        self.bytes -= batch.iter().map(TraceSpan::weight).sum::<usize>();
        batch
    }

    /// Forgets all; how many there were.
    pub(super) fn clear(&mut self) -> u64 {
        self.bytes = 0;
        std::mem::take(&mut self.spans).len() as u64
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Uptime;
    use crate::message::{SpanId, TraceId};
    use crate::telemetry::trace::SpanKind;

    fn span(id: u64, name: String) -> TraceSpan {
        TraceSpan {
            trace: TraceId(1),
            id: SpanId(id),
            parent: None,
            link: None,
            name: name.into(),
            kind: SpanKind::Internal,
            start: Uptime(0),
            end: Uptime(0),
            attributes: Vec::new(),
            is_error: false,
            state: Default::default(),
        }
    }

    #[test]
    fn it_is_full_by_number_and_by_bytes_and_has_room_again_when_some_are_taken() {
        let mut queue = SpanQueue::default();
        let took = |queue: &mut SpanQueue, bytes: usize| {
            let all = (1..).map(|id| span(id, "x".repeat(bytes)));
            all.take_while(|one| queue.push(one.clone()) != PushResult::NoRoom)
                .count()
        };
        assert_eq!(took(&mut queue, 1), MOST);
        let batch = queue.take();
        assert_eq!(batch.len(), BATCH);
        assert_eq!(batch[0].id, SpanId(1));
        assert_eq!(took(&mut queue, 1), BATCH);
        assert_eq!(queue.clear(), MOST as u64);
        let large = took(&mut queue, 64 << 10);
        assert!((20..32).contains(&large), "{large}");
        while !queue.take().is_empty() {}
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn whoever_sends_is_woken_by_the_first_and_by_a_whole_batch() {
        let mut queue = SpanQueue::default();
        let wakes = (1..=BATCH as u64)
            .filter(|id| queue.push(span(*id, String::new())) == PushResult::ManyWait);
        assert_eq!(wakes.collect::<Vec<_>>(), [1, BATCH as u64]);
    }
}
