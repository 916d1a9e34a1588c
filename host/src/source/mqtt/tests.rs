//! A source between a scripted broker and a flow that remembers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::SessionMark;
use crate::link::Stop;
use crate::message::Pattern;
use crate::message::{
    Append, DeadLetter, Delivery, FlowId, Headers, Intake, Loss, LossReason, Marks, Mint, Outlet,
    Qos, Reason,
};
use crate::mqtt::scripted::{
    DISCONNECT, PUBACK, PUBREC, SUBSCRIBE, ScriptedBroker, ScriptedClient, UNSUBSCRIBE,
};
use crate::mqtt::{self, Protocol};
use crate::source::{Ack, Config, Dedup, FlowRoute, Metrics, SourceKind, run};

/// More than any case sends.
const PLENTY: usize = 10_000;

struct Lanes(mpsc::Sender<Delivery>);

impl Intake for Lanes {
    fn deliver(&self, batch: Vec<Delivery>) {
        batch
            .into_iter()
            .for_each(|delivery| self.0.try_send(delivery).unwrap());
    }

    fn has_room(&self) -> bool {
        true
    }
}

struct Letters(mpsc::Sender<DeadLetter>, Arc<Mutex<Vec<Loss>>>);

impl Outlet for Letters {
    fn append(&self, _: Vec<Append>) {}

    fn park(&self, letters: Vec<DeadLetter>) {
        letters
            .into_iter()
            .for_each(|letter| self.0.try_send(letter).unwrap());
    }

    fn lose(&self, losses: Vec<Loss>) {
        self.1.lock().unwrap().extend(losses);
    }
}

struct Bench {
    taking: TaskTracker,
    broker: ScriptedBroker,
    registry: Registry,
    flows: Vec<mpsc::Receiver<Delivery>>,
    letters: mpsc::Receiver<DeadLetter>,
    losses: Arc<Mutex<Vec<Loss>>>,
    stop: watch::Sender<Stop>,
    task: JoinHandle<()>,
}

/// A source with a flow for each of `routes`.
async fn bench(routes: &[(&str, Ack)], qos: Qos, max_unsettled_bytes: usize) -> Bench {
    bench_with(routes, qos, max_unsettled_bytes, |_| ()).await
}

/// The same, and `change` has a word in each route.
async fn bench_with(
    routes: &[(&str, Ack)],
    qos: Qos,
    max_unsettled_bytes: usize,
    change: impl Fn(&mut FlowRoute),
) -> Bench {
    bench_over(Protocol::V5, routes, qos, max_unsettled_bytes, change).await
}

async fn bench_over(
    protocol: Protocol,
    routes: &[(&str, Ack)],
    qos: Qos,
    max_unsettled_bytes: usize,
    change: impl Fn(&mut FlowRoute),
) -> Bench {
    let settings = (protocol, SessionMark::default());
    bench_marked(settings, routes, qos, max_unsettled_bytes, change).await
}

async fn bench_marked(
    (protocol, mark): (Protocol, SessionMark),
    routes: &[(&str, Ack)],
    qos: Qos,
    max_unsettled_bytes: usize,
    change: impl Fn(&mut FlowRoute),
) -> Bench {
    let broker = ScriptedBroker::bind().await;
    let (mut flows, mut table) = (Vec::new(), Vec::new());
    for (number, (pattern, ack)) in (0_u16..).zip(routes) {
        let (sender, receiver) = mpsc::channel(PLENTY);
        flows.push(receiver);
        table.push(FlowRoute {
            flow: FlowId::at(usize::from(number)).unwrap(),
            name: format!("flow-{number}").into(),
            pattern: Pattern::parse(pattern).unwrap(),
            intake: Arc::new(Lanes(sender)),
            ack: *ack,
            expires: None,
            dedup: None,
        });
    }
    table.iter_mut().for_each(change);
    let config = Config {
        name: "field".into(),
        kind: SourceKind::Mqtt(Box::new(super::Config {
            connection: mqtt::Config {
                protocol,
                ..broker.config()
            },
            qos,
            mark,
            beside: super::SessionMarks::default(),
            is_left: false,
        })),
        routes: table,
        late: Vec::new(),
        max_unsettled_bytes,
        max_topic_bytes: 20,
        max_payload_bytes: 10_000,
        devices: None,
    };
    let (parked, letters) = mpsc::channel(PLENTY);
    let (stop, stopped) = watch::channel(Stop::Run);
    let taking = TaskTracker::new();
    let registry = Registry::new();
    let metrics = Metrics::new(&registry).unwrap();
    let losses = Arc::default();
    let task = tokio::spawn(run(
        config,
        Arc::new(Letters(parked, Arc::clone(&losses))),
        Arc::new(Mint::new(7)),
        metrics,
        (taking.token(), stopped),
    ));
    Bench {
        taking,
        broker,
        registry,
        flows,
        letters,
        losses,
        stop,
        task,
    }
}

