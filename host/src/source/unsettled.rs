//! What was taken and is not yet settled: hands out what may be acknowledged, and counts the bytes. No sockets, no clock.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::message::Progress;

/// In which order claims are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AckOrder {
    /// That of their arrival: of what was taken the settled prefix.
    Arrival,
    /// Any: each burst once all of it is settled, whatever becomes of the others.
    Any,
}

/// A message that waits for its acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<A> {
    /// What its sender wants to hear; `None` once nobody waits for it any more.
    pub(super) ack: Option<A>,
    /// What it holds in RAM until then.
    pub(super) bytes: usize,
}

#[derive(Debug)]
struct Claimed<A> {
    progress: Arc<Progress>,
    claims: Box<[Claim<A>]>,
    next: usize,
}

#[derive(Debug)]
struct Unclaimed {
    progress: Arc<Progress>,
    bytes: usize,
}

/// What a look at what has settled came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settlement {
    /// Fewer than the most were handed out, so nothing is left for the next look.
    pub(super) is_all: bool,
    /// A burst that nobody waits for any more has fallen.
    pub(super) has_fallen: bool,
}

/// What is under way, in arrival order.
#[derive(Debug)]
pub(super) struct Unsettled<A> {
    order: AckOrder,
    claimed: VecDeque<Claimed<A>>,
    /// Under way, and nobody waits for an acknowledgement: QoS 0, flows that acknowledge at once, and what came
    /// over earlier connections. Kept for its bytes only.
    unclaimed: VecDeque<Unclaimed>,
    messages: usize,
    bytes: usize,
}

impl<A: Copy> Unsettled<A> {
    pub(super) fn new(order: AckOrder) -> Self {
        Self {
            order,
            claimed: VecDeque::new(),
            unclaimed: VecDeque::new(),
            messages: 0,
            bytes: 0,
        }
    }

