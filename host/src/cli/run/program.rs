//! `tidegate run-program`: becomes another program, whose output a gateway takes. Hidden: nobody types it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::cli::say;
use crate::exit::Exit;

/// Arguments of `tidegate run-program`.
#[derive(Clone, Debug, Args)]
pub struct Arguments {
    /// Whole path of it.
    pub program: PathBuf,
    /// Its own arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// Becomes the program, which ends when the gateway does, however that ends.
pub fn run(arguments: &Arguments) -> Exit {
    let bound = set_parent_process_death_signal(Some(Signal::KILL));
    let error = match bound {
        Ok(()) => Command::new(&arguments.program)
            .args(&arguments.arguments)
            .exec(),
        Err(error) => error.into(),
    };
    say(&format!(
        "cannot run `{}`: {error}",
        arguments.program.display()
    ));
    Exit::Failed
}
