//! The manual pages of every command, for a package.

use std::path::PathBuf;

use clap::Args;

use crate::cli::say;
use crate::exit::Exit;

/// Arguments of the hidden command.
#[derive(Debug, Args)]
pub struct ManArguments {
    /// A folder that is there; a page of the same name is written over.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes the page of this command, and one for each below it.
pub fn run(arguments: &ManArguments, command: clap::Command) -> Exit {
    match clap_mangen::generate_to(command, &arguments.folder) {
        Ok(()) => Exit::Done,
        Err(error) => {
            let folder = arguments.folder.display().to_string();
            let folder = crate::words::line(&folder, 400);
            say(&format!(
                "error: `{folder}` does not take the pages: {error}"
            ));
            Exit::Failed
        }
    }
}