    /// A burst whose message `i` is acknowledged with `claims[i]`.
    pub(super) fn claim(&mut self, progress: Arc<Progress>, claims: Vec<Claim<A>>) {
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

    /// Forgets what is settled; hands out the claims that may be acknowledged, in arrival order, at most `most`; in any order
    /// a burst is not cut.
    pub(super) fn settle(&mut self, most: usize, acknowledge: impl FnMut(A)) -> Settlement {
        let mut found = match self.order {
            AckOrder::Arrival => self.settle_prefix(most, acknowledge),
            AckOrder::Any => self.settle_bursts(most, acknowledge),
        };
        while let Some(burst) = self
            .unclaimed
            .pop_front_if(|burst| burst.progress.all_settled() || burst.progress.has_fallen())
        {
            self.bytes -= burst.bytes;
            found.has_fallen |= burst.progress.has_fallen();
        }
        found
    }

    fn settle_prefix(&mut self, most: usize, mut acknowledge: impl FnMut(A)) -> Settlement {
        let mut left = most;
        while let Some(burst) = self.claimed.front_mut() {
            while let Some(claim) = burst.claims.get(burst.next)
                && burst.progress.is_settled(burst.next)
            {
                if let Some(ack) = claim.ack {
                    if left == 0 {
                        break;
                    }
                    left -= 1;
                    acknowledge(ack);
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
        Settlement {
            is_all: left > 0,
            has_fallen: false,
        }
    }

    fn settle_bursts(&mut self, most: usize, mut acknowledge: impl FnMut(A)) -> Settlement {
        let mut left = most;
        let mut has_fallen = false;
        let messages = &mut self.messages;
        let bytes = &mut self.bytes;
        self.claimed.retain(|burst| {
            let is_settled = burst.progress.all_settled();
            let is_over = left > 0 && (is_settled || burst.progress.has_fallen());
            if is_over {
                for claim in &burst.claims {
                    *bytes -= claim.bytes;
                    let Some(ack) = claim.ack else { continue };
                    *messages -= 1;
                    if is_settled {
                        left = left.saturating_sub(1);
                        acknowledge(ack);
                    }
                }
                has_fallen |= !is_settled;
            }
            !is_over
        });
        Settlement {
            is_all: left > 0,
            has_fallen,
        }
    }

    /// The claims that are not acknowledged, each with whether its message is settled.
    pub(super) fn claims(&self) -> impl Iterator<Item = (A, bool)> {
        self.claimed.iter().flat_map(|burst| {
            let left = burst.claims.iter().enumerate().skip(burst.next);
            left.filter_map(|(index, claim)| Some((claim.ack?, burst.progress.is_settled(index))))
        })
    }

    /// The connection is gone, and the claims with it, but for those that `keep` picks for the next one, over which their
    /// messages do not come again. What was taken stays under way and counts until it settles.
    pub(super) fn disown(&mut self, keep: impl Fn(A) -> bool) {
        self.messages = 0;
        let is_kept = |claim: &Claim<A>| claim.ack.is_some_and(&keep);
        for mut burst in std::mem::take(&mut self.claimed) {
            let left = &mut burst.claims[burst.next..];
            for claim in left.iter_mut().filter(|claim| !is_kept(claim)) {
                claim.ack = None;
            }
            let kept = left.iter().filter(|claim| claim.ack.is_some()).count();
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

    /// Whether a burst that somebody waits for can never settle.
    pub(super) fn has_fallen(&self) -> bool {
        self.claimed.iter().any(|burst| burst.progress.has_fallen())
    }

    /// Messages whose acknowledgement somebody waits for.
    pub(super) fn messages(&self) -> usize {
        self.messages
    }

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

    /// A claim that survives the loss of a connection.
    const KEPT: u16 = 0x8000;

    fn tokens(from: u16, count: usize) -> Vec<Claim<u16>> {
        (from..)
            .take(count)
            .map(|id| Claim {
                ack: Some(id),
                bytes: 10,
            })
            .collect()
    }

    fn in_order() -> Unsettled<u16> {
        Unsettled::new(AckOrder::Arrival)
    }

    fn is_kept(id: u16) -> bool {
        id & KEPT > 0
    }

    fn settled(unsettled: &mut Unsettled<u16>) -> Vec<u16> {
        let mut ids = Vec::new();
        unsettled.settle(usize::MAX, |id| ids.push(id));
        ids
    }

    proptest! {
        #[test]
        fn claims_leave_in_arrival_order_and_never_before_they_are_settled(
            bursts in proptest::collection::vec(proptest::collection::vec(0..3_u32, 1..6), 1..8),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 150),
        ) {
            let wake = Arc::new(Settled::default());
            let mut unsettled = in_order();
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
        let mut unsettled = in_order();
        unsettled.claim(burst.progress(), tokens(1, 5));
        (0..5).for_each(|message| burst.receipt(message).release());
        let mut looks = Vec::new();
        loop {
            let mut ids = Vec::new();
            let found = unsettled.settle(2, |id| ids.push(id));
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
        let mut unsettled = in_order();
        let burst = Burst::new(wake, [1, 1]);
        unsettled.claim(burst.progress(), tokens(1, 2));
        unsettled.disown(is_kept);
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
        let mut unsettled = in_order();
        for last in [false, true] {
            let burst = Burst::new(Arc::clone(&wake), [1]);
            unsettled.claim(burst.progress(), tokens(1, 1));
            drop(burst);
            assert!(unsettled.has_fallen());
            unsettled.disown(is_kept);
            assert!(!unsettled.has_fallen());
            assert!(settled(&mut unsettled).is_empty());
            assert!(unsettled.is_empty(), "round {last}");
        }
        assert_eq!(wake.faults(), 2);
    }

    #[test]
    fn what_is_picked_keeps_its_claim_over_a_loss_unless_the_other_end_forgot() {
        for forgot in [false, true] {
            let mut unsettled = in_order();
            let burst = Burst::new(Arc::default(), [1, 1]);
            let mut claims = tokens(1, 2);
            claims[1].ack = Some(KEPT | 2);
            unsettled.claim(burst.progress(), claims);
            unsettled.disown(is_kept);
            assert_eq!((unsettled.messages(), unsettled.bytes()), (1, 20));
            if forgot {
                unsettled.disown(|_| false);
                assert_eq!((unsettled.messages(), unsettled.bytes()), (0, 20));
            }
            burst.receipt(0).release();
            burst.receipt(1).release();
            assert_eq!(
                settled(&mut unsettled),
                if forgot { vec![] } else { vec![KEPT | 2] }
            );
            assert_eq!((unsettled.messages(), unsettled.bytes()), (0, 0));
        }
    }

    proptest! {
        #[test]
        fn in_any_order_a_burst_leaves_once_all_of_it_is_settled_and_waits_for_no_other(
            bursts in proptest::collection::vec(1..5_u16, 1..8),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 40),
        ) {
            let mut unsettled = Unsettled::new(AckOrder::Any);
            let (mut receipts, mut open) = (Vec::new(), Vec::new());
            for (number, count) in (0_u16..).zip(&bursts) {
                let burst = Burst::new(Arc::default(), (0..*count).map(|_| 1));
                unsettled.claim(burst.progress(), tokens(number * 10, usize::from(*count)));
                receipts.extend((0..*count).map(|index| (usize::from(number), burst.receipt(u32::from(index)))));
                open.push(*count);
            }
            for index in order {
                if receipts.is_empty() {
                    break;
                }
                let (number, receipt): (usize, Receipt) = receipts.swap_remove(index.index(receipts.len()));
                receipt.release();
                open[number] -= 1;
                let told = settled(&mut unsettled);
                let whole: Vec<u16> = (0..bursts[number]).map(|id| u16::try_from(number).unwrap() * 10 + id).collect();
                prop_assert_eq!(told, if open[number] == 0 { whole } else { Vec::new() });
                let left: usize = bursts.iter().zip(&open).filter(|(_, open)| **open > 0).map(|(count, _)| usize::from(*count)).sum();
                prop_assert_eq!((unsettled.messages(), unsettled.bytes()), (left, left * 10));
                let still = unsettled.claims().filter(|(_, is_settled)| !is_settled).count();
                prop_assert_eq!(still, open.iter().map(|open| usize::from(*open)).sum::<usize>());
            }
        }
    }

    #[test]
    fn in_any_order_a_burst_that_fell_is_let_go_and_never_acknowledged() {
        let mut unsettled = Unsettled::new(AckOrder::Any);
        let burst = Burst::new(Arc::default(), [1, 1]);
        unsettled.claim(burst.progress(), tokens(1, 2));
        burst.receipt(0).release();
        drop(burst);
        let found = unsettled.settle(usize::MAX, |id| panic!("{id} is acknowledged"));
        assert!(found.has_fallen && unsettled.is_empty() && unsettled.bytes() == 0);
    }
}
