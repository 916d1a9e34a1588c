//! `tidegate check`: all that is wrong with a config and its plugins, at once.

mod connect;

use std::path::PathBuf;

use clap::Args;

use self::connect::ConnectFinding;
use super::{Global, OutputFormat, Surroundings, print, print_json, say};
use crate::chain::{self, Engine, Workshop};
use crate::config::{self, Config, MANUAL, PluginFault, Secrets, Sources};
use crate::exit::Exit;
use crate::message::FlowId;
use crate::words::with_causes;

const EXAMPLES: &str = "\
Examples:
  tidegate check -c tidegate.toml
  tidegate check -c tidegate.toml -o json | jq '.problems[] | select(.severity == \"error\")'
  tidegate check -c tidegate.toml --connect
  tidegate check --manual | less

Ends with 0 when the config can be run, 3 when it is invalid, 4 when only a plugin is at fault, 7 when all that is good and an
end does not work (--connect).";

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
    let problems = config
        .plugin_problems(plugin_faults(&config))
        .and(&config.warnings);
    let failed = problems.errors() > 0;
    let ends = match arguments.connect.then(|| tried(&config)).transpose() {
        Ok(ends) => ends,
        Err(error) => {
            say(&format!("error: nothing can be tried: {error}"));
            return Exit::Failed;
        }
    };
    match (&ends, global.output) {
        (Some(ends), OutputFormat::Json) => {
            let mut document = problems.to_json();
            document["ends"] = serde_json::json!(ends);
            print_json(&document);
        }
        (_, OutputFormat::Json) => global.show(&problems, surroundings),
        (_, OutputFormat::Text) if problems.is_empty() => {}
        (_, OutputFormat::Text) => global.show(&problems, surroundings),
    }
    if failed {
        return Exit::Plugin;
    }
    if global.output == OutputFormat::Text {
        say(&format!(
            "{} is good: {}",
            global.config.display(),
            contents(&config)
        ));
        ends.iter().flatten().for_each(|end| say(&told(end)));
    }
    if ends.iter().flatten().all(|end| end.is_good) {
        Exit::Done
    } else {
        Exit::Degraded
    }
}

/// Each source and uplink, tried.
fn tried(config: &Config) -> std::io::Result<Vec<ConnectFinding>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let found = runtime.block_on(connect::all(config));
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

/// Tries every plugin as `run` would: loads it, configures it, asks for its ports.
pub fn plugin_faults(config: &Config) -> Vec<PluginFault> {
    let engine = match Engine::new(
        config.gateway.plugin_stack_bytes,
        Workshop::new(config.gateway.compile, None),
    ) {
        Ok(engine) => engine,
        Err(error) => return vec![fault(FlowId(0), 0, &error)],
    };
    // Else a component would be compiled for each flow that names it.
    engine.keep_compiled();
    let faults = |(flow, spec): (usize, &chain::Config)| {
        let flow = FlowId(u16::try_from(flow).unwrap_or(u16::MAX));
        let found = chain::check(spec, &engine).unwrap_or_else(|error| vec![(0, error)]);
        found
            .into_iter()
            .map(|(plugin, error)| fault(flow, plugin, &error))
            .collect::<Vec<_>>()
    };
    config.flows.iter().enumerate().flat_map(faults).collect()
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
    let plugins = config.flows.iter().map(|flow| flow.plugins.len()).sum();
    let parts = [
        count(config.sources.len(), "source"),
        count(config.flows.len(), "flow"),
        count(plugins, "plugin"),
        count(config.uplinks.len(), "uplink"),
    ];
    parts.join(", ")
}
