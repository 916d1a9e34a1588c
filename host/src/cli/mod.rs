//! The command line: one file a command. Data goes to standard output, everything else to standard error.

#[cfg(feature = "demo")]
pub mod broker;
pub mod check;
pub mod compile;
#[cfg(feature = "demo")]
pub mod demo;
mod differences;
mod lines;
mod inspect;
pub mod ledger;
mod parked;
mod place;
pub mod plugin;
mod plugins;
pub mod recording;
mod reel;
pub mod replay;
pub mod run;
pub(crate) mod show;
mod sign;
pub mod sim;
pub mod spool;
pub mod status;
mod swap;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::config::{self, Config, Problems, Sources};
use crate::exit::{Exit, TABLE};
use crate::telemetry::{log, sink};
use crate::words;

const EXAMPLES: &str = "\
Examples:
  tidegate check -c tidegate.toml                 every mistake of a config at once
  tidegate run -c tidegate.toml                   run it in the foreground
  tidegate run --set log.level=debug              with one setting changed
  TIDEGATE_LOG__LEVEL=debug tidegate run          the same from the environment
  tidegate status                                 what it takes, owes and has parked
  tidegate parked list                            what could not be processed, and why
  tidegate ledger                                 what was given up, and why
  tidegate swap climate/rule rule.wasm            another version of a plugin, live
  tidegate plugin build plugins/my-rule           a plugin's source to a component
  tidegate replay --flow climate --with rule.wasm what a changed rule would have done

Every setting, its default and the reason for it: tidegate check --manual";

/// How long the last lines may take when the process ends: longer than a reader that reads, shorter than a grace.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Device messages through live-swappable plugins, kept while the link is away.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, after_help = format!("{EXAMPLES}\n\n{TABLE}"), arg_required_else_help = true)]
pub struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway in the foreground.
    Run(run::Arguments),
    /// Check a config and its plugins; opens no connection, starts nothing.
    Check(check::Arguments),
    /// The whole account of a gateway at a glance.
    Status(status::Arguments),
    /// Dead letters: what could not be processed or was refused, and how to send it again.
    #[command(subcommand)]
    Parked(parked::Command),
    /// What was given up, and why: by the limits of its class, by damage, by hand.
    Ledger(ledger::Arguments),
    /// What is owed upstream: look into it, export, import, check, repair, drop.
    #[command(subcommand)]
    Spool(spool::Command),
    /// Put another version of a plugin in place while messages flow; it is watched, and taken back when it does worse.
    Swap(swap::SwapArguments),
    /// Bring a plugin's good version from before back, or end the change under way.
    Rollback(swap::RollbackArguments),
    /// Which version of each plugin runs, is tried beside it, and is kept.
    Plugins(plugins::PluginsArguments),
    /// Who changed which plugin when, and what came of it.
    History(plugins::HistoryArguments),
    /// Have a running gateway read its config again, and show what changes.
    Reload(swap::ReloadArguments),
    /// What came in, as a flow recorded it: list, export, clear.
    #[command(subcommand)]
    Recording(recording::Command),
    /// Run a recording through a flow off-line, as it is and with a candidate, and say what would have differed.
    Replay(replay::Arguments),
    /// Build, sign and inspect plugins.
    #[command(subcommand)]
    Plugin(plugin::Command),
    /// An outage in under a minute: brokers, devices and a gateway, all on this machine.
    #[cfg(feature = "demo")]
    Demo(demo::Arguments),
    /// Virtual devices against any broker, and a check of what comes out.
    Sim(sim::Arguments),
    /// Compile a plugin for a gateway: the component on standard input, its code on standard output.
    #[command(hide = true)]
    CompilePlugin(compile::Arguments),
    /// The embedded broker of demo and tests.
    #[cfg(feature = "demo")]
    #[command(hide = true)]
    Broker(broker::Arguments),
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The config; plugins with relative paths are looked for beside it.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        env = "TIDEGATE_CONFIG",
        hide_env_values = true,
        default_value = "/etc/tidegate/tidegate.toml"
    )]
    pub config: PathBuf,
    /// Change one setting, as in `--set log.level=debug`; may be repeated.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How data is printed.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORM",
        default_value = "text"
    )]
    pub output: Output,
    /// Log less; repeat for still less.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub quiet: u8,
    /// Log more; repeat for still more.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Colours; `auto` means on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: When,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// When colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What `main` found out about the place it runs in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings {
    /// Standard error is a terminal.
    pub terminal: bool,
    /// Standard error goes to systemd's journal.
    pub journal: bool,
    /// The user wants no colours (`NO_COLOR`).
    pub no_color: bool,
}

