//! What is gathered of a group.

use tidegate_sdk::json::Decimal;
use tidegate_sdk::prelude::*;
use tidegate_sdk::window::{Gather, Numbers, Panes};

record! {
    /// What was gathered in a pane.
    #[derive(Default, PartialEq)]
    pub struct Gathered {
        /// Messages.
        pub count: u64,
        /// The numbers of each field.
        pub numbers: Vec<Numbers>,
        /// When the first message arrived, microseconds since 1970.
        pub first_us: u64,
        /// When the last one did.
        pub last_us: u64,
        /// Whether the clock had not been set when one of them did.
        #[serde(default)]
        pub clock_unset: bool,
    }
}

record! {
    /// The windows of a group that are open.
    #[derive(Default)]
    pub struct Open {
        /// What is in them.
        pub panes: Panes<Gathered>,
        /// Of which settings they are.
        pub shape: u32,
        /// When it was last heard of, by the running clock, microseconds.
        pub seen_us: u64,
        /// The latest time in a payload.
        #[serde(default)]
        pub newest: i64,
        /// Messages so far, where windows are counted in them.
        #[serde(default)]
        pub messages: i64,
        /// All that is open arrived before the clock was set.
        #[serde(default)]
        pub is_adrift: bool,
        /// The last topic, where the result's says more of it than the group.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub topic: String,
    }
}

impl Open {
    /// Bytes of it when it is saved, or a few more.
    pub fn weight(&self) -> usize {
        let gathered = |gathered: &Gathered| {
            let numbers = gathered.numbers.iter().map(Numbers::weight);
            // The names beside them, three numbers and a truth.
            75 + numbers.sum::<usize>()
        };
        let topic = match self.topic.len() {
            0 => 0,
            length => length + 9,
        };
        80 + topic + self.panes.weight(gathered)
    }
}

impl Gathered {
    /// Of one message.
    pub fn of(values: Vec<Option<Decimal>>, message: &Message<'_>) -> Self {
        let numbers = values.into_iter().map(|value| {
            let mut numbers = Numbers::default();
            if let Some(value) = value {
                numbers.add(value);
            }
            numbers
        });
        Self {
            count: 1,
            numbers: numbers.collect(),
            first_us: message.received_us(),
            last_us: message.received_us(),
            clock_unset: message.clock_unset(),
        }
    }
}

impl Gather for Gathered {
    fn follow(&mut self, later: &Self) {
        if self.count == 0 {
            *self = later.clone();
            return;
        }
        self.count += later.count;
        self.last_us = later.last_us;
        self.clock_unset |= later.clock_unset;
        for (numbers, later) in self.numbers.iter_mut().zip(&later.numbers) {
            numbers.follow(later);
        }
    }
}
