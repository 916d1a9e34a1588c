//! `tidegate run`: the gateway, in the foreground.

use std::path::PathBuf;

use clap::Args;

use super::{Global, Surroundings};
use crate::config::{Config, Sources};
use crate::exit::Exit;

/// Examples for `--help`.
pub const EXAMPLES: &str = "\
Examples:
  tidegate run -c examples/convert/tidegate.toml --data-dir /tmp/tidegate
  TIDEGATE_ADMIN__LISTEN=127.0.0.1:0 tidegate run -c tidegate.toml

SIGTERM or Ctrl-C: takes nothing new, hands on or writes what is under way, ends with 0; a second one ends at once.
A changed plugin file, or changed plugin settings in the config, take effect while it runs.";

/// Arguments of `tidegate run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder for what must survive a restart; wins over the config's `data_dir`.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Everything before the gateway itself: loads the config, starts logging, logs what is odd about the config. The
/// [`Sources`] are for loading it again.
///
/// # Errors
/// The exit code to end with; the mistakes were shown.
pub fn prepare(global: &Global, arguments: Arguments, surroundings: Surroundings) -> Result<(Config, Sources), Exit> {
    let sources = global.sources(arguments.data_dir);
    let config = global.load(&sources, surroundings)?;
    global.start_log(&config, surroundings);
    for warning in config.warnings.iter() {
        tracing::warn!(code = warning.code.name(), hint = warning.hint.as_deref(), "config: {}", warning.message);
    }
    Ok((config, sources))
}
