//! From the plugins of a config to versions that can run: read, vetted, compiled, granted, configured.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;

use super::template::OutgoingTopic;
use super::version::{OUT, Recipe, Version};
use crate::chain::metrics::{Metrics, PluginMetrics};
use crate::chain::sandbox::beside::beside;
use crate::chain::sandbox::compile::CodeOrigin;
use crate::chain::sandbox::engine::Engine;
use crate::chain::sandbox::link;
use crate::chain::sandbox::program::Program;
use crate::chain::settings::{Artefact, Config, PluginConfig};
use crate::chain::{Error, Unusable};
use crate::clock::Now;
use crate::message::{Destination, hexadecimal};
use crate::trust::ManifestTerms;
use crate::{builtin, file, trust};

/// Loads and configures every plugin of a flow without running it, and tells what is wrong with each: its index and
/// the error. What is wrong with the flow itself stands under the last plugin. Blocks for as long as that takes.
///
/// # Errors
/// The engine does not start.
pub fn check(config: &Config, engine: &Engine) -> Result<Vec<(usize, Error)>, Error> {
    let metrics = Metrics::new(&prometheus::Registry::new())
        .map_err(|error| Error::Engine(error.to_string()))?;
    let last = config.plugins.len().saturating_sub(1);
    let flow = [template(config).err(), out(config).err()]
        .into_iter()
        .flatten()
        .map(|error| (last, error));
    let fault = |(index, plugin)| Some((index, version(config, plugin, engine, &metrics).err()?));
    let faults = || {
        Ok(config
            .plugins
            .iter()
            .enumerate()
            .filter_map(fault)
            .collect::<Vec<_>>())
    };
    let faults = beside(engine, Handle::try_current().ok().as_ref(), faults)?;
    Ok(flow.chain(faults).collect())
}

/// On how many lanes the chain runs: on one where a plugin keeps state that is not by the messages' key.
pub(crate) fn lanes(config: &Config, versions: &[Arc<Version>]) -> usize {
    let Some(version) = versions
        .iter()
        .find(|version| version.setup.needs_one_lane())
    else {
        return config.lanes.max(1);
    };
    if config.lanes > 1 {
        let flow = &*config.name;
        let plugin = version.label();
        let lanes = config.lanes;
        tracing::info!(
            flow,
            plugin,
            lanes,
            "the flow runs on one lane: a plugin keeps state that is not by the flow's key"
        );
    }
    1
}

pub(crate) fn template(config: &Config) -> Result<Option<OutgoingTopic>, Error> {
    let unknown = |placeholder| Error::Template {
        flow: Arc::clone(&config.name),
        placeholder,
    };
    config
        .topic
        .as_ref()
        .map(|topic| OutgoingTopic::compile(topic, &config.name, &config.topics))
        .transpose()
        .map_err(unknown)
}

pub(crate) fn out(config: &Config) -> Result<Vec<Destination>, Error> {
    config.ports.get(OUT).cloned().ok_or_else(|| Error::NoOut {
        flow: Arc::clone(&config.name),
    })
}

/// Compiles and configures every plugin of a config.
pub(crate) fn versions(
    config: &Config,
    engine: &Engine,
    metrics: &Metrics,
) -> Result<Vec<Arc<Version>>, Error> {
    config
        .plugins
        .iter()
        .map(|plugin| version(config, plugin, engine, metrics).map(Arc::new))
        .collect()
}

fn version(
    config: &Config,
    plugin: &PluginConfig,
    engine: &Engine,
    metrics: &Metrics,
) -> Result<Version, Error> {
    let metrics = metrics.plugin(&config.name, &plugin.name);
    let program = match shipped(plugin, engine) {
        Some(program) => granted(plugin, &metrics, Ok((program, CodeOrigin::Shared)))?,
        None => {
            let bytes = read(&plugin.name, &plugin.artefact)?;
            vet(plugin, &bytes, engine.clock().now())?;
            // The component may be as large as its code, and goes once that is made.
            program(plugin, engine, &metrics, &bytes)?
        }
    };
    let topics = &Arc::new(config.topics.clone());
    let now = engine.clock().now();
    let recipe = Recipe {
        engine,
        plugin,
        ports: &config.ports,
        metrics: &metrics,
        topics,
        now,
    };
    let (version, mut instance) = Version::configure(program, plugin.settings.to_string(), recipe)?;
    // Its ticks are not tried: one that fails costs no message, and its breaker has it.
    let failed = |fault| Error::Instantiate {
        plugin: Arc::clone(&plugin.name),
        source: Box::new(fault),
    };
    version.self_test(&mut instance, now).map_err(failed)?;
    Ok(version)
}

