//! Receipts: who is woken, when, and that no claim is lost or counted twice.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use crate::check;
use crate::message::{Burst, Receipt, Settled};

/// Waits as a source does.
fn changed(settled: &Settled) {
    let mut waiting = pin!(settled.changed());
    while waiting
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
    {}
}

fn release(receipts: impl IntoIterator<Item = Receipt> + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || receipts.into_iter().for_each(Receipt::release))
}

pub fn all() {
    check(
        "the source is woken when the last end has come, whoever brings it",
        || {
            let settled = Arc::new(Settled::default());
            let burst = Burst::new(Arc::clone(&settled), [2, 1]);
            let progress = burst.progress();
            let (one, other) = (
                release([burst.receipt(0), burst.receipt(1)]),
                release([burst.receipt(0)]),
            );
            drop(burst);
            changed(&settled);
            assert!(progress.all_settled() && progress.is_settled(0) && !progress.has_fallen());
            (one.join().unwrap(), other.join().unwrap());
            assert_eq!(settled.faults(), 0);
        },
    );
    check(
        "a message that becomes several is settled by the last of them, and what was done before shows",
        || {
            let settled = Arc::new(Settled::default());
            let burst = Burst::new(Arc::clone(&settled), [1]);
            let (progress, done) = (burst.progress(), Arc::new(AtomicU32::new(0)));
            let first = burst.receipt(0);
            drop(burst);
            let work = Arc::clone(&done);
            let lane = thread::spawn(move || {
                first.add(1);
                let (second, own) = (first.clone(), Arc::clone(&work));
                let keeper = thread::spawn(move || {
                    own.fetch_add(1, Ordering::Relaxed);
                    second.release();
                });
                work.fetch_add(1, Ordering::Relaxed);
                first.release();
                keeper
            });
            if progress.is_settled(0) {
                assert_eq!(done.load(Ordering::Relaxed), 2);
            }
            lane.join().unwrap().join().unwrap();
            assert!(progress.all_settled());
        },
    );
    check(
        "of two ends of which one is enough exactly one counts",
        || {
            let settled = Arc::new(Settled::default());
            let burst = Burst::new(Arc::clone(&settled), [2]);
            let progress = burst.progress();
            let (own, any) = (burst.receipt(0), burst.receipt(0).any());
            drop(burst);
            let (one, other) = (release([any.clone()]), release([any]));
            (one.join().unwrap(), other.join().unwrap());
            assert!(!progress.all_settled());
            own.release();
            assert!(progress.all_settled());
            changed(&settled);
            assert_eq!(settled.faults(), 0);
        },
    );
    check(
        "a claim that is forgotten while others are released is a fault that wakes the source",
        || {
            let settled = Arc::new(Settled::default());
            let burst = Burst::new(Arc::clone(&settled), [1, 1]);
            let progress = burst.progress();
            let (kept, forgotten) = (burst.receipt(0), burst.receipt(1));
            drop(burst);
            let (one, other) = (release([kept]), thread::spawn(move || drop(forgotten)));
            changed(&settled);
            (one.join().unwrap(), other.join().unwrap());
            assert!(settled.faults() == 1 && progress.has_fallen() && !progress.is_settled(1));
        },
    );
}
