//! What one plugin call costs per message: a filter in its sandbox beside the same code native.
//!
//! `border` looks at the payload's length only, so nearly all of it is the border itself; `json` compares a field of the payload.

#[path = "common/mod.rs"]
mod common;

use std::hint::black_box;

use common::native;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use native_filter::FilterFields;
use native_keep::Keep;
use serde_json::{Value, json};
use tidegate::chain::{Artefact, Engine, Hop, Limits, Workshop};
use tidegate_sdk::Transform;
use tidegate_tests::guests;
use tidegate_tests::sample::messages;

const BATCHES: [usize; 4] = [256, 64, 8, 1];

fn hop(criterion: &mut Criterion) {
    let border = (
        Artefact::File(guests::KEEP.path.into()),
        json!({ "at_least_bytes": 1 }),
    );
    measure::<Keep>(criterion, "border", border);
    let json = (
        Artefact::Builtin("filter".to_owned()),
        json!({ "where": [{ "field": "temperature", "op": ">", "value": 20 }] }),
    );
    measure::<FilterFields>(criterion, "json", json);
}

fn measure<P: Transform>(
    criterion: &mut Criterion,
    name: &str,
    (artefact, settings): (Artefact, Value),
) {
    let engine = Engine::new(Limits::default().stack_bytes, Workshop::in_process())
        .expect("the engine starts");
    let config = common::config(&[(name, artefact, settings.clone())]);
    let mut group = criterion.benchmark_group(format!("hop/{name}"));
    for count in BATCHES {
        let batch = messages(count);
        group.throughput(Throughput::Elements(count as u64));
        let mut hop = Hop::new(&config, &engine).expect("the filter starts");
        group.bench_with_input(
            BenchmarkId::new("sandboxed", count),
            &batch,
            |bencher, batch| {
                bencher.iter(|| {
                    assert_eq!(
                        hop.run(black_box(batch)).expect("the filter does not fail"),
                        count
                    )
                });
            },
        );
        let mut plugin = native::plugin::<P>(&settings);
        let mut input = native::Input::default();
        group.bench_with_input(
            BenchmarkId::new("native", count),
            &batch,
            |bencher, batch| {
                bencher.iter(|| {
                    input.pack(black_box(batch));
                    black_box(native::run(&mut plugin, &input))
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, hop);
criterion_main!(benches);