/// Looks at the signature beside a component that comes from a file.
fn vet(plugin: &PluginConfig, component: &[u8], now: Now) -> Result<(), Error> {
    let (path, highest, now) = match &plugin.artefact {
        Artefact::File(path) => (path, plugin.highest.as_ref(), now),
        // It was let in before, and nothing expires by a clock that is not set.
        Artefact::Kept(path) => (path, None, Now::default()),
        Artefact::Builtin(_) => return Ok(()),
    };
    let signature = read_signature(&plugin.name, path)?;
    let claim = ManifestTerms {
        name: &plugin.signed_as,
        highest,
        now,
    };
    let seal = plugin.trust.verify(component, signature.as_deref(), claim);
    seal.map(drop).map_err(|source| Error::Denied {
        plugin: Arc::clone(&plugin.name),
        source,
    })
}

/// The program of `bytes` for `plugin`.
pub(crate) fn program(
    plugin: &PluginConfig,
    engine: &Engine,
    metrics: &PluginMetrics,
    bytes: &[u8],
) -> Result<Program, Error> {
    granted(plugin, metrics, link::make(engine, bytes))
}

/// The program of a plugin in this binary that others run.
fn shipped(plugin: &PluginConfig, engine: &Engine) -> Option<Program> {
    let Artefact::Builtin(name) = &plugin.artefact else {
        return None;
    };
    link::shared(engine, builtin::digest(name)?)
}

/// A program that was made, where the plugin may use all that it imports.
fn granted(
    plugin: &PluginConfig,
    metrics: &PluginMetrics,
    made: Result<(Program, CodeOrigin), Unusable>,
) -> Result<Program, Error> {
    let granted = made.and_then(|made| {
        plugin
            .grants
            .allow(made.0.imports.iter().map(String::as_str))
            .map(|()| made)
    });
    match granted {
        Ok((program, origin)) => {
            metrics.code(origin.name());
            Ok(program)
        }
        Err(source) => {
            metrics.code("failed");
            Err(Error::Unusable {
                plugin: Arc::clone(&plugin.name),
                source,
            })
        }
    }
}

/// Reads an artefact: the bytes of a component.
///
/// # Errors
/// There is none, or it is too large.
pub fn read(plugin: &Arc<str>, artefact: &Artefact) -> Result<Vec<u8>, Error> {
    match artefact {
        Artefact::Builtin(name) => {
            let unknown = || Error::UnknownBuiltin {
                plugin: Arc::clone(plugin),
                name: name.clone(),
            };
            builtin::component(name).ok_or_else(unknown)
        }
        Artefact::File(path) | Artefact::Kept(path) => {
            let failed = |source| Error::Read {
                plugin: Arc::clone(plugin),
                path: path.clone(),
                source,
            };
            file::read(path, file::COMPONENT).map_err(failed)
        }
    }
}

/// SHA-256 of a component, in hexadecimal.
///
/// # Errors
/// It cannot be read.
pub fn digest_of(plugin: &Arc<str>, artefact: &Artefact) -> Result<Arc<str>, Error> {
    if let Artefact::Builtin(name) = artefact
        && let Some(digest) = builtin::digest(name)
    {
        return Ok(hexadecimal(digest).into());
    }
    Ok(trust::digest(&read(plugin, artefact)?).into())
}

/// Reads the signature beside a component, if there is one.
fn read_signature(plugin: &Arc<str>, component: &Path) -> Result<Option<String>, Error> {
    let path = trust::signature_path(component);
    match trust::read_signature(&path) {
        Ok(signature) => Ok(signature),
        Err(source) => Err(Error::Read {
            plugin: Arc::clone(plugin),
            path,
            source,
        }),
    }
}
