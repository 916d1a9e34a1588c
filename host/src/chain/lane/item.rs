//! What goes from plugin to plugin in a lane, and what comes back into it.

use bytes::Bytes;

use crate::clock::Now;
use crate::message::{Delivery, FlowId, Marks, Message, Receipt, Span};

/// Origin of what a tick made.
pub(crate) const NO_ORIGIN: u32 = u32::MAX;

/// A message between two plugins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Item {
    pub(crate) message: Message,
    pub(crate) receipt: Option<Receipt>,
    /// Index of the input of the chain it comes from.
    pub(crate) origin: u32,
    /// A plugin named its topic: the template leaves it alone.
    pub(crate) own_topic: bool,
    /// Topic and key of that input, where a plugin has named another key since.
    pub(crate) sender: Option<(Bytes, Span)>,
}

impl Item {
    /// The device whose message it was: a plugin may name another one, or none.
    pub(crate) fn device(&self) -> &[u8] {
        let Some((topic, key)) = &self.sender else {
            return self.message.key();
        };
        let start = usize::from(key.offset);
        topic
            .get(start..start + usize::from(key.len))
            .unwrap_or_default()
    }

    /// What a tick made.
    pub(super) fn of_timer(message: Message) -> Self {
        Self {
            message,
            origin: NO_ORIGIN,
            ..Self::default()
        }
    }

    /// Who a message made of this one came from, if that does not show in the message.
    pub(super) fn sender_of(&self, made: &Message) -> Option<(Bytes, Span)> {
        if made.key() == self.device() {
            return None;
        }
        self.sender
            .clone()
            .or_else(|| Some((self.message.topic.clone(), self.message.key)))
    }
}

/// A dead letter on its way back into its flow.
#[derive(Clone, Debug)]
pub struct ReturnedLetter {
    /// Its message, and the claim that tells when it is safe elsewhere.
    pub delivery: Delivery,
    /// A plugin had named its topic before it stopped.
    pub own_topic: bool,
}

/// What a tick's outputs take their time and marks from.
pub(super) fn clock_message(flow: FlowId, now: Now) -> Message {
    let marks = Marks::default().with(Marks::CLOCK_UNSET, !now.is_set());
    Message {
        flow: Some(flow),
        topic: Bytes::new(),
        marks,
        received: now.wall,
        uptime: now.uptime,
        ..Message::default()
    }
}
