//! `tidegate check`: all that is wrong with a config and its plugins, at once.

pub(super) mod connect;
pub(super) mod own;

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use clap::Args;

use self::connect::ConnectFinding;
use super::show::of;
use super::{Global, OutputFormat, Surroundings, print, print_json, say};
use crate::chain::{self, Engine, Workshop};
use crate::config::{
    self, Config, MANUAL, Pardon, PluginFault, Problems, Secrets, Sources, Strict,
};
use crate::exit::Exit;
use crate::message::FlowId;
use crate::words::with_causes;

const EXAMPLES: &str = "\
Examples:
  tidegate check -c tidegate.toml
  tidegate check -c tidegate.toml -o json | jq '.problems[] | select(.severity == \"error\")'
  tidegate check -c tidegate.toml --connect
  tidegate check -c tidegate.toml --strict
  tidegate check --manual | less

Ends with 0 when the config can be run, 3 when it is invalid, 4 when only a plugin is at fault, 6 when all that is good and \
something is neither mended nor accepted (--strict), 7 when an end does not work (--connect).";

/// Arguments of `tidegate check`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder for what must survive, as it would be given to `run`.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Try each source and uplink, too: log in, subscribe and leave again, with a client id of its own (the real one and `-check`);
    /// nothing is sent, and a gateway that runs is not disturbed.
    #[arg(long)]
    pub connect: bool,
    /// Look for what should not go live, too: messages in the clear, what is acknowledged before it is safe, alarms that nobody
    /// hears. Each finding has a name; what is meant to be so is accepted in the config's table `accepted`, with the reason.
    #[arg(long)]
    pub strict: bool,
    /// Print every setting with its default and the reason for it, and check nothing.
    #[arg(long)]
    pub manual: bool,
}

/// Checks, shows, and tells by the exit code.
pub fn run(global: &Global, arguments: Arguments, surroundings: Surroundings) -> Exit {
    if arguments.manual {
        print(MANUAL.trim_end());
        return Exit::Done;
    }
    let sources = Sources {
        secrets: Secrets::Elsewhere,
        ..global.sources(arguments.data_dir)
    };
    let config = match config::load(&sources) {
        Ok(config) => config,
        Err(problems) => {
            global.show(&problems, surroundings);
            return Exit::Config;
        }
    };
    let strict = arguments.strict.then(|| config.strict());
    let told = strict
        .as_ref()
        .map_or(&config.warnings, |strict| &strict.problems);
    compiling(&config);
    let problems = config.plugin_problems(plugin_faults(&config)).and(told);
    let ends = match arguments
        .connect
        .then(|| tried(&config, &sources))
        .transpose()
    {
        Ok(ends) => ends,
        Err(error) => {
            say(&format!("error: nothing can be tried: {error}"));
            return Exit::Failed;
        }
    };
    let found = CheckReport {
        problems,
        strict,
        ends,
    };
    found.tell(global, &config, surroundings);
    found.exit()
}

/// All that was found of a config that can be read.
struct CheckReport {
    problems: Problems,
    strict: Option<Strict>,
    ends: Option<Vec<ConnectFinding>>,
}

impl CheckReport {
    fn open(&self) -> usize {
        self.strict.as_ref().map_or(0, |strict| strict.open)
    }

    fn exit(&self) -> Exit {
        if self.problems.errors() > 0 {
            Exit::Plugin
        } else if self.open() > 0 {
            Exit::Refused
        } else if self.ends.iter().flatten().all(|end| end.is_good) {
            Exit::Done
        } else {
            Exit::Degraded
        }
    }

    fn tell(&self, global: &Global, config: &Config, surroundings: Surroundings) {
        if global.output == OutputFormat::Json {
            return print_json(&self.to_json());
        }
        if !self.problems.is_empty() {
            global.show(&self.problems, surroundings);
        }
        if self.problems.errors() > 0 {
            return;
        }
        let pardons = self.strict.iter().flat_map(|strict| &strict.accepted);
        pardons.for_each(|pardon| say(&forgiven(pardon)));
        say(&format!(
            "{} {}: {}",
            global.config.display(),
            verdict(self.open()),
            contents(config)
        ));
        self.ends.iter().flatten().for_each(|end| say(&told(end)));
    }

