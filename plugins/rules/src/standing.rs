//! Which rules hold for a device, and which are about to. Time is an argument.

use tidegate_sdk::prelude::*;

record! {
    /// What is remembered of a device.
    #[derive(Default, PartialEq)]
    pub struct Device {
        /// Rules that hold, or are about to.
        #[serde(default)]
        pub rules: Vec<Standing>,
    }
}

record! {
    /// How one rule stands.
    #[derive(Default, PartialEq)]
    pub struct Standing {
        /// A number for the rule's name.
        pub of: u32,
        /// It holds.
        pub holds: bool,
        /// The change that has yet to last.
        #[serde(default)]
        pub pending: Option<Pending>,
    }
}

record! {
    /// A change that has yet to last.
    #[derive(PartialEq)]
    pub struct Pending {
        /// The first reading that asked for it, microseconds since 1970.
        pub since_us: u64,
        /// The same by the running clock.
        pub running_us: u64,
        /// The topic of the last reading, where texts name parts of it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub topic: String,
        /// Values of the last reading that texts name, as JSON.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub values: Vec<String>,
    }
}

/// A moment by both clocks, microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// What durations are told by.
    pub running_us: u64,
    /// Since 1970, for people.
    pub wall_us: u64,
}

/// How long a rule must hold, and its end last, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waits {
    /// Before it is raised.
    pub hold_us: u64,
    /// Before it is cleared.
    pub release_us: u64,
}

impl Waits {
    fn of(&self, holds: bool) -> u64 {
        if holds { self.release_us } else { self.hold_us }
    }
}

impl Device {
    /// Bytes of it when it is saved, or a few more.
    pub fn weight(&self) -> usize {
        self.rules.iter().fold(12, |bytes, standing| {
            let pending = standing.pending.as_ref().map_or(1, |pending| {
                let values: usize = pending.values.iter().map(|value| value.len() + 3).sum();
                70 + pending.topic.len() + values
            });
            bytes + 30 + pending
        })
    }

    /// How a rule stands.
    pub fn standing(&self, of: u32) -> Standing {
        let known = self.rules.iter().find(|standing| standing.of == of);
        known.cloned().unwrap_or(Standing {
            of,
            ..Standing::default()
        })
    }

    /// Keeps how a rule stands, where there is anything to keep.
    pub fn keep(&mut self, standing: Standing) {
        self.rules.retain(|known| known.of != standing.of);
        if standing.holds || standing.pending.is_some() {
            self.rules.push(standing);
        }
    }
}

impl Standing {
    /// A reading that wants the rule to hold or not, and what of it is to be remembered. Gives since when what changed had been
    /// wanted.
    pub fn read(
        &mut self,
        wanted: Option<bool>,
        waits: Waits,
        now: Moment,
        remembered: impl FnOnce() -> (String, Vec<String>),
    ) -> Option<u64> {
        let wanted = wanted?;
        if wanted == self.holds {
            self.pending = None;
            return None;
        }
        // A moment that lies ahead is one of a store that was lost.
        let (since_us, running_us) = match &self.pending {
            Some(pending) => (pending.since_us, pending.running_us.min(now.running_us)),
            None => (now.wall_us, now.running_us),
        };
        if now.running_us - running_us >= waits.of(self.holds) {
            self.holds = wanted;
            self.pending = None;
            return Some(since_us);
        }
        let (topic, values) = remembered();
        self.pending = Some(Pending {
            since_us,
            running_us,
            topic,
            values,
        });
        None
    }

    /// Whether time alone ends the wait, asked before it is touched: what is touched is saved.
    pub fn is_due(&self, waits: Waits, now: Moment) -> bool {
        self.pending.as_ref().is_some_and(|pending| {
            pending.running_us > now.running_us
                || now.running_us - pending.running_us >= waits.of(self.holds)
        })
    }

    /// Ends the wait; `None` where it begins anew, since the running clock of a store that was lost went further.
    pub fn end(&mut self, now: Moment) -> Option<Pending> {
        let pending = self.pending.as_mut()?;
        if pending.running_us > now.running_us {
            pending.running_us = now.running_us;
            return None;
        }
        self.holds = !self.holds;
        self.pending.take()
    }
}
