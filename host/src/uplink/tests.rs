//! An uplink between a spool that is a list and a scripted broker.

mod apart;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use prometheus::Registry;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::{Config, Drain, Error, IdForm, Kind, Metrics, Pack, PublishFormat, Rate, run};
use crate::link::Stop;
use crate::message::{
    Backlog, Fetch, Message, MessageId, Qos, QueueId, Seq, Span, Stored, with_expiry,
};
use crate::mqtt::scripted::{Broker, Client, DISCONNECT};

/// Chunk size of the pretended disk.
const CHUNK: u64 = 3;

/// Number of this run.
const BOOT: u32 = 7;

#[derive(Default)]
struct Queue {
    messages: Vec<Message>,
    /// Everything before it lies on the pretended disk.
    disk_end: u64,
    done: Vec<bool>,
    accepted: Vec<(u64, u64)>,
    refused: Vec<(u64, String)>,
    expired: Vec<u64>,
}

#[derive(Default)]
struct List {
    queues: Mutex<Vec<Queue>>,
    link: Mutex<Vec<bool>>,
    /// How many letters there is room for.
    room: std::sync::atomic::AtomicUsize,
    ready: Arc<Notify>,
    changed: Notify,
}

impl List {
    fn new(queues: usize) -> Arc<Self> {
        let list = Self {
            room: usize::MAX.into(),
            ..Self::default()
        };
        list.queues
            .lock()
            .unwrap()
            .resize_with(queues, Queue::default);
        Arc::new(list)
    }

    fn owe(&self, queue: usize, payloads: std::ops::Range<u8>) {
        let mut queues = self.queues.lock().unwrap();
        for payload in payloads {
            let topic = Bytes::from(format!("up/{queue}"));
            queues[queue].messages.push(Message {
                topic,
                payload: vec![payload].into(),
                ..Message::default()
            });
            queues[queue].done.push(false);
        }
        self.ready.notify_one();
    }

    /// Waits until `queue` owes nothing.
    async fn settled(&self, queue: usize) {
        loop {
            let changed = self.changed.notified();
            if self.queues.lock().unwrap()[queue]
                .done
                .iter()
                .all(|done| *done)
            {
                return;
            }
            changed.await;
        }
    }
}

impl Queue {
    fn owed(&self, from: u64) -> impl Iterator<Item = Stored> {
        let owed = (0_u64..)
            .zip(self.messages.iter().zip(&self.done))
            .filter(move |(seq, (_, done))| *seq >= from && !**done);
        owed.map(|(seq, (message, _))| Stored {
            seq: Seq(seq),
            message: message.clone(),
        })
    }
}

impl Backlog for List {
    fn low(&self, queue: QueueId) -> Seq {
        let queues = self.queues.lock().unwrap();
        let queue = &queues[usize::from(queue.0)];
        queue
            .owed(0)
            .next()
            .map_or(Seq(queue.messages.len() as u64), |stored| stored.seq)
    }

    fn fetch(&self, queue: QueueId, from: Seq, max: usize, _: usize) -> Fetch {
        let queues = self.queues.lock().unwrap();
        let queue = &queues[usize::from(queue.0)];
        match queue.owed(from.0).next() {
            None => Fetch::Empty,
            Some(first) if first.seq.0 < queue.disk_end => Fetch::Spilled,
            Some(_) => Fetch::Ready(queue.owed(from.0).take(max).collect()),
        }
    }

    fn fetch_fresh(&self, queue: QueueId, from: Seq, max: usize, _: usize) -> Fetch {
        let queues = self.queues.lock().unwrap();
        let queue = &queues[usize::from(queue.0)];
        let found: Vec<Stored> = queue.owed(from.0.max(queue.disk_end)).take(max).collect();
        if found.is_empty() {
            Fetch::Empty
        } else {
            Fetch::Ready(found)
        }
    }

    fn read(&self, queue: QueueId, from: Seq) -> Vec<Stored> {
        let queues = self.queues.lock().unwrap();
        let queue = &queues[usize::from(queue.0)];
        let Some(first) = queue.owed(from.0).next() else {
            return Vec::new();
        };
        let end = ((first.seq.0 / CHUNK + 1) * CHUNK).min(queue.disk_end);
        // As the spool may: the whole chunk, from its first owed message on.
        queue
            .owed(first.seq.0 / CHUNK * CHUNK)
            .take_while(|stored| stored.seq.0 < end)
            .collect()
    }

    fn accept(&self, queue: QueueId, from: Seq, to: Seq) {
        let mut queues = self.queues.lock().unwrap();
        let queue = &mut queues[usize::from(queue.0)];
        queue.accepted.push((from.0, to.0));
        for seq in from.0..to.0 {
            assert!(
                queue.refused.iter().all(|(refused, _)| *refused != seq),
                "{seq} was refused"
            );
            queue.done[usize::try_from(seq).unwrap()] = true;
        }
        self.changed.notify_waiters();
    }

    fn expire(&self, queue: QueueId, messages: &[Stored]) {
        let mut queues = self.queues.lock().unwrap();
        let queue = &mut queues[usize::from(queue.0)];
        for stored in messages {
            queue.done[usize::try_from(stored.seq.0).unwrap()] = true;
            queue.expired.push(stored.seq.0);
        }
        self.changed.notify_waiters();
    }

    fn boot(&self) -> u32 {
        BOOT
    }

    fn origin(&self) -> String {
        "barn-7/abcdefgh".to_owned()
    }

