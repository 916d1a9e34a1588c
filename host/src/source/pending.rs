//! What is known of a burst before it has receipts: who waits for which of its messages.

use std::sync::Arc;

use super::unsettled::Claim;
use crate::message::{DeadLetter, Loss, Progress};

/// The burst that is being taken.
pub(super) struct PendingBurst<A> {
    /// What is acknowledged, in arrival order, and how many ends each has.
    pub(super) claims: Vec<Claim<A>>,
    pub(super) ends: Vec<u32>,
    /// Deliveries nobody waits for: QoS 0, and flows that acknowledge at once. They share one receipt, so that
    /// what they hold in RAM is bounded too.
    pub(super) loose: u32,
    pub(super) loose_bytes: usize,
    /// Under way, with everything before this burst.
    bytes: usize,
    pub(super) letters: Vec<(DeadLetter, Option<u32>)>,
    /// Repeats whose first copy is under way, each with its own receipt.
    pub(super) waiting: Vec<(Arc<Progress>, usize, u32)>,
    /// Messages that nobody waits for and there was no room for.
    pub(super) losses: Vec<Loss>,
}

impl<A> PendingBurst<A> {
    /// Nothing yet, with so many bytes under way.
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            claims: Vec::new(),
            ends: Vec::new(),
            loose: 0,
            loose_bytes: 0,
            bytes,
            letters: Vec::new(),
            waiting: Vec::new(),
            losses: Vec::new(),
        }
    }

    /// Bytes under way, this burst's among them.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The receipt that the next claim will have. A burst is one read or one request, far below 2^32 messages.
    pub(super) fn next(&self) -> u32 {
        u32::try_from(self.claims.len()).unwrap_or(u32::MAX)
    }

    /// Enters a message of `weight` that was given to `safe` flows that wait and to `loose` that do not.
    pub(super) fn enter(&mut self, ack: Option<A>, weight: usize, safe: u32, loose: u32) {
        if ack.is_some() {
            self.claims.push(Claim {
                ack,
                bytes: if safe > 0 { weight } else { 0 },
            });
            self.ends.push(safe);
        }
        self.loose += loose;
        if safe == 0 && loose > 0 {
            self.loose_bytes += weight;
        }
        if safe + loose > 0 {
            self.bytes += weight;
        }
    }

    /// Enters a message of `weight` that is a dead letter.
    pub(super) fn park(&mut self, letter: DeadLetter, ack: Option<A>, weight: usize) {
        let claim = ack.is_some().then(|| self.next());
        let waits = u32::from(claim.is_some());
        self.enter(ack, weight, waits, 1 - waits);
        self.letters.push((letter, claim));
    }

    /// Enters a message that there was no room for.
    pub(super) fn lose(&mut self, loss: Loss) {
        self.losses.push(loss);
    }
}
