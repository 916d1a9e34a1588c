//! What a device says under several topics, apart.

use serde::{Deserialize, Serialize};

/// Topics of one device that are told apart. One that has more is odd, and must not fill the state.
const MOST: usize = 32;

/// One value for each topic of a device, to be kept in a [`State`](crate::State) by the device: what a device says under
/// `d7/temperature` must not be compared with what it says under `d7/humidity`. Of at most 32 topics; beyond, the one that
/// was [set](Self::set) first goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Topics<T> {
    /// Hash of the topic, so that a long one costs no more than a short one.
    of: Vec<(u64, T)>,
}

impl<T> Default for Topics<T> {
    fn default() -> Self {
        Self { of: Vec::new() }
    }
}

impl<T> Topics<T> {
    /// The value of this topic.
    pub fn get(&self, topic: &[u8]) -> Option<&T> {
        let hash = hash(topic);
        self.of
            .iter()
            .find(|(known, _)| *known == hash)
            .map(|(_, value)| value)
    }

    /// Bytes of all that is kept, where `each` says it of a value; for [`State::at_most`](crate::State::at_most).
    pub fn weight(&self, each: impl Fn(&T) -> usize) -> usize {
        self.of
            .iter()
            .fold(8, |bytes, (_, value)| bytes + 10 + each(value))
    }

    /// Sets the value of this topic.
    pub fn set(&mut self, topic: &[u8], value: T) {
        let hash = hash(topic);
        if let Some((_, known)) = self.of.iter_mut().find(|(known, _)| *known == hash) {
            *known = value;
            return;
        }
        if self.of.len() >= MOST {
            self.of.remove(0);
        }
        self.of.push((hash, value));
    }
}

/// A number for some bytes (FNV-1a), the same in every run: for state that is to tell long things apart. Whoever sends can
/// make two that are alike.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_told_apart_and_bounded() {
        let mut topics = Topics::default();
        for number in 0..100 {
            topics.set(format!("t{number}").as_bytes(), number);
        }
        assert_eq!(
            (topics.of.len(), topics.get(b"t0"), topics.get(b"t99")),
            (MOST, None, Some(&99))
        );
        topics.set(b"t99", 1);
        assert_eq!((topics.of.len(), topics.get(b"t99")), (MOST, Some(&1)));
    }
}
