//! `tidegate relay`: the far end of `--gateway ssh://…`, which hands requests on to the gateway of this machine.

use std::io;

use clap::Args;

use super::{CommandFailure, DataDirArgument, running};
use crate::cli::{Global, Surroundings};
use crate::exit::Exit;

/// Arguments of `tidegate relay`.
#[derive(Debug, Args)]
pub struct RelayArguments {
    #[command(flatten)]
    at: DataDirArgument,
}

/// Serves until the near end is gone.
pub fn run(global: &Global, arguments: &RelayArguments, surroundings: Surroundings) -> Exit {
    let found = running(
        global,
        &arguments.at,
        surroundings,
        "only a running one is asked from elsewhere",
    );
    let served = found.and_then(|client| {
        client
            .serve_relay(&mut io::stdin().lock(), &mut io::stdout().lock())
            .map_err(|error| CommandFailure::Said(format!("the other end of ssh: {error}")))
    });
    match served {
        Ok(()) => Exit::Done,
        Err(failure) => failure.end(),
    }
}
