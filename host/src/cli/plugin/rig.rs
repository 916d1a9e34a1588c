//! What is tried without a gateway: a plugin by itself, or a flow of a config. Built from the words of a config, so that
//! limits, settings and topics are read as a gateway reads them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;

use super::build::{BuildError, build, code_of};
use super::language::PluginSource;
use crate::builtin;
use crate::cases::{Act, CaseSetup, Outcome, QosLevel, Written, WrittenMessage};
use crate::chain::{self, Came, DryRun, Engine, Workshop};
use crate::config::{self, Config, Problems, Secrets, Sources};
use crate::message::{Headers, Marks, Message, Pattern, Qos, Reason, push_header};
use crate::words::with_causes;

/// When time begins where nothing is said: midnight, a Thursday.
pub(super) const BEGINS_US: u64 = 1_767_225_600_000_000;

/// What takes messages where nothing is said.
const TOPICS: &str = "[\"devices/{device}/{metric}\"]";

/// Why nothing can be tried. The texts are for whoever writes the plugin.
#[derive(Debug, thiserror::Error)]
pub(super) enum RigError {
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(
        "there is no file and no folder `{name}`, and no plugin of that name is built in; there are: {known}"
    )]
    Unknown { name: String, known: String },
    #[error("the config has no flow `{name}`; there are: {known}")]
    NoFlow { name: String, known: String },
    #[error("{0}")]
    Config(Problems),
    #[error("`{0}` is said by the config: it has no place in the cases of a flow")]
    OfConfig(String),
    #[error("{}", with_causes(.0))]
    Chain(#[from] chain::Error),
    #[error(
        "no pattern of `topics` takes `{topic}` ({patterns}): write topics = [\"…/{{device}}/…\"]"
    )]
    NotTaken { topic: String, patterns: String },
    #[error("{place}: {error}")]
    At { place: String, error: Box<RigError> },
}

impl RigError {
    /// Nothing has this name.
    pub(super) fn unknown(target: &str) -> Self {
        Self::Unknown {
            name: target.to_owned(),
            known: builtin::NAMES.join(", "),
        }
    }

    /// The same, where it is of a line of a file.
    pub(super) fn at(self, path: &Path, line: usize) -> Self {
        match self {
            Self::Config(_) | Self::OfConfig(_) | Self::NotTaken { .. } => Self::At {
                place: format!("{}:{line}", path.display()),
                error: Box::new(self),
            },
            other => other,
        }
    }
}

/// Something that can be begun any number of times.
pub(super) struct Rig {
    engine: Engine,
    what: What,
}

enum What {
    /// `builtin:NAME`, or a path from the root.
    Plugin(String),
    Flow(Box<chain::Config>),
}

/// The name of a plugin as a config writes it: that of one in this binary, or the path of a component. Sources are built.
pub(super) fn component(target: &str, is_quiet: bool) -> Result<String, RigError> {
    let path = Path::new(target);
    if target.starts_with("builtin:") {
        return Ok(target.to_owned());
    }
    let path = if PluginSource::is_meant(path) {
        build(path, is_quiet)?.path
    } else if path.exists() {
        path.to_owned()
    } else if builtin::NAMES.contains(&target) {
        return Ok(format!("builtin:{target}"));
    } else {
        return Err(RigError::unknown(target));
    };
    let path = std::path::absolute(&path).unwrap_or(path);
    Ok(path.to_string_lossy().into_owned())
}

/// What a case of a plugin has beside its settings, in the words of a config.
pub(super) fn config_of(plugin: &str, setup: &CaseSetup) -> Result<Config, RigError> {
    let value = |key: &str| setup.get(key).map(|written| written.value.as_str());
    let mut fields = vec![format!("plugin = {}", Value::from(plugin))];
    let of_plugin = ["settings", "limits", "grants"];
    fields.extend(
        of_plugin
            .iter()
            .filter_map(|key| Some(format!("{key} = {}", value(key)?))),
    );
    let mut sets = vec![
        "source.cases.url=\"mqtt://127.0.0.1\"".to_owned(),
        "flow.cases.from=\"cases\"".to_owned(),
        "flow.cases.to=\"drop\"".to_owned(),
        format!("flow.cases.topics={}", value("topics").unwrap_or(TOPICS)),
        format!("flow.cases.plugin=[{{ {} }}]", fields.join(", ")),
    ];
    let of_flow = ["key", "topic"];
    sets.extend(
        of_flow
            .iter()
            .filter_map(|key| Some(format!("flow.cases.{key}={}", value(key)?))),
    );
    let sources = Sources {
        sets,
        env: BTreeMap::new(),
        data_dir: Some(PathBuf::from("/nonexistent")),
        ..Sources::new("/dev/null")
    };
    config::load(&sources).map_err(RigError::Config)
}

