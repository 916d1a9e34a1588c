//! Random steps for the model of a spool.

use super::*;

pub(super) const FRESH: QueueId = QueueId(2);
/// In the last one fresh data goes first.
pub(super) const QUEUES: [QueueId; 3] = [QueueId(0), QueueId(1), FRESH];

#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Messages, with receipts or without.
    Append(QueueId, u32, bool),
    Commit,
    /// A sync fails, more arrives, perhaps a queue comes, the store is opened anew.
    FailedCommit(bool),
    /// The writer does what is due: with the link down, everything.
    Turn,
    Link(LinkTurn),
    /// So many of what is owed, after some that are left out.
    Accept(QueueId, usize, usize),
    /// So many go ahead of what is on disk, are perhaps spilled before they are accepted, and are then, but for some.
    Overtake(usize, bool, usize),
    /// The last acceptance comes twice.
    AcceptAgain,
    Refuse(QueueId, usize),
    Park(u32),
    /// Reads everything owed, in fetches of this size.
    Check(QueueId, usize),
    /// The handle is dropped without another write.
    Kill,
    /// What another process finds in the files when this one is killed: the last flush, and no orderly end.
    Crash,
    Close,
    /// The next queue comes, new or with what the store owes to it.
    Come,
    /// A kill, and the next config has the last queue no more.
    Forget,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let queue = || prop_oneof![2 => Just(QUEUES[0]), 1 => Just(QUEUES[1]), 2 => Just(FRESH)];
    prop_oneof![
        6 => (queue(), 1_u32..30, any::<bool>()).prop_map(|(queue, count, receipts)| Step::Append(queue, count, receipts)),
        3 => Just(Step::Commit),
        1 => any::<bool>().prop_map(Step::FailedCommit),
        3 => Just(Step::Turn),
        1 => prop_oneof![Just(LinkTurn::Up), Just(LinkTurn::Down)].prop_map(Step::Link),
        4 => (queue(), 1_usize..40).prop_map(|(queue, count)| Step::Accept(queue, 0, count)),
        1 => (queue(), 1_usize..20, 1_usize..6).prop_map(|(queue, skip, count)| Step::Accept(queue, skip, count)),
        3 => (1_usize..30, any::<bool>(), 0_usize..4).prop_map(|(count, spill, left)| Step::Overtake(count, spill, left)),
        1 => Just(Step::AcceptAgain),
        1 => (queue(), 0_usize..20).prop_map(|(queue, skip)| Step::Refuse(queue, skip)),
        1 => (1_u32..4).prop_map(Step::Park),
        2 => (queue(), 1_usize..50).prop_map(|(queue, max)| Step::Check(queue, max)),
        1 => Just(Step::Kill),
        1 => Just(Step::Crash),
        1 => Just(Step::Close),
        2 => Just(Step::Come),
        1 => Just(Step::Forget),
    ]
}

pub(super) fn keys_up_to(key: Option<u8>) -> Sealer {
    let numbers: Vec<u8> = (1..=key.unwrap_or(0)).rev().collect();
    crate::spool::disk::sealing::sealer::tests::sealer(&numbers)
}
