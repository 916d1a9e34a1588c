//! `tidegate run`: the gateway, in the foreground.

pub mod program;

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::check::plugin_faults;
use super::{Global, Surroundings, say};
use crate::config::{self, Config, Problems, Secrets, Sources};
use crate::exit::Exit;
use crate::gateway;
use crate::telemetry::log;
use crate::words::with_causes;

pub const EXAMPLES: &str = "\
Examples:
  tidegate run -c examples/convert/tidegate.toml --data-dir /tmp/tidegate
  TIDEGATE_ADMIN__LISTEN=127.0.0.1:0 tidegate run -c tidegate.toml

SIGTERM or Ctrl-C: takes nothing new, hands on or writes what is under way, ends with 0; a second one ends at once.
A changed plugin file, or changed plugin settings in the config, take effect while it runs; SIGHUP has the config read \
again. What needs a restart, or cannot be used, is said in the log and in `tidegate status`, and what ran goes on. A start \
on a config with mistakes begins on the last one that worked, if there is one.";

/// Arguments of `tidegate run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder for what must survive a restart; wins over the config's `data_dir`.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// The config as it stands, where nothing is wrong with it but files that plugins need, on a machine where it has run: each
/// flow runs on what is kept of its plugins, or stays down for itself, and says why.
fn without_files_of_plugins(sources: &Sources, problems: &Problems) -> Option<Config> {
    let proven = Sources {
        secrets: Secrets::Proven,
        ..sources.clone()
    };
    let is_so = problems.are_files_of_plugins();
    is_so.then(|| config::load(&proven).ok()).flatten()
}

/// Loads the config, starts logging, runs the gateway, and tells by the exit code how it ended.
pub fn run(global: &Global, arguments: Arguments, surroundings: Surroundings) -> Exit {
    // A start must not wait for whoever reads what is wrong with the config.
    drop(log::queue());
    let sources = global.sources(arguments.data_dir);
    let at_dial = Sources {
        secrets: Secrets::AtDial,
        ..sources.clone()
    };
    // What is wrong with files that are read at each dial is told by those who dial.
    let (config, mistakes) = match config::load(&at_dial) {
        Ok(config) => (config, None),
        Err(problems) => {
            global.show(&problems, surroundings);
            let Some(kept) = config::load_kept(&sources) else {
                say("Nothing was started.");
                return Exit::Config;
            };
            match without_files_of_plugins(&sources, &problems) {
                Some(config) => (config, None),
                None => (kept, Some(problems)),
            }
        }
    };
    global.start_log(&config, surroundings);
    if let Some(problems) = &mistakes {
        let mistakes = problems.errors();
        tracing::error!(mistakes, file = %sources.path.display(), "the config has mistakes: started on the last one that worked");
    }
    for warning in config.warnings.iter() {
        tracing::warn!(
            code = warning.code.name(),
            hint = warning.hint.as_deref(),
            "config: {}",
            warning.message
        );
    }
    let config = Arc::new(config);
    match gateway::run(Arc::clone(&config), sources.clone(), mistakes.as_ref()) {
        Ok(()) => Exit::Done,
        Err(error @ gateway::Error::Chain { .. }) => {
            // The first fault stopped the start; the operator gets all of them.
            let problems = config.plugin_problems(plugin_faults(&config));
            if problems.is_empty() {
                // A plugin that is good by itself, and cannot go on from what the store has of it.
                say(&format!("error: {}", with_causes(&error)));
            } else {
                global.show(&problems, surroundings);
                if mistakes.is_none()
                    && let Some(exit) = on_the_one_before(sources, &problems)
                {
                    return exit;
                }
            }
            say("Nothing was started.");
            Exit::Plugin
        }
        Err(error) => {
            say(&format!("error: {}", with_causes(&error)));
            Exit::Failed
        }
    }
}

/// Runs the config that worked last, where today's has plugins that cannot be used and that one is another; a reload would have
/// kept it running, too.
fn on_the_one_before(sources: Sources, problems: &Problems) -> Option<Exit> {
    let kept = config::load_kept(&sources)?;
    if !config::has_changed(&kept, &sources) {
        return None;
    }
    tracing::error!(file = %sources.path.display(), "plugins of the config cannot be used: started on the last one that worked");
    Some(
        match gateway::run(Arc::new(kept), sources, Some(problems)) {
            Ok(()) => Exit::Done,
            Err(error) => {
                say(&format!("error: {}", with_causes(&error)));
                Exit::Failed
            }
        },
    )
}
