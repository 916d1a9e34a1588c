//! Sources, uplinks and classes that are others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::Config;
use crate::config::priority::PRIORITY;
use crate::config::tree::Node;
use crate::uplink::Drain;

/// Sources or uplinks that are others, by the names of their connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointChanges {
    /// Those that are to begin, or to begin anew.
    pub put: Vec<Arc<str>>,
    /// Those that are no more.
    pub gone: Vec<Arc<str>>,
}

/// Those of `ends` that are classes.
pub(super) fn changed_classes(ends: &BTreeSet<String>) -> Vec<String> {
    let names = ends.iter().filter_map(|name| name.strip_prefix("class."));
    names.map(str::to_owned).collect()
}

/// Those of `ends` that are sources.
pub(super) fn changed_sources(
    old: &Config,
    new: &Config,
    ends: &BTreeSet<String>,
) -> EndpointChanges {
    let names = |config: &Config| {
        config
            .sources
            .iter()
            .map(|spec| Arc::clone(&spec.name))
            .collect()
    };
    let is_other = |name: &str| ends.contains(&format!("source.{}", base(name)));
    EndpointChanges::between(names(old), names(new), is_other)
}

/// Those of `ends` that are uplinks, those that such a one stands in for, and those that drain other classes, or drain them
/// otherwise. Where one drains a queue that cannot come, `restart` gets its name.
pub(super) fn changed_uplinks(
    old: &Config,
    new: &Config,
    ends: &BTreeSet<String>,
    restart: &mut BTreeSet<String>,
) -> EndpointChanges {
    let names = |config: &Config| {
        config
            .uplinks
            .iter()
            .map(|uplink| Arc::clone(&uplink.name))
            .collect()
    };
    let is_named = |name: &str| ends.contains(&format!("uplink.{}", base(name)));
    let counts = |config: &Config, name: &str| Some(config.uplink(name)?.format.counts_rounds);
    let shares = |config: &Config, name: &str| {
        let drains = config.uplink(name).map(|uplink| uplink.drains.iter());
        let share = |drain: &Drain| {
            let how = (drain.weight, drain.qos, drain.is_fresh_first);
            (Arc::clone(&drain.class), how)
        };
        drains
            .into_iter()
            .flatten()
            .map(share)
            .collect::<BTreeMap<_, _>>()
    };
    let has_other_shares = |name: &str| {
        let before = shares(old, name);
        let mut now = shares(new, name).into_iter();
        now.any(|(class, share)| before.get(&class) != Some(&share))
    };
    let is_other = |name: &str| {
        let stands_in = new.origin.tree.table("uplink").and_then(|all| {
            match &all.table(base(name))?.get("fallback")?.node {
                Node::Text(other) => Some(other.clone()),
                _ => None,
            }
        });
        is_named(name)
            || stands_in.is_some_and(|other| is_named(&other))
            || counts(old, name) != counts(new, name)
            || has_other_shares(name)
    };
    let mut found = EndpointChanges::between(names(old), names(new), is_other);
    let strange = |name: &mut Arc<str>| !old.may_have_queues_of(new, name);
    for name in found.put.extract_if(.., strange) {
        restart.insert(format!("uplink.{}", base(&name)));
    }
    found
}

/// The source or uplink that a connection belongs to.
pub(in crate::config) fn base(name: &str) -> &str {
    name.strip_suffix(PRIORITY).unwrap_or(name)
}

impl EndpointChanges {
    /// Connections that come and go with the priority of a flow need a restart, which is said of that flow.
    fn between(old: Vec<Arc<str>>, new: Vec<Arc<str>>, is_other: impl Fn(&str) -> bool) -> Self {
        let is_put = |name: &Arc<str>| match old.contains(name) {
            true => is_other(name),
            false => !name.ends_with(PRIORITY),
        };
        Self {
            put: new.iter().filter(|name| is_put(name)).cloned().collect(),
            gone: old
                .iter()
                .filter(|name| !new.contains(name) && !name.ends_with(PRIORITY))
                .cloned()
                .collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.gone.is_empty()
    }

    /// The names in a config, where a connection of its own for priority is none.
    pub fn names(&self) -> BTreeSet<&str> {
        self.put
            .iter()
            .chain(&self.gone)
            .map(|name| base(name))
            .collect()
    }
}