    fn to_json(&self) -> serde_json::Value {
        let mut document = self.problems.to_json();
        if let Some(ends) = &self.ends {
            document["ends"] = serde_json::json!(ends);
        }
        if let Some(strict) = &self.strict {
            document["open"] = strict.open.into();
            document["accepted"] = serde_json::json!(strict.accepted);
        }
        document
    }
}

fn verdict(open: usize) -> String {
    match open {
        0 => "is good".to_owned(),
        1 => "can be run, and should not go live: mend what is found, or accept it in [accepted]"
            .to_owned(),
        open => format!(
            "can be run, and should not go live: mend the {open} that are found, or accept them in [accepted]"
        ),
    }
}

fn forgiven(pardon: &Pardon) -> String {
    let of = match &*pardon.subject {
        "" => String::new(),
        subject => format!(" ({subject})"),
    };
    format!("accepted: {}{of}: {}", pardon.code, pardon.reason)
}

/// Each source and uplink, tried.
fn tried(config: &Config, origin: &Sources) -> std::io::Result<Vec<ConnectFinding>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut found = runtime.block_on(connect::all(config));
    own::recognise(config, origin, &mut found);
    // A disk that does not come back is not waited for.
    runtime.shutdown_background();
    Ok(found)
}

fn told(end: &ConnectFinding) -> String {
    let verdict = if end.is_good {
        "works"
    } else {
        "does not work"
    };
    format!(
        "{} ({}) {verdict}: {}",
        end.end,
        end.address,
        end.words.join("; ")
    )
}

/// Says on a terminal what takes a while, for whoever waits: nothing that is compiled here is kept.
pub fn compiling(config: &Config) {
    let plugins: usize = config.flows.iter().map(|flow| flow.plugins.len()).sum();
    if plugins > 0 && io::stderr().is_terminal() {
        let what = of(plugins as u64, "plugin");
        say(&format!("compiling {what}, which may take a while …"));
    }
}

/// Tries every plugin as `run` would: loads it, configures it, asks for its ports.
pub fn plugin_faults(config: &Config) -> Vec<PluginFault> {
    let engine = match Engine::new(
        config.gateway.plugin_stack_bytes,
        Workshop::new(config.gateway.compile, None),
    ) {
        Ok(engine) => engine,
        Err(error) => return vec![fault(FlowId::FIRST, 0, &error)],
    };
    // Else a component would be compiled for each flow that names it.
    engine.keep_compiled();
    let faults = |spec: &chain::Config| {
        let found = chain::check(spec, &engine).unwrap_or_else(|error| vec![(0, error)]);
        found
            .into_iter()
            .map(|(plugin, error)| fault(spec.flow, plugin, &error))
            .collect::<Vec<_>>()
    };
    config.flows.iter().flat_map(faults).collect()
}

fn fault(flow: FlowId, plugin: usize, error: &chain::Error) -> PluginFault {
    let in_settings = matches!(error, chain::Error::Configure { .. });
    PluginFault {
        flow,
        plugin,
        in_settings,
        message: with_causes(error),
        hint: None,
    }
}

fn contents(config: &Config) -> String {
    let count = |number: usize, noun: &str| {
        format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
    };
    // One with flows of `priority` has a connection more, and is one.
    let own = |name: &str| !name.contains(':');
    let sources = config.sources.iter().filter(|source| own(&source.name));
    let uplinks = config.uplinks.iter().filter(|uplink| own(&uplink.name));
    let plugins = config.flows.iter().map(|flow| flow.plugins.len()).sum();
    let parts = [
        count(sources.count(), "source"),
        count(config.flows.len(), "flow"),
        count(plugins, "plugin"),
        count(uplinks.count(), "uplink"),
    ];
    parts.join(", ")
}
