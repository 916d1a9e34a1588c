//! What a broker does that it should not, and that harms nobody: counted, and each kind said once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use prometheus::IntCounter;

use super::session::Oddities;
use super::wire::OddPacket;

/// The account of one source or uplink, over all its connections.
#[derive(Debug)]
pub struct Manners {
    stage: &'static str,
    name: Arc<str>,
    strays: IntCounter,
    said_stray: AtomicBool,
    said_early: AtomicBool,
    said_unheard: AtomicBool,
    /// Kinds of packets, a bit for each.
    said_packets: AtomicU8,
}

impl Manners {
    /// Nothing odd yet. `strays` counts answers to nothing.
    pub(super) fn new(stage: &'static str, name: Arc<str>, strays: IntCounter) -> Self {
        Self {
            stage,
            name,
            strays,
            said_stray: AtomicBool::new(false),
            said_early: AtomicBool::new(false),
            said_unheard: AtomicBool::new(false),
            said_packets: AtomicU8::new(0),
        }
    }

    /// The broker does not take what says that we are there.
    pub(super) fn unheard(&self, why: &str) {
        let Self { stage, name, .. } = self;
        if !self.said_unheard.swap(true, Ordering::Relaxed) {
            tracing::warn!(stage, %name, why, "the broker does not take what `will` says with `online`: let this user publish to its topic");
        }
    }

    /// The broker did this.
    pub(super) fn note(&self, odd: Oddities) {
        let Self { stage, name, .. } = self;
        self.strays.inc_by(odd.strays);
        if let Some((packet, packet_id)) = odd.first
            && !self.said_stray.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(stage, %name, packet, packet_id,
                "the broker answered to nothing: ignored (the next ones are only counted)");
        }
        if odd.is_early && !self.said_early.swap(true, Ordering::Relaxed) {
            tracing::warn!(stage, %name, "the broker answers QoS 2 as if it were 1: that is taken as its acceptance");
        }
        let news = odd.packets & !self.said_packets.fetch_or(odd.packets, Ordering::Relaxed);
        for kind in OddPacket::ALL {
            if news & kind.bit() != 0 {
                let what = kind.words();
                tracing::warn!(stage, %name, what, "the broker sent what it should not: ignored (the next ones are not told)");
            }
        }
    }
}
