//! What changed from one config to the next: plugins may change while the gateway runs, the rest needs a restart.

use std::collections::BTreeSet;

use crate::chain::PluginConfig;
use crate::message::FlowId;

use super::Config;
use super::tree::{Item, Node, Table};

/// A plugin that is to run with other settings, or from another component.
#[derive(Clone, Debug)]
pub struct PluginChange {
    /// Its flow.
    pub flow: FlowId,
    /// Its place in the chain, from 0 on.
    pub plugin: usize,
    /// How it is to run from now on.
    pub config: PluginConfig,
}

/// What one config has and another has not.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// These may change live.
    pub plugins: Vec<PluginChange>,
    /// Full names of the tables with any other change (`flow.climate`, `spool`), sorted: they need a restart.
    pub other: Vec<String>,
}

impl Difference {
    /// Whether the two configs mean the same.
    pub fn is_empty(&self) -> bool {
        self.plugins.is_empty() && self.other.is_empty()
    }
}

/// Compares what was written, so order, comments and spelling of the same value do not count, and what the
/// references of secrets led to.
pub fn difference(old: &Config, new: &Config) -> Difference {
    let mut other: BTreeSet<String> = BTreeSet::new();
    let (old_tree, new_tree) = (&old.origin.tree, &new.origin.tree);
    for key in keys(old_tree, new_tree) {
        match (old_tree.table(&key), new_tree.table(&key)) {
            (old_table, new_table) if matches!(key.as_str(), "source" | "uplink" | "class" | "flow") => {
                let empty = Table::default();
                other.extend(changed_names(&key, old_table.unwrap_or(&empty), new_table.unwrap_or(&empty)));
            }
            (Some(old_table), Some(new_table)) if old_table.means(new_table) => {}
            _ => {
                other.insert(key);
            }
        }
    }
    other.extend(changed_secrets(old, new));
    if old.spool.vault != new.spool.vault {
        other.insert("spool".to_owned());
    }
    if old.gateway.data_dir != new.gateway.data_dir {
        other.insert("gateway".to_owned());
    }
    let plugins = changed_plugins(old, new, &mut other);
    Difference { plugins, other: other.into_iter().collect() }
}

fn keys(old: &Table, new: &Table) -> BTreeSet<String> {
    old.entries.iter().chain(&new.entries).map(|entry| entry.key.clone()).collect()
}

fn changed_names(kind: &str, old: &Table, new: &Table) -> Vec<String> {
    let strip = |table: &Table, name: &str| {
        table.table(name).map(|table| if kind == "flow" { without_plugin_parts(table) } else { table.clone() })
    };
    let changed = |name: &String| match (strip(old, name), strip(new, name)) {
        (Some(old), Some(new)) => !old.means(&new),
        _ => true,
    };
    keys(old, new).into_iter().filter(changed).map(|name| format!("{kind}.{name}")).collect()
}

/// A flow without what may change live.
fn without_plugin_parts(flow: &Table) -> Table {
    let mut flow = flow.clone();
    let plugins = flow.entries.iter_mut().filter(|entry| entry.key == "plugin");
    for plugin in
        plugins.filter_map(|entry| if let Node::List(list) = &mut entry.item.node { Some(list) } else { None }).flatten()
    {
        if let Item { node: Node::Table(table), .. } = plugin {
            table.entries.retain(|entry| !matches!(entry.key.as_str(), "plugin" | "settings"));
        }
    }
    flow
}

fn changed_secrets(old: &Config, new: &Config) -> Vec<String> {
    let logins = |config: &Config| -> Vec<(String, Option<String>)> {
        let sources = config.sources.iter().map(|source| (format!("source.{}", source.name), &source.mqtt));
        let uplinks = config.uplinks.iter().map(|uplink| (format!("uplink.{}", uplink.name), &uplink.mqtt));
        let password =
            |mqtt: &crate::mqtt::Config| mqtt.login.as_ref()?.password.as_ref().map(|password| password.reveal().to_owned());
        sources.chain(uplinks).map(|(name, mqtt)| (name, password(mqtt))).collect()
    };
    let before = logins(old);
    logins(new)
        .into_iter()
        .filter(|(name, password)| before.iter().any(|(known, earlier)| known == name && earlier != password))
        .map(|(name, _)| name)
        .collect()
}

/// A plugin keeps its state under its name: with another name, or in a flow that is no longer at its place, it is
/// another plugin.
fn changed_plugins(old: &Config, new: &Config, other: &mut BTreeSet<String>) -> Vec<PluginChange> {
    let mut changes = Vec::new();
    for flow in &new.flows {
        let Some(before) = old.flows.iter().find(|before| before.name == flow.name) else { continue };
        let path = format!("flow.{}", flow.name);
        let names = |flow: &crate::chain::Config| flow.plugins.iter().map(|plugin| plugin.name.clone()).collect::<Vec<_>>();
        if before.flow != flow.flow || names(before) != names(flow) {
            other.insert(path);
            continue;
        }
        for (index, (before, after)) in before.plugins.iter().zip(&flow.plugins).enumerate() {
            if before.artefact != after.artefact || before.settings != after.settings {
                changes.push(PluginChange { flow: flow.flow, plugin: index, config: after.clone() });
            }
        }
    }
    changes
}
