//! Batches as the plugin contract has them, in words and bytes: how messages are packed for a plugin, and in `answer` how whatever
//! it answers is checked. The layout of the words stands here and in `wit/tidegate.wit`, nowhere else in the host.

mod answer;

pub(crate) use answer::{Action, GuestAnswer, OutputEntry, Shape, unpack};

use crate::clock::{RunningTime, Uptime};
use crate::message::{Marks, Message};

/// Words of a message on its way in.
pub(super) mod input {
    pub(crate) const TOPIC: usize = 0;
    pub(crate) const HEADERS: usize = 1;
    pub(crate) const PAYLOAD: usize = 2;
    pub(crate) const KEY: usize = 3;
    pub(crate) const RECEIVED_LOW: usize = 4;
    pub(crate) const RECEIVED_HIGH: usize = 5;
    pub(crate) const MARKS: usize = 6;
    pub(crate) const RUNNING_LOW: usize = 7;
    pub(crate) const RUNNING_HIGH: usize = 8;
    pub(crate) const OWN_KEY: usize = 9;
    pub(crate) const STRIDE: usize = 10;
}

/// Words of an entry on its way out.
pub(crate) mod output {
    pub(crate) const INPUT: usize = 0;
    pub(crate) const ACTION: usize = 1;
    pub(crate) const TOPIC: usize = 2;
    pub(crate) const HEADERS: usize = 3;
    pub(crate) const PAYLOAD: usize = 4;
    pub(crate) const KEY: usize = 5;
    pub(crate) const MARKS: usize = 6;
    pub(crate) const OWN_KEY: usize = 7;
    pub(crate) const STRIDE: usize = 8;
    /// Of plugins of the first build, which knew no own keys.
    pub(crate) const LEAST: usize = STRIDE - 1;
}

/// `input` of an output of `tick`.
pub(crate) const NO_INPUT: u32 = u32::MAX;

/// Marks a plugin decides on; the others stay as they came.
pub(crate) const PLUGIN_MARKS: u32 = Marks::RETAIN | 0b11 << 4;

/// Mark of a rejection: the payload lacks something, which is no sign that its device has gone mad.
pub(super) const EXCUSED: u32 = 1 << 6;

/// Messages in the form a plugin takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PackedBatch {
    pub(crate) words: Vec<u32>,
    pub(crate) data: Vec<u8>,
    /// Keys that their topics do not hold, until they are put behind the last message.
    keys: Vec<u8>,
}

impl PackedBatch {
    pub(crate) fn clear(&mut self) {
        self.words.clear();
        self.data.clear();
        self.keys.clear();
    }

    /// Packs these messages and nothing else, each with what `running` makes of its arrival by the machine's uptime;
    /// `false` when one of them is beyond what 32-bit lengths can say.
    pub(crate) fn fill<'m>(
        &mut self,
        messages: impl IntoIterator<Item = &'m Message>,
        running: impl Fn(Uptime) -> RunningTime,
    ) -> bool {
        self.clear();
        let whole = messages
            .into_iter()
            .all(|message| self.push(message, running(message.uptime)));
        self.data.append(&mut self.keys);
        whole
    }

    pub(crate) fn len(&self) -> usize {
        self.words.len() / input::STRIDE
    }

    fn push(&mut self, message: &Message, running: RunningTime) -> bool {
        let lengths = [
            message.topic.len(),
            message.headers.len(),
            message.payload.len(),
        ];
        let [Ok(topic), Ok(headers), Ok(payload)] = lengths.map(u32::try_from) else {
            return false;
        };
        let mut words = [0; input::STRIDE];
        words[input::TOPIC] = topic;
        words[input::HEADERS] = headers;
        words[input::PAYLOAD] = payload;
        if let Some(device) = &message.device {
            // It was a part of a topic, so it is shorter than 64 KiB.
            words[input::OWN_KEY] = device.len() as u32;
            self.keys.extend_from_slice(device);
        } else {
            words[input::KEY] = u32::from(message.key.offset) | u32::from(message.key.len) << 16;
        }
        words[input::RECEIVED_LOW] = (message.received.0 & u64::from(u32::MAX)) as u32;
        words[input::RECEIVED_HIGH] = (message.received.0 >> 32) as u32;
        words[input::MARKS] = message.marks.0 & !Marks::TRACED;
        words[input::RUNNING_LOW] = (running.0 & u64::from(u32::MAX)) as u32;
        words[input::RUNNING_HIGH] = (running.0 >> 32) as u32;
        self.words.extend_from_slice(&words);
        self.data.reserve(lengths.iter().sum());
        self.data.extend_from_slice(&message.topic);
        self.data.extend_from_slice(&message.headers);
        self.data.extend_from_slice(&message.payload);
        true
    }
}

#[cfg(test)]
mod tests;
