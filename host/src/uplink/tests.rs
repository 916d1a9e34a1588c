//! An uplink between a spool that is a list and a scripted broker.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use prometheus::Registry;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{Config, Drain, Error, Metrics, run};
use crate::message::{Backlog, Fetch, Message, Qos, QueueId, Seq, Stored};
use crate::mqtt::Stop;
use crate::mqtt::scripted::{Broker, Client, DISCONNECT};

/// Chunk size of the pretended disk.
const CHUNK: u64 = 3;

#[derive(Default)]
struct Queue {
    messages: Vec<Message>,
    /// Everything before it lies on the pretended disk.
    disk_end: u64,
    done: Vec<bool>,
    accepted: Vec<(u64, u64)>,
    refused: Vec<(u64, String)>,
}

#[derive(Default)]
struct List {
    queues: Mutex<Vec<Queue>>,
    link: Mutex<Vec<bool>>,
    ready: Arc<Notify>,
    changed: Notify,
}

impl List {
    fn new(queues: usize) -> Arc<Self> {
        let list = Self::default();
        list.queues.lock().unwrap().resize_with(queues, Queue::default);
        Arc::new(list)
    }

    fn owe(&self, queue: usize, payloads: std::ops::Range<u8>) {
        let mut queues = self.queues.lock().unwrap();
        for payload in payloads {
            let topic = Bytes::from(format!("up/{queue}"));
            queues[queue].messages.push(Message { topic, payload: vec![payload].into(), ..Message::default() });
            queues[queue].done.push(false);
        }
        self.ready.notify_one();
    }

    /// Waits until `queue` owes nothing.
    async fn settled(&self, queue: usize) {
        loop {
            let changed = self.changed.notified();
            if self.queues.lock().unwrap()[queue].done.iter().all(|done| *done) {
                return;
            }
            changed.await;
        }
    }
}

impl Queue {
    fn owed(&self, from: u64) -> impl Iterator<Item = Stored> {
        let owed = (0_u64..).zip(self.messages.iter().zip(&self.done)).filter(move |(seq, (_, done))| *seq >= from && !**done);
        owed.map(|(seq, (message, _))| Stored { seq: Seq(seq), message: message.clone() })
    }
}

impl Backlog for List {
    fn low(&self, queue: QueueId) -> Seq {
        let queues = self.queues.lock().unwrap();
        let queue = &queues[usize::from(queue.0)];
        queue.owed(0).next().map_or(Seq(queue.messages.len() as u64), |stored| stored.seq)
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

    fn read(&self, queue: QueueId, from: Seq) -> Vec<Stored> {
        let queues = self.queues.lock().unwrap();
        let queue = &queues[usize::from(queue.0)];
        let Some(first) = queue.owed(from.0).next() else { return Vec::new() };
        let end = ((first.seq.0 / CHUNK + 1) * CHUNK).min(queue.disk_end);
        // As the spool may: the whole chunk, from its first owed message on.
        queue.owed(first.seq.0 / CHUNK * CHUNK).take_while(|stored| stored.seq.0 < end).collect()
    }

    fn accept(&self, queue: QueueId, from: Seq, to: Seq) {
        let mut queues = self.queues.lock().unwrap();
        let queue = &mut queues[usize::from(queue.0)];
        queue.accepted.push((from.0, to.0));
        for seq in from.0..to.0 {
            assert!(queue.refused.iter().all(|(refused, _)| *refused != seq), "{seq} was refused");
            queue.done[usize::try_from(seq).unwrap()] = true;
        }
        self.changed.notify_waiters();
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
    let broker = Broker::bind().await;
    let mqtt = crate::mqtt::Config { inflight, clean_start: true, ..broker.config() };
    let drains = (0_u16..).take(list.queues.lock().unwrap().len());
    let drains = drains.map(|index| Drain { queue: QueueId(index), class: format!("class-{index}").into(), weight: 1 }).collect();
    let config = Config { name: "cloud".into(), mqtt, qos, drains, max_packet_bytes: 1_000 };
    let (stop, stopped) = watch::channel(Stop::Run);
    let registry = Registry::new();
    let metrics = Metrics::new(&registry).unwrap();
    let task = tokio::spawn(run(config, Arc::clone(&list) as Arc<dyn Backlog>, metrics, stopped));
    Bench { broker, list, registry, stop, task }
}

impl Bench {
    fn counter(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        family.get_metric().iter().map(|metric| metric.get_counter().get_value()).sum()
    }

    fn observed(&self, path: &str) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == "tidegate_message_delivery_seconds").unwrap();
        let of_path = |metric: &&prometheus::proto::Metric| metric.get_label().iter().any(|label| label.value() == path);
        family.get_metric().iter().filter(of_path).map(|metric| metric.get_histogram().get_sample_count()).sum()
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
    assert!(accepted.windows(2).all(|pair| pair[0].1 == pair[1].0), "{accepted:?}");
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
    let mut client = bench.broker.greet(false).await;
    for expected in [vec![1, 2, 3], vec![4, 5, 6], vec![7, 8]] {
        let (ids, payloads) = next(&mut client, expected.len()).await;
        assert_eq!(payloads, expected);
        for id in ids {
            client.answer(id, 0).await;
        }
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
    assert!(refused[0].0 == 0 && refused[0].1.contains("0x99"), "{refused:?}");
    assert!(refused[1].0 == 2 && refused[1].1.contains("over the limit of 1000"), "{refused:?}");
    assert_eq!(bench.counter("tidegate_messages_refused_total"), 2.0);
    bench.leave().await;
}

#[tokio::test]
async fn a_busy_upstream_gets_the_same_message_again_after_a_reconnect() {
    let list = List::new(1);
    list.owe(0, 0..2);
    let bench = bench(list, Qos::AtLeastOnce, 1).await;
    let mut client = bench.broker.greet(false).await;
    let (ids, _) = next(&mut client, 1).await;
    client.answer(ids[0], 0x97).await;
    assert_eq!(client.packet().await.unwrap().head, DISCONNECT);
    drop(client);
    let mut client = bench.broker.greet(false).await;
    for expected in 0..2 {
        let (ids, payloads) = next(&mut client, 1).await;
        assert_eq!(payloads, [expected]);
        client.answer(ids[0], 0).await;
    }
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
    assert_eq!((bench.observed("backlog"), bench.observed("online")), (6, 2));
    bench.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn queues_take_turns() {
    let list = List::new(2);
    list.owe(0, 0..100);
    list.owe(1, 100..200);
    let bench = bench(list, Qos::AtLeastOnce, 64).await;
    let mut client = bench.broker.greet(false).await;
    let (_, payloads) = next(&mut client, 64).await;
    assert_eq!(payloads, (0..32).chain(100..132).collect::<Vec<_>>());
    bench.leave().await;
}

#[tokio::test]
async fn level_0_is_accepted_when_the_socket_has_it() {
    let list = List::new(1);
    list.owe(0, 0..5);
    let bench = bench(list, Qos::AtMostOnce, 1).await;
    let mut client = bench.broker.greet(false).await;
    assert_eq!(next(&mut client, 5).await, (vec![0; 5], vec![0, 1, 2, 3, 4]));
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
async fn without_a_connection_there_is_nothing_to_drain() {
    let list = List::new(1);
    list.owe(0, 0..2);
    let bench = bench(list, Qos::AtLeastOnce, 100).await;
    let client = bench.broker.accept().await;
    bench.stop.send(Stop::Drain).unwrap();
    bench.task.await.unwrap().unwrap();
    drop(client);
}
