//! `tidegate config`: the config as it is in effect, what the manual says of a key, and the schema for editors.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Global, OutputFormat, Surroundings, print, print_json, say};
use crate::config::{self, Effective, ManualEntry, Sources};
use crate::exit::Exit;

const SHOW_EXAMPLES: &str = "\
Examples:
  tidegate config show
  tidegate config show --origin | grep -v '# default'
                                   what is not as the manual has it
  TIDEGATE_LOG__LEVEL=debug tidegate config show --origin
                                   what lies over the file
  tidegate config show -o json | jq -r '.settings[] | select(.origin) | .key'";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  tidegate config explain spool.reserve
  tidegate config explain uplink.cloud.inflight
  tidegate config explain max_age                   every key of that name";

const SCHEMA_EXAMPLES: &str = "\
Examples:
  tidegate config schema > tidegate.schema.json
  then, in the first line of a config:  #:schema ./tidegate.schema.json";

/// What to do with it.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The config as it is in effect: the file, what lies over it, and the defaults; secrets stay references.
    #[command(after_help = SHOW_EXAMPLES)]
    Show(ShowArguments),
    /// What the manual says of a key: its default, and the reason for it.
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArguments),
    /// The JSON schema of the config, so that an editor completes it and marks unknown keys, wrong types and words; `tidegate check` finds the rest.
    #[command(after_help = SCHEMA_EXAMPLES)]
    Schema,
}

/// Arguments of `tidegate config show`.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// Folder for what must survive, as it would be given to `run`.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Say behind each value where it comes from: file and line, variable, --set, or default.
    #[arg(long)]
    origin: bool,
}

/// Arguments of `tidegate config explain`.
#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// A key, as in `spool.reserve`, or the end of its name.
    #[arg(value_name = "KEY")]
    key: String,
}

/// Prints what was asked for.
pub fn run(global: &Global, command: &Command, surroundings: Surroundings) -> Exit {
    match command {
        Command::Show(arguments) => show(global, arguments, surroundings),
        Command::Explain(arguments) => explain(global, &arguments.key),
        Command::Schema => {
            print_json(&config::schema());
            Exit::Done
        }
    }
}

fn show(global: &Global, arguments: &ShowArguments, surroundings: Surroundings) -> Exit {
    let sources = Sources {
        secrets: crate::config::Secrets::Elsewhere,
        ..global.sources(arguments.data_dir.clone())
    };
    let effective = match Effective::read(&sources) {
        Ok(effective) => effective,
        Err(problems) => {
            global.show(&problems, surroundings);
            return Exit::Config;
        }
    };
    match global.output {
        OutputFormat::Json => print_json(&json!({ "settings": effective.settings })),
        OutputFormat::Text => print(effective.to_toml(arguments.origin).trim_end()),
    }
    Exit::Done
}

fn explain(global: &Global, key: &str) -> Exit {
    match config::explain(key) {
        Ok(found) if global.output == OutputFormat::Json => print_json(&json!({ "keys": found })),
        Ok(found) => {
            let texts: Vec<String> = found.iter().map(text).collect();
            print(&texts.join("\n\n"));
        }
        Err(meant) => {
            let hint = match meant.as_slice() {
                [] => "every key: tidegate check --manual".to_owned(),
                [one] => format!("did you mean {one}?"),
                several => format!("did you mean one of {}?", several.join(", ")),
            };
            say(&format!(
                "error: the manual has no key `{}`; {hint}",
                crate::words::line(key, 100)
            ));
            return Exit::Usage;
        }
    }
    Exit::Done
}

fn text(entry: &ManualEntry) -> String {
    let mut lines = vec![format!("[{}] {}", entry.table, entry.key)];
    lines.extend(entry.words.iter().map(|words| format!("    {words}")));
    lines.push(if entry.has_default {
        format!("    default: {}", entry.value)
    } else {
        format!(
            "    no default; for example: {} = {}",
            entry.key, entry.value
        )
    });
    lines.join("\n")
}
