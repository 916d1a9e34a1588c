use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::clock::{Now, Uptime, WallTime};
use crate::message::{
    Append, Checkpoint, DeadLetter, Delivery, Destination, DeviceSign, Flows, Intake, Loss, Mint,
    Outlet, Pattern, QueueId, Remembered, StateStore,
};

/// The spool, and a flow.
#[derive(Default)]
struct Outside {
    appended: Mutex<Vec<Append>>,
    delivered: Mutex<Vec<Delivery>>,
    kept: Mutex<BTreeMap<Bytes, Remembered>>,
    /// Devices written since the start.
    written: Mutex<usize>,
    is_full: AtomicBool,
    is_deaf: AtomicBool,
}

impl Outlet for Outside {
    fn append(&self, batch: Vec<Append>) {
        lock(&self.appended).extend(batch);
    }

    fn has_room(&self) -> bool {
        !self.is_full.load(Ordering::Relaxed)
    }

    fn park(&self, _: Vec<DeadLetter>) {}

    fn lose(&self, _: Vec<Loss>) {}
}

impl StateStore for Outside {
    fn checkpoint(&self, batch: Vec<Checkpoint>) {
        for change in batch.into_iter().flat_map(|batch| batch.changes) {
            *lock(&self.written) += 1;
            if change.value.is_some() {
                lock(&self.kept).insert(change.key.clone(), change);
            } else {
                lock(&self.kept).remove(&change.key);
            }
        }
    }

    fn recall(&self, _: &str, _: &str) -> Result<Vec<Remembered>, String> {
        Ok(lock(&self.kept).values().cloned().collect())
    }
}

impl Intake for Outside {
    fn deliver(&self, batch: Vec<Delivery>) {
        lock(&self.delivered).extend(batch);
    }

    fn has_room(&self) -> bool {
        true
    }
}

struct OneFlow(Arc<Outside>);

impl Flows for OneFlow {
    fn flow(&self, _: &str) -> Arc<dyn Intake> {
        Arc::clone(&self.0) as Arc<dyn Intake>
    }
}

fn registry(outside: &Arc<Outside>, boot: u32) -> Registry {
    let deaf = Arc::clone(outside);
    let needs = RegisterNeeds {
        outlet: Arc::clone(outside) as Arc<dyn Outlet>,
        flows: Arc::new(OneFlow(Arc::clone(outside))),
        states: Arc::clone(outside) as Arc<dyn StateStore>,
        mint: Arc::new(Mint::new(boot)),
        boot,
        is_listening: Box::new(move |_| !deaf.is_deaf.load(Ordering::Relaxed)),
    };
    Registry::new(needs, &prometheus::Registry::new()).unwrap()
}

fn config() -> Config {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Config {
        events: vec![Destination::Queue(QueueId(3))],
        topic: "g/devices/{device}".into(),
        heartbeat: Some(Duration::from_secs(60)),
        mad_above: Some(100),
        most: 100,
        most_bytes: 1 << 20,
        checkpoint: Duration::from_secs(3_600),
        availability: Availability {
            topics: [Pattern::parse("{device}/there").unwrap()].into(),
            online: words(&["online"]),
            offline: words(&["offline"]),
            state: "state".into(),
            version: "n".into(),
        },
    }
}

/// A register that its test looks after, in place of a thread.
struct Bench {
    outside: Arc<Outside>,
    registry: Registry,
    /// The source's.
    book: Arc<dyn DeviceBook>,
    /// Seconds since the machine started, and what the wall clock is off by.
    second: u64,
    off_us: u64,
}

impl Bench {
    fn new(config: Config) -> Self {
        Self::after(Arc::default(), config, 1)
    }

    fn after(outside: Arc<Outside>, config: Config, boot: u32) -> Self {
        let registry = registry(&outside, boot);
        registry.0.books.put(&config);
        let mut register = lock(&registry.0.register);
        register.put(config);
        register.recall(kept::recall(&*outside));
        drop(register);
        Self {
            outside,
            book: registry.book("field"),
            registry,
            second: 1_000,
            off_us: 0,
        }
    }

