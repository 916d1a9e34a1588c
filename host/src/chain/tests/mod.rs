//! The chain on a real guest: `tests/guests/probe`, which does on command whatever a plugin can do.

mod faults;
mod guard;
mod hostile;
mod onward;
mod replay;
mod run;
mod state;
mod swap;
mod voice;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::Registry;

use super::*;
use crate::clock::WallTime;
use crate::message::{
    Append, Burst, Checkpoint, DeadLetter, Destination, FlowId, Loss, LossReason, Message,
    MessageId, QueueId, Reason, Receipt, Remembered, Settled, Span, StateStore,
};
use crate::trust::Trust;

/// Longer than anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

const OUT: QueueId = QueueId(0);
const ALARM: QueueId = QueueId(1);
const BACKUP: QueueId = QueueId(2);

/// The probe, built once by a cargo of its own: build scripts cannot know that tests are built.
fn probe() -> &'static Path {
    static PROBE: OnceLock<tempfile::TempPath> = OnceLock::new();
    PROBE.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let target = root.join("target/guests");
        let mut cargo = std::process::Command::new(env!("CARGO"));
        cargo.args([
            "build",
            "--quiet",
            "--profile",
            "guest",
            "--package",
            "guest-probe",
            "--target",
            "wasm32-wasip2",
        ]);
        cargo.arg("--target-dir").arg(&target).current_dir(root);
        for wrapper in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_WRAPPER",
        ] {
            cargo.env_remove(wrapper);
        }
        assert!(
            cargo.status().unwrap().success(),
            "guest-probe does not build"
        );
        // A copy: another test run may build it anew meanwhile.
        let copy = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::copy(target.join("wasm32-wasip2/guest/guest_probe.wasm"), &copy).unwrap();
        copy
    })
}

fn probe_bytes() -> Vec<u8> {
    std::fs::read(probe()).unwrap()
}

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE
        .get_or_init(|| Engine::new(Limits::default().stack_bytes, Workshop::in_process()).unwrap())
}

/// Takes everything and settles it at once.
#[derive(Default)]
struct Collector {
    is_full: std::sync::atomic::AtomicBool,
    seen: Mutex<Seen>,
    changed: Condvar,
    behind: Arc<onward::Behind>,
}

#[derive(Default)]
struct Seen {
    appends: Vec<(QueueId, Message)>,
    letters: Vec<(Message, Reason, String, Option<String>)>,
    losses: Vec<Loss>,
    calls: usize,
    panics: usize,
    /// What checkpoints have kept, by plugin and key: version and value.
    state: BTreeMap<(String, String), (u32, Bytes)>,
    checkpoints: usize,
    /// The running clock of the last one.
    running_us: Option<u64>,
    set_aside: Vec<String>,
}

impl Outlet for Collector {
    fn append(&self, batch: Vec<Append>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.panics > 0 {
            seen.panics -= 1;
            panic!("the outlet was told to panic");
        }
        seen.calls += 1;
        for Append {
            queue,
            message,
            receipt,
        } in batch
        {
            seen.appends.push((queue, message));
            receipt.into_iter().for_each(Receipt::release);
        }
        self.changed.notify_all();
    }

    fn has_room(&self) -> bool {
        !self.is_full.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn lose(&self, mut losses: Vec<Loss>) {
        losses
            .iter_mut()
            .filter_map(|loss| loss.receipt.take())
            .for_each(Receipt::release);
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .losses
            .extend(losses);
        self.changed.notify_all();
    }

    fn park(&self, letters: Vec<DeadLetter>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for letter in letters {
            let plugin = letter.plugin.map(|plugin| plugin.name.to_string());
            seen.letters
                .push((letter.message, letter.reason, letter.detail, plugin));
            letter.receipt.into_iter().for_each(Receipt::release);
        }
        self.changed.notify_all();
    }
}

impl StateStore for Collector {
    fn checkpoint(&self, batch: Vec<Checkpoint>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for Checkpoint {
            flow,
            plugin,
            changes,
        } in batch
        {
            if flow.is_empty() {
                assert_eq!(changes.len(), 1, "the running clock");
                let value = changes.into_iter().next().and_then(|entry| entry.value);
                seen.running_us =
                    value.map(|value| u64::from_le_bytes(value[..].try_into().unwrap()));
                continue;
            }
            assert_eq!((&*flow, changes.is_empty()), ("climate", false));
            seen.checkpoints += 1;
            for Remembered {
                key,
                version,
                value,
            } in changes
            {
                let key = (plugin.to_string(), String::from_utf8(key.to_vec()).unwrap());
                match value {
                    Some(value) => drop(seen.state.insert(key, (version, value))),
                    None => drop(seen.state.remove(&key)),
                }
            }
        }
        self.changed.notify_all();
    }