async fn simple() -> Bench {
    bench(&[("d/{device}", Ack::Safe)], Qos::AtLeastOnce, 1 << 20).await
}

impl Bench {
    async fn next(&mut self, flow: usize) -> Delivery {
        self.flows[flow].recv().await.unwrap()
    }

    fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .unwrap();
        family
            .get_metric()
            .iter()
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }

    async fn leave(self, how: Stop) {
        self.stop.send(how).unwrap();
        self.task.await.unwrap();
    }
}

fn release(delivery: Delivery) {
    delivery.receipt.unwrap().release();
}

#[tokio::test]
async fn acknowledgements_leave_in_arrival_order_however_messages_settle() {
    let mut bench = simple().await;
    let mut client = bench.broker.subscribed(false).await;
    for id in 1..=3 {
        client.publish((1, id), "d/d7", b"x").await;
    }
    let (first, second, third) = (
        bench.next(0).await,
        bench.next(0).await,
        bench.next(0).await,
    );
    assert_eq!(
        (
            first.message.key(),
            first.message.id.boot,
            first.message.flow
        ),
        (&b"d7"[..], 7, Some(FlowId::FIRST))
    );
    assert!(first.message.id < second.message.id && second.message.id < third.message.id);
    release(third);
    release(second);
    release(first);
    for id in 1..=3 {
        assert_eq!(client.acknowledged().await, (PUBACK, id));
    }
    assert_eq!(bench.metric("tidegate_messages_received_total"), 3.0);
    assert_eq!(bench.metric("tidegate_source_up"), 1.0);
    bench.leave(Stop::Now).await;
}

#[tokio::test]
async fn what_settles_in_bulk_is_acknowledged_to_the_last_with_nothing_else_to_wake_the_source() {
    let mut bench = simple().await;
    let mut client = bench.broker.subscribed(false).await;
    let mut taken = Vec::new();
    for id in 1..=300 {
        client.publish((1, id), "d/d7", b"x").await;
        taken.push(bench.next(0).await);
    }
    taken.into_iter().for_each(release);
    for id in 1..=300 {
        assert_eq!(client.acknowledged().await, (PUBACK, id));
    }
    bench.leave(Stop::Now).await;
}

#[tokio::test]
async fn a_message_of_two_flows_is_acknowledged_when_both_have_settled_and_one_that_does_not_wait_counts_for_nothing()
 {
    let routes = [
        ("d/{device}", Ack::Safe),
        ("d/#", Ack::Safe),
        ("+/d7", Ack::Received),
    ];
    let mut bench = bench(&routes, Qos::AtLeastOnce, 1 << 20).await;
    let mut client = bench.broker.subscribed(false).await;
    client.publish((1, 1), "d/d7", b"x").await;
    let (one, other, at_once) = (
        bench.next(0).await,
        bench.next(1).await,
        bench.next(2).await,
    );
    assert_eq!(one.message.id, at_once.message.id);
    client.publish((1, 2), "e/d7", b"x").await;
    let alone = bench.next(2).await;
    release(one);
    release(other);
    assert_eq!(client.acknowledged().await, (PUBACK, 1));
    assert_eq!(client.acknowledged().await, (PUBACK, 2));
    release(at_once);
    release(alone);
    bench.leave(Stop::Drain).await;
}