    fn has_room_for_refused(&self, letters: u64, _bytes: u64) -> bool {
        let kept: usize = self
            .queues
            .lock()
            .unwrap()
            .iter()
            .map(|queue| queue.refused.len())
            .sum();
        usize::try_from(letters).unwrap()
            <= self
                .room
                .load(std::sync::atomic::Ordering::Relaxed)
                .saturating_sub(kept)
    }

    fn refuse(&self, queue: QueueId, stored: Stored, detail: String) {
        let mut queues = self.queues.lock().unwrap();
        let queue = &mut queues[usize::from(queue.0)];
        queue.done[usize::try_from(stored.seq.0).unwrap()] = true;
        queue.refused.push((stored.seq.0, detail));
        self.changed.notify_waiters();
    }

    fn link(&self, up: bool) {
        self.link.lock().unwrap().push(up);
    }

    fn ready(&self) -> Arc<Notify> {
        Arc::clone(&self.ready)
    }
}

struct Bench {
    broker: Broker,
    list: Arc<List>,
    registry: Registry,
    stop: watch::Sender<Stop>,
    task: JoinHandle<Result<(), Error>>,
}

async fn bench(list: Arc<List>, qos: Qos, inflight: u16) -> Bench {
    bench_with(list, qos, inflight, |_| ()).await
}

async fn bench_with(
    list: Arc<List>,
    qos: Qos,
    inflight: u16,
    change: impl FnOnce(&mut Config),
) -> Bench {
    let broker = Broker::bind().await;
    let mqtt = crate::mqtt::Config {
        inflight,
        clean_start: true,
        ..broker.config()
    };
    let drains = (0_u16..).take(list.queues.lock().unwrap().len());
    let drain = |index| Drain {
        queue: QueueId(index),
        class: format!("class-{index}").into(),
        weight: 1,
        qos: None,
        is_fresh_first: false,
    };
    let mut config = Config {
        name: "cloud".into(),
        owner: "cloud".into(),
        fallback: None,
        kind: Kind::Mqtt(mqtt),
        priority: false,
        qos,
        allows_level_0: false,
        drains: drains.map(drain).collect(),
        max_packet_bytes: 1_000,
        rate: Rate::default(),
        format: PublishFormat::default(),
        connections: 1,
    };
    change(&mut config);
    let (stop, stopped) = watch::channel(Stop::Run);
    let registry = Registry::new();
    let metrics = Metrics::new(&registry).unwrap();
    let task = tokio::spawn(run(
        config,
        Arc::clone(&list) as Arc<dyn Backlog>,
        metrics,
        stopped,
    ));
    Bench {
        broker,
        list,
        registry,
        stop,
        task,
    }
}

impl Bench {
    fn counter(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .unwrap();
        family
            .get_metric()
            .iter()
            .map(|metric| metric.get_counter().get_value())
            .sum()
    }

    fn gauge(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .unwrap();
        family
            .get_metric()
            .iter()
            .map(|metric| metric.get_gauge().get_value())
            .sum()
    }

    fn observed(&self, path: &str) -> u64 {
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == "tidegate_message_delivery_seconds")
            .unwrap();
        let of_path = |metric: &&prometheus::proto::Metric| {
            metric.get_label().iter().any(|label| label.value() == path)
        };
        family
            .get_metric()
            .iter()
            .filter(of_path)
            .map(|metric| metric.get_histogram().get_sample_count())
            .sum()
    }

    async fn leave(self) {
        self.stop.send(Stop::Now).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

/// The next `count` publishes: ids and first payload bytes.
async fn next(client: &mut Client, count: usize) -> (Vec<u16>, Vec<u8>) {
    let (mut ids, mut payloads) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (id, _, payload) = client.published().await;
        ids.push(id);
        payloads.push(payload[0]);
    }
    (ids, payloads)
}

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
    assert_eq!(*bench.list.link.lock().unwrap(), [false, true]);
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
    assert_eq!(*bench.list.link.lock().unwrap(), [false, true, false, true]);
    assert_eq!(bench.counter("tidegate_messages_forwarded_total"), 9.0);
    assert_eq!(bench.counter("tidegate_uplink_reconnects_total"), 1.0);
    bench.leave().await;
}

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

/// A message that arrived so long ago, with so many seconds to live.
fn expiring(payload: u8, seconds: u32, age_us: u64) -> Message {
    let uptime_us = crate::clock::Now::read().uptime_us - age_us;
    let id = MessageId { boot: BOOT, seq: 1 };
    let (topic, payload) = (Bytes::from_static(b"up/0"), vec![payload].into());
    Message {
        id,
        topic,
        payload,
        headers: with_expiry(b"", seconds),
        uptime_us,
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
    assert_eq!(*bench.list.link.lock().unwrap(), [false, true]);
    assert_eq!(bench.gauge("tidegate_uplink_up"), 3.0);
    // What is appended later rings all of them.
    bench.list.owe(0, 60..61);
    bench.list.settled(0).await;
    assert_eq!(*seen.lock().unwrap(), [60]);
    clients.abort_all();
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
        let Kind::Mqtt(broker) = &mut config.kind else {
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
async fn greet_with(broker: &Broker, properties: &[u8]) -> Client {
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

#[tokio::test]
async fn a_silent_upstream_lends_its_queues_to_the_fallback_and_has_them_back_when_it_is_heard() {
    let list = List::new(1);
    list.owe(0, 0..3);
    let backup = Broker::bind().await;
    let bench = bench_with(list, Qos::AtLeastOnce, 100, |config| {
        let mqtt = crate::mqtt::Config {
            clean_start: true,
            ..backup.config()
        };
        config.fallback = Some(Box::new(Config {
            name: "cloud:fallback".into(),
            kind: Kind::Mqtt(mqtt),
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
