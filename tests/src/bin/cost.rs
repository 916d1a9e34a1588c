//! What a component costs, for the table in `plugins/README.md`: `cost FILE [SETTINGS [MEMORY_MIB [PAYLOAD]]]`, settings as JSON.
//!
//! Starts are one compiled anew and one out of the cache; messages are readings of 130 bytes, or have the bytes of the file
//! PAYLOAD; times of a message are of the best call in a second, so that what else runs on the machine counts less.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tidegate::chain::{
    Artefact, BreakerConfig, Compiler, Config, Engine, Grants, Hop, Limits, OnError, PluginConfig,
    Probation, RefusedState, Topics, Workshop,
};
use tidegate::message::{Destination, FlowId, Message, QueueId};
use tidegate::trust::Trust;
use tidegate_tests::sample::messages;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().context("name a component")?);
    let settings = arguments.next().unwrap_or_else(|| "{}".to_owned());
    let settings = serde_json::from_str(&settings).context("settings are JSON")?;
    let memory = arguments
        .next()
        .map_or(Ok(16), |text| text.parse::<usize>())?;
    let payload = arguments.next().map(std::fs::read).transpose()?;
    let config = config(&path, settings, memory << 20);
    let cache = tempfile::tempdir()?;
    let workshop = || Workshop {
        compiler: Compiler::InProcess,
        cache: Some(cache.path().to_owned()),
    };
    let start = || -> Result<(Engine, Hop, Duration)> {
        let engine = Engine::new(Limits::default().stack_bytes, workshop())?;
        let begun = Instant::now();
        let hop = Hop::new(&config, &engine)?;
        Ok((engine, hop, begun.elapsed()))
    };
    let (first, _, anew) = start()?;
    drop(first);
    let (_engine, mut hop, again) = start()?;
    println!(
        "{}: {} KiB, starts in {} ms, out of the cache in {:.1} ms",
        path.display(),
        path.metadata()?.len().div_ceil(1024),
        anew.as_millis(),
        again.as_secs_f64() * 1e3
    );
    for count in [256, 1] {
        let mut batch = messages(count);
        if let Some(payload) = &payload {
            for message in &mut batch {
                message.payload = payload.clone().into();
            }
        }
        let best = best(&mut hop, &batch)?;
        println!("  {count:3} at a time: {best:.2} µs a message");
    }
    Ok(())
}

/// Microseconds of a message, of the best call.
fn best(hop: &mut Hop, batch: &[Message]) -> Result<f64> {
    let mut best = Duration::MAX;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        let call = Instant::now();
        if let Err(fault) = hop.run(batch) {
            bail!("{}", fault.detail());
        }
        best = best.min(call.elapsed());
    }
    Ok(best.as_secs_f64() * 1e6 / batch.len() as f64)
}

fn config(path: &Path, settings: serde_json::Value, memory_bytes: usize) -> Config {
    let plugin = PluginConfig {
        name: "plugin".into(),
        artefact: Artefact::File(path.to_owned()),
        settings,
        limits: Limits {
            memory_bytes,
            recycle_bytes: memory_bytes / 4 * 3,
            ..Limits::default()
        },
        on_error: OnError::Park,
        breaker: BreakerConfig::default(),
        grants: Grants::default(),
        checkpoint: None,
        refused_state: RefusedState::default(),
        probation: Probation::default(),
        trust: Trust::default(),
        signed_as: "plugin".into(),
        highest: None,
    };
    let out = ("out".to_owned(), vec![Destination::Queue(QueueId(0))]);
    // Those of all shipped plugins, led nowhere.
    let ports = ["alarms", "anomalies", "discovery", "rebirth"]
        .into_iter()
        .map(|port| (port.to_owned(), Vec::new()));
    Config {
        flow: FlowId::FIRST,
        name: "cost".into(),
        lanes: 1,
        batch_messages: 256,
        plugins: vec![plugin],
        settles_with_any: false,
        ports: ports.chain([out]).collect(),
        topic: None,
        topics: Topics::default(),
        patterns: Vec::new(),
        expires: None,
        quarantine: None,
    }
}
