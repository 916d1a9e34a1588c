//! What was sent and not acknowledged yet, in the order it was sent.

use std::collections::VecDeque;

use super::device::SimulatedMessage;

/// The sender's own memory: tokens count up from 0 and name a place in it.
#[derive(Debug, Default)]
pub struct Unacknowledged {
    first: u64,
    slots: VecDeque<Option<MessageSlot>>,
    /// Index of the first slot that this connection has not been given.
    cursor: usize,
    open: usize,
}

#[derive(Debug)]
struct MessageSlot {
    made: SimulatedMessage,
    sent: bool,
}

/// What is to be handed to the connection next.
#[derive(Debug)]
pub struct NextMessage<'a> {
    /// Comes back with the acknowledgement.
    pub token: u64,
    pub made: &'a SimulatedMessage,
    /// An earlier connection has had it.
    pub again: bool,
}

impl Unacknowledged {
    /// Keeps a new message; it is the last one to be handed out.
    pub fn keep(&mut self, made: SimulatedMessage) {
        self.slots
            .push_back(Some(MessageSlot { made, sent: false }));
        self.open += 1;
    }

    /// The first message this connection has not been given.
    pub fn next(&mut self) -> Option<NextMessage<'_>> {
        while matches!(self.slots.get(self.cursor), Some(None)) {
            self.cursor += 1;
        }
        let token = self.first + self.cursor as u64;
        let slot = self.slots.get(self.cursor)?.as_ref()?;
        Some(NextMessage {
            token,
            made: &slot.made,
            again: slot.sent,
        })
    }

    /// The one [`Unacknowledged::next`] gave was handed to the connection.
    pub fn handed(&mut self) {
        if let Some(Some(slot)) = self.slots.get_mut(self.cursor) {
            slot.sent = true;
            self.cursor += 1;
        }
    }

    /// The broker has answered; `None` for a token that is not open.
    pub fn settle(&mut self, token: u64) -> Option<SimulatedMessage> {
        let index = usize::try_from(token.checked_sub(self.first)?).ok()?;
        let slot = self.slots.get_mut(index)?.take()?;
        self.open -= 1;
        while matches!(self.slots.front(), Some(None)) {
            self.slots.pop_front();
            self.first += 1;
            self.cursor = self.cursor.saturating_sub(1);
        }
        Some(slot.made)
    }

    /// A new connection: it is given everything that is open.
    pub fn rewind(&mut self) {
        self.cursor = 0;
    }

    /// How many are not acknowledged.
    pub fn open(&self) -> usize {
        self.open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::device::Fleet;

    fn memory(count: usize) -> Unacknowledged {
        let mut fleet = Fleet::new(1, "{device}", None, 1);
        let mut memory = Unacknowledged::default();
        for _ in 0..count {
            memory.keep(fleet.next(0).unwrap());
        }
        memory
    }

    fn hand_all(memory: &mut Unacknowledged) -> Vec<(u64, u64, bool)> {
        let mut handed = Vec::new();
        while let Some(next) = memory.next() {
            handed.push((next.token, next.made.name.seq, next.again));
            memory.handed();
        }
        handed
    }

    #[test]
    fn a_new_connection_gets_what_is_open_in_the_order_it_was_sent() {
        let mut memory = memory(4);
        assert_eq!(
            hand_all(&mut memory),
            [(0, 0, false), (1, 1, false), (2, 2, false), (3, 3, false)]
        );
        assert_eq!(memory.settle(2).unwrap().name.seq, 2);
        assert_eq!(memory.settle(0).unwrap().name.seq, 0);
        assert!(memory.settle(0).is_none() && memory.settle(9).is_none());
        memory.rewind();
        assert_eq!(hand_all(&mut memory), [(1, 1, true), (3, 3, true)]);
        assert_eq!(memory.open(), 2);
    }

    #[test]
    fn acknowledgements_between_two_hand_outs_do_not_move_the_place() {
        let mut memory = memory(3);
        for _ in 0..2 {
            assert!(memory.next().is_some());
            memory.handed();
        }
        memory.settle(0);
        memory.settle(1);
        assert_eq!(hand_all(&mut memory), [(2, 2, false)]);
        memory.settle(2);
        assert_eq!((memory.open(), memory.slots.len(), memory.first), (0, 0, 3));
        assert!(memory.next().is_none());
    }
}
