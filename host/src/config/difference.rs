//! What changed from one config to the next: flows and their plugins, sources and uplinks change while the gateway runs, the
//! rest needs a restart.
//!
//! A flow is one piece: with any change that needs a restart all of it does, but for components and settings of the
//! plugins it has.

mod ends;
mod restart;

use std::collections::BTreeSet;

use crate::chain::PluginConfig;
use crate::message::FlowId;

use super::Config;
use super::priority::PRIORITY;
use super::tree::{Node, Table, TomlItem};
pub use ends::EndpointChanges;
pub(super) use ends::base;
use ends::{changed_classes, changed_sources, changed_uplinks};
pub use restart::why_restart;

/// A plugin that is to run with other settings, or from another component.
#[derive(Clone, Debug)]
pub struct PluginChange {
    pub flow: FlowId,
    /// Its place in the chain, from 0 on.
    pub plugin: usize,
    /// How it is to run from now on.
    pub config: PluginConfig,
}

/// What is to become of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowFate {
    /// Another chain, other topics, or both.
    Changed {
        /// Its chain is another: what it does with messages.
        chain: bool,
        /// Its routes are others: which messages it gets.
        routes: bool,
    },
    /// There was none of this name.
    Added,
    /// There is none any more.
    Removed,
}

/// A flow that is another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowChange {
    pub name: String,
    /// What is to become of it.
    pub fate: FlowFate,
}

/// What one config has and another has not.
#[derive(Clone, Debug, Default)]
pub struct ConfigDifference {
    /// Plugins of flows that are otherwise the same, or stay as they are until a restart.
    pub plugins: Vec<PluginChange>,
    /// Flows that change live.
    pub flows: Vec<FlowChange>,
    pub sources: EndpointChanges,
    pub uplinks: EndpointChanges,
    /// Classes that give up otherwise, or have another share or order.
    pub classes: Vec<String>,
    /// The register of devices is another one.
    pub devices: bool,
    /// Who is traced, or who is told, is another one.
    pub traces: bool,
    /// Full names of what else has changed (`flow.climate.priority`, `spool`), sorted: it needs a restart.
    pub other: Vec<String>,
}

/// Keys of a flow that say which messages it gets; its source asks for others then.
const ROUTES: [&str; 6] = ["from", "topics", "ack", "expires", "dedup", "dedup_window"];

/// The table of the register of devices.
pub(super) const DEVICES: &str = "devices";

/// The table of the collector.
pub(super) const TELEMETRY: &str = "telemetry";

/// The key of a flow that makes connections of its own.
const FIXED: &str = "priority";

impl ConfigDifference {
    /// Whether the two configs mean the same.
    pub fn is_empty(&self) -> bool {
        let has_ends = [&self.sources, &self.uplinks]
            .into_iter()
            .any(|ends| !ends.is_empty());
        let has_ends = has_ends || !self.classes.is_empty() || self.devices || self.traces;
        self.plugins.is_empty() && self.flows.is_empty() && self.other.is_empty() && !has_ends
    }
}

impl ConfigDifference {
    /// Sources, uplinks and classes that change live, each with its table: `source.field`.
    pub fn ends(&self) -> Vec<String> {
        let of = |kind: &'static str, ends: &EndpointChanges| -> Vec<String> {
            let names = ends.names().into_iter();
            names.map(|name| format!("{kind}.{name}")).collect()
        };
        let mut all = of("source", &self.sources);
        all.extend(of("uplink", &self.uplinks));
        all.extend(self.classes.iter().map(|name| format!("class.{name}")));
        all.extend(self.devices.then(|| DEVICES.to_owned()));
        all.extend(self.traces.then(|| TELEMETRY.to_owned()));
        all
    }
}