#[tokio::test]
async fn after_a_loss_what_settles_late_acknowledges_nothing_and_the_second_copy_does() {
    let mut bench = simple().await;
    let mut client = bench.broker.subscribed(false).await;
    client.publish((1, 1), "d/d7", b"x").await;
    let old = bench.next(0).await;
    drop(client);
    let mut client = bench.broker.subscribed(true).await;
    client.send(0x3a, b"\0\x04d/d7\0\x01\0x").await;
    let new = bench.next(0).await;
    assert!(new.message.marks.has(Marks::DUPLICATE) && !old.message.marks.has(Marks::DUPLICATE));
    release(old);
    client.publish((1, 2), "d/d7", b"y").await;
    let next = bench.next(0).await;
    release(next);
    release(new);
    assert_eq!(client.acknowledged().await, (PUBACK, 1));
    assert_eq!(client.acknowledged().await, (PUBACK, 2));
    assert_eq!(bench.metric("tidegate_source_reconnects_total"), 1.0);
    assert_eq!(bench.metric("tidegate_source_sessions_lost_total"), 0.0);
    bench.leave(Stop::Now).await;
}

#[tokio::test]
async fn exactly_once_is_not_given_out_twice_over_a_reconnect() {
    let mut bench = bench(&[("d/{device}", Ack::Safe)], Qos::ExactlyOnce, 1 << 20).await;
    let mut client = bench.broker.subscribed(false).await;
    client.publish((2, 5), "d/d7", b"x").await;
    let old = bench.next(0).await;
    drop(client);
    let mut client = bench.broker.subscribed(true).await;
    client.send(0x3c, b"\0\x04d/d7\0\x05\0x").await;
    client.publish((2, 6), "d/d7", b"y").await;
    let next = bench.next(0).await;
    assert_eq!(&next.message.payload[..], b"y");
    release(next);
    release(old);
    assert_eq!(client.acknowledged().await, (PUBREC, 5));
    assert_eq!(client.acknowledged().await, (PUBREC, 6));
    bench.leave(Stop::Now).await;
}

#[tokio::test]
async fn of_level_2_a_new_message_under_an_id_of_the_last_connection_is_not_swallowed() {
    let mut bench = bench(&[("d/{device}", Ack::Safe)], Qos::ExactlyOnce, 1 << 20).await;
    let mut client = bench.broker.subscribed(false).await;
    client.publish((2, 5), "d/d7", b"old").await;
    let old = bench.next(0).await;
    drop(client);
    let mut client = bench.broker.subscribed(true).await;
    client.publish((2, 5), "d/d7", b"new").await;
    let new = bench.next(0).await;
    assert_eq!(&new.message.payload[..], b"new");
    // The old one is safe now, which says nothing of the new one.
    release(old);
    client.publish((2, 6), "d/d7", b"next").await;
    let next = bench.next(0).await;
    release(next);
    release(new);
    assert_eq!(client.acknowledged().await, (PUBREC, 5));
    assert_eq!(client.acknowledged().await, (PUBREC, 6));
    bench.leave(Stop::Now).await;
}

#[tokio::test]
async fn of_level_2_what_a_broker_sends_again_under_other_ids_is_not_swallowed() {
    let mut bench = bench(&[("d/{device}", Ack::Safe)], Qos::ExactlyOnce, 1 << 20).await;
    let mut client = bench.broker.subscribed(false).await;
    client.publish((2, 5), "d/d7", b"2").await;
    let old = bench.next(0).await;
    drop(client);
    // The third was lost on its way. Both were written before, so both are marked as sent again.
    let mut client = bench.broker.subscribed(true).await;
    client.send(0x3c, b"\0\x04d/d7\0\x04\x002").await;
    client.send(0x3c, b"\0\x04d/d7\0\x05\x003").await;
    let (again, third) = (bench.next(0).await, bench.next(0).await);
    assert_eq!(
        (&again.message.payload[..], &third.message.payload[..]),
        (&b"2"[..], &b"3"[..])
    );
    release(old);
    release(again);
    assert_eq!(client.acknowledged().await, (PUBREC, 4));
    release(third);
    assert_eq!(client.acknowledged().await, (PUBREC, 5));
    bench.leave(Stop::Now).await;
}

