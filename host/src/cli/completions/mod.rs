//! `tidegate completions`, and the names that a shell completes; the manual pages, which packages are made with.

pub mod man;
pub mod names;

use clap::{Args, ValueEnum};
use clap_complete::env::Shells;

use super::{print, say};
use crate::exit::Exit;

const EXAMPLES: &str = "\
Examples:
  source <(tidegate completions bash)                                    in this shell
  tidegate completions bash > /etc/bash_completion.d/tidegate            in every one; the package has done that
  tidegate completions zsh > /usr/share/zsh/vendor-completions/_tidegate
  tidegate completions fish > ~/.config/fish/completions/tidegate.fish

What is completed is asked of `tidegate` itself: commands and options, and the names of flows, plugins and queues in the config \
that TIDEGATE_CONFIG names, else /etc/tidegate/tidegate.toml.";

/// The variable by which a shell's script asks what may follow.
pub const ASKED: &str = "COMPLETE";

/// Arguments of `tidegate completions`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Whose script is printed.
    shell: Shell,
}

/// A shell that completes.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script that a shell is to run at its start.
pub fn run(arguments: &Arguments) -> Exit {
    let name = match arguments.shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
    };
    match script(name) {
        Some(script) => {
            print(script.trim_end());
            Exit::Done
        }
        None => {
            say("error: there is no script for that shell");
            Exit::Failed
        }
    }
}

fn script(shell: &str) -> Option<String> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let completer = shells.completer(shell)?;
    let name = "tidegate";
    completer
        .write_registration(ASKED, name, name, name, &mut script)
        .ok()?;
    String::from_utf8(script).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shell_has_a_script_that_asks_the_program() {
        for shell in ["bash", "zsh", "fish"] {
            let script = script(shell).unwrap();
            assert!(
                script.contains("COMPLETE") && script.contains("tidegate"),
                "{script}"
            );
        }
    }
}
