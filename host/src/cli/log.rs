//! `tidegate log`: how much a running gateway says, and more or less of it for a while.

use std::time::Duration;

use clap::Args;

use super::place::{CommandFailure, DataDirArgument, running};
use super::show::age;
use super::{Global, OutputFormat, Surroundings, print, print_json};
use crate::config::read_duration;
use crate::exit::Exit;
use crate::gateway::api::log::Order;
use crate::telemetry::levels::Shown;

const EXAMPLES: &str = "\
Examples:
  tidegate log                                 what holds now, and for how long
  tidegate log debug --for 10m                 all of the gateway says more, and stops by itself
  tidegate log trace --module spool --for 1m   one part of it
  tidegate log config                          back to what the config says, at once

A module is called as in the `target` of a line in JSON, without `tidegate::`: spool, or spool::writer. A reload of the \
config changes nothing of this; a restart ends it.";

/// Arguments of `tidegate log`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// What is to be said; `config` ends all changes.
    #[arg(value_parser = ["error", "warn", "info", "debug", "trace", "config"])]
    level: Option<String>,
    /// How long, a day at most.
    #[arg(long = "for", value_name = "TIME", value_parser = read_duration, default_value = "10m")]
    time: Duration,
    /// Of this module only.
    #[arg(long, value_name = "NAME", requires = "level")]
    module: Option<String>,
    #[command(flatten)]
    at: DataDirArgument,
}

pub fn run(global: &Global, arguments: Arguments, surroundings: Surroundings) -> Exit {
    match ask(global, arguments, surroundings) {
        Ok(shown) => {
            match global.output {
                OutputFormat::Text => print(&text(&shown)),
                OutputFormat::Json => print_json(&shown),
            }
            Exit::Done
        }
        Err(failure) => failure.end(),
    }
}

fn ask(
    global: &Global,
    arguments: Arguments,
    surroundings: Surroundings,
) -> Result<Shown, CommandFailure> {
    let what = "there is no log of a gateway that is off";
    let client = running(global, &arguments.at, surroundings, what)?;
    let order = match arguments.level {
        None => return Ok(client.get("/v1/log")?),
        Some(level) if level == "config" => Order::Back,
        Some(level) => Order::Change {
            level,
            module: arguments.module,
            seconds: arguments.time.as_secs(),
        },
    };
    Ok(client.post("/v1/log", &order)?)
}

fn text(shown: &Shown) -> String {
    let changes = shown.changes.iter().map(|change| {
        let module = change.module.as_deref().unwrap_or("all");
        let left = age(Duration::from_secs(change.left_s));
        format!("{:<10} {module}, for {left} more", change.level)
    });
    let config = format!("{:<10} as config and command line say", shown.level);
    std::iter::once(config)
        .chain(changes)
        .collect::<Vec<_>>()
        .join("\n")
}
