//! Shared by the benchmarks of plugins.

pub mod native;

use serde_json::Value;
use tidegate::chain::{
    Artefact, BreakerConfig, Config, Grants, Limits, OnError, PluginConfig, Probation, RefusedState,
};
use tidegate::message::{Destination, FlowId, QueueId};
use tidegate::trust::Trust;

/// A chain in one lane: name, component and settings of each plugin.
pub fn config(plugins: &[(&str, Artefact, Value)]) -> Config {
    let plugin = |(name, artefact, settings): &(&str, Artefact, Value)| PluginConfig {
        name: (*name).into(),
        artefact: artefact.clone(),
        settings: settings.clone(),
        limits: Limits::default(),
        on_error: OnError::Park,
        breaker: BreakerConfig::default(),
        grants: Grants::default(),
        checkpoint: None,
        refused_state: RefusedState::default(),
        probation: Probation::default(),
        trust: Trust::default(),
        signed_as: (*name).into(),
        highest: None,
    };
    Config {
        flow: FlowId::FIRST,
        name: "bench".into(),
        lanes: 1,
        batch_messages: 256,
        plugins: plugins.iter().map(plugin).collect(),
        settles_with_any: false,
        ports: [
            ("out".to_owned(), vec![Destination::Queue(QueueId(0))]),
            ("alarms".to_owned(), Vec::new()),
        ]
        .into(),
        topic: None,
        topics: tidegate::chain::Topics::default(),
        patterns: Vec::new(),
        expires: None,
        quarantine: None,
    }
}