/// An engine that keeps what it has compiled; `cache` is where its code lies over runs.
pub(super) fn engine(config: &Config, cache: Option<PathBuf>) -> Result<Engine, RigError> {
    let gateway = &config.gateway;
    let engine = Engine::new(
        gateway.plugin_stack_bytes,
        Workshop::new(gateway.compile, cache),
    )?;
    // Each case begins anew, with the same code.
    engine.keep_compiled();
    Ok(engine)
}

impl Rig {
    /// Of a plugin, as [`component`] names it.
    pub(super) fn of_plugin(plugin: String) -> Result<Self, RigError> {
        let config = config_of(&plugin, &CaseSetup::new())?;
        let engine = engine(&config, code_of(Path::new(&plugin)))?;
        let what = What::Plugin(plugin);
        Ok(Self { engine, what })
    }

    /// Of a flow of a config.
    pub(super) fn of_flow(config: &Path, sets: &[String], name: &str) -> Result<Self, RigError> {
        let sources = Sources {
            sets: sets.to_vec(),
            secrets: Secrets::Unused,
            ..Sources::new(config)
        };
        let config = config::load(&sources).map_err(RigError::Config)?;
        let Some(flow) = config.flows.iter().find(|flow| &*flow.name == name) else {
            let known: Vec<&str> = config.flows.iter().map(|flow| &*flow.name).collect();
            let name = name.to_owned();
            let known = known.join(", ");
            return Err(RigError::NoFlow { name, known });
        };
        let engine = engine(&config, None)?;
        let what = What::Flow(Box::new(flow.clone()));
        Ok(Self { engine, what })
    }

    /// The line of the first value that is wrong by itself, or else of the last.
    pub(super) fn first_wrong(&self, setup: &CaseSetup) -> Option<usize> {
        let What::Plugin(plugin) = &self.what else {
            return setup.values().map(|written| written.line).max();
        };
        let is_wrong = |(key, written): &(&String, &Written)| {
            let alone = [((*key).clone(), (*written).clone())];
            config_of(plugin, &alone.into()).is_err()
        };
        let wrong = setup
            .iter()
            .filter(is_wrong)
            .map(|(_, written)| written.line);
        wrong
            .min()
            .or(setup.values().map(|written| written.line).max())
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Begins with no state. The first answer is an error of ours or of the files, the second what the plugin says to its
    /// settings.
    pub(super) fn begin(
        &self,
        setup: &CaseSetup,
        begins_us: u64,
    ) -> Result<Result<RigRun, Outcome>, RigError> {
        let (config, begun) = match &self.what {
            What::Flow(config) => {
                if let Some(key) = setup.keys().next() {
                    return Err(RigError::OfConfig(key.clone()));
                }
                (
                    config.as_ref().clone(),
                    DryRun::of_flow(config, begins_us, &self.engine),
                )
            }
            What::Plugin(plugin) => {
                let config = only_flow(config_of(plugin, setup)?)?;
                let begun = DryRun::of_plugins(&config, begins_us, &self.engine);
                (config, begun)
            }
        };
        match begun {
            Ok(dry_run) => Ok(Ok(RigRun {
                dry_run,
                patterns: patterns(&config),
                config,
            })),
            Err(error) => refusal(error).map(Err),
        }
    }
}

/// The flow of a config that has no other.
pub(super) fn only_flow(config: Config) -> Result<chain::Config, RigError> {
    let only = config.flows.into_iter().next();
    only.ok_or_else(|| RigError::NoFlow {
        name: "cases".to_owned(),
        known: String::new(),
    })
}

/// What a plugin said to its settings, where that is why there is no chain.
pub(super) fn refusal(error: chain::Error) -> Result<Outcome, RigError> {
    match error {
        chain::Error::Configure { why, .. } | chain::Error::Setup { why, .. } => {
            Ok(Outcome::Refused(why))
        }
        error @ (chain::Error::Template { .. } | chain::Error::PortWithoutRoute { .. }) => {
            Ok(Outcome::Refused(error.to_string()))
        }
        chain::Error::Instantiate { source, .. } => Ok(Outcome::Failed(source.detail())),
        error => Err(error.into()),
    }
}

/// What a flow takes.
pub(super) fn patterns(config: &chain::Config) -> Vec<Pattern> {
    let topics = &config.topics;
    let pattern = |text: &String| {
        let pattern = Pattern::parse(text).ok()?;
        match &topics.key {
            Some(key) => pattern.keyed(key),
            None => Some(pattern),
        }
    };
    topics.patterns.iter().filter_map(pattern).collect()
}

/// A plugin or flow at work. It lives in [`chain::offline`].
pub(super) struct RigRun {
    dry_run: DryRun,
    patterns: Vec<Pattern>,
    config: chain::Config,
}

impl RigRun {
    /// Name and digest of each plugin.
    pub(super) fn plugins(&self) -> Vec<(String, String)> {
        let plugins = self.dry_run.plugins();
        plugins
            .map(|(name, digest)| (name.to_string(), digest.to_string()))
            .collect()
    }

