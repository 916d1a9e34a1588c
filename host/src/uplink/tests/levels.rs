//! What has no answer, and what has its own level.

use super::*;

#[tokio::test]
async fn level_0_is_accepted_when_the_socket_has_it() {
    let list = List::new(1);
    list.owe(0, 0..5);
    let bench = bench(list, Qos::AtMostOnce, 1).await;
    let mut client = bench.broker.greet(false).await;
    assert_eq!(
        next(&mut client, 5).await,
        (vec![0; 5], vec![0, 1, 2, 3, 4])
    );
    bench.list.settled(0).await;
    bench.leave().await;
}

#[tokio::test]
async fn each_class_has_its_own_level_and_what_has_none_to_wait_for_passes_a_full_window() {
    let list = List::new(2);
    list.owe(0, 0..5);
    list.owe(1, 0..5);
    let bench = bench_with(list, Qos::AtLeastOnce, 1, |config| {
        config.drains[1].qos = Some(Qos::AtMostOnce)
    })
    .await;
    let mut client = bench.broker.greet(false).await;
    let mut waiting = None;
    for _ in 0..6 {
        let (id, ..) = client.published().await;
        waiting = waiting.or((id > 0).then_some(id));
    }
    bench.list.settled(1).await;
    client.answer(waiting.unwrap(), 0).await;
    for _ in 0..4 {
        let (id, ..) = client.published().await;
        client.answer(id, 0).await;
    }
    bench.list.settled(0).await;
    bench.leave().await;
}

/// CONNACK with these properties.
async fn greet_with(broker: &ScriptedBroker, properties: &[u8]) -> ScriptedClient {
    let mut client = broker.accept().await;
    let length = u8::try_from(properties.len()).unwrap();
    client
        .send(0x20, &[&[0, 0, length][..], properties].concat())
        .await;
    client
}

#[tokio::test]
async fn where_the_broker_takes_level_0_only_nothing_is_sent_unless_that_is_allowed_and_then_it_is_counted()
 {
    const LEVEL_0_ONLY: [u8; 2] = [0x24, 0];
    let list = List::new(1);
    list.owe(0, 0..3);
    let held = bench(Arc::clone(&list), Qos::AtLeastOnce, 100).await;
    for _ in 0..2 {
        let mut client = greet_with(&held.broker, &LEVEL_0_ONLY).await;
        assert_eq!(
            client.packet().await.map(|packet| packet.head),
            Some(DISCONNECT)
        );
    }
    assert!(held.counter("tidegate_uplink_failures_total") >= 1.0);
    let mut client = held.broker.greet(false).await;
    assert_eq!(next(&mut client, 3).await.1, [0, 1, 2]);
    held.leave().await;
    let allowed = bench_with(list, Qos::AtLeastOnce, 100, |config| {
        config.allows_level_0 = true
    })
    .await;
    let mut client = greet_with(&allowed.broker, &LEVEL_0_ONLY).await;
    assert_eq!(next(&mut client, 3).await, (vec![0; 3], vec![0, 1, 2]));
    allowed.list.settled(0).await;
    assert_eq!(
        allowed.counter("tidegate_uplink_unacknowledged_messages_total"),
        3.0
    );
    allowed.leave().await;
}

#[tokio::test]
async fn level_2_goes_out_as_1_where_the_broker_takes_no_more() {
    let list = List::new(1);
    list.owe(0, 0..1);
    let bench = bench(list, Qos::ExactlyOnce, 100).await;
    let mut client = greet_with(&bench.broker, &[0x24, 1]).await;
    let (ids, _) = next(&mut client, 1).await;
    client.answer(ids[0], 0).await;
    bench.list.settled(0).await;
    bench.leave().await;
}
