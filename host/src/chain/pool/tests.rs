use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;

const STACK: usize = 256 << 10;

/// Turns by a closure.
struct By<F>(F);

impl<F: FnMut() -> AfterTurn + Send> Task for By<F> {
    fn turn(&mut self) -> AfterTurn {
        self.0()
    }
}

fn sit(pool: &Pool, turn: impl FnMut() -> AfterTurn + Send + 'static) -> Arc<Seat> {
    let seat = pool.seat().unwrap();
    seat.take(Box::new(By(turn)));
    seat
}

/// A task that works until it is let go.
fn holder(pool: &Pool) -> (Arc<Seat>, Receiver<()>, SyncSender<()>) {
    let ((begun, has_begun), (let_go, go)) = (sync_channel(1), sync_channel(1));
    let turn = move || {
        begun.send(()).unwrap();
        // Let go, or nobody is there any more.
        let _ = go.recv();
        AfterTurn::Done
    };
    (sit(pool, turn), has_begun, let_go)
}

#[test]
fn a_task_is_never_with_two_workers_and_no_call_is_lost() {
    let pool = Pool::new(3, STACK);
    let (called, seen) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let is_in = AtomicBool::new(false);
    let (of_task, note) = (Arc::clone(&called), Arc::clone(&seen));
    let seat = sit(&pool, move || {
        assert!(!is_in.swap(true, Ordering::SeqCst), "two at once");
        note.store(of_task.load(Ordering::SeqCst), Ordering::SeqCst);
        is_in.store(false, Ordering::SeqCst);
        AfterTurn::Rest(None)
    });
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    called.fetch_add(1, Ordering::SeqCst);
                    seat.call();
                }
            });
        }
    });
    while seen.load(Ordering::SeqCst) < 15_000 {
        std::thread::yield_now();
    }
}

#[test]
fn moments_come_in_their_order_also_while_others_are_called() {
    let pool = Pool::new(2, STACK);
    let (came, order) = sync_channel(8);
    let begun = Instant::now();
    let seats: Vec<_> = [30_u64, 10, 20]
        .into_iter()
        .map(|after| {
            let (came, moment) = (came.clone(), begun + Duration::from_millis(after));
            sit(&pool, move || {
                if Instant::now() < moment {
                    return AfterTurn::Rest(Some(moment));
                }
                came.send(after).unwrap();
                AfterTurn::Done
            })
        })
        .collect();
    (0..100).for_each(|_| seats[0].call());
    let came: Vec<_> = (0..3).map(|_| order.recv().unwrap()).collect();
    assert_eq!(came.len(), 3);
    assert!(begun.elapsed() >= Duration::from_millis(30));
}

#[test]
fn who_looks_at_the_timers_is_left_alone_while_another_one_is_free() {
    let pool = Pool::new(2, STACK);
    let _resting = sit(&pool, || {
        AfterTurn::Rest(Some(Instant::now() + Duration::from_secs(3_600)))
    });
    let (worked, has_worked) = sync_channel(1);
    let seat = sit(&pool, move || {
        worked.send(std::thread::current().id()).unwrap();
        AfterTurn::Rest(None)
    });
    has_worked.recv().unwrap();
    let mut workers = std::collections::HashSet::new();
    for _ in 0..100 {
        while !matches!(
            *pool.shared.lock(),
            RunQueue {
                idle: 2,
                has_lookout: true,
                ..
            }
        ) {
            std::thread::yield_now();
        }
        seat.call();
        workers.insert(has_worked.recv().unwrap());
    }
    assert_eq!(workers.len(), 1);
}

#[test]
fn a_task_that_always_wants_more_lets_others_work() {
    let pool = Pool::new(1, STACK);
    let is_over = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_over);
    let _greedy = sit(&pool, move || {
        if seen.load(Ordering::SeqCst) {
            AfterTurn::Done
        } else {
            AfterTurn::Again
        }
    });
    let (worked, has_worked) = sync_channel(8);
    let _modest = sit(&pool, move || {
        worked.send(()).unwrap();
        AfterTurn::Done
    });
    has_worked.recv().unwrap();
    is_over.store(true, Ordering::SeqCst);
}

#[test]
fn workers_that_are_held_are_made_up_for_and_no_others_are_added() {
    let pool = Pool::new(2, STACK);
    let view = pool.view();
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    pool.oversee(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let workers = || pool.shared.lock().workers.len();
    let held: Vec<_> = (0..2).map(|_| holder(&pool)).collect();
    held.iter()
        .for_each(|(_, has_begun, _)| has_begun.recv().unwrap());
    assert!(
        !view.look() && !view.look() && workers() == 2,
        "nobody waits"
    );
    let others: Vec<_> = (0..3).map(|_| holder(&pool)).collect();
    assert!(asked.load(Ordering::SeqCst) > 0 && view.is_pressed());
    let mut looks = 0;
    while others
        .iter()
        .filter(|(_, has_begun, _)| has_begun.try_recv().is_ok())
        .count()
        == 0
    {
        view.look();
        looks += 1;
        assert!(workers() <= 5, "after {looks} looks");
        std::thread::yield_now();
    }
    held.iter()
        .chain(&others)
        .for_each(|(_, _, let_go)| let_go.send(()).unwrap());
}

#[test]
fn what_panics_is_gone_and_its_worker_goes_on() {
    let pool = Pool::new(1, STACK);
    let (held, dropped) = sync_channel::<()>(1);
    let _bad = sit(&pool, move || {
        let _held = &held;
        panic!("as a test wants it");
    });
    assert!(dropped.recv().is_err());
    let (worked, has_worked) = sync_channel(8);
    let _good = sit(&pool, move || {
        worked.send(()).unwrap();
        AfterTurn::Done
    });
    has_worked.recv().unwrap();
}

#[test]
fn dropped_it_ends_its_threads_and_calls_come_to_nothing() {
    let pool = Pool::new(2, STACK);
    let seat = sit(&pool, || {
        AfterTurn::Rest(Some(Instant::now() + Duration::from_secs(3_600)))
    });
    drop(pool);
    seat.call();
}
