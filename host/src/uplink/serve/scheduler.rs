//! Whose turn it is: deficit round robin by bytes over the queues of an uplink. No clock, no messages.
//!
//! Every queue that has something gets its share of the link, whatever the others owe: an alarm waits for one round,
//! not for a week of telemetry. What a queue does not need is not saved up for it.

/// What a queue of weight 1 may send in one round, bytes: small, so that an alarm waits for little, on a thin link too. The
/// turn of telemetry, of weight 10, is half a second at 20 KB/s.
const QUANTUM: i64 = 1 << 10;

#[derive(Debug)]
struct QueueCredit {
    weight: u32,
    /// What it may still send in this round, bytes; below zero it sent more than its turn allowed, and pays for it.
    credit: i64,
}

/// The queues of an uplink, by index.
#[derive(Debug)]
pub(super) struct Scheduler {
    shares: Vec<QueueCredit>,
    turn: usize,
}

impl Scheduler {
    /// One queue for each weight.
    pub(super) fn new(weights: impl IntoIterator<Item = u32>) -> Self {
        let share = |weight: u32| QueueCredit {
            weight: weight.max(1),
            credit: 0,
        };
        Self {
            shares: weights.into_iter().map(share).collect(),
            turn: 0,
        }
    }

    /// The queue that sends next; `cost` gives what the next message of a queue costs, in bytes, if it has one.
    pub(super) fn next(&mut self, mut cost: impl FnMut(usize) -> Option<usize>) -> Option<usize> {
        let mut idle = 0;
        while idle < self.shares.len() {
            match cost(self.turn) {
                Some(bytes) if signed(bytes) <= self.shares[self.turn].credit => {
                    return Some(self.turn);
                }
                Some(_) => idle = 0,
                None => {
                    let share = &mut self.shares[self.turn];
                    share.credit = share.credit.min(0);
                    idle += 1;
                }
            }
            self.advance();
        }
        None
    }

    /// What was sent in this turn held up all queues: the next one has its turn, so that an alarm does not wait for one such message
    /// after the other.
    pub(super) fn pass(&mut self) {
        let share = &mut self.shares[self.turn];
        share.credit = share.credit.min(0);
        self.advance();
    }

    fn advance(&mut self) {
        self.turn = (self.turn + 1) % self.shares.len();
        let share = &mut self.shares[self.turn];
        share.credit = share
            .credit
            .saturating_add(QUANTUM * i64::from(share.weight));
    }

    /// What `queue` sent cost so much.
    pub(super) fn charge(&mut self, queue: usize, bytes: usize) {
        let share = &mut self.shares[queue];
        share.credit = share.credit.saturating_sub(signed(bytes));
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use proptest::prelude::*;

    const QUANTUM: usize = super::QUANTUM as usize;

    /// Sends `bytes` in all, or until nothing is owed; gives what each queue sent.
    fn send(scheduler: &mut Scheduler, queues: &mut [VecDeque<usize>], bytes: usize) -> Vec<usize> {
        let mut sent = vec![0; queues.len()];
        while sent.iter().sum::<usize>() < bytes {
            let Some(queue) = scheduler.next(|queue| queues[queue].front().copied()) else {
                break;
            };
            let cost = queues[queue].pop_front().unwrap();
            scheduler.charge(queue, cost);
            sent[queue] += cost;
        }
        sent
    }

    #[test]
    fn a_queue_whose_turn_is_passed_waits_for_the_others() {
        let mut scheduler = Scheduler::new([10, 1]);
        let next = |scheduler: &mut Scheduler| scheduler.next(|_| Some(100));
        let first = next(&mut scheduler);
        scheduler.charge(first.unwrap(), 100);
        assert_eq!(next(&mut scheduler), first);
        scheduler.pass();
        assert_ne!(next(&mut scheduler), first);
        scheduler.pass();
        assert_eq!(next(&mut scheduler), first);
    }

    #[test]
    fn nothing_is_owed_and_nobody_has_a_turn() {
        assert_eq!(Scheduler::new([1, 2]).next(|_| None), None);
        assert_eq!(Scheduler::new([]).next(|_| None), None);
    }

    #[test]
    fn what_was_not_needed_is_not_saved_up() {
        let mut scheduler = Scheduler::new([1, 1]);
        for _ in 0..1_000 {
            assert_eq!(scheduler.next(|queue| (queue == 0).then_some(100)), Some(0));
            scheduler.charge(0, 100);
        }
        let mut queues = [
            VecDeque::from(vec![100; 10_000]),
            VecDeque::from(vec![100; 10_000]),
        ];
        let sent = send(&mut scheduler, &mut queues, 80 * QUANTUM);
        assert!(sent[1] <= 41 * QUANTUM, "{sent:?}");
    }

    proptest! {
        #[test]
        fn queues_that_owe_share_the_link_by_weight(
            queues in proptest::collection::vec((1_u32..9, 1_usize..20_000), 1..6), rounds in 1_usize..40,
        ) {
            let weights: usize = queues.iter().map(|(weight, _)| *weight as usize).sum();
            let bytes = rounds * QUANTUM * weights;
            let mut scheduler = Scheduler::new(queues.iter().map(|(weight, _)| *weight));
            let mut owed: Vec<VecDeque<usize>> = queues.iter().map(|(_, size)| vec![*size; 2 * bytes / size + 2].into()).collect();
            let sent = send(&mut scheduler, &mut owed, bytes);
            for ((weight, size), sent) in queues.iter().zip(sent) {
                let (share, step) = (rounds * QUANTUM * *weight as usize, QUANTUM * *weight as usize);
                let most = queues.iter().map(|(_, size)| size).sum::<usize>() + 2 * step + size;
                prop_assert!(sent.abs_diff(share) <= most, "weight {weight}: {sent} of {share}");
            }
        }

        #[test]
        fn a_message_waits_for_one_round_of_the_others_whatever_they_owe(
            others in proptest::collection::vec((1_u32..9, 1_usize..5_000), 1..6), before in 0_usize..300_000, size in 1_usize..QUANTUM,
        ) {
            let mut scheduler = Scheduler::new(others.iter().map(|(weight, _)| *weight).chain([1]));
            let mut owed: Vec<VecDeque<usize>> = others.iter().map(|(_, size)| vec![*size; 600_000 / size].into()).collect();
            owed.push(VecDeque::new());
            send(&mut scheduler, &mut owed, before);
            let alarm = owed.len() - 1;
            owed[alarm].push_back(size);
            let round: usize = others.iter().map(|(weight, size)| QUANTUM * *weight as usize + size).sum();
            let mut ahead = 0;
            while let Some(queue) = scheduler.next(|queue| owed[queue].front().copied()).filter(|queue| *queue != alarm) {
                let cost = owed[queue].pop_front().unwrap();
                scheduler.charge(queue, cost);
                ahead += cost;
            }
            prop_assert!(ahead <= round, "{ahead} bytes went ahead, a round is {round}");
            prop_assert_eq!(scheduler.next(|queue| owed[queue].front().copied()), Some(alarm));
        }
    }
}
