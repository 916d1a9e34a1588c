//! What is known of a node: the names behind its aliases, and where its count is.

use std::collections::BTreeMap;

use tidegate_sdk::prelude::*;

use crate::payload::{Metric, Payload, Value};
use crate::topic::Kind;

/// Bytes of what is remembered of one node, at most: more would take the room of others.
const MOST_BYTES: usize = 256 << 10;

record! {
    /// A metric that was born.
    #[derive(PartialEq)]
    pub struct Known {
        pub name: String,
        pub kind: u32,
    }
}

record! {
    /// A node since its birth. Devices are by their names, the node itself by the empty one.
    #[derive(Default, PartialEq)]
    pub struct Node {
        pub born: BTreeMap<String, BTreeMap<u64, Known>>,
        /// Types of metrics without alias, which later payloads may leave out.
        #[serde(default)]
        pub kinds: BTreeMap<String, BTreeMap<String, u32>>,
        /// The last number.
        pub seq: Option<u8>,
        /// The session, which its death names.
        pub session: Option<u64>,
        /// When it was last asked to be born again, by the running clock.
        pub asked_us: Option<u64>,
    }
}

/// How a message fits what is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fit {
    /// Of a session that is over.
    pub is_late: bool,
    /// Something before it is missing.
    pub is_broken: bool,
    /// What it bears is more than is remembered of a node.
    pub is_too_much: bool,
}

impl Node {
    /// Bytes of it when it is saved, or a few more.
    pub fn weight(&self) -> usize {
        let aliases = self.born.iter().map(|(device, known)| {
            let each = known.values().map(|known| known.name.len() + 32);
            device.len() + 8 + each.sum::<usize>()
        });
        let kinds = self.kinds.iter().map(|(device, known)| {
            let each = known.keys().map(|name| name.len() + 8);
            device.len() + 8 + each.sum::<usize>()
        });
        aliases.sum::<usize>() + kinds.sum::<usize>() + 64
    }

    /// Takes a message in.
    pub fn take(&mut self, kind: Kind, device: Option<&str>, payload: &Payload) -> Fit {
        let device = device.unwrap_or_default();
        let mut fit = Fit::default();
        match kind {
            Kind::NodeBirth => {
                let asked_us = self.asked_us;
                *self = Self {
                    asked_us,
                    session: session(payload),
                    ..Self::default()
                };
                self.seq = payload.seq.map(|seq| seq as u8);
                fit.is_too_much = !self.bear(device, payload);
            }
            Kind::NodeDeath => {
                let session = session(payload);
                if session.is_some() && self.session.is_some() && session != self.session {
                    fit.is_late = true;
                    return fit;
                }
                *self = Self {
                    asked_us: self.asked_us,
                    ..Self::default()
                };
            }
            Kind::DeviceBirth => {
                fit.is_broken = self.follows(payload);
                fit.is_too_much = !self.bear(device, payload);
            }
            Kind::DeviceDeath => {
                fit.is_broken = self.follows(payload);
                self.born.remove(device);
                self.kinds.remove(device);
            }
            Kind::NodeData | Kind::DeviceData => {
                fit.is_broken = self.follows(payload) || !self.born.contains_key(device);
            }
            Kind::Other => {}
        }
        fit
    }

    /// Whether something is missing before this number; the next is to follow it.
    fn follows(&mut self, payload: &Payload) -> bool {
        let Some(seq) = payload.seq.map(|seq| seq as u8) else {
            return !self.born.contains_key("");
        };
        let is_broken = self.seq.is_none_or(|last| last.wrapping_add(1) != seq);
        self.seq = Some(seq);
        is_broken
    }

    /// Whether there is room for what is born; else nothing of it is remembered.
    fn bear(&mut self, device: &str, payload: &Payload) -> bool {
        let (mut aliases, mut kinds) = (BTreeMap::new(), BTreeMap::new());
        for metric in &payload.metrics {
            let Some(name) = metric.name.clone() else {
                continue;
            };
            let kind = metric.datatype.unwrap_or_default();
            match metric.alias {
                Some(alias) => drop(aliases.insert(alias, Known { name, kind })),
                None => drop(kinds.insert(name, kind)),
            }
        }
        self.born.insert(device.to_owned(), aliases);
        self.kinds.insert(device.to_owned(), kinds);
        let fits = self.weight() <= MOST_BYTES;
        if !fits {
            self.born.remove(device);
            self.kinds.remove(device);
        }
        fits
    }

    /// A metric's name and type, by itself or by its alias.
    pub fn name<'n>(&'n self, device: Option<&str>, metric: &'n Metric) -> Option<(&'n str, u32)> {
        let device = device.unwrap_or_default();
        let by_alias = metric
            .alias
            .and_then(|alias| self.born.get(device)?.get(&alias));
        match (&metric.name, by_alias) {
            (Some(name), known) => {
                let born = || self.kinds.get(device)?.get(name).copied();
                let known = known.map(|known| known.kind).or_else(born);
                Some((name, metric.datatype.or(known).unwrap_or_default()))
            }
            (None, Some(known)) => Some((&known.name, metric.datatype.unwrap_or(known.kind))),
            (None, None) => None,
        }
    }

    /// Whether it was not asked a moment ago.
    pub fn may_be_asked(&self, now_us: u64, again_us: u64) -> bool {
        let passed = |asked_us: u64| host::elapsed(asked_us, now_us).as_micros();
        self.asked_us
            .is_none_or(|asked_us| passed(asked_us) >= u128::from(again_us))
    }
}

fn session(payload: &Payload) -> Option<u64> {
    let is_session = |metric: &&Metric| metric.name.as_deref() == Some("bdSeq");
    match &payload.metrics.iter().find(is_session)?.value {
        Some(Value::Long(number)) => Some(*number),
        Some(Value::Int(number)) => Some((*number).into()),
        _ => None,
    }
}