    /// Does something to it: what came of that, and how.
    pub(super) fn act(&mut self, act: &Act) -> Result<(Vec<Outcome>, Came), RigError> {
        let came = match act {
            Act::Start => Came::default(),
            Act::Message(sent) => {
                let message = message(&self.config, &self.patterns, sent)?;
                self.dry_run.feed(message)?
            }
            Act::Advance(by) => self.dry_run.advance(*by)?,
            Act::At(moment) => {
                let by = moment.saturating_sub(self.dry_run.now().wall.0);
                self.dry_run.advance(std::time::Duration::from_micros(by))?
            }
        };
        Ok((outcomes(&came), came))
    }
}

/// The message that is written so, as a source of a flow makes it.
pub(super) fn message(
    config: &chain::Config,
    patterns: &[Pattern],
    sent: &WrittenMessage,
) -> Result<Message, RigError> {
    let not_taken = || RigError::NotTaken {
        topic: sent.topic.clone(),
        patterns: config.topics.patterns.join(", "),
    };
    let key = patterns
        .iter()
        .find_map(|pattern| pattern.matches(&sent.topic))
        .ok_or_else(not_taken)?;
    let mut headers = Vec::new();
    for (name, value) in &sent.headers {
        // Checked when it was read.
        let _ = push_header(&mut headers, name, value);
    }
    let qos = Qos::from_level(sent.qos.0).unwrap_or_default();
    let marks = Marks::of(qos)
        .with(Marks::RETAIN, sent.retain)
        .with(Marks::DUPLICATE, sent.duplicate);
    Ok(Message {
        flow: Some(config.flow),
        topic: Bytes::from(sent.topic.clone()),
        key,
        headers: headers.into(),
        payload: Bytes::from(sent.payload.clone()),
        marks,
        ..Message::default()
    })
}

/// What came, in the words of a case.
fn outcomes(came: &Came) -> Vec<Outcome> {
    let mut outcomes: Vec<_> = came
        .left
        .iter()
        .map(|left| Outcome::Message {
            port: left.port.clone(),
            sent: sent(&left.message),
        })
        .collect();
    outcomes.extend(came.letters.iter().map(|letter| match letter.reason {
        Reason::Rejected => Outcome::Rejected(letter.detail.clone()),
        Reason::Poison => Outcome::Failed(letter.detail.clone()),
        other => Outcome::Failed(format!("{}: {}", other.name(), letter.detail)),
    }));
    outcomes.extend(came.tick_faults.iter().cloned().map(Outcome::Failed));
    match came.fate {
        "filtered" if outcomes.is_empty() => outcomes.push(Outcome::Filtered),
        "absorbed" if outcomes.is_empty() => outcomes.push(Outcome::Absorbed),
        "dropped" => outcomes.push(Outcome::Dropped),
        _ => {}
    }
    outcomes
}

/// A message as it is written.
pub(super) fn sent(message: &Message) -> WrittenMessage {
    let headers = Headers(&message.headers).filter_map(Result::ok);
    WrittenMessage {
        topic: message.topic_str().to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_owned(), value.to_vec()))
            .collect(),
        retain: message.marks.has(Marks::RETAIN),
        duplicate: message.marks.has(Marks::DUPLICATE),
        qos: QosLevel(message.marks.qos() as u8),
        payload: message.payload.to_vec(),
    }
}
