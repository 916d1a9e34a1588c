//! A spool as a gateway has it by default.

use std::path::Path;
use std::time::Duration;

use tidegate::spool::{Config, Metrics, Policy, QueueConfig, Sealer, Spool};

/// Opens it, or makes it.
pub fn open(path: &Path, sealer: Sealer) -> Spool {
    let config = Config {
        gateway: "bench".into(),
        path: path.to_path_buf(),
        queues: vec![QueueConfig::new(
            "cloud",
            "telemetry".into(),
            Policy::default(),
        )],
        flows: vec!["bench".into()],
        spill_after: Duration::from_secs(2),
        commit_every: Duration::from_millis(500),
        head_bytes: 8 << 20,
        chunk_bytes: 64 << 10,
        cache_bytes: 8 << 20,
        memory_bytes: usize::MAX,
        reserve_bytes: 64 << 20,
        dead_letters: 100,
        gap_topic: None,
        dead_letter_bytes: 64 << 20,
        sealer,
    };
    let metrics = Metrics::new(&prometheus::Registry::new()).expect("a fresh registry");
    Spool::open(config, metrics).expect("the store opens")
}