#[tokio::test]
async fn a_repeat_on_the_same_connection_is_dropped_and_acknowledged_once() {
    let mut bench = simple().await;
    let mut client = bench.broker.subscribed(false).await;
    client.publish((1, 1), "d/d7", b"x").await;
    client.send(0x3a, b"\0\x04d/d7\0\x01\0x").await;
    client.publish((1, 2), "d/d7", b"y").await;
    let (first, next) = (bench.next(0).await, bench.next(0).await);
    assert_eq!(
        (&first.message.payload[..], &next.message.payload[..]),
        (&b"x"[..], &b"y"[..])
    );
    release(first);
    release(next);
    assert_eq!(client.acknowledged().await, (PUBACK, 1));
    assert_eq!(client.acknowledged().await, (PUBACK, 2));
    bench.leave(Stop::Now).await;
}

#[tokio::test]
async fn a_message_with_a_field_that_mqtt_forbids_is_parked_with_its_bytes_and_the_others_go_on() {
    let mut bench = simple().await;
    let mut client = bench.broker.subscribed(false).await;
    client.send(0x32, b"\0\x03d/\xff\0\x01\0body").await;
    client
        .send(0x32, b"\0\x04d/d7\0\x02\x07\x26\0\x01n\0\x01\xe9body")
        .await;
    client.send(0x32, b"\0\0\0\x03\0body").await;
    client.publish((1, 4), "d/d8", b"good").await;
    let good = bench.next(0).await;
    let letters = [
        bench.letters.recv().await.unwrap(),
        bench.letters.recv().await.unwrap(),
        bench.letters.recv().await.unwrap(),
    ];
    let shown = letters.each_ref().map(|letter| {
        (
            letter.reason,
            &*letter.flow,
            letter.message.topic_str(),
            &letter.message.payload[..],
        )
    });
    assert_eq!(
        shown,
        [
            (Reason::Malformed, "flow-0", "d/\u{fffd}", &b"body"[..]),
            (Reason::Malformed, "flow-0", "d/d7", &b"body"[..]),
            (Reason::Malformed, "", "", &b"body"[..]),
        ]
    );
    assert!(
        letters[0].detail.contains("topic is not UTF-8: `d/\\xff`"),
        "{}",
        letters[0].detail
    );
    assert_eq!(letters[1].message.key(), b"d7");
    release(good);
    letters
        .into_iter()
        .for_each(|letter| letter.receipt.unwrap().release());
    for id in 1..=4 {
        assert_eq!(client.acknowledged().await, (PUBACK, id));
    }
    assert_eq!(
        bench.metric("tidegate_source_malformed_messages_total"),
        3.0
    );
    bench.leave(Stop::Now).await;
}

#[tokio::test]
async fn over_3_1_1_a_session_that_stands_is_not_subscribed_again() {
    let mut bench = bench_over(
        Protocol::V311,
        &[("d/{device}", Ack::Safe)],
        Qos::AtLeastOnce,
        1 << 20,
        |_| (),
    )
    .await;
    let mut client = bench.broker.accept().await;
    client.send(0x20, &[0, 0]).await;
    let request = client.packet().await.unwrap();
    assert_eq!(request.head, SUBSCRIBE);
    client
        .send(0x90, &[request.body[0], request.body[1], 1])
        .await;
    client.send(0x32, b"\0\x04d/d7\0\x01x").await;
    release(bench.next(0).await);
    assert_eq!(client.acknowledged().await, (PUBACK, 1));
    drop(client);
    let mut client = bench.broker.accept().await;
    client.send(0x20, &[1, 0]).await;
    // The broker would send what it retains again.
    client.send(0x32, b"\0\x04d/d7\0\x02y").await;
    release(bench.next(0).await);
    assert_eq!(
        client.acknowledged().await,
        (PUBACK, 2),
        "and nothing was asked before"
    );
    assert_eq!(bench.metric("tidegate_source_up"), 1.0);
    drop(client);
    let mut client = bench.broker.accept().await;
    client.send(0x20, &[0, 0]).await;
    assert_eq!(client.packet().await.unwrap().head, SUBSCRIBE);
    bench.leave(Stop::Now).await;
}

