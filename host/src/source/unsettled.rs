//! What was taken and is not yet settled: acknowledges the settled prefix in arrival order and counts the bytes.
//! No sockets, no clock.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::message::{Progress, Qos};
use crate::mqtt::AckToken;

/// A message that waits for its acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    /// What the broker wants to hear; `None` once the connection it would go over is gone.
    pub(super) token: Option<AckToken>,
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

/// What a look at what has settled came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// Fewer than the most were handed out, so nothing is left for the next look.
    pub(super) is_all: bool,
    /// A burst that nobody waits for has fallen.
    pub(super) has_fallen: bool,
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
        self.claimed.push_back(Claimed {
            progress,
            claims: claims.into_boxed_slice(),
            next: 0,
        });
    }

    /// A burst that nobody waits for.
    pub(super) fn watch(&mut self, progress: Arc<Progress>, bytes: usize) {
        self.bytes += bytes;
        self.unclaimed.push_back(Unclaimed { progress, bytes });
    }

    /// Forgets what is settled; hands out the claims of the settled prefix in arrival order, at most `most`.
    pub(super) fn settle(&mut self, most: usize, mut acknowledge: impl FnMut(AckToken)) -> Found {
        let mut left = most;
        while let Some(burst) = self.claimed.front_mut() {
            while let Some(claim) = burst.claims.get(burst.next)
                && burst.progress.is_settled(burst.next)
            {
                if let Some(token) = claim.token {
                    if left == 0 {
                        break;
                    }
                    left -= 1;
                    acknowledge(token);
                    self.messages -= 1;
                }
                burst.next += 1;
                self.bytes -= claim.bytes;
            }
            if burst.next < burst.claims.len() {
                break;
            }
            self.claimed.pop_front();
        }
        let (is_all, mut has_fallen) = (left > 0, false);
        while let Some(burst) = self
            .unclaimed
            .pop_front_if(|burst| burst.progress.all_settled() || burst.progress.has_fallen())
        {
            self.bytes -= burst.bytes;
            has_fallen |= burst.progress.has_fallen();
        }
        Found { is_all, has_fallen }
    }

    /// The connection is gone, and the claims with it; those of QoS 2 can be kept for the next one, which then does
    /// not give their messages out again. What was taken stays under way and counts until it settles.
    pub(super) fn disown(&mut self, keep_exactly_once: bool) {
        self.messages = 0;
        let is_kept = |claim: &Claim| {
            keep_exactly_once
                && claim
                    .token
                    .is_some_and(|token| token.qos() == Qos::ExactlyOnce)
        };
        for mut burst in std::mem::take(&mut self.claimed) {
            let left = &mut burst.claims[burst.next..];
            for claim in left.iter_mut().filter(|claim| !is_kept(claim)) {
                claim.token = None;
            }
            let kept = left.iter().filter(|claim| claim.token.is_some()).count();
            self.messages += kept;
            if kept > 0 {
                self.claimed.push_back(burst);
            } else {
                let bytes = left.iter().map(|claim| claim.bytes).sum();
                self.unclaimed.push_back(Unclaimed {
                    progress: burst.progress,
                    bytes,
                });
            }
        }
    }

    /// Whether a burst that the broker waits for can never settle.
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
    use crate::message::{Burst, Receipt, Settled};
    use proptest::prelude::*;

    fn tokens(from: u16, count: usize) -> Vec<Claim> {
        (from..)
            .take(count)
            .map(|id| Claim {
                token: Some(AckToken::new(id, Qos::AtLeastOnce, 0)),
                bytes: 10,
            })
            .collect()
    }

    fn settled(unsettled: &mut Unsettled) -> Vec<u16> {
        let mut ids = Vec::new();
        unsettled.settle(usize::MAX, |token| ids.push(token.packet_id()));
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
    fn a_look_hands_out_no_more_than_it_may_and_tells_that_something_is_left() {
        let burst = Burst::new(Arc::default(), [1; 5]);
        let mut unsettled = Unsettled::default();
        unsettled.claim(burst.progress(), tokens(1, 5));
        (0..5).for_each(|message| burst.receipt(message).release());
        let mut looks = Vec::new();
        loop {
            let mut ids = Vec::new();
            let found = unsettled.settle(2, |token| ids.push(token.packet_id()));
            looks.push((ids, found.is_all));
            if found.is_all {
                break;
            }
        }
        assert_eq!(
            looks,
            [(vec![1, 2], false), (vec![3, 4], false), (vec![5], true)]
        );
        assert!(unsettled.is_empty());
    }

    #[test]
    fn after_a_loss_nothing_is_acknowledged_and_the_bytes_count_until_they_settle() {
        let wake = Arc::new(Settled::default());
        let mut unsettled = Unsettled::default();
        let burst = Burst::new(wake, [1, 1]);
        unsettled.claim(burst.progress(), tokens(1, 2));
        unsettled.disown(true);
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
            unsettled.disown(true);
            assert!(!unsettled.has_fallen());
            assert!(settled(&mut unsettled).is_empty());
            assert!(unsettled.is_empty(), "round {last}");
        }
        assert_eq!(wake.faults(), 2);
    }

    #[test]
    fn exactly_once_keeps_its_claim_over_a_loss_unless_the_broker_forgot() {
        for forgot in [false, true] {
            let mut unsettled = Unsettled::default();
            let burst = Burst::new(Arc::default(), [1, 1]);
            let mut claims = tokens(1, 2);
            claims[1].token = Some(AckToken::new(2, Qos::ExactlyOnce, 0));
            unsettled.claim(burst.progress(), claims);
            unsettled.disown(true);
            assert_eq!((unsettled.messages(), unsettled.bytes()), (1, 20));
            if forgot {
                unsettled.disown(false);
                assert_eq!((unsettled.messages(), unsettled.bytes()), (0, 20));
            }
            burst.receipt(0).release();
            burst.receipt(1).release();
            assert_eq!(
                settled(&mut unsettled),
                if forgot { vec![] } else { vec![2] }
            );
            assert_eq!((unsettled.messages(), unsettled.bytes()), (0, 0));
        }
    }
}
