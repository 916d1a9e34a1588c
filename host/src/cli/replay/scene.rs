//! The chains of a replay: that of the config, and that with the candidate.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Arguments, ReplayFailure};
use crate::chain::{self, Artefact, Engine, Player, Replay, SampleBounds, Workshop};
use crate::cli::place::{CommandFailure, file_failure};
use crate::cli::{Global, Surroundings};
use crate::config::{self, Config, Secrets, Sources};
use crate::file;
use crate::gateway::recordings::queue_names;
use crate::message::short_digest;
use crate::recording::RecordingHeader;

/// The chains that a recording goes through, and who plays it.
pub(super) struct ReplaySetup {
    pub(super) engine: Engine,
    /// What is worth knowing beside the result.
    pub(super) notes: Vec<String>,
    old: chain::Config,
    new: Option<chain::Config>,
    player: Player,
}

impl ReplaySetup {
    /// Reads the config, where there is one, and puts the candidate in.
    pub(super) fn set(
        global: &Global,
        arguments: &Arguments,
        surroundings: Surroundings,
        header: &RecordingHeader,
    ) -> Result<Self, ReplayFailure> {
        let has_config = arguments.from.is_none() || global.config.exists();
        let sources = match &arguments.with {
            _ if has_config => global.sources(arguments.at.data_dir.clone()),
            Some(with) => alone(global, header, with, arguments.plugin.as_deref()),
            None => {
                let text = format!(
                    "there is no config `{}`: give one with -c, or a component with --with",
                    global.config.display()
                );
                return Err(CommandFailure::Usage(text).into());
            }
        };
        let sources = Sources {
            secrets: Secrets::Unused,
            ..sources
        };
        let config = config::load(&sources).map_err(|problems| {
            global.show(&problems, surroundings);
            CommandFailure::Config
        })?;
        let quieter = Global {
            quiet: global.quiet.saturating_add(1),
            ..global.clone()
        };
        quieter.start_log(&config, surroundings);
        let flow = config.flows.iter().find(|flow| *flow.name == *header.flow);
        let flow = flow.ok_or_else(|| {
            CommandFailure::Said(format!("the config has no flow `{}`", header.flow))
        })?;
        let mut old = flow.clone();
        let mut candidate = candidate(arguments, &old)?;
        if !has_config {
            // Nothing to compare with: the candidate is the whole chain.
            old = candidate.take().unwrap_or(old);
        }
        let cache = has_config
            .then(|| config.gateway.data_dir.join("cache"))
            .filter(|cache| cache.is_dir());
        let engine = Engine::new(
            config.gateway.plugin_stack_bytes,
            Workshop::new(config.gateway.compile, cache),
        )?;
        let player = player(&config, arguments, header);
        let compared = has_config.then_some(&old);
        let notes = compared.map_or_else(Vec::new, |old| notes(header, old));
        Ok(Self {
            engine,
            notes,
            old,
            new: candidate,
            player,
        })
    }

    pub(super) fn replay(
        &self,
        begins_us: u64,
        bounds: SampleBounds,
    ) -> Result<Replay, chain::Error> {
        let player = Player {
            begins_us,
            bounds,
            ..self.player.clone()
        };
        Replay::new(player, &self.old, self.new.as_ref(), &self.engine)
    }
}

fn player(config: &Config, arguments: &Arguments, header: &RecordingHeader) -> Player {
    Player {
        lanes: usize::from(arguments.lanes),
        recorded_lanes: header.lanes.max(1),
        recorded_ticks: header
            .plugins
            .iter()
            .map(|plugin| plugin.tick_every())
            .collect::<Vec<Option<Duration>>>(),
        queues: queue_names(config),
        begins_us: 0,
        bounds: SampleBounds::default(),
    }
}