impl Global {
    /// Where the config comes from, this process's environment included.
    pub fn sources(&self, data_dir: Option<PathBuf>) -> Sources {
        Sources {
            sets: self.set.clone(),
            data_dir,
            ..Sources::new(&self.config)
        }
    }

    /// Whether standard error is written in colour.
    pub fn colour(&self, surroundings: Surroundings) -> bool {
        match self.color {
            When::Auto => surroundings.terminal && !surroundings.no_color,
            When::Always => true,
            When::Never => false,
        }
    }

    /// Starts logging as `config` and the command line say.
    pub fn start_log(&self, config: &Config, surroundings: Surroundings) {
        let Surroundings {
            terminal, journal, ..
        } = surroundings;
        let louder = i16::from(self.verbose) - i16::from(self.quiet);
        let louder = i8::try_from(louder.clamp(-9, 9)).unwrap_or_default();
        log::start(
            config.log,
            louder,
            log::Place {
                terminal,
                journal,
                colour: self.colour(surroundings),
            },
        );
    }

    /// Loads the config; its mistakes are shown.
    ///
    /// # Errors
    /// The exit code to end with.
    pub fn load(&self, sources: &Sources, surroundings: Surroundings) -> Result<Config, Exit> {
        config::load(sources).map_err(|problems| {
            self.show(&problems, surroundings);
            say("Nothing was started.");
            Exit::Config
        })
    }

    /// Shows problems: as text on standard error, as JSON on standard output.
    pub fn show(&self, problems: &Problems, surroundings: Surroundings) {
        match self.output {
            // With colours of our own: what it shows of the config is cleaned where it is rendered.
            Output::Text => sink::say(problems.render(self.colour(surroundings)).trim_end()),
            Output::Json => print_json(&problems.to_json()),
        }
    }
}

impl Cli {
    /// Does what was asked.
    pub fn run(self, surroundings: Surroundings) -> Exit {
        let exit = self.obey(surroundings);
        sink::finish(LAST_WORDS);
        exit
    }

    fn obey(self, surroundings: Surroundings) -> Exit {
        match self.command {
            Command::Run(arguments) => run::run(&self.global, arguments, surroundings),
            Command::Check(arguments) => check::run(&self.global, arguments, surroundings),
            Command::Status(arguments) => status::run(&self.global, &arguments, surroundings),
            Command::Ledger(arguments) => ledger::run(&self.global, &arguments, surroundings),
            Command::Parked(command) => parked::run(&self.global, command, surroundings),
            Command::Spool(command) => spool::run(&self.global, command, surroundings),
            Command::Swap(arguments) => swap::swap(&self.global, &arguments, surroundings),
            Command::Rollback(arguments) => swap::rollback(&self.global, &arguments, surroundings),
            Command::Plugins(arguments) => plugins::plugins(&self.global, &arguments, surroundings),
            Command::History(arguments) => plugins::history(&self.global, &arguments, surroundings),
            Command::Reload(arguments) => swap::reload(&self.global, &arguments, surroundings),
            Command::Recording(command) => recording::run(&self.global, command, surroundings),
            Command::Replay(arguments) => replay::run(&self.global, &arguments, surroundings),
            Command::Plugin(command) => plugin::run(&self.global, command),
            #[cfg(feature = "demo")]
            Command::Demo(arguments) => demo::run(&self.global, &arguments),
            Command::Sim(arguments) => sim::run(&self.global, &arguments),
            Command::CompilePlugin(arguments) => compile::run(&arguments),
            #[cfg(feature = "demo")]
            Command::Broker(arguments) => broker::run(&arguments),
        }
    }
}

/// Text on standard output, without what a terminal would act on. A reader that has gone away (`| head`) is no failure.
pub fn print(text: &str) {
    let _ = writeln!(
        std::io::stdout().lock(),
        "{}",
        words::lines(text, usize::MAX)
    );
}

/// A document on standard output, on one line: what a terminal would act on stands there by its number.
pub fn print_json(document: &impl serde::Serialize) {
    match serde_json::to_string(document) {
        Ok(text) => drop(writeln!(
            std::io::stdout().lock(),
            "{}",
            words::escaped(&text)
        )),
        Err(error) => say(&format!("error: this cannot be written as JSON: {error}")),
    }
}

/// Text on standard error, without what a terminal would act on.
pub fn say(text: &str) {
    sink::say(&words::lines(text, usize::MAX));
}

#[cfg(test)]
mod tests;
