//! `tidegate compile-plugin`: the process in which a gateway has its plugins compiled. Hidden: nobody types it.

use std::time::Duration;

use clap::Args;

use super::say;
use crate::chain::{CompileLimits, compile_plugin};
use crate::exit::Exit;

/// Arguments of `tidegate compile-plugin`.
#[derive(Clone, Copy, Debug, Args)]
pub struct Arguments {
    /// Native stack of the plugin.
    #[arg(value_name = "BYTES")]
    pub stack: usize,
    /// Address space this process may take.
    #[arg(value_name = "BYTES")]
    pub memory: u64,
    /// Time it may take.
    #[arg(value_name = "SECONDS")]
    pub time: u64,
}

/// Compiles, and tells by the exit code whether standard output has the code or standard error the reason.
pub fn run(arguments: &Arguments) -> Exit {
    let limits = CompileLimits {
        memory_bytes: arguments.memory,
        time: Duration::from_secs(arguments.time),
    };
    match compile_plugin(arguments.stack, limits) {
        Ok(()) => Exit::Done,
        Err(why) => {
            say(&why);
            Exit::Plugin
        }
    }
}
