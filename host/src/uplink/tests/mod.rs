//! An uplink between a spool that is a list and a scripted broker.

mod apart;
mod leaving;
mod levels;
mod refused;
mod sending;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use prometheus::Registry;
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::{Config, Drain, Error, IdForm, Metrics, Pack, PublishFormat, Rate, UplinkKind, run};
use crate::link::Stop;
use crate::message::{
    Backlog, BacklogLink, Fetch, LinkTurn, Message, MessageId, OwedQueues, Qos, QueueId, Seq, Span,
    Stored, with_expiry,
};
use crate::mqtt::scripted::{DISCONNECT, ScriptedBroker, ScriptedClient};

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
    link: Mutex<Vec<LinkTurn>>,
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
}

impl BacklogLink for List {
    fn turn(&self, state: LinkTurn) {
        self.link.lock().unwrap().push(state);
    }

    fn ready(&self) -> Arc<Notify> {
        Arc::clone(&self.ready)
    }
}

struct Bench {
    broker: ScriptedBroker,
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
    let broker = ScriptedBroker::bind().await;
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
        kind: UplinkKind::Mqtt(mqtt),
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
        OwedQueues {
            backlog: Arc::clone(&list) as Arc<dyn Backlog>,
            link: Arc::clone(&list) as Arc<dyn BacklogLink>,
        },
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
async fn next(client: &mut ScriptedClient, count: usize) -> (Vec<u16>, Vec<u8>) {
    let (mut ids, mut payloads) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (id, _, payload) = client.published().await;
        ids.push(id);
        payloads.push(payload[0]);
    }
    (ids, payloads)
}
