//! What goes out, in which order, and how fast.

use super::*;

#[tokio::test]
async fn messages_go_out_in_order_and_only_the_accepted_front_is_told_to_the_spool() {
    let list = List::new(1);
    list.owe(0, 0..4);
    let bench = bench(list, Qos::AtLeastOnce, 100).await;
    let mut client = bench.broker.greet(false).await;
    let (ids, payloads) = next(&mut client, 4).await;
    assert_eq!(payloads, [0, 1, 2, 3]);
    for id in [ids[1], ids[2], ids[0], ids[3]] {
        client.answer(id, 0).await;
    }
    bench.list.owe(0, 4..5);
    let (ids, payloads) = next(&mut client, 1).await;
    assert_eq!(payloads, [4]);
    client.answer(ids[0], 0x10).await;
    bench.list.settled(0).await;
    let accepted = std::mem::take(&mut bench.list.queues.lock().unwrap()[0].accepted);
    assert_eq!(accepted.first().unwrap().0, 0);
    assert!(
        accepted.windows(2).all(|pair| pair[0].1 == pair[1].0),
        "{accepted:?}"
    );
    assert_eq!(accepted.last().unwrap().1, 5);
    assert_eq!(
        *bench.list.link.lock().unwrap(),
        [LinkTurn::Down, LinkTurn::Up]
    );
    bench.leave().await;
}

#[tokio::test]
async fn the_window_holds_and_after_a_loss_sending_starts_over_at_the_first_unaccepted() {
    let list = List::new(1);
    list.owe(0, 0..9);
    let bench = bench(list, Qos::AtLeastOnce, 3).await;
    let mut client = bench.broker.greet(false).await;
    let (ids, payloads) = next(&mut client, 3).await;
    assert_eq!(payloads, [0, 1, 2]);
    client.answer(ids[0], 0).await;
    // The next one comes when the first is accepted, and nothing after it.
    assert_eq!(next(&mut client, 1).await.1, [3]);
    client.answer(ids[2], 0).await;
    drop(client);
    // The first one without an answer goes alone: it may be what ended the connection.
    let mut client = bench.broker.greet(false).await;
    for expected in 1..9 {
        let (ids, payloads) = next(&mut client, 1).await;
        assert_eq!(payloads, [expected]);
        client.answer(ids[0], 0).await;
    }
    bench.list.settled(0).await;
    assert_eq!(
        *bench.list.link.lock().unwrap(),
        [LinkTurn::Down, LinkTurn::Up, LinkTurn::Down, LinkTurn::Up]
    );
    assert_eq!(bench.counter("tidegate_messages_forwarded_total"), 9.0);
    assert_eq!(bench.counter("tidegate_uplink_reconnects_total"), 1.0);
    bench.leave().await;
}

/// A message that arrived so long ago, with so many seconds to live.
fn expiring(payload: u8, seconds: u32, age_us: u64) -> Message {
    let uptime = crate::clock::Now::read().uptime.minus_us(age_us);
    let id = MessageId { boot: BOOT, seq: 1 };
    let (topic, payload) = (Bytes::from_static(b"up/0"), vec![payload].into());
    Message {
        id,
        topic,
        payload,
        headers: with_expiry(b"", seconds),
        uptime,
        ..Message::default()
    }
}

#[tokio::test]
async fn what_has_expired_is_given_up_and_the_rest_goes_on_with_what_is_left_of_its_life() {
    // A machine that has just been started has been up for less than an hour.
    const MINUTE_US: u64 = 60_000_000;
    let list = List::new(1);
    let messages = [
        expiring(0, 10, 11_000_000),
        expiring(1, 10, 10_000_000),
        expiring(2, 1_060, MINUTE_US),
        expiring(3, 9, MINUTE_US),
    ];
    list.owe(0, 0..4);
    list.queues.lock().unwrap()[0].messages = messages.to_vec();
    let format = |config: &mut Config| {
        config.format = PublishFormat {
            pack: Pack::JsonArray,
            ..PublishFormat::default()
        }
    };
    let bench = bench_with(list, Qos::AtLeastOnce, 100, format).await;
    let mut client = bench.broker.greet(false).await;
    let packet = client.packet().await.unwrap();
    // Property 2 is the interval. A second or so has gone by since.
    let interval = packet
        .body
        .windows(5)
        .find(|bytes| bytes.starts_with(&[2, 0, 0]));
    let left = interval.map(|bytes| u16::from_be_bytes([bytes[3], bytes[4]]));
    assert!(
        left.is_some_and(|left| (900..=1_000).contains(&left)),
        "{left:?} of {packet:?}"
    );
    let expired = std::mem::take(&mut bench.list.queues.lock().unwrap()[0].expired);
    assert_eq!(expired, [0, 1, 3]);
    bench.leave().await;
}