/// A config with nothing but the candidate in a flow of that name, and the ports of the recording: it has the limits
/// of a gateway that says nothing about them.
fn alone(global: &Global, header: &RecordingHeader, with: &Path, plugin: Option<&str>) -> Sources {
    let text = |text: &str| Value::from(text).to_string();
    let flow = text(&header.flow);
    let mut sets = vec![
        "source.recorded.url=\"mqtt://127.0.0.1\"".to_owned(),
        format!("flow.{flow}.from=\"recorded\""),
        match header.topics.as_slice() {
            [] => format!("flow.{flow}.topics=[\"{{device}}\"]"),
            topics => format!("flow.{flow}.topics={}", Value::from(topics.to_vec())),
        },
    ];
    sets.extend(
        header
            .key
            .iter()
            .map(|key| format!("flow.{flow}.key={}", text(&format!("{{{key}}}")))),
    );
    for queue in header.ports.iter().flat_map(|(_, queues)| queues) {
        let Some((uplink, class)) = queue.split_once(':') else {
            if let Some(other) = queue.strip_prefix("flow.") {
                sets.push(format!("flow.{}.to=\"drop\"", text(other)));
            }
            continue;
        };
        sets.push(format!("uplink.{}.url=\"mqtt://127.0.0.1\"", text(uplink)));
        sets.push(format!("class.{}.weight=10", text(class)));
    }
    for (port, queues) in &header.ports {
        let route = if queues.is_empty() {
            "\"drop\"".to_owned()
        } else {
            Value::from(queues.clone()).to_string()
        };
        sets.push(format!("flow.{flow}.to.{}={route}", text(port)));
    }
    if let Some(topic) = &header.topic {
        sets.push(format!("flow.{flow}.topic={}", text(topic)));
    }
    let name = match (plugin, header.plugins.as_slice()) {
        (Some(name), _) => name.to_owned(),
        (None, [only]) => only.name.clone(),
        (None, _) => "candidate".to_owned(),
    };
    let path = std::path::absolute(with).unwrap_or_else(|_| with.to_owned());
    let path = path.to_string_lossy();
    sets.push(format!(
        "flow.{flow}.plugin=[{{ plugin = {}, name = {} }}]",
        text(&path),
        text(&name)
    ));
    sets.extend(global.set.iter().cloned());
    Sources {
        sets,
        ..Sources::new("/dev/null")
    }
}

/// The flow with the candidate, if there is one.
fn candidate(
    arguments: &Arguments,
    flow: &chain::Config,
) -> Result<Option<chain::Config>, CommandFailure> {
    if arguments.with.is_none() && arguments.settings.is_none() {
        return Ok(None);
    }
    let names: Vec<&str> = flow.plugins.iter().map(|plugin| &*plugin.name).collect();
    let index = match (&arguments.plugin, names.as_slice()) {
        (None, [_]) => Some(0),
        (None, _) => None,
        (Some(name), names) => names.iter().position(|own| own == name),
    };
    let usage = || {
        CommandFailure::Usage(format!(
            "say which plugin of the flow `{}` is meant: --plugin {}",
            flow.name,
            names.join(" | ")
        ))
    };
    let index = index.ok_or_else(usage)?;
    let mut flow = flow.clone();
    if let Some(with) = &arguments.with {
        flow.plugins[index].artefact = Artefact::File(PathBuf::from(with));
    }
    if let Some(settings) = &arguments.settings {
        flow.plugins[index].settings = read_settings(settings)?;
    }
    Ok(Some(flow))
}

/// JSON, or a file with it.
fn read_settings(text: &str) -> Result<Value, CommandFailure> {
    let content = if text.trim_start().starts_with('{') {
        text.to_owned()
    } else {
        file::read_text(Path::new(text), file::BY_HAND)
            .map_err(|source| file_failure(Path::new(text), source))?
    };
    serde_json::from_str(&content)
        .map_err(|error| CommandFailure::Usage(format!("--settings is not JSON: {error}")))
}

/// Which plugins were others when the recording began.
fn notes(header: &RecordingHeader, flow: &chain::Config) -> Vec<String> {
    let mut notes = Vec::new();
    for plugin in &header.plugins {
        let own = flow.plugins.iter().find(|own| *own.name == *plugin.name);
        let digest: Option<Arc<str>> =
            own.and_then(|own| chain::digest_of(&own.name, &own.artefact).ok());
        match digest {
            Some(digest) if *digest != *plugin.digest => notes.push(format!(
                "when recorded, the flow ran {}@{}; the config has {}",
                plugin.name,
                short_digest(&plugin.digest),
                short_digest(&digest)
            )),
            None if own.is_none() => notes.push(format!(
                "when recorded, the flow had a plugin `{}`",
                plugin.name
            )),
            _ => {}
        }
    }
    notes
}