/// A broker that is killed may come back with an older session, which lacks what was added to it since.
#[tokio::test]
async fn over_3_1_1_what_was_added_to_a_session_lately_is_asked_for_again() {
    let mut bench = bench_over(
        Protocol::V311,
        &[("d/{device}", Ack::Safe), ("e/{device}", Ack::Safe)],
        Qos::AtLeastOnce,
        1 << 20,
        |_| (),
    )
    .await;
    let mut client = bench.broker.accept().await;
    // Filters are asked for by a session that stood before.
    for _ in 0..2 {
        client.send(0x20, &[1, 0]).await;
        let request = client.packet().await.unwrap();
        assert_eq!(request.head, SUBSCRIBE);
        let answer = [request.body[0], request.body[1], 1, 1];
        client.send(0x90, &answer).await;
        client.send(0x32, b"\0\x04e/d7\0\x01x").await;
        release(bench.next(1).await);
        assert_eq!(client.acknowledged().await, (PUBACK, 1));
        drop(client);
        client = bench.broker.accept().await;
    }
    bench.leave(Stop::Now).await;
}

#[tokio::test]
async fn what_the_broker_refuses_or_lowers_is_shown_and_asked_for_again() {
    let routes = [
        ("a/{device}", Ack::Safe),
        ("b/{device}", Ack::Safe),
        ("c/{device}", Ack::Safe),
    ];
    let mut bench = bench(&routes, Qos::AtLeastOnce, 1 << 20).await;
    let mut client = bench.broker.accept().await;
    client.send(0x20, &[0, 0, 5, 0x11, 0, 0, 0, 60]).await;
    let request = client.packet().await.unwrap();
    client
        .send(0x90, &[request.body[0], request.body[1], 0, 1, 0x87, 0])
        .await;
    // At the cap of the back-off.
    let again = client.packet().await.unwrap();
    assert_eq!(
        (again.head, &again.body[3..]),
        (SUBSCRIBE, &b"\0\x03b/+\x19\0\x03c/+\x19"[..])
    );
    let shown = |bench: &Bench| {
        ["refused_filters", "lowered_filters", "session_seconds"]
            .map(|name| bench.metric(&format!("tidegate_source_{name}")))
    };
    assert_eq!(shown(&bench), [1.0, 1.0, 60.0]);
    client
        .send(0x90, &[again.body[0], again.body[1], 0, 1, 1])
        .await;
    client.publish((1, 1), "b/d7", b"x").await;
    release(bench.next(1).await);
    assert_eq!(client.acknowledged().await, (PUBACK, 1));
    assert_eq!(shown(&bench), [0.0, 0.0, 60.0]);
    bench.leave(Stop::Now).await;
}

#[tokio::test]
async fn a_message_that_matches_two_subscriptions_is_delivered_once_to_each_flow() {
    let routes = [("a/{device}/c", Ack::Safe), ("a/b/{kind}", Ack::Safe)];
    let mut bench = bench(&routes, Qos::AtLeastOnce, 1 << 20).await;
    let mut client = bench.broker.greet(false).await;
    // Each has a packet of its own, with its identifier in four bytes.
    let mut ids = Vec::new();
    for filter in ["a/+/c", "a/b/+"] {
        let request = client.packet().await.unwrap();
        assert_eq!(
            (request.head, request.body[2], request.body[3]),
            (SUBSCRIBE, 5, 11),
            "{filter}"
        );
        assert_eq!(&request.body[10..15], filter.as_bytes());
        ids.push(request.body[4..8].to_vec());
        client
            .send(0x90, &[request.body[0], request.body[1], 0, 1])
            .await;
    }
    let copy =
        |packet: u8, id: &[u8]| [b"\0\x05a/b/c\0".as_slice(), &[packet, 5, 11], id, b"x"].concat();
    client.send(0x32, &copy(1, &ids[0])).await;
    client.send(0x32, &copy(2, &ids[1])).await;
    // The same again is another message.
    client.send(0x32, &copy(3, &ids[1])).await;
    client.send(0x32, &copy(4, &ids[0])).await;
    for _ in 0..2 {
        release(bench.next(0).await);
        release(bench.next(1).await);
    }
    for id in 1..=4 {
        assert_eq!(client.acknowledged().await, (PUBACK, id));
    }
    assert_eq!(bench.metric("tidegate_source_repeated_messages_total"), 2.0);
    assert!(bench.flows.iter_mut().all(|flow| flow.try_recv().is_err()));
    bench.leave(Stop::Now).await;
}

