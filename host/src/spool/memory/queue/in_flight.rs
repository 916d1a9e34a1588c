//! What the uplink has in hand on this connection: it is never given up.

use crate::message::Seq;
use crate::spool::memory::ranges::Ranges;

/// What is in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// Behind what was handed out in order; the first for nothing.
    in_order_end: Seq,
    /// What was handed out ahead of the disk's part; `None` where first in is first out.
    ahead: Option<Ranges>,
}

impl InFlight {
    /// Nothing yet, in a queue in which fresh data goes first or not.
    pub(super) fn new(is_fresh_first: bool) -> Self {
        Self {
            in_order_end: Seq::FIRST,
            ahead: is_fresh_first.then(Ranges::default),
        }
    }

    /// Whether fresh data goes first.
    pub(super) fn is_fresh_first(&self) -> bool {
        self.ahead.is_some()
    }

    /// Everything before `place` was handed out, as far as it is owed.
    pub(super) fn mark(&mut self, place: Seq) {
        self.in_order_end = self.in_order_end.max(place);
    }

    /// These were handed out ahead of the disk's part.
    pub(super) fn mark_ahead(&mut self, from: Seq, to: Seq) {
        if let Some(ahead) = &mut self.ahead {
            ahead.insert(from, to);
        }
    }

    /// The connection is gone, and with it what was in hand.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.is_fresh_first());
    }

    /// Everything before `place` is accepted.
    pub(super) fn forget_before(&mut self, place: Seq) {
        if let Some(ahead) = &mut self.ahead {
            ahead.forget_before(place);
        }
    }

    /// The place behind all that was handed out in order.
    pub(super) fn in_order_end(&self) -> Seq {
        self.in_order_end
    }

    /// The place behind all of it.
    pub(super) fn end(&self) -> Seq {
        self.in_order_end
            .max(self.ahead.as_ref().map_or(Seq::FIRST, Ranges::end))
    }

    /// The first place at or after `place` that has not gone ahead.
    pub(super) fn skip_ahead(&self, place: Seq) -> Seq {
        self.ahead.as_ref().map_or(place, |ahead| ahead.skip(place))
    }

    /// What went ahead, rising.
    pub(super) fn ahead(&self) -> impl Iterator<Item = (Seq, Seq)> {
        self.ahead.iter().flat_map(Ranges::iter)
    }
}