#[tokio::test]
async fn the_spilled_part_goes_first_and_is_told_apart() {
    let list = List::new(1);
    list.owe(0, 0..10);
    list.queues.lock().unwrap()[0].disk_end = 8;
    // A chunk half accepted: what is read again before the cursor is not sent again.
    list.accept(QueueId(0), Seq(0), Seq(2));
    let bench = bench(list, Qos::AtLeastOnce, 4).await;
    let mut client = bench.broker.greet(false).await;
    for expected in 2..10 {
        let (ids, payloads) = next(&mut client, 1).await;
        assert_eq!(payloads, [expected]);
        client.answer(ids[0], 0).await;
    }
    bench.list.settled(0).await;
    bench.stop.send(Stop::Drain).unwrap();
    assert_eq!(client.packet().await.unwrap().head, DISCONNECT);
    drop(client);
    assert_eq!(
        (bench.observed("backlog"), bench.observed("online")),
        (6, 2)
    );
    bench.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn queues_share_the_link_by_weight_and_an_alarm_overtakes_a_backlog() {
    let list = List::new(2);
    for _ in 0..20 {
        list.owe(0, 0..100);
    }
    let bench = bench_with(list, Qos::AtLeastOnce, 8, |config| {
        config.drains[0].weight = 3
    })
    .await;
    let mut client = bench.broker.greet(false).await;
    let (mut ids, _) = next(&mut client, 8).await;
    bench.list.owe(1, 200..201);
    let mut waited = 0;
    loop {
        client.answer(ids.remove(0), 0).await;
        let (id, payload) = next(&mut client, 1).await;
        ids.extend(id);
        waited += 1;
        if payload == [200] {
            break;
        }
    }
    // One round of the other queue: 3 × 4 KiB of messages that cost some 70 bytes each.
    assert!(waited < 200, "{waited} messages went ahead");
    bench.leave().await;
}

#[tokio::test]
async fn the_rate_holds_the_link_back() {
    let list = List::new(1);
    list.owe(0, 0..200);
    let bench = bench_with(list, Qos::AtLeastOnce, 1_000, |config| {
        config.rate.messages = Some(100)
    })
    .await;
    let start = std::time::Instant::now();
    let mut client = bench.broker.greet(false).await;
    let (_, payloads) = next(&mut client, 60).await;
    assert_eq!(payloads, (0..60).collect::<Vec<_>>());
    // Ten at once, and fifty at a hundred a second: no machine is too fast for that.
    assert!(
        start.elapsed() >= std::time::Duration::from_millis(450),
        "{:?}",
        start.elapsed()
    );
    bench.leave().await;
}

#[tokio::test]
async fn several_connections_keep_the_order_of_each_key_and_lose_nothing() {
    let list = List::new(1);
    {
        let mut queues = list.queues.lock().unwrap();
        for number in 0..60_u8 {
            let topic = Bytes::from(format!("d{}", number % 10));
            let key = Span { offset: 0, len: 2 };
            queues[0].messages.push(Message {
                topic,
                key,
                payload: vec![number].into(),
                ..Message::default()
            });
            queues[0].done.push(false);
        }
        queues[0].disk_end = 31;
    }
    let bench = bench_with(list, Qos::AtLeastOnce, 4, |config| config.connections = 3).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut clients = JoinSet::new();
    for _ in 0..3 {
        let (mut client, seen) = (bench.broker.greet(false).await, Arc::clone(&seen));
        clients.spawn(async move {
            loop {
                let (id, _, payload) = client.published().await;
                seen.lock().unwrap().push(payload[0]);
                client.answer(id, 0).await;
            }
        });
    }
    bench.list.settled(0).await;
    let arrived = std::mem::take(&mut *seen.lock().unwrap());
    assert_eq!(arrived.len(), 60, "{arrived:?}");
    for device in 0..10 {
        let of_device: Vec<_> = arrived
            .iter()
            .filter(|number| **number % 10 == device)
            .collect();
        assert!(of_device.is_sorted(), "{of_device:?}");
    }
    assert_eq!(
        *bench.list.link.lock().unwrap(),
        [LinkTurn::Down, LinkTurn::Up]
    );
    assert_eq!(bench.gauge("tidegate_uplink_up"), 3.0);
    // What is appended later rings all of them.
    bench.list.owe(0, 60..61);
    bench.list.settled(0).await;
    assert_eq!(*seen.lock().unwrap(), [60]);
    clients.abort_all();
    bench.leave().await;
}

#[tokio::test]
async fn fresh_data_goes_ahead_of_what_is_on_disk_and_that_says_that_it_is_replayed() {
    let list = List::new(1);
    list.owe(0, 0..20);
    list.queues.lock().unwrap()[0].disk_end = 16;
    let bench = bench_with(list, Qos::AtLeastOnce, 100, |config| {
        config.drains[0].is_fresh_first = true;
        config.format.replay = crate::uplink::ReplayMark::Topic;
    })
    .await;
    let mut client = bench.broker.greet(false).await;
    let mut seen = Vec::new();
    for _ in 0..20 {
        let (id, topic, payload) = client.published().await;
        client.answer(id, 0).await;
        assert_eq!(topic.ends_with("/replayed"), payload[0] < 16, "{topic}");
        seen.push(payload[0]);
    }
    assert_eq!(seen[..4], [16, 17, 18, 19]);
    assert_eq!(seen[4..], (0..16).collect::<Vec<u8>>());
    bench.list.settled(0).await;
    bench.leave().await;
}