    fn recall(&self, _: &str, plugin: &str) -> Result<Vec<Remembered>, String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if plugin.is_empty() {
            let value = seen
                .running_us
                .map(|running_us| Bytes::copy_from_slice(&running_us.to_le_bytes()));
            return Ok(vec![Remembered {
                key: Bytes::new(),
                version: 0,
                value,
            }]);
        }
        let own = seen.state.iter().filter(|((of, _), _)| of == plugin);
        Ok(own
            .map(|((_, key), (version, value))| Remembered {
                key: Bytes::from(key.clone()),
                version: *version,
                value: Some(value.clone()),
            })
            .collect())
    }

    fn set_aside(&self, _: &str, plugin: &str) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.state.retain(|(of, _), _| of != plugin);
        seen.set_aside.push(plugin.to_owned());
    }
}

/// A chain with its surroundings.
struct Rig {
    chain: Chain,
    outlet: Arc<Collector>,
    settled: Arc<Settled>,
    registry: Registry,
    next: std::cell::Cell<u64>,
}

/// A call ends by its time only where a test is about that: a busy machine keeps honest ones waiting.
fn limits() -> Limits {
    Limits {
        call_time: PATIENCE,
        ..Limits::default()
    }
}

fn plugin(name: &str, settings: &str) -> PluginConfig {
    PluginConfig {
        trust: Trust::default(),
        signed_as: name.into(),
        highest: None,
        name: name.into(),
        artefact: Artefact::File(probe().to_owned()),
        settings: serde_json::Value::String(settings.to_owned()),
        limits: limits(),
        on_error: OnError::Park,
        breaker: BreakerConfig::default(),
        grants: Grants::default(),
        checkpoint: None,
        refused_state: RefusedState::default(),
        probation: Probation::default(),
    }
}

fn config(plugins: Vec<PluginConfig>) -> Config {
    let queues = |ids: &[QueueId]| ids.iter().copied().map(Destination::Queue).collect();
    let ports = [
        ("out", queues(&[OUT])),
        ("alarms", queues(&[ALARM, BACKUP])),
    ];
    Config {
        flow: FlowId::FIRST,
        name: "climate".into(),
        lanes: 3,
        batch_messages: 64,
        plugins,
        settles_with_any: false,
        ports: ports
            .into_iter()
            .map(|(name, queues)| (name.to_owned(), queues))
            .collect(),
        topic: None,
        topics: Topics::default(),
        patterns: Vec::new(),
        expires: None,
        quarantine: None,
    }
}

impl Rig {
    fn new(config: Config) -> Self {
        Self::after(Arc::default(), config).unwrap()
    }

    /// One with an outlet that remembers earlier runs.
    fn after(outlet: Arc<Collector>, config: Config) -> Result<Self, Error> {
        Self::on(engine(), outlet, config)
    }

    fn on(engine: &Engine, outlet: Arc<Collector>, config: Config) -> Result<Self, Error> {
        let registry = Registry::new();
        let mint = Arc::new(Mint::new(7));
        let wiring = Wiring {
            outlet: outlet.clone(),
            flows: outlet.clone(),
            states: outlet.clone(),
            mint,
            metrics: Metrics::new(&registry).unwrap(),
            taps: Default::default(),
            tracer: Default::default(),
            failed: Arc::default(),
        };
        let chain = Chain::build(config, engine, wiring)?;
        Ok(Self {
            chain,
            outlet,
            settled: Arc::default(),
            registry,
            next: 1.into(),
        })
    }

