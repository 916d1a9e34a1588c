//! What was taken and is not yet settled: acknowledges the settled prefix in arrival order and counts the bytes.
//! No sockets, no clock.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::message::Progress;
use crate::mqtt::AckToken;

/// A message of the current connection that waits for its acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// What the broker wants to hear.
    pub(super) token: AckToken,
    /// What it holds in RAM until then.
    pub(super) bytes: usize,
}

#[derive(Debug)]
struct Claimed {
    progress: Arc<Progress>,
    claims: Box<[Claim]>,
    next: usize,
}

#[derive(Debug)]
struct Unclaimed {
    progress: Arc<Progress>,
    bytes: usize,
}

/// Bursts in arrival order.
#[derive(Debug, Default)]
pub(super) struct Unsettled {
    claimed: VecDeque<Claimed>,
    /// Under way, and nobody waits for an acknowledgement: QoS 0, flows that acknowledge at once, and what came
    /// over earlier connections. Kept for its bytes only.
    unclaimed: VecDeque<Unclaimed>,
    messages: usize,
    bytes: usize,
}

impl Unsettled {
    /// A burst whose message `i` is acknowledged with `claims[i]`.
    pub(super) fn claim(&mut self, progress: Arc<Progress>, claims: Vec<Claim>) {
        self.messages += claims.len();
        self.bytes += claims.iter().map(|claim| claim.bytes).sum::<usize>();
        self.claimed.push_back(Claimed { progress, claims: claims.into_boxed_slice(), next: 0 });
    }

    /// A burst that nobody waits for.
    pub(super) fn watch(&mut self, progress: Arc<Progress>, bytes: usize) {
        self.bytes += bytes;
        self.unclaimed.push_back(Unclaimed { progress, bytes });
    }

    /// Forgets what is settled; hands out the claims of the settled prefix in arrival order.
    pub(super) fn settle(&mut self, mut acknowledge: impl FnMut(AckToken)) {
        while let Some(burst) = self.claimed.front_mut() {
            while let Some(claim) = burst.claims.get(burst.next)
                && burst.progress.is_settled(burst.next)
            {
                acknowledge(claim.token);
                burst.next += 1;
                self.messages -= 1;
                self.bytes -= claim.bytes;
            }
            if burst.next < burst.claims.len() {
                break;
            }
            self.claimed.pop_front();
        }
        while let Some(burst) = self.unclaimed.pop_front_if(|burst| burst.progress.all_settled() || burst.progress.has_fallen()) {
            self.bytes -= burst.bytes;
        }
    }

    /// The connection is gone, and the claims with it. What was taken stays under way and counts until it settles.
    pub(super) fn disown(&mut self) {
        for burst in std::mem::take(&mut self.claimed) {
            let bytes = burst.claims[burst.next..].iter().map(|claim| claim.bytes).sum();
            self.unclaimed.push_back(Unclaimed { progress: burst.progress, bytes });
        }
        self.messages = 0;
    }

    /// Whether a burst of the current connection can never settle.
    pub(super) fn has_fallen(&self) -> bool {
        self.claimed.iter().any(|burst| burst.progress.has_fallen())
    }

    /// Messages the broker waits for.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

    /// Bytes under way.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether everything that was taken is settled.
    pub(super) fn is_empty(&self) -> bool {
        self.claimed.is_empty() && self.unclaimed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Burst, Qos, Receipt, Settled};
    use proptest::prelude::*;

    fn tokens(from: u16, count: usize) -> Vec<Claim> {
        (0..count)
            .map(|i| Claim { token: AckToken::new(from + u16::try_from(i).unwrap(), Qos::AtLeastOnce), bytes: 10 })
            .collect()
    }

    fn settled(unsettled: &mut Unsettled) -> Vec<u16> {
        let mut ids = Vec::new();
        unsettled.settle(|token| ids.push(token.packet_id()));
        ids
    }

    proptest! {
        #[test]
        fn claims_leave_in_arrival_order_and_never_before_they_are_settled(
            bursts in proptest::collection::vec(proptest::collection::vec(0..3_u32, 1..6), 1..8),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 150),
        ) {
            let wake = Arc::new(Settled::default());
            let mut unsettled = Unsettled::default();
            let (mut receipts, mut pending, mut left) = (Vec::<(usize, Receipt)>::new(), Vec::new(), Vec::new());
            for ends in &bursts {
                let burst = Burst::new(Arc::clone(&wake), ends.iter().copied());
                unsettled.claim(burst.progress(), tokens(u16::try_from(pending.len()).unwrap(), ends.len()));
                for (i, count) in (0_u32..).zip(ends) {
                    receipts.extend((0..*count).map(|_| (pending.len(), burst.receipt(i))));
                    pending.push(*count);
                }
            }
            for index in order {
                for id in settled(&mut unsettled) {
                    prop_assert_eq!(usize::from(id), left.len(), "out of order");
                    left.push(id);
                    prop_assert_eq!(pending[usize::from(id)], 0, "acknowledged before it was settled");
                }
                let prefix = pending.iter().take_while(|count| **count == 0).count();
                prop_assert_eq!(left.len(), prefix);
                prop_assert_eq!(unsettled.messages(), pending.len() - prefix);
                prop_assert_eq!(unsettled.bytes(), 10 * (pending.len() - prefix));
                prop_assert_eq!(unsettled.is_empty(), prefix == pending.len());
                if !receipts.is_empty() {
                    let (message, receipt) = receipts.swap_remove(index.index(receipts.len()));
                    receipt.release();
                    pending[message] -= 1;
                }
            }
            prop_assert_eq!(left.len(), pending.len());
            prop_assert_eq!(wake.faults(), 0);
        }
    }

    #[test]
    fn after_a_loss_nothing_is_acknowledged_and_the_bytes_count_until_they_settle() {
        let wake = Arc::new(Settled::default());
        let mut unsettled = Unsettled::default();
        let burst = Burst::new(wake, [1, 1]);
        unsettled.claim(burst.progress(), tokens(1, 2));
        unsettled.disown();
        assert_eq!((unsettled.messages(), unsettled.bytes()), (0, 20));
        burst.receipt(0).release();
        assert!(settled(&mut unsettled).is_empty());
        assert_eq!(unsettled.bytes(), 20);
        burst.receipt(1).release();
        assert!(settled(&mut unsettled).is_empty());
        assert!(unsettled.is_empty() && unsettled.bytes() == 0);
    }

    #[test]
    fn a_fallen_burst_of_an_earlier_connection_is_forgotten_and_one_of_this_connection_is_found() {
        let wake = Arc::new(Settled::default());
        let mut unsettled = Unsettled::default();
        for last in [false, true] {
            let burst = Burst::new(Arc::clone(&wake), [1]);
            unsettled.claim(burst.progress(), tokens(1, 1));
            drop(burst);
            assert!(unsettled.has_fallen());
            unsettled.disown();
            assert!(!unsettled.has_fallen());
            assert!(settled(&mut unsettled).is_empty());
            assert!(unsettled.is_empty(), "round {last}");
        }
        assert_eq!(wake.faults(), 2);
    }
}
