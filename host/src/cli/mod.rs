//! The command line: one file a command. Data goes to standard output, everything else to standard error.

mod backup;
#[cfg(feature = "demo")]
pub mod broker;
pub mod check;
pub mod compile;
pub mod completions;
mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod doctor;
mod global;
pub mod health;
pub mod init;
pub mod ledger;
pub mod log;
mod parked;
mod place;
pub mod plugin;
mod plugins;
pub mod recording;
pub mod replay;
pub mod run;
pub(crate) mod show;
#[cfg(feature = "demo")]
pub mod sim;
pub mod spool;
pub mod status;
mod swap;
pub mod tap;
mod terminal;
pub mod top;

use global::remote::RemoteArguments;
pub use global::{Global, OutputFormat, Surroundings, When};
#[cfg(test)]
pub(crate) use plugin::CASES_HELP;
pub use terminal::{print, print_json, say};

use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

use crate::exit::{Exit, TABLE};
use crate::telemetry::sink;

const EXAMPLES: &str = "\
Examples:
  tidegate init                                   a config for what is there
  tidegate check -c tidegate.toml                 every mistake of a config at once
  tidegate run -c tidegate.toml                   run it in the foreground
  tidegate run --set log.level=debug              with one setting changed
  TIDEGATE_LOG__LEVEL=debug tidegate run          the same from the environment
  tidegate doctor                                 what of this machine is not as it should be
  tidegate status                                 what it takes, owes and has parked
  tidegate top                                    what passes through it, as it passes
  tidegate tap climate                            its messages, before and after each plugin
  tidegate devices                                which devices are there, and which are silent
  tidegate parked list                            what could not be processed, and why
  tidegate ledger                                 what was given up, and why
  tidegate swap climate/rule rule.wasm            another version of a plugin, live
  tidegate plugin new my-rule                     a plugin of your own, with cases to test it by
  tidegate plugin test my-rule                    build it, and run its cases
  tidegate plugin bench my-rule                   what it costs a message, and how near it is to its limits
  tidegate replay --flow climate --with rule.wasm what a changed rule would have done
  tidegate --gateway ssh://pi@barn-7 status       the same of a gateway elsewhere

Every setting, its default and the reason for it: tidegate check --manual; of one: tidegate config explain spool.reserve";

/// What runs, and what it was made of.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("TIDEGATE_COMMIT"),
    ")"
);
const LONG_VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("TIDEGATE_COMMIT"),
    ")\nengine    wasmtime ",
    env!("TIDEGATE_WASMTIME_VERSION"),
    "\ntarget    ",
    env!("TIDEGATE_TARGET"),
);

/// How long the last lines may take when the process ends: longer than a reader that reads, shorter than a grace.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Device messages through live-swappable plugins, kept while the link is away.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version = VERSION, long_version = LONG_VERSION, about, after_help = format!("{EXAMPLES}\n\n{TABLE}"), arg_required_else_help = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway in the foreground.
    Run(run::Arguments),
    /// Write a config for what is there: it asks, looks at the broker of the devices, and writes flows for what it recognises.
    Init(init::Arguments),
    /// Check a config and its plugins; opens no connection, starts nothing.
    Check(check::Arguments),
    /// The config as it is in effect, what the manual says of a key, and the schema for editors.
    #[command(subcommand)]
    Config(config::Command),
    /// What of this machine, its disk, its network and its gateway is not as it should be, and what mends it.
    Doctor(doctor::Arguments),
    /// The whole account of a gateway at a glance.
    Status(status::Arguments),
    /// What passes through a running gateway, as it passes.
    Top(top::Arguments),
    /// How each part of a running gateway is: ok, degraded or failed, and why.
    Health(health::Arguments),
    /// Who was seen: silent devices and those gone mad first.
    Devices(status::devices::DevicesArguments),
    /// Dead letters: what could not be processed or was refused, and how to send it again.
    #[command(subcommand)]
    Parked(parked::Command),
    /// What was given up, and why: by the limits of its class, by damage, by hand.
    Ledger(ledger::Arguments),
    /// What is owed upstream: look into it, export, import, check, repair, drop.
    #[command(subcommand)]
    Spool(spool::Command),
    /// The messages of a flow before and after each plugin, as they pass.
    Tap(tap::Arguments),
    /// Config, plugins, state and what is owed in one file, of a gateway that runs or is stopped.
    Backup(backup::BackupArguments),
    /// Put a backup back, on another card or machine.
    Restore(backup::RestoreArguments),
    /// Put another version of a plugin in place while messages flow; it is watched, and taken back when it does worse.
    Swap(swap::SwapArguments),
    /// Bring a plugin's good version from before back, or end the change under way.
    Rollback(swap::RollbackArguments),
    /// Which version of each plugin runs, is tried beside it, and is kept.
    Plugins(plugins::PluginsArguments),
    /// Who changed which plugin when, and what came of it.
    History(plugins::HistoryArguments),
    /// How much a running gateway says in its log; more or less of it for a while.
    Log(log::Arguments),
    /// Have a running gateway read its config again, and show what changes.
    Reload(swap::ReloadArguments),
    /// What came in, as a flow recorded it: list, export, clear.
    #[command(subcommand)]
    Recording(recording::Command),
    /// Run a recording through a flow off-line, as it is and with a candidate, and say what would have differed.
    Replay(replay::Arguments),
    /// Make, build, test, try, inspect and sign plugins.
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// An outage in under a minute: brokers, devices and a gateway, all on this machine.
    #[cfg(feature = "demo")]
    Demo(demo::Arguments),
    /// Completion of commands, options and names for bash, zsh and fish.
    Completions(completions::Arguments),
    /// Virtual devices against any broker, and a check of what comes out.
    #[cfg(feature = "demo")]
    Sim(sim::Arguments),
    /// Compile a plugin for a gateway: the component on standard input, its code on standard output.
    #[command(hide = true)]
    CompilePlugin(compile::Arguments),
    /// Become another program, whose output a gateway takes.
    #[command(hide = true)]
    RunProgram(run::program::Arguments),
    /// The far end of `--gateway ssh://…`.
    #[command(hide = true)]
    Relay(place::relay::RelayArguments),
    /// The manual pages, for a package.
    #[command(hide = true)]
    Man(completions::man::ManArguments),
    /// The embedded broker of demo and tests.
    #[cfg(feature = "demo")]
    #[command(hide = true)]
    Broker(broker::Arguments),
}

