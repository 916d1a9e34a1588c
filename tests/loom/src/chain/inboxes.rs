//! The hand-over from sources to lanes: nothing lost, nothing twice, in order, and a lane that rests is called.

use std::sync::Arc;

use loom::thread;

use super::inbox::{Appetite, Inbox, InboxPoll, LaneRequest, Taken};
use super::pool::Seat;
use crate::IntGauge;

use crate::check;
use crate::message::{Burst, Delivery, Settled};

fn inbox() -> (Arc<Inbox>, IntGauge) {
    let depth = IntGauge::default();
    (
        Arc::new(Inbox::new(Arc::<Seat>::default(), depth.clone())),
        depth,
    )
}

/// What there is to do; rests until there is something.
fn look(inbox: &Inbox, batch: &mut Vec<Delivery>, max: usize) -> Taken {
    loop {
        match inbox.take(batch, Appetite::UpTo(max), false) {
            InboxPoll::Found(taken) => return taken,
            InboxPoll::Nothing { .. } | InboxPoll::Away => inbox.seat().wait(),
        }
    }
}

fn plain(numbers: impl IntoIterator<Item = u32>) -> Vec<Delivery> {
    numbers
        .into_iter()
        .map(|number| Delivery {
            number,
            receipt: None,
        })
        .collect()
}

/// A source that puts these batches, one after the other.
fn source(inbox: &Arc<Inbox>, batches: Vec<Vec<Delivery>>) -> thread::JoinHandle<()> {
    let inbox = Arc::clone(inbox);
    thread::spawn(move || batches.into_iter().for_each(|batch| inbox.put(batch)))
}

/// A lane that takes two at a time until it has `count`, or is told to end; the commands it got are counted.
fn lane(inbox: &Inbox, count: usize) -> (Vec<u32>, usize) {
    let (mut taken, mut commands, mut batch) = (Vec::new(), 0, Vec::new());
    while taken.len() + commands < count {
        let next = look(inbox, &mut batch, 2);
        assert!(batch.len() <= 2);
        commands += next.commands.len();
        taken.extend(batch.drain(..).map(|delivery| {
            delivery
                .receipt
                .into_iter()
                .for_each(|receipt| receipt.release());
            delivery.number
        }));
        if next.last {
            break;
        }
    }
    (taken, commands)
}

pub fn all() {
    check(
        "what two sources put comes once, each in its order, and the lane is woken for the last of it",
        || {
            let (inbox, depth) = inbox();
            let one = source(&inbox, vec![plain([1, 2]), plain([3])]);
            let other = source(&inbox, vec![plain([11])]);
            let (taken, _) = lane(&inbox, 4);
            (one.join().unwrap(), other.join().unwrap());
            let of = |tens: u32| {
                taken
                    .iter()
                    .copied()
                    .filter(|number| number / 10 == tens)
                    .collect::<Vec<_>>()
            };
            assert_eq!((of(0), of(1), depth.get()), (vec![1, 2, 3], vec![11], 0));
        },
    );
    check(
        "a lane that has found nothing at its tick is woken for what comes after",
        || {
            let (inbox, depth) = inbox();
            let source = source(&inbox, vec![plain([1]), plain([2])]);
            let mut batch = Vec::new();
            assert!(matches!(
                inbox.take(&mut batch, Appetite::UpTo(9), true),
                InboxPoll::Found(Taken { last: false, .. })
            ));
            let (taken, _) = lane(&inbox, 2 - batch.len());
            let all: Vec<u32> = batch
                .iter()
                .map(|delivery| delivery.number)
                .chain(taken)
                .collect();
            source.join().unwrap();
            assert_eq!((all, depth.get()), (vec![1, 2], 0));
        },
    );
    check(
        "a command wakes the lane, is done once, and holds up no message",
        || {
            let (inbox, _) = inbox();
            let source = source(&inbox, vec![plain([1])]);
            let own = Arc::clone(&inbox);
            let driver = thread::spawn(move || own.command(LaneRequest::Heed));
            assert_eq!(lane(&inbox, 2), (vec![1], 1));
            (source.join().unwrap(), driver.join().unwrap());
        },
    );
    check(
        "what was put before the stop is run, also where that takes several rounds",
        || {
            let (inbox, depth) = inbox();
            let own = Arc::clone(&inbox);
            let source = thread::spawn(move || {
                own.put(plain([1]));
                own.put(plain([2, 3, 4]));
                own.stop();
            });
            assert_eq!(
                (lane(&inbox, usize::MAX).0, depth.get()),
                (vec![1, 2, 3, 4], 0)
            );
            source.join().unwrap();
        },
    );
    check(
        "a lane that is stopped while a source puts ends, and each message was run or its receipt has fallen",
        || {
            ending(|inbox| inbox.stop());
        },
    );
    check("the same of one that is closed", || {
        ending(|inbox| {
            inbox.close();
        });
    });
}

/// `end` meets a source that puts two batches, and a lane.
fn ending(end: fn(&Inbox)) {
    let (inbox, depth) = inbox();
    let settled = Arc::new(Settled::default());
    let bursts = [(); 2].map(|()| Burst::new(Arc::clone(&settled), [1]));
    let progress = bursts.each_ref().map(|burst| burst.progress());
    let deliveries = (0..).zip(bursts).map(|(number, burst)| {
        vec![Delivery {
            number,
            receipt: Some(burst.receipt(0)),
        }]
    });
    let source = source(&inbox, deliveries.collect());
    let own = Arc::clone(&inbox);
    let stopper = thread::spawn(move || end(&own));
    let (taken, _) = lane(&inbox, usize::MAX);
    // As a lane does behind its last round.
    inbox.close();
    (source.join().unwrap(), stopper.join().unwrap());
    let expected: Vec<u32> = (0..taken.len() as u32).collect();
    assert_eq!(
        (&taken, depth.get()),
        (&expected, 0),
        "in order, and nothing in between is missing"
    );
    for (number, progress) in progress.iter().enumerate() {
        let was_run = number < taken.len();
        assert_eq!(
            (progress.is_settled(0), progress.has_fallen()),
            (was_run, !was_run)
        );
    }
    assert_eq!(settled.faults(), 2 - taken.len() as u64);
}