/// Compares what was written, so order, comments and spelling of the same value do not count, and what the
/// references of secrets led to.
pub fn difference(old: &Config, new: &Config) -> ConfigDifference {
    let mut other: BTreeSet<String> = BTreeSet::new();
    let mut ends: BTreeSet<String> = changed_secrets(old, new).into_iter().collect();
    let old_tree = &old.origin.tree;
    let new_tree = &new.origin.tree;
    for key in keys(old_tree, new_tree) {
        match (old_tree.table(&key), new_tree.table(&key)) {
            // What is accepted changes nothing that runs.
            _ if ["flow", "accepted", DEVICES, TELEMETRY].contains(&&*key) => {}
            (old_table, new_table) if matches!(key.as_str(), "source" | "uplink" | "class") => {
                let empty = Table::default();
                let tables = (old_table.unwrap_or(&empty), new_table.unwrap_or(&empty));
                ends.extend(changed_names(&key, tables.0, tables.1));
            }
            (Some(old_table), Some(new_table)) if old_table.means(new_table) => {}
            _ => {
                other.insert(key);
            }
        }
    }
    if old.spool.sealer != new.spool.sealer {
        other.insert("spool".to_owned());
    }
    if old.gateway.data_dir != new.gateway.data_dir {
        other.insert("gateway".to_owned());
    }
    ends.extend(watching_otherwise(old, new));
    let classes = changed_classes(&ends);
    let sources = changed_sources(old, new, &ends);
    let uplinks = changed_uplinks(old, new, &ends, &mut other);
    let mut difference = ConfigDifference {
        sources,
        uplinks,
        classes,
        devices: has_other(DEVICES, old, new),
        traces: has_other(TELEMETRY, old, new),
        ..ConfigDifference::default()
    };
    for name in keys(flows(old_tree), flows(new_tree)) {
        difference.add_flow(
            &FlowPair {
                old,
                new,
                name: &name,
            },
            &mut other,
        );
    }
    ConfigDifference {
        other: other.into_iter().collect(),
        ..difference
    }
}

/// Sources that ask for other topics of devices, or begin or cease to note them.
fn watching_otherwise(old: &Config, new: &Config) -> Vec<String> {
    let other = new.sources.iter().filter(|spec| {
        let before = old.sources.iter().find(|before| before.name == spec.name);
        before.is_some_and(|before| before.devices != spec.devices)
    });
    other
        .map(|spec| format!("source.{}", base(&spec.name)))
        .collect()
}

/// Whether this table says something else.
fn has_other(table: &str, old: &Config, new: &Config) -> bool {
    let table = |config: &Config| config.origin.tree.table(table).cloned();
    match (table(old), table(new)) {
        (Some(old), Some(new)) => !old.means(&new),
        (None, None) => false,
        _ => true,
    }
}

fn flows(tree: &Table) -> &Table {
    static NONE: Table = Table {
        entries: Vec::new(),
    };
    tree.table("flow").unwrap_or(&NONE)
}

fn keys(old: &Table, new: &Table) -> BTreeSet<String> {
    old.entries
        .iter()
        .chain(&new.entries)
        .map(|entry| entry.key.clone())
        .collect()
}

fn changed_names(kind: &str, old: &Table, new: &Table) -> Vec<String> {
    let changed = |name: &String| match (old.table(name), new.table(name)) {
        (Some(old), Some(new)) => !old.means(new),
        _ => true,
    };
    keys(old, new)
        .into_iter()
        .filter(changed)
        .map(|name| format!("{kind}.{name}"))
        .collect()
}

/// A flow without what a swap changes, and without names, which are compared as they come out.
fn without_plugin_parts(flow: &Table) -> Table {
    let mut flow = flow.clone();
    let plugins = flow
        .entries
        .iter_mut()
        .filter(|entry| entry.key == "plugin");
    for plugin in plugins
        .filter_map(|entry| {
            if let Node::List(list) = &mut entry.item.node {
                Some(list)
            } else {
                None
            }
        })
        .flatten()
    {
        if let TomlItem {
            node: Node::Table(table),
            ..
        } = plugin
        {
            table
                .entries
                .retain(|entry| !matches!(entry.key.as_str(), "plugin" | "settings" | "name"));
        }
    }
    flow
}

fn changed_secrets(old: &Config, new: &Config) -> Vec<String> {
    let logins = |config: &Config| -> Vec<(String, Vec<crate::link::Secret>)> {
        let sources = config.sources.iter().map(|source| {
            let secrets = source.secret().cloned().into_iter().collect();
            (format!("source.{}", source.name), secrets)
        });
        let uplinks = config.uplinks.iter().map(|uplink| {
            let secrets = uplink.kind.facts().secrets.into_iter().cloned().collect();
            (format!("uplink.{}", uplink.name), secrets)
        });
        sources.chain(uplinks).collect()
    };
    let before = logins(old);
    logins(new)
        .into_iter()
        .filter(|(name, password)| {
            before
                .iter()
                .any(|(known, earlier)| known == name && earlier != password)
        })
        .map(|(name, _)| name)
        .collect()
}

/// A flow in both configs.
struct FlowPair<'a> {
    old: &'a Config,
    new: &'a Config,
    name: &'a str,
}