    fn now(&self) -> Now {
        Now {
            wall: WallTime(1_800_000_000_000_000 + self.second * 1_000_000 - self.off_us),
            uptime: Uptime(self.second * 1_000_000),
        }
    }

    fn sign<'a>(&self, device: &'a str, is_live: bool) -> DeviceSign<'a> {
        DeviceSign {
            device: device.as_bytes(),
            bytes: 10,
            at: self.now(),
            is_live,
        }
    }

    fn hears(&self, device: &str) {
        self.book.heard(self.sign(device, true));
    }

    fn told(&self, device: &str, payload: &str) {
        self.book.told(self.sign(device, true), payload.as_bytes());
    }

    /// So many seconds pass, with a look in each.
    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.second += 1;
            self.registry.0.look(self.now());
        }
    }

    fn write(&self) {
        self.registry.0.write(self.now());
    }

    /// KnownDevice, state and version of each event so far.
    fn events(&self) -> Vec<(String, String, u64)> {
        let appended = lock(&self.outside.appended);
        let event = |append: &Append| {
            let event: Value = serde_json::from_slice(&append.message.payload).unwrap();
            let text = |key: &str| event[key].as_str().unwrap().to_owned();
            (
                text("device"),
                text("state"),
                event["version"].as_u64().unwrap(),
            )
        };
        appended.iter().map(event).collect()
    }

    fn states(&self) -> Vec<String> {
        let events = self.events().into_iter();
        events
            .map(|(device, state, _)| format!("{device} {state}"))
            .collect()
    }

    fn list(&self, query: &DeviceQuery) -> Vec<ListedDevice> {
        let register = lock(&self.registry.0.register);
        list(&register, query, &|name| name == b"held", self.now()).devices
    }
}