/// A source with one flow for commands, which know each other by `id` and live for a minute.
async fn commands() -> Bench {
    let change = |route: &mut FlowRoute| {
        route.dedup = Some(Dedup {
            headers: vec!["id".into()],
            window: Duration::from_secs(600),
        });
        route.expires = Some(60);
    };
    bench_with(
        &[("d/{device}", Ack::Safe)],
        Qos::AtLeastOnce,
        1 << 20,
        change,
    )
    .await
}

/// A command with user property `id` in packet number `packet`.
async fn command(client: &mut ScriptedClient, packet: u8, id: u8) {
    let body = [
        b"\0\x04d/d7\0".as_slice(),
        &[packet, 8, 38],
        b"\0\x02id\0\x01",
        &[id],
        b"x",
    ]
    .concat();
    client.send(0x32, &body).await;
}

#[tokio::test]
async fn a_repeat_is_dropped_and_acknowledged_behind_its_first_copy() {
    let mut bench = commands().await;
    let mut client = bench.broker.subscribed(false).await;
    command(&mut client, 1, b'a').await;
    command(&mut client, 2, b'a').await;
    command(&mut client, 3, b'b').await;
    let (first, other) = (bench.next(0).await, bench.next(0).await);
    let header = |delivery: &Delivery, name| {
        Headers(&delivery.message.headers)
            .get(name)
            .map(<[u8]>::to_vec)
    };
    assert_eq!(
        (header(&first, "id"), header(&other, "id")),
        (Some(b"a".to_vec()), Some(b"b".to_vec()))
    );
    assert_eq!(header(&first, ":message-expiry"), Some(b"60".to_vec()));
    release(other);
    release(first);
    for id in 1..=3 {
        assert_eq!(client.acknowledged().await, (PUBACK, id));
    }
    assert_eq!(bench.metric("tidegate_source_repeated_messages_total"), 1.0);
    bench.leave(Stop::Drain).await;
}

#[tokio::test]
async fn over_a_reconnect_a_repeat_waits_until_its_first_copy_is_safe() {
    let mut bench = commands().await;
    let mut client = bench.broker.subscribed(false).await;
    command(&mut client, 1, b'a').await;
    let first = bench.next(0).await;
    drop(client);
    let mut client = bench.broker.subscribed(true).await;
    command(&mut client, 1, b'a').await;
    command(&mut client, 2, b'b').await;
    let other = bench.next(0).await;
    assert_eq!(Headers(&other.message.headers).get("id"), Some(&b"b"[..]));
    release(other);
    assert_eq!(bench.metric("tidegate_source_unsettled_messages"), 2.0);
    release(first);
    assert_eq!(client.acknowledged().await, (PUBACK, 1));
    assert_eq!(client.acknowledged().await, (PUBACK, 2));
    bench.leave(Stop::Drain).await;
}

#[tokio::test]
async fn a_repeat_whose_first_copy_was_lost_inside_comes_through() {
    let mut bench = commands().await;
    let mut client = bench.broker.subscribed(false).await;
    command(&mut client, 1, b'a').await;
    let first = bench.next(0).await;
    drop(client);
    let mut client = bench.broker.subscribed(true).await;
    command(&mut client, 1, b'a').await;
    command(&mut client, 2, b'b').await;
    let other = bench.next(0).await;
    drop(first);
    release(other);
    assert_eq!(client.packet().await.unwrap().head, DISCONNECT);
    drop(client);
    let mut client = bench.broker.subscribed(true).await;
    command(&mut client, 1, b'a').await;
    let again = bench.next(0).await;
    assert_eq!(Headers(&again.message.headers).get("id"), Some(&b"a"[..]));
    release(again);
    assert_eq!(client.acknowledged().await, (PUBACK, 1));
    bench.leave(Stop::Now).await;
}

