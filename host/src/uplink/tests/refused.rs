//! What upstream does not take, hangs up on, or never answers.

use super::*;

#[tokio::test]
async fn what_is_refused_for_good_is_parked_and_the_queue_goes_on() {
    let list = List::new(1);
    list.owe(0, 0..3);
    list.queues.lock().unwrap()[0].messages[2].payload = vec![2; 2_000].into();
    let bench = bench(list, Qos::AtLeastOnce, 100).await;
    let mut client = bench.broker.greet(false).await;
    let (ids, payloads) = next(&mut client, 2).await;
    assert_eq!(payloads, [0, 1]);
    client.answer(ids[0], 0x99).await;
    client.answer(ids[1], 0).await;
    bench.list.owe(0, 3..4);
    let (ids, payloads) = next(&mut client, 1).await;
    assert_eq!(payloads, [3]);
    client.answer(ids[0], 0).await;
    bench.list.settled(0).await;
    let mut refused = std::mem::take(&mut bench.list.queues.lock().unwrap()[0].refused);
    refused.sort();
    assert!(
        refused[0].0 == 0 && refused[0].1.contains("0x99"),
        "{refused:?}"
    );
    assert!(
        refused[1].0 == 2 && refused[1].1.contains("over the limit of 1000"),
        "{refused:?}"
    );
    assert_eq!(bench.counter("tidegate_messages_refused_total"), 2.0);
    bench.leave().await;
}

#[tokio::test]
async fn what_upstream_is_too_busy_for_is_sent_again_and_others_go_on() {
    let list = List::new(2);
    list.owe(0, 0..2);
    list.owe(1, 100..104);
    let bench = bench(list, Qos::AtLeastOnce, 1).await;
    let mut client = bench.broker.greet(false).await;
    let mut seen = Vec::new();
    while seen.len() < 7 {
        let (id, _, payload) = client.published().await;
        let is_first = payload == [0] && !seen.contains(&0);
        seen.push(payload[0]);
        client.answer(id, if is_first { 0x97 } else { 0 }).await;
    }
    // All over one connection; what lies behind it with its key stayed behind.
    seen.retain(|payload| *payload < 100);
    assert_eq!(seen, [0, 0, 1]);
    bench.list.settled(0).await;
    assert!(bench.list.queues.lock().unwrap()[0].refused.is_empty());
    bench.leave().await;
}

#[tokio::test]
async fn messages_of_one_publish_are_accepted_and_refused_together() {
    let list = List::new(1);
    list.owe(0, b'0'..b'4');
    let format = PublishFormat {
        pack: Pack::JsonArray,
        pack_bytes: 8,
        id: IdForm::None,
        compress: false,
        ..PublishFormat::default()
    };
    let bench = bench_with(list, Qos::AtLeastOnce, 10, |config| config.format = format).await;
    let mut client = bench.broker.greet(false).await;
    let (first, _, payload) = client.published().await;
    assert_eq!(payload, b"[0,1,2]");
    let (second, _, payload) = client.published().await;
    assert_eq!(payload, b"[3]");
    client.answer(first, 0x99).await;
    client.answer(second, 0).await;
    bench.list.settled(0).await;
    {
        let queues = bench.list.queues.lock().unwrap();
        assert_eq!(
            queues[0]
                .refused
                .iter()
                .map(|(seq, _)| *seq)
                .collect::<Vec<_>>(),
            [0, 1, 2]
        );
        assert!(
            queues[0].refused[0].1.contains("one of 3"),
            "{:?}",
            queues[0].refused
        );
        assert_eq!(queues[0].accepted, [(3, 4)]);
    }
    assert_eq!(bench.counter("tidegate_messages_refused_total"), 3.0);
    bench.leave().await;
}

