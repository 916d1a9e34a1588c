//! Shared by the benchmarks of plugins.

pub mod native;

use serde_json::{Value, json};
use tidegate::chain::{Artefact, Config, Limits, OnError, PluginConfig};
use tidegate::message::{FlowId, QueueId};

/// What `examples/convert` does, plugin by plugin.
pub fn convert_settings() -> [(&'static str, Value); 3] {
    let text = std::fs::read_to_string(tidegate_tests::binary::workspace().join("examples/convert/tidegate.toml"));
    let config: toml::Table = text.expect("the example is there").parse().expect("the example is TOML");
    let flows = config["flow"].as_table().expect("the example has a flow");
    let flow = flows.values().next().expect("the example has a flow");
    let plugins = flow["plugin"].as_array().expect("the flow has plugins");
    ["decode-json", "filter", "threshold"].map(|name| {
        let is = |plugin: &&toml::Value| plugin["plugin"].as_str() == Some(&format!("builtin:{name}"));
        let plugin = plugins.iter().find(is).expect("the flow has the three plugins");
        let settings = plugin.get("settings").cloned().unwrap_or(toml::Value::Table(toml::Table::new()));
        (name, json!(settings))
    })
}

/// A chain of built-in plugins in one lane.
pub fn config(plugins: &[(&str, Value)]) -> Config {
    let plugin = |(name, settings): &(&str, Value)| PluginConfig {
        name: (*name).into(),
        artefact: Artefact::Builtin((*name).to_owned()),
        settings: settings.clone(),
        limits: Limits::default(),
        on_error: OnError::Park,
    };
    Config {
        flow: FlowId(0),
        name: "bench".into(),
        lanes: 1,
        batch_messages: 256,
        plugins: plugins.iter().map(plugin).collect(),
        ports: [("out".to_owned(), vec![QueueId(0)]), ("alarms".to_owned(), Vec::new())].into(),
        topic: None,
    }
}