#[tokio::test]
async fn a_lost_receipt_is_a_fault_and_makes_the_broker_send_again() {
    let mut bench = simple().await;
    let mut client = bench.broker.subscribed(false).await;
    client.publish((1, 1), "d/d7", b"x").await;
    drop(bench.next(0).await);
    assert_eq!(client.packet().await.unwrap().head, DISCONNECT);
    drop(client);
    let mut client = bench.broker.subscribed(true).await;
    client.publish((1, 1), "d/d7", b"x").await;
    release(bench.next(0).await);
    assert_eq!(client.acknowledged().await, (PUBACK, 1));
    assert_eq!(bench.metric("tidegate_source_faults_total"), 1.0);
    bench.leave(Stop::Now).await;
}

#[tokio::test]
async fn over_long_messages_are_parked_by_their_head_and_acknowledged_once_that_is_durable() {
    let mut bench = simple().await;
    let mut client = bench.broker.subscribed(false).await;
    client.publish((1, 1), "d/d7", &[b'x'; 10_001]).await;
    client
        .publish((1, 2), "d/a-name-of-twenty-bytes", b"x")
        .await;
    client.publish((1, 3), "unrouted", b"x").await;
    let (long, topic) = (
        bench.letters.recv().await.unwrap(),
        bench.letters.recv().await.unwrap(),
    );
    assert_eq!(
        (long.reason, &*long.flow, long.message.payload.len()),
        (Reason::TooLong, "flow-0", 4_096)
    );
    assert_eq!(
        long.detail,
        "payload of 10001 bytes is over the limit of 10000 (`max_payload`)"
    );
    assert_eq!(topic.message.topic_str(), "d/a-name-of-twenty-b");
    long.receipt.unwrap().release();
    topic.receipt.unwrap().release();
    for id in 1..=3 {
        assert_eq!(client.acknowledged().await, (PUBACK, id));
    }
    assert_eq!(bench.metric("tidegate_source_too_long_messages_total"), 2.0);
    assert_eq!(bench.metric("tidegate_source_unrouted_messages_total"), 1.0);
    let lost = bench.losses.lock().unwrap().clone();
    let lost: Vec<_> = lost
        .iter()
        .map(|loss| (loss.reason, &*loss.topic, loss.count))
        .collect();
    assert_eq!(
        lost,
        [(LossReason::Unrouted, &b"unrouted"[..], 1)],
        "who sent it holds it for safe"
    );
    bench.leave(Stop::Now).await;
}

#[tokio::test]
async fn above_half_of_the_room_level_0_is_dropped_and_at_the_limit_reading_goes_on_when_there_is_room()
 {
    let mut bench = bench(&[("d/{device}", Ack::Safe)], Qos::AtLeastOnce, 4_000).await;
    let mut client = bench.broker.subscribed(false).await;
    client.publish((0, 0), "d/d7", b"fits").await;
    client.publish((1, 1), "d/d7", &[1; 3_000]).await;
    client.publish((0, 0), "d/d7", b"dropped").await;
    client.publish((1, 2), "d/d7", &[2; 3_000]).await;
    let (level_0, first, second) = (
        bench.next(0).await,
        bench.next(0).await,
        bench.next(0).await,
    );
    assert_eq!(
        (
            &level_0.message.payload[..],
            first.message.payload[0],
            second.message.payload[0]
        ),
        (&b"fits"[..], 1, 2)
    );
    client.publish((1, 3), "d/d7", b"waits").await;
    release(first);
    release(second);
    release(level_0);
    assert_eq!(&bench.next(0).await.message.payload[..], b"waits");
    assert_eq!(bench.metric("tidegate_source_dropped_messages_total"), 1.0);
    let losses = bench.losses.lock().unwrap().clone();
    assert_eq!(
        losses
            .iter()
            .map(|loss| (loss.reason, &*loss.topic, loss.count))
            .collect::<Vec<_>>(),
        [(LossReason::Qos0Pressed, &b"d/d7"[..], 1)]
    );
    assert_eq!(losses[0].key, crate::message::Span { offset: 2, len: 2 });
    bench.leave(Stop::Now).await;
}