#[tokio::test]
async fn a_message_that_upstream_hangs_up_on_is_parked_and_the_rest_goes_on() {
    let list = List::new(2);
    list.owe(0, 0..4);
    list.owe(1, 100..101);
    for (number, message) in (0..).zip(&mut list.queues.lock().unwrap()[0].messages) {
        (message.topic, message.key) = (
            Bytes::from(format!("d{number}")),
            Span { offset: 0, len: 2 },
        );
    }
    let bench = bench(list, Qos::AtLeastOnce, 10).await;
    let (mut seen, mut connections) = (Vec::new(), 0);
    while !bench
        .list
        .queues
        .lock()
        .unwrap()
        .iter()
        .all(|queue| queue.done.iter().all(|done| *done))
    {
        let mut client = bench.broker.greet(false).await;
        connections += 1;
        loop {
            let settled = async {
                tokio::join!(bench.list.settled(0), bench.list.settled(1));
            };
            tokio::select! {
                (id, _, payload) = client.published() => {
                    if payload == [1] {
                        break;
                    }
                    seen.push(payload[0]);
                    client.answer(id, 0).await;
                }
                () = settled => break,
            }
        }
    }
    let refused: Vec<_> = bench.list.queues.lock().unwrap()[0].refused.clone();
    assert_eq!(refused.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1]);
    assert!(
        refused[0].1.contains("ends the connection over it"),
        "{refused:?}"
    );
    assert!(connections <= 9, "it took {connections} connections");
    let firsts: Vec<_> = [0, 2, 3, 100]
        .map(|wanted| seen.iter().filter(|payload| **payload == wanted).count())
        .into();
    assert!(
        firsts.iter().all(|count| (1..=2).contains(count)),
        "{seen:?}"
    );
    bench.leave().await;
}

#[tokio::test]
async fn an_upstream_that_hangs_up_on_everything_gets_it_all_once_it_is_well() {
    let list = List::new(1);
    list.owe(0, 0..6);
    let bench = bench(list, Qos::AtLeastOnce, 3).await;
    for _ in 0..4 {
        let mut client = bench.broker.greet(false).await;
        client.published().await;
    }
    let mut client = bench.broker.greet(false).await;
    loop {
        tokio::select! {
            (id, _, _) = client.published() => client.answer(id, 0).await,
            () = bench.list.settled(0) => break,
        }
    }
    assert!(bench.list.queues.lock().unwrap()[0].refused.is_empty());
    bench.leave().await;
}

#[tokio::test]
async fn where_everything_is_refused_nothing_is_parked_and_only_probes_go_on() {
    let list = List::new(1);
    list.owe(0, 0..200);
    let bench = bench(list, Qos::AtLeastOnce, 10).await;
    let mut client = bench.broker.greet(false).await;
    let mut count = 0;
    while bench.gauge("tidegate_uplink_alarm") < 1.0 {
        tokio::select! {
            (id, _, _) = client.published() => {
                count += 1;
                client.answer(id, 0x87).await;
            }
            () = tokio::task::yield_now() => {}
        }
    }
    assert!(
        count < 40,
        "{count} messages went out before it was noticed"
    );
    assert!(bench.list.queues.lock().unwrap()[0].refused.is_empty());
    // Put right: all of them arrive.
    loop {
        tokio::select! {
            (id, _, _) = client.published() => client.answer(id, 0).await,
            () = bench.list.settled(0) => break,
        }
    }
    assert!(bench.list.queues.lock().unwrap()[0].refused.is_empty());
    bench.leave().await;
}

