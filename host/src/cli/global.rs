//! What every command takes, and what it is surrounded by.

pub mod remote;

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args, ValueEnum};

use self::remote::RemoteArguments;
use super::terminal::{print_json, say};
use crate::config::{self, Config, Problems, Sources};
use crate::exit::Exit;
use crate::telemetry::{log, sink};

/// Where the config is when nobody says.
pub(super) const PLACE: &str = "/etc/tidegate/tidegate.toml";

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
        default_value = PLACE
    )]
    pub config: PathBuf,
    /// Change one setting, as in `--set log.level=debug`; may be repeated.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub remote: RemoteArguments,
    /// How data is printed.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORM",
        default_value = "text"
    )]
    pub output: OutputFormat,
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
pub enum OutputFormat {
    #[value(help = "For people")]
    Text,
    #[value(help = "For programs")]
    Json,
}

/// When colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum When {
    #[value(help = "On a terminal")]
    Auto,
    #[value(help = "Always")]
    Always,
    #[value(help = "Never")]
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
    /// Whether somebody said which config is meant.
    pub fn names_a_config(&self) -> bool {
        self.config != Path::new(PLACE)
    }

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
            log::LogOutput {
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
            OutputFormat::Text => sink::say(problems.render(self.colour(surroundings)).trim_end()),
            OutputFormat::Json => print_json(&problems.to_json()),
        }
    }
}
