//! A stop, and a stand-in.

use super::*;

#[tokio::test]
async fn draining_waits_for_what_is_in_flight_and_leaves_the_disk_alone() {
    let list = List::new(2);
    list.owe(0, 0..2);
    list.owe(1, 0..2);
    let bench = bench(Arc::clone(&list), Qos::AtLeastOnce, 100).await;
    let mut client = bench.broker.greet(false).await;
    let (ids, _) = next(&mut client, 4).await;
    list.owe(1, 2..4);
    let (more, _) = next(&mut client, 2).await;
    {
        let mut queues = list.queues.lock().unwrap();
        queues[0].messages.push(Message::default());
        queues[0].done.push(false);
        queues[0].disk_end = 3;
    }
    bench.stop.send(Stop::Drain).unwrap();
    for id in ids.into_iter().chain(more) {
        client.answer(id, 0).await;
    }
    assert_eq!(client.packet().await.unwrap().head, DISCONNECT);
    drop(client);
    bench.task.await.unwrap().unwrap();
    assert_eq!(list.low(QueueId(0)), Seq(2));
    assert_eq!(list.low(QueueId(1)), Seq(4));
}

#[tokio::test]
async fn draining_sends_nothing_more_of_what_was_read_from_disk() {
    let list = List::new(1);
    list.owe(0, 0..10);
    list.queues.lock().unwrap()[0].disk_end = 10;
    let bench = bench(Arc::clone(&list), Qos::AtLeastOnce, 4).await;
    let mut client = bench.broker.greet(false).await;
    let (ids, _) = next(&mut client, 4).await;
    bench.stop.send(Stop::Drain).unwrap();
    for id in ids {
        client.answer(id, 0).await;
    }
    assert_eq!(client.packet().await.unwrap().head, DISCONNECT);
    bench.task.await.unwrap().unwrap();
    assert_eq!(list.low(QueueId(0)), Seq(4));
}

#[tokio::test]
async fn without_a_connection_there_is_nothing_to_drain() {
    let list = List::new(1);
    list.owe(0, 0..2);
    let bench = bench(list, Qos::AtLeastOnce, 100).await;
    let client = bench.broker.accept().await;
    bench.stop.send(Stop::Drain).unwrap();
    bench.task.await.unwrap().unwrap();
    drop(client);
}

#[tokio::test]
async fn a_silent_upstream_lends_its_queues_to_the_fallback_and_has_them_back_when_it_is_heard() {
    let list = List::new(1);
    list.owe(0, 0..3);
    let backup = ScriptedBroker::bind().await;
    let bench = bench_with(list, Qos::AtLeastOnce, 100, |config| {
        let mqtt = crate::mqtt::Config {
            clean_start: true,
            ..backup.config()
        };
        config.fallback = Some(Box::new(Config {
            name: "cloud:fallback".into(),
            kind: UplinkKind::Mqtt(mqtt),
            ..config.clone()
        }));
    })
    .await;
    let mut first = bench.broker.greet(false).await;
    let (ids, _) = next(&mut first, 3).await;
    let mut second = backup.greet(false).await;
    let (others, payloads) = next(&mut second, 3).await;
    assert_eq!(payloads, [0, 1, 2]);
    for id in others {
        second.answer(id, 0).await;
    }
    bench.list.settled(0).await;
    // The same connection, which was kept.
    first.answer(ids[0], 0).await;
    assert_eq!(
        second.packet().await.map(|packet| packet.head),
        Some(DISCONNECT)
    );
    bench.list.owe(0, 3..4);
    let (ids, payloads) = next(&mut first, 1).await;
    assert_eq!(payloads, [3]);
    first.answer(ids[0], 0).await;
    bench.list.settled(0).await;
    bench.leave().await;
}
