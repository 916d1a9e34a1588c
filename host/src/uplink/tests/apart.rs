//! What waits apart, and what is passed over.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::*;
use crate::uplink::part::{PullMode, Shard};
use crate::uplink::serve::pull::{Pull, Sending};

#[test]
fn what_is_accepted_behind_one_that_is_late_is_told_at_once_and_not_sent_again() {
    let list = List::new(1);
    list.owe(0, 0..150);
    let backlog: Arc<dyn Backlog> = list.clone();
    let mut pull = Pull::new(QueueId(0), backlog, Shard::WHOLE, PullMode::Whole);
    pull.refill(true);
    let at = Instant::now();
    let sent = |number| Sending {
        number,
        at,
        end: number,
    };
    let numbers: Vec<u64> = (0..150)
        .map(|number| pull.launch(1, sent(number), false))
        .collect();
    for number in &numbers[1..] {
        pull.accepted(*number, |_, _, _| ());
    }
    pull.look(at);
    assert_eq!(list.queues.lock().unwrap()[0].accepted, []);
    pull.look(at + Duration::from_millis(1));
    assert_eq!(pull.advance(), 149);
    pull.rewind();
    pull.refill(true);
    let owed: Vec<Seq> = pull.ready().map(|stored| stored.seq).collect();
    assert_eq!(owed, [Seq(0)]);
}

#[tokio::test]
async fn full_dead_letters_hold_up_no_others_and_what_is_refused_follows_when_there_is_room() {
    let list = List::new(1);
    for _ in 0..4 {
        list.owe(0, 0..250);
    }
    list.room.store(5, Ordering::Relaxed);
    let bench = bench(list, Qos::AtLeastOnce, 20).await;
    let mut client = bench.broker.greet(false).await;
    let code = |payload: &[u8]| {
        if payload[0].is_multiple_of(10) {
            0
        } else {
            0x87
        }
    };
    let done = || {
        let queues = bench.list.queues.lock().unwrap();
        queues[0].done.iter().filter(|done| **done).count()
    };
    // A hundred are good, and there is room for five.
    while done() < 105 {
        let (id, _, payload) = client.published().await;
        client.answer(id, code(&payload)).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.list.queues.lock().unwrap()[0].refused.len(), 5);
    bench.list.room.store(usize::MAX, Ordering::Relaxed);
    loop {
        tokio::select! {
            (id, _, payload) = client.published() => client.answer(id, code(&payload)).await,
            () = bench.list.settled(0) => break,
        }
    }
    assert_eq!(bench.list.queues.lock().unwrap()[0].refused.len(), 900);
    assert_eq!(bench.counter("tidegate_uplink_reconnects_total"), 0.0);
    bench.leave().await;
}

#[tokio::test]
async fn one_that_cannot_be_sent_is_parked_at_once_and_no_alarm_is_raised() {
    let list = List::new(1);
    list.owe(0, 0..3);
    list.queues.lock().unwrap()[0].messages[1].payload = vec![1; 2_000].into();
    let bench = bench(list, Qos::AtLeastOnce, 20).await;
    let mut client = bench.broker.greet(false).await;
    for expected in [0, 2] {
        let (id, _, payload) = client.published().await;
        assert_eq!(payload[0], expected);
        client.answer(id, 0).await;
    }
    bench.list.settled(0).await;
    assert_eq!(bench.list.queues.lock().unwrap()[0].refused.len(), 1);
    // Upstream takes others by now, and one more that cannot be sent comes when nothing else is there.
    bench.list.owe(0, 3..4);
    bench.list.queues.lock().unwrap()[0].messages[3].payload = vec![3; 2_000].into();
    while bench.list.queues.lock().unwrap()[0].refused.len() < 2 {
        assert_eq!(bench.gauge("tidegate_uplink_alarm"), 0.0);
        tokio::task::yield_now().await;
    }
    bench.leave().await;
}
