//! The three plugins of `examples/convert` as a chain, from delivery to append, beside the same code native.

#[path = "common/mod.rs"]
mod common;
#[path = "common/follow.rs"]
mod follow;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use common::native;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use native_decode_json::DecodeJson;
use native_filter::FilterFields;
use native_threshold::Threshold;
use tidegate::chain::{Artefact, Chain, Engine, Limits, Metrics, Wiring, Workshop};
use tidegate::message::{
    Append, DeadLetter, Delivery, Flows, Intake, Loss, Message, Mint, Outlet, StateStore,
};
use tidegate_tests::sample::messages;

/// Messages delivered at once, so that the lane always finds full batches and a hand-over is paid once in many.
const DELIVERED: usize = 16 * 256;

/// Counts what arrives and wakes the one who waits for it.
struct Counter {
    count: AtomicUsize,
    waiter: Thread,
}

impl Flows for Counter {
    fn flow(&self, name: &str) -> Arc<dyn Intake> {
        unreachable!("nothing leads to the flow `{name}`")
    }
}

impl StateStore for Counter {}

impl Outlet for Counter {
    fn append(&self, batch: Vec<Append>) {
        if self.count.fetch_add(batch.len(), Ordering::AcqRel) + batch.len() >= DELIVERED {
            self.waiter.unpark();
        }
    }

    fn park(&self, letters: Vec<DeadLetter>) {
        panic!(
            "the benchmark's messages are good, but: {}",
            letters[0].detail
        );
    }

    fn lose(&self, losses: Vec<Loss>) {
        panic!("nothing is to be lost here, but: {losses:?}");
    }
}

fn chain(criterion: &mut Criterion) {
    let batch = messages(DELIVERED);
    let mut group = criterion.benchmark_group("chain");
    group.throughput(Throughput::Elements(DELIVERED as u64));
    group.bench_function("sandboxed", |bencher| {
        let counter = Arc::new(Counter {
            count: AtomicUsize::new(0),
            waiter: std::thread::current(),
        });
        let chain = sandboxed(Arc::clone(&counter));
        bencher.iter_batched(
            || deliveries(&batch),
            |batch| run(&chain, &counter, batch),
            criterion::BatchSize::LargeInput,
        );
        assert_eq!(
            chain.stop(Duration::from_secs(5)),
            0,
            "the lane has not ended in time"
        );
    });
    group.bench_function("native", |bencher| {
        let mut plugins = Native::new();
        bencher.iter(|| assert_eq!(plugins.run(&batch), DELIVERED));
    });
    group.finish();
}

fn sandboxed(outlet: Arc<Counter>) -> Chain {
    let engine = Engine::new(Limits::default().stack_bytes, Workshop::in_process())
        .expect("the engine starts");
    let metrics = Metrics::new(&prometheus::Registry::new()).expect("a fresh registry");
    let wiring = Wiring {
        flows: outlet.clone(),
        states: outlet.clone(),
        outlet,
        mint: Arc::new(Mint::new(1)),
        metrics,
        taps: Default::default(),
        tracer: Default::default(),
        failed: Arc::default(),
    };
    let plugins = follow::convert_settings()
        .map(|(name, settings)| (name, Artefact::Builtin(name.to_owned()), settings));
    Chain::build(common::config(&plugins), &engine, wiring).expect("the three plugins start")
}

fn deliveries(messages: &[Message]) -> Vec<Delivery> {
    messages
        .iter()
        .map(|message| Delivery {
            message: message.clone(),
            receipt: None,
        })
        .collect()
}

fn run(chain: &Chain, counter: &Counter, batch: Vec<Delivery>) {
    counter.count.store(0, Ordering::Release);
    chain.deliver(batch);
    while counter.count.load(Ordering::Acquire) < DELIVERED {
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// The same three, called one after the other.
struct Native {
    decode: tidegate_sdk::native::Instance<DecodeJson>,
    filter: tidegate_sdk::native::Instance<FilterFields>,
    threshold: tidegate_sdk::native::Instance<Threshold>,
    inputs: [native::Input; 4],
}

impl Native {
    fn new() -> Self {
        let [(_, decode), (_, filter), (_, threshold)] = follow::convert_settings();
        Self {
            decode: native::plugin(&decode),
            filter: native::plugin(&filter),
            threshold: native::plugin(&threshold),
            inputs: Default::default(),
        }
    }

    fn run(&mut self, messages: &[Message]) -> usize {
        let mut count = 0;
        let [first, second, third, last] = &mut self.inputs;
        for batch in messages.chunks(256) {
            first.pack(batch);
            first.follow(&native::run(&mut self.decode, first), second);
            second.follow(&native::run(&mut self.filter, second), third);
            third.follow(&native::run(&mut self.threshold, third), last);
            count += last.len();
        }
        count
    }
}

criterion_group!(benches, chain);
criterion_main!(benches);