#[tokio::test]
async fn what_is_refused_beyond_the_room_of_the_dead_letters_stays_in_its_queue() {
    let list = List::new(1);
    list.owe(0, 0..100);
    list.room.store(30, std::sync::atomic::Ordering::Relaxed);
    let bench = bench(list, Qos::AtLeastOnce, 10).await;
    let mut client = bench.broker.greet(false).await;
    let is_refused = |payload: &[u8]| !payload[0].is_multiple_of(5);
    for _ in 0..100 {
        let (id, _, payload) = client.published().await;
        client
            .answer(id, if is_refused(&payload) { 0x87 } else { 0 })
            .await;
    }
    let parked = || bench.list.queues.lock().unwrap()[0].refused.len();
    while bench.gauge("tidegate_uplink_alarm") < 1.0 || parked() < 30 {
        tokio::task::yield_now().await;
    }
    assert_eq!(parked(), 30);
    bench
        .list
        .room
        .store(usize::MAX, std::sync::atomic::Ordering::Relaxed);
    loop {
        tokio::select! {
            (id, _, payload) = client.published() => client.answer(id, if is_refused(&payload) { 0x87 } else { 0 }).await,
            () = bench.list.settled(0) => break,
        }
    }
    assert_eq!(bench.list.queues.lock().unwrap()[0].refused.len(), 80);
    bench.leave().await;
}

#[tokio::test]
async fn what_tidegate_made_itself_goes_after_data_and_is_given_up_after_two_hang_ups_with_its_topic()
 {
    let list = List::new(1);
    list.owe(0, 0..30);
    for (number, message) in (0..).zip(&mut list.queues.lock().unwrap()[0].messages) {
        message.id = MessageId {
            boot: BOOT,
            seq: if number % 10 == 3 {
                MessageId::OWN + number
            } else {
                number
            },
        };
        message.topic = Bytes::from(if number % 10 == 3 { "gaps" } else { "data" });
        message.key = Span { offset: 0, len: 4 };
    }
    let bench = bench(list, Qos::AtLeastOnce, 10).await;
    let (mut hang_ups, mut is_first) = (0, true);
    'connections: loop {
        let mut client = bench.broker.greet(false).await;
        loop {
            tokio::select! {
                (id, topic, _) = client.published() => {
                    if topic == "gaps" {
                        assert!(!is_first, "a record of ours went before any data");
                        hang_ups += 1;
                        is_first = true;
                        continue 'connections;
                    }
                    is_first = false;
                    client.answer(id, 0).await;
                }
                () = bench.list.settled(0) => break 'connections,
            }
        }
    }
    assert_eq!(hang_ups, 2);
    let refused: Vec<_> = bench.list.queues.lock().unwrap()[0]
        .refused
        .iter()
        .map(|(seq, _)| *seq)
        .collect();
    assert_eq!(refused, [3, 13, 23]);
    bench.leave().await;
}

#[tokio::test]
async fn what_is_never_acknowledged_is_parked_and_others_arrive_meanwhile() {
    let list = List::new(1);
    list.owe(0, 0..20);
    let deadline = |config: &mut Config| {
        let UplinkKind::Mqtt(broker) = &mut config.kind else {
            return;
        };
        broker.deadlines.answer = std::time::Duration::from_millis(300);
    };
    let bench = bench_with(list, Qos::AtLeastOnce, 4, deadline).await;
    let mut seen = Vec::new();
    'connections: loop {
        let mut client = bench.broker.greet(false).await;
        loop {
            tokio::select! {
                packet = client.packet() => match packet {
                    None => continue 'connections,
                    Some(packet) if packet.head == DISCONNECT => continue 'connections,
                    Some(packet) => {
                        let (id, payload) = (u16::from_be_bytes([packet.body[6], packet.body[7]]), *packet.body.last().unwrap());
                        seen.push(payload);
                        if payload != 3 {
                            client.answer(id, 0).await;
                        }
                    }
                },
                () = bench.list.settled(0) => break 'connections,
            }
        }
    }
    assert_eq!(
        seen[..20],
        (0..20).collect::<Vec<u8>>(),
        "one that is not answered held others up"
    );
    assert_eq!(seen.iter().filter(|payload| **payload == 3).count(), 2);
    let refused = std::mem::take(&mut bench.list.queues.lock().unwrap()[0].refused);
    assert!(
        refused.len() == 1 && refused[0].0 == 3 && refused[0].1.contains("does not acknowledge"),
        "{refused:?}"
    );
    bench.leave().await;
}