#[tokio::test]
async fn near_its_window_the_source_is_pressed_and_then_no_longer() {
    let mut bench = simple().await;
    let mut client = bench.broker.subscribed(false).await;
    let mut taken = Vec::new();
    for id in 1..=80 {
        client.publish((1, id), "d/d7", b"x").await;
        taken.push(bench.next(0).await);
    }
    client.publish((1, 81), "d/d7", b"x").await;
    let last = bench.next(0).await;
    assert!(
        last.receipt
            .as_ref()
            .is_some_and(crate::message::Receipt::pressed)
    );
    taken.into_iter().for_each(release);
    assert_eq!(client.acknowledged().await, (PUBACK, 1));
    assert!(
        !last
            .receipt
            .as_ref()
            .is_some_and(crate::message::Receipt::pressed)
    );
    bench.leave(Stop::Now).await;
}

#[tokio::test]
async fn draining_ends_when_all_that_was_taken_is_acknowledged() {
    let mut bench = simple().await;
    let mut client = bench.broker.subscribed(false).await;
    client.publish((1, 1), "d/d7", b"x").await;
    let taken = bench.next(0).await;
    bench.stop.send(Stop::Drain).unwrap();
    // Whoever ends what is behind waits for that, and nothing comes there any more.
    bench.taking.close();
    bench.taking.wait().await;
    client.publish((1, 2), "d/d7", b"y").await;
    release(taken);
    assert_eq!(client.acknowledged().await, (PUBACK, 1));
    assert_eq!(client.packet().await.unwrap().head, DISCONNECT);
    drop(client);
    bench.task.await.unwrap();
    assert!(bench.flows[0].try_recv().is_err());
}

#[tokio::test]
async fn a_client_without_any_rights_is_refused_and_waits() {
    let bench = simple().await;
    let mut client = bench.broker.greet(false).await;
    let request = client.packet().await.unwrap();
    client
        .send(0x90, &[request.body[0], request.body[1], 0, 0x87])
        .await;
    assert_eq!(client.packet().await.unwrap().head, DISCONNECT);
    drop(client);
    let client = bench.broker.accept().await;
    assert_eq!(bench.metric("tidegate_source_failures_total"), 1.0);
    assert_eq!(bench.metric("tidegate_source_up"), 0.0);
    drop(client);
    bench.leave(Stop::Drain).await;
}

#[tokio::test]
async fn what_a_broker_has_again_that_was_taken_back_is_taken_back_once_more() {
    let mark = SessionMark::default();
    mark.take_back(&["old/+".to_owned(), "older/#".to_owned(), "d/+".to_owned()]);
    let routes = [("d/{device}", Ack::Safe)];
    let settings = (Protocol::V5, mark.clone());
    let mut bench = bench_marked(settings, &routes, Qos::AtLeastOnce, 1 << 20, |_| ()).await;
    let mut client = bench.broker.subscribed(true).await;
    client.publish((1, 1), "old/x", b"x").await;
    let mut heads = Vec::new();
    for _ in 0..2 {
        let packet = client.packet().await.unwrap();
        if packet.head == UNSUBSCRIBE {
            let filters = String::from_utf8_lossy(&packet.body[3..]).into_owned();
            assert!(
                filters.contains("old/+") && !filters.contains("older"),
                "{filters}"
            );
            client
                .send(0xb0, &[packet.body[0], packet.body[1], 0, 0])
                .await;
        }
        heads.push(packet.head);
    }
    heads.sort_unstable();
    assert_eq!(heads, [PUBACK, UNSUBSCRIBE]);
    // What was on its way, and what nobody has ever asked for, is no reason to ask again.
    client.publish((1, 2), "old/y", b"x").await;
    assert_eq!(client.acknowledged().await, (PUBACK, 2));
    client.publish((1, 3), "strange/y", b"x").await;
    assert_eq!(client.acknowledged().await, (PUBACK, 3));
    client.publish((1, 4), "d/d7", b"x").await;
    release(bench.next(0).await);
    assert_eq!(client.acknowledged().await, (PUBACK, 4));
    assert_eq!(mark.taken_back().last().map(|last| &**last), Some("old/+"));
    bench.leave(Stop::Now).await;
}
