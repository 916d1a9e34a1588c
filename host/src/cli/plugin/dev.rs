//! `tidegate plugin dev`: whenever a file is saved the plugin is built, its cases are run, and what has passed them is swapped
//! into a running gateway.

use std::path::PathBuf;

use clap::Args;

use super::build::build;
use super::test::{Test, is_quiet, once};
use super::watch::until_changed;
use crate::cli::place::DataDirArgument;
use crate::cli::swap::{SwapArguments, swap};
use crate::cli::{Global, Surroundings, say};
use crate::exit::Exit;

const EXAMPLES: &str = "\
Examples:
  tidegate plugin dev climate/my-rule                  the plugin in this folder, into the gateway of /etc/tidegate
  tidegate plugin dev climate/my-rule plugins/my-rule -c barn.toml

The version swapped in is watched like any other, and taken back when it does worse; `tidegate rollback` brings the one before \
back, `tidegate history` names who swapped what. Ctrl-C ends it, and the last one runs on.";

/// Arguments of `tidegate plugin dev`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Dev {
    /// The plugin in the gateway: FLOW/PLUGIN, or its own name where there is only one of it.
    #[arg(value_name = "PLUGIN")]
    plugin: String,
    /// Folder with the plugin's sources.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Do it once, and end.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    at: DataDirArgument,
}

/// Does what was asked.
pub(super) fn run(global: &Global, arguments: &Dev, surroundings: Surroundings) -> Exit {
    loop {
        let exit = round(global, arguments, surroundings);
        if arguments.once {
            return exit;
        }
        say("waiting for a file to be saved; Ctrl-C ends it");
        until_changed(std::slice::from_ref(&arguments.folder));
    }
}

fn round(global: &Global, arguments: &Dev, surroundings: Surroundings) -> Exit {
    let built = match build(&arguments.folder, is_quiet(global, surroundings)) {
        Ok(built) => built,
        Err(error) => return error.end(),
    };
    if arguments.folder.join("cases").is_dir() {
        let exit = once(global, &Test::of(&arguments.folder), surroundings);
        if exit != Exit::Done {
            say("nothing is swapped in: its cases fail");
            return exit;
        }
    }
    let order = SwapArguments::of(arguments.plugin.clone(), built.path, arguments.at.clone());
    swap(global, &order, surroundings)
}
