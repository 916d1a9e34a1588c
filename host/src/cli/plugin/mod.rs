//! `tidegate plugin`: from an idea to a component that a gateway lets in, and what there is to know of one.

mod bench;
mod build;
mod dev;
mod inspect;
mod language;
mod new;
mod rig;
mod sign;
mod templates;
mod test;
mod try_out;
mod watch;

#[cfg(test)]
pub(crate) use test::EXAMPLES as CASES_HELP;

use clap::Subcommand;

use crate::cli::{Global, Surroundings};
use crate::exit::Exit;

/// The commands about plugins.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the folder of a new plugin: a rule, its cases, and all that it is built of.
    New(new::New),
    /// Build a plugin, in whatever language it is written, and print where its component lies.
    Build(build::Build),
    /// Run a plugin, or a flow, on cases out of files, and say where what comes of them is not what they say.
    Test(test::Test),
    /// Run messages from standard input through a plugin, or a flow, and show what each step does.
    Try(try_out::TryOut),
    /// Measure a plugin in the sandbox: time a message by batch size, memory, and how near it is to its limits; two of them side by side.
    Bench(bench::BenchArguments),
    /// Build, test and swap into a running gateway whenever a file is saved.
    Dev(dev::Dev),
    /// What a component is and asks for, in plain words.
    Inspect(inspect::Inspect),
    /// Make a pair of keys for signing plugins.
    Keygen(sign::Keygen),
    /// Sign a component: who made it, which version it is, and until when it may be let in.
    Sign(sign::Sign),
    /// Whose signature a component has, and what it says.
    Verify(sign::Verify),
}

impl Command {
    /// Whether it has to do with a running gateway.
    pub fn asks_a_gateway(&self) -> bool {
        matches!(self, Self::Dev(_))
    }
}

/// Does what was asked.
pub fn run(global: &Global, command: Command, surroundings: Surroundings) -> Exit {
    match command {
        Command::New(arguments) => new::run(global, &arguments),
        Command::Build(arguments) => build::run(global, &arguments),
        Command::Test(arguments) => test::run(global, &arguments, surroundings),
        Command::Try(arguments) => try_out::run(global, &arguments, surroundings),
        Command::Bench(arguments) => bench::run(global, &arguments, surroundings),
        Command::Dev(arguments) => dev::run(global, &arguments, surroundings),
        Command::Inspect(arguments) => inspect::inspect(global, &arguments),
        Command::Keygen(arguments) => sign::keygen(global, arguments),
        Command::Sign(arguments) => sign::sign_component(global, arguments),
        Command::Verify(arguments) => sign::verify(global, &arguments),
    }
}