#[test]
fn each_change_is_told_once_and_what_is_repeated_or_late_is_not() {
    let mut bench = Bench::new(config());
    bench.hears("d1");
    bench.wait(1);
    for (payload, expected) in [
        (r#"{"state":"offline","n":5}"#, 2),
        (r#"{"state":"offline","n":5}"#, 2),
        (r#"{"state":"online","n":4}"#, 2),
        (r#"{"state":"offline","n":6}"#, 2),
        (r#"{"state":"online","n":7}"#, 3),
        ("gibberish", 3),
    ] {
        bench.told("d1", payload);
        bench.wait(1);
        assert_eq!(bench.events().len(), expected, "{payload}");
    }
    assert_eq!(bench.states(), ["d1 online", "d1 offline", "d1 online"]);
    let first = lock(&bench.outside.appended)[0].clone();
    assert_eq!(
        (first.queue, first.message.topic_str(), first.message.key()),
        (QueueId(3), "g/devices/d1", &b"d1"[..])
    );
    let event: Value = serde_json::from_slice(&first.message.payload).unwrap();
    assert_eq!(
        event,
        serde_json::json!({
            "device": "d1", "state": "online", "before": "unknown", "why": "heard", "source": "field",
            "version": (1_u64 << 32) + 1, "ts": 1_800_001_000_000_000_u64,
        })
    );
}

#[test]
fn silence_goes_by_no_clock_that_jumps_and_not_while_the_source_is_deaf() {
    let mut bench = Bench::new(config());
    bench.hears("d1");
    bench.wait(30);
    bench.off_us = 90_000 * 1_000_000;
    bench.wait(20);
    assert_eq!(bench.states(), ["d1 online"]);
    bench.outside.is_deaf.store(true, Ordering::Relaxed);
    bench.wait(120);
    bench.outside.is_deaf.store(false, Ordering::Relaxed);
    bench.wait(59);
    assert_eq!(bench.states(), ["d1 online"]);
    bench.wait(3);
    assert_eq!(bench.states(), ["d1 online", "d1 silent"]);
    // A machine that slept has heard nobody.
    bench.hears("d1");
    bench.wait(1);
    bench.second += 3_600;
    bench.wait(10);
    assert_eq!(bench.states().len(), 3);
}

#[test]
fn a_million_names_push_out_no_device_that_is_heard() {
    let small = Config {
        events: Vec::new(),
        ..config()
    };
    let mut bench = Bench::new(small);
    bench.hears("old");
    bench.wait(1);
    bench.write();
    for round in 0..50 {
        bench.hears("true");
        (0..20_000).for_each(|number| bench.hears(&format!("name-{round}-{number}")));
        bench.wait(1);
        let register = lock(&bench.registry.0.register);
        assert!(register.devices.len() <= 100);
        assert!(register.devices.contains_key(&b"true"[..]));
    }
    bench.write();
    let names: Vec<_> = lock(&bench.outside.kept).keys().cloned().collect();
    assert!(names.len() <= 100 && !names.contains(&Bytes::from_static(b"old")));
    let missed = bench.registry.0.metrics.missed.get();
    let forgotten = bench.registry.0.metrics.forgotten.get();
    assert!(
        missed > 900_000 && forgotten > 1_000,
        "{missed} {forgotten}"
    );
}

#[test]
fn long_names_are_bounded_by_their_bytes() {
    let mut bench = Bench::new(Config {
        most_bytes: 64 << 10,
        ..config()
    });
    for number in 0..30 {
        bench.hears(&format!("{number}{}", "x".repeat(60_000)));
        bench.wait(1);
    }
    assert_eq!(lock(&bench.registry.0.register).devices.len(), 1);
}

#[test]
fn over_a_restart_a_device_is_unknown_until_it_is_heard_and_its_versions_go_on() {
    let mut bench = Bench::new(config());
    bench.hears("d1");
    bench.told("d2", r#"{"state":"offline","n":5}"#);
    bench.wait(1);
    bench.write();
    let before = bench.events().iter().map(|(_, _, version)| *version).max();
    lock(&bench.outside.appended).clear();
    // The machine has booted since: its monotonic clock began anew.
    let mut bench = Bench::after(Arc::clone(&bench.outside), config(), 2);
    bench.second = 10;
    bench.wait(1);
    let listed = bench.list(&DeviceQuery::default());
    assert!(
        listed.iter().all(|one| one.state == DeviceState::Unknown),
        "{listed:?}"
    );
    assert_eq!(
        (
            listed[0].messages + listed[1].messages,
            bench.events().len()
        ),
        (1, 0)
    );
    // A broker that kept the status says it again.
    bench.told("d2", r#"{"state":"offline","n":5}"#);
    bench.told("d2", r#"{"state":"online","n":4}"#);
    bench.hears("d1");
    bench.wait(1);
    let mut states = bench.states();
    states.sort();
    assert_eq!(states, ["d1 online", "d2 offline"]);
    assert!(
        bench
            .events()
            .iter()
            .all(|(_, _, version)| Some(*version) > before)
    );
    bench.wait(70);
    assert_eq!(bench.states().last().unwrap(), "d1 silent");
}

#[test]
fn only_what_has_changed_is_written() {
    let mut bench = Bench::new(config());
    let written = |bench: &Bench| std::mem::take(&mut *lock(&bench.outside.written));
    bench.hears("d1");
    bench.hears("d2");
    bench.wait(1);
    bench.write();
    assert_eq!(written(&bench), 2);
    bench.hears("d2");
    bench.wait(1);
    bench.write();
    bench.wait(5);
    bench.write();
    assert_eq!(written(&bench), 1);
}

#[test]
fn what_there_is_no_room_for_is_told_later_as_it_is_then() {
    let mut bench = Bench::new(config());
    bench.outside.is_full.store(true, Ordering::Relaxed);
    bench.hears("d1");
    bench.wait(1);
    bench.told("d1", "offline");
    bench.wait(1);
    assert!(bench.events().is_empty());
    bench.outside.is_full.store(false, Ordering::Relaxed);
    bench.wait(2);
    assert_eq!(bench.states(), ["d1 offline"]);
    // A flood of names is told bit by bit.
    let bench = &mut Bench::new(Config {
        most: 2_000,
        most_bytes: 16 << 20,
        ..config()
    });
    (0..1_200).for_each(|number| bench.hears(&format!("d{number}")));
    bench.wait(1);
    assert_eq!(bench.events().len(), 500);
    bench.wait(2);
    assert_eq!(bench.events().len(), 1_200);
}

#[test]
fn events_go_into_a_flow_as_into_a_queue() {
    let mut bench = Bench::new(Config {
        events: vec![Destination::Flow("state".into())],
        ..config()
    });
    bench.hears("d1");
    bench.wait(1);
    let delivered = lock(&bench.outside.delivered);
    let message = &delivered[0].message;
    assert_eq!(
        (message.flow, message.topic_str(), message.key()),
        (None, "g/devices/d1", &b"d1"[..])
    );
}

#[test]
fn who_has_gone_mad_or_is_silent_comes_first() {
    let mut bench = Bench::new(config());
    for name in ["held", "quiet", "gone", "mad", "fine"] {
        bench.hears(name);
    }
    bench.wait(50);
    bench.told("gone", "offline");
    for _ in 0..20 {
        (0..600).for_each(|_| bench.hears("mad"));
        ["held", "fine"].iter().for_each(|name| bench.hears(name));
        bench.wait(1);
    }
    let listed = bench.list(&DeviceQuery::default());
    let names: Vec<_> = listed.iter().map(|one| &*one.device).collect();
    assert_eq!(names[2..], ["quiet", "gone", "fine"]);
    assert!(
        listed.iter().all(|one| one.is_mad == (one.device == "mad")),
        "{listed:?}"
    );
    let mad = bench.list(&DeviceQuery {
        mad: true,
        ..DeviceQuery::default()
    });
    assert_eq!(mad.len(), 2);
    let named = |name: &str| {
        let query = DeviceQuery {
            name: Some(name.to_owned()),
            ..DeviceQuery::default()
        };
        bench.list(&query).len()
    };
    assert_eq!([named("i"), named("mad"), named("")], [2, 1, 5]);
    let query = DeviceQuery {
        state: Some(DeviceState::Silent),
        source: Some("annex".to_owned()),
        ..DeviceQuery::default()
    };
    assert!(bench.list(&query).is_empty());
}

#[test]
fn it_comes_and_goes_with_the_config_and_writes_at_its_end() {
    let outside = Arc::<Outside>::default();
    let registry = registry(&outside, 1);
    let is_on = || registry.list(&DeviceQuery::default(), &|_| false).is_on;
    assert!(!is_on());
    registry.put(Some(config())).unwrap();
    let sign = DeviceSign {
        device: b"d1",
        bytes: 10,
        at: Now::read(),
        is_live: true,
    };
    registry.book("field").heard(sign);
    assert!(is_on());
    registry.put(None).unwrap();
    assert!(!is_on() && lock(&outside.kept).contains_key(&b"d1"[..]));
    registry.put(Some(config())).unwrap();
    let list = registry.list(&DeviceQuery::default(), &|_| false);
    assert_eq!(list.devices[0].messages, 1);
    registry.stop();
}

/// Shows what a sign costs a source with `--nocapture`.
#[test]
fn a_sign_is_a_look_into_a_table() {
    let bench = Bench::new(config());
    let book = &bench.book;
    let names: Vec<String> = (0..50)
        .map(|number| format!("sensor-{number:04}"))
        .collect();
    let begun = std::time::Instant::now();
    const ROUNDS: u32 = 2_000;
    for _ in 0..ROUNDS {
        names
            .iter()
            .for_each(|name| book.heard(bench.sign(name, true)));
    }
    let each = begun.elapsed() / (ROUNDS * 50);
    println!("a sign: {each:?}");
    let jots = bench.registry.0.books.take();
    let counted: u64 = jots[0].jots.values().map(|jot| jot.count).sum();
    assert_eq!(counted, u64::from(ROUNDS) * 50);
}
