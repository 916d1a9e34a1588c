//! The binary: command line, surroundings, exit code.

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;
use tidegate::cli::{Cli, Surroundings};

fn main() -> ExitCode {
    let surroundings = Surroundings {
        terminal: std::io::stderr().is_terminal(),
        journal: std::env::var("JOURNAL_STREAM").is_ok_and(|stream| is_standard_error(&stream)),
        no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
    };
    // A shell asks what may follow: answered, and ended.
    CompleteEnv::with_factory(Cli::command)
        .var(tidegate::cli::completions::ASKED)
        .complete();
    // Who runs it may know better.
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        tidegate::heap::share();
    }
    Cli::parse().run(surroundings).into()
}

/// systemd names the journal's end by device and inode; a child whose output was redirected inherits the variable.
fn is_standard_error(stream: &str) -> bool {
    rustix::fs::fstat(std::io::stderr())
        .is_ok_and(|found| stream == format!("{}:{}", found.st_dev, found.st_ino))
}