    /// One plugin in three lanes.
    fn of(settings: &str) -> Self {
        Self::new(config(vec![plugin("probe", settings)]))
    }

    /// Delivers messages of (key, payload) as one burst.
    fn send(&self, messages: &[(&str, &str)]) -> Arc<Burst> {
        let burst = Burst::new(Arc::clone(&self.settled), messages.iter().map(|_| 1));
        let delivery = |(index, (key, payload)): (usize, &(&str, &str))| {
            let seq = self.next.replace(self.next.get() + 1);
            let message = Message {
                id: MessageId { boot: 1, seq },
                topic: Bytes::from(format!("devices/{key}")),
                key: Span {
                    offset: 8,
                    len: key.len() as u16,
                },
                payload: Bytes::copy_from_slice(payload.as_bytes()),
                received: WallTime(1_700_000_000_000_000 + seq),
                ..Message::default()
            };
            Delivery {
                message,
                receipt: Some(burst.receipt(index as u32)),
            }
        };
        self.chain
            .deliver(messages.iter().enumerate().map(delivery).collect());
        burst
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.outlet
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, what: &str, ready: impl Fn(&Seen) -> bool) {
        let waited = self
            .outlet
            .changed
            .wait_timeout_while(self.seen(), PATIENCE, |seen| !ready(seen));
        let (seen, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let (appends, letters) = (&seen.appends, &seen.letters);
        assert!(
            !timeout.timed_out(),
            "{what} never came: {appends:?} {letters:?}"
        );
    }

    fn settle(&self, burst: &Arc<Burst>) {
        let deadline = Instant::now() + PATIENCE;
        while !burst.all_settled() {
            assert!(Instant::now() < deadline, "a burst does not settle");
            std::thread::yield_now();
        }
    }

    /// Sends, waits until all is settled, and gives what left since.
    fn round(&self, messages: &[(&str, &str)]) -> Vec<(QueueId, String, String)> {
        let before = self.seen().appends.len();
        let burst = self.send(messages);
        self.settle(&burst);
        let seen = self.seen();
        seen.appends[before..]
            .iter()
            .map(|(queue, message)| (*queue, message.topic_str().to_owned(), payload(message)))
            .collect()
    }

    /// Payloads that left for one key, sent in one round.
    fn payloads(&self, key: &str, payloads: &[&str]) -> Vec<String> {
        let messages: Vec<_> = payloads.iter().map(|payload| (key, *payload)).collect();
        self.round(&messages)
            .into_iter()
            .map(|(.., payload)| payload)
            .collect()
    }

    fn letters(&self) -> Vec<(Message, Reason, String, Option<String>)> {
        self.seen().letters.clone()
    }

    fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .unwrap_or_else(|| panic!("no metric {name}"));
        let matching = family.get_metric().iter().filter(|metric| {
            labels.iter().all(|(name, value)| {
                metric
                    .get_label()
                    .iter()
                    .any(|label| label.name() == *name && label.value() == *value)
            })
        });
        matching
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }

    fn errors(&self, kind: FaultKind) -> f64 {
        self.metric(
            "tidegate_plugin_errors_total",
            &[("plugin", "probe"), ("kind", kind.name())],
        )
    }

    fn fate(&self, fate: &str) -> f64 {
        self.metric("tidegate_chain_messages_total", &[("fate", fate)])
    }
}

fn payload(message: &Message) -> String {
    String::from_utf8_lossy(&message.payload).into_owned()
}

const KEYS: [&str; 9] = ["d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9"];

/// One message of each key, so that every lane has one; the answer is what left, by key.
fn one_each(rig: &Rig, text: &str) -> Vec<String> {
    let messages: Vec<_> = KEYS.iter().map(|key| (*key, text)).collect();
    let mut left: Vec<_> = rig
        .round(&messages)
        .into_iter()
        .map(|(_, topic, payload)| (topic, payload))
        .collect();
    left.sort();
    left.into_iter().map(|(_, payload)| payload).collect()
}