impl Command {
    /// Which gateway elsewhere it asks. What has to do with none does not mind that one is named; what is about this machine does.
    fn remote(&self, named: &RemoteArguments) -> Result<RemoteArguments, String> {
        let name = match self {
            _ if named.gateway.is_none() => return Ok(named.clone()),
            Self::Run(_) => "run",
            Self::Init(_) => "init",
            Self::Check(_) => "check",
            Self::Config(_) => "config",
            Self::Doctor(_) => "doctor",
            Self::Restore(_) => "restore",
            Self::Replay(_) => "replay",
            #[cfg(feature = "demo")]
            Self::Demo(_) => "demo",
            Self::Plugin(command) if command.asks_a_gateway() => return Ok(named.clone()),
            Self::Plugin(_)
            | Self::Completions(_)
            | Self::CompilePlugin(_)
            | Self::Man(_)
            | Self::Relay(_) => return Ok(RemoteArguments::default()),
            #[cfg(feature = "demo")]
            Self::Sim(_) | Self::Broker(_) => return Ok(RemoteArguments::default()),
            _ => return Ok(named.clone()),
        };
        Err(format!(
            "`tidegate {name}` is about this machine only: leave out --gateway (and unset TIDEGATE_GATEWAY), or run it over there"
        ))
    }
}

impl Cli {
    /// Does what was asked.
    pub fn run(mut self, surroundings: Surroundings) -> Exit {
        let mut exit = match self.command.remote(&self.global.remote) {
            Ok(remote) => {
                self.global.remote = remote;
                self.obey(surroundings)
            }
            Err(words) => {
                say(&format!("error: {words}"));
                Exit::Usage
            }
        };
        if let Some(why) = terminal::unwritten() {
            say(&format!(
                "error: standard output did not take all that was printed: {why}"
            ));
            if exit == Exit::Done {
                exit = Exit::Failed;
            }
        }
        sink::finish(LAST_WORDS);
        exit
    }

    fn obey(self, surroundings: Surroundings) -> Exit {
        match self.command {
            Command::Run(arguments) => run::run(&self.global, arguments, surroundings),
            Command::Init(arguments) => init::run(&self.global, &arguments, surroundings),
            Command::Check(arguments) => check::run(&self.global, arguments, surroundings),
            Command::Config(command) => config::run(&self.global, &command, surroundings),
            Command::Doctor(arguments) => doctor::run(&self.global, &arguments, surroundings),
            Command::Status(arguments) => status::run(&self.global, &arguments, surroundings),
            Command::Devices(arguments) => {
                status::devices::devices(&self.global, arguments, surroundings)
            }
            Command::Tap(arguments) => tap::run(&self.global, arguments, surroundings),
            Command::Top(arguments) => top::run(&self.global, &arguments, surroundings),
            Command::Health(arguments) => health::run(&self.global, &arguments, surroundings),
            Command::Ledger(arguments) => ledger::run(&self.global, &arguments, surroundings),
            Command::Log(arguments) => log::run(&self.global, arguments, surroundings),
            Command::Parked(command) => parked::run(&self.global, command, surroundings),
            Command::Spool(command) => spool::run(&self.global, command, surroundings),
            Command::Backup(arguments) => backup::backup(&self.global, &arguments, surroundings),
            Command::Restore(arguments) => backup::restore(&self.global, &arguments, surroundings),
            Command::Swap(arguments) => swap::swap(&self.global, &arguments, surroundings),
            Command::Rollback(arguments) => swap::rollback(&self.global, &arguments, surroundings),
            Command::Plugins(arguments) => plugins::plugins(&self.global, &arguments, surroundings),
            Command::History(arguments) => plugins::history(&self.global, &arguments, surroundings),
            Command::Reload(arguments) => swap::reload(&self.global, &arguments, surroundings),
            Command::Recording(command) => recording::run(&self.global, command, surroundings),
            Command::Replay(arguments) => replay::run(&self.global, &arguments, surroundings),
            Command::Plugin(command) => plugin::run(&self.global, command, surroundings),
            #[cfg(feature = "demo")]
            Command::Demo(arguments) => demo::run(&self.global, &arguments),
            #[cfg(feature = "demo")]
            Command::Sim(arguments) => sim::run(&self.global, &arguments),
            Command::Relay(arguments) => place::relay::run(&self.global, &arguments, surroundings),
            Command::Completions(arguments) => completions::run(&arguments),
            Command::Man(arguments) => completions::man::run(&arguments, Self::command()),
            Command::CompilePlugin(arguments) => compile::run(&arguments),
            Command::RunProgram(arguments) => run::program::run(&arguments),
            #[cfg(feature = "demo")]
            Command::Broker(arguments) => broker::run(&arguments),
        }
    }
}

#[cfg(test)]
mod tests;