impl ConfigDifference {
    fn add_flow(&mut self, pair: &FlowPair<'_>, other: &mut BTreeSet<String>) {
        let FlowPair { old, new, name } = *pair;
        let before = flows(&old.origin.tree).table(name);
        let after = flows(&new.origin.tree).table(name);
        let (fate, changed) = match (before, after) {
            (Some(before), Some(after)) => pair.changed(before, after),
            (None, _) => (
                FlowFate::Added,
                ROUTES
                    .into_iter()
                    .chain(["to"])
                    .map(str::to_owned)
                    .collect(),
            ),
            (_, None) => (
                FlowFate::Removed,
                ROUTES.into_iter().map(str::to_owned).collect(),
            ),
        };
        let fixed = pair.needs_restart(fate, &changed);
        if !fixed.is_empty() {
            other.extend(fixed);
        } else if fate
            != (FlowFate::Changed {
                chain: false,
                routes: false,
            })
        {
            self.flows.push(FlowChange {
                name: name.to_owned(),
                fate,
            });
        }
        let replaced = self
            .flows
            .last()
            .is_some_and(|last| last.name == name && has_new_chain(last.fate));
        if !replaced {
            self.plugins.extend(pair.plugins());
        }
    }
}

fn has_new_chain(fate: FlowFate) -> bool {
    !matches!(fate, FlowFate::Changed { chain: false, .. })
}

impl FlowPair<'_> {
    /// What is different, and by which keys.
    fn changed(&self, before: &Table, after: &Table) -> (FlowFate, BTreeSet<String>) {
        let before = without_plugin_parts(before);
        let after = without_plugin_parts(after);
        let differs = |key: &String| match (before.get(key), after.get(key)) {
            (Some(before), Some(after)) => !before.node.means(&after.node),
            _ => true,
        };
        let mut changed: BTreeSet<String> =
            keys(&before, &after).into_iter().filter(differs).collect();
        // A plugin keeps its state under its name: with another name it is another plugin.
        if names(self.old, self.name) != names(self.new, self.name) {
            changed.insert("plugin".to_owned());
        }
        let is_route = |key: &String| ROUTES.contains(&key.as_str());
        // The names in topics stand in the chain, too: in its `topic`, and in what its plugins publish.
        let topics =
            [self.old, self.new].map(|config| config.flow(self.name).map(|flow| &flow.topics));
        let renamed = matches!(topics, [Some(old), Some(new)] if !old.names_as(new));
        let chain = !changed.iter().all(is_route) || renamed && changed.contains("topics");
        let routes = changed.iter().any(|key| is_route(key) || key == "key");
        (FlowFate::Changed { chain, routes }, changed)
    }

    /// Full names of the keys for which this change cannot be made while the gateway runs.
    fn needs_restart(&self, fate: FlowFate, changed: &BTreeSet<String>) -> Vec<String> {
        let Self { old, new, name } = *self;
        let full = |key: &str| format!("flow.{name}.{key}");
        let mut fixed = Vec::new();
        if matches!(fate, FlowFate::Changed { .. }) && changed.contains(FIXED) {
            fixed.push(full(FIXED));
        }
        let has_routes = !matches!(fate, FlowFate::Changed { routes: false, .. });
        if has_routes && connections(old) != connections(new) {
            fixed.push(if matches!(fate, FlowFate::Changed { .. }) {
                full("from")
            } else {
                format!("flow.{name}")
            });
        }
        if changed.contains("to")
            && fate != FlowFate::Removed
            && new
                .flow(name)
                .is_some_and(|flow| !old.may_have(new, flow.queues()))
        {
            fixed.push(full("to"));
        }
        fixed
    }

    /// Plugins with another component or other settings, in a flow that has the same plugins.
    fn plugins(&self) -> Vec<PluginChange> {
        let (Some(before), Some(after)) = (self.old.flow(self.name), self.new.flow(self.name))
        else {
            return Vec::new();
        };
        if names(self.old, self.name) != names(self.new, self.name) {
            return Vec::new();
        }
        let both = before.plugins.iter().zip(&after.plugins).enumerate();
        let changed = both.filter(|(_, (before, after))| {
            before.artefact != after.artefact || before.settings != after.settings
        });
        changed
            .map(|(plugin, (_, after))| PluginChange {
                flow: before.flow,
                plugin,
                config: after.clone(),
            })
            .collect()
    }
}

fn names(config: &Config, flow: &str) -> Option<Vec<std::sync::Arc<str>>> {
    config.flow(flow).map(|flow| {
        flow.plugins
            .iter()
            .map(|plugin| plugin.name.clone())
            .collect()
    })
}

/// The connections that flows with `priority` have of their own.
fn connections(config: &Config) -> BTreeSet<&str> {
    let sources = config.sources.iter().map(|source| &*source.name);
    sources
        .chain(config.uplinks.iter().map(|uplink| &*uplink.name))
        .filter(|name| name.ends_with(PRIORITY))
        .collect()
}
