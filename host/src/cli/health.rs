//! `tidegate health`: how each part of a running gateway is, and why.

use clap::Args;

use super::place::{DataDirArgument, running};
use super::{Global, OutputFormat, Surroundings, print, print_json};
use crate::exit::Exit;
use crate::gateway::api::health::{Report, State, WORDS};

const EXAMPLES: &str = "\
Examples:
  tidegate health
  tidegate health -o json | jq '.parts[] | select(.state != \"ok\") | {kind, name, why}'
  curl -s localhost:9646/healthz?verbose          over HTTP, without what devices and upstream said

  [+]   all is well with it
  [~]   degraded: it does its job in part, or will soon not do it; an uplink that is
        away is one, since to keep messages meanwhile is the job
  [-]   failed: it cannot do its job

It ends with 0 where every part is ok, with 7 where one is degraded, and with 1 where one has failed.";

/// Arguments of `tidegate health`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    at: DataDirArgument,
}

pub fn run(global: &Global, arguments: &Arguments, surroundings: Surroundings) -> Exit {
    let what = "there is no health of a gateway that is off";
    let report = running(global, &arguments.at, surroundings, what)
        .and_then(|client| Ok(client.get::<Report>("/v1/health")?));
    match report {
        Ok(report) => {
            match global.output {
                OutputFormat::Text => print(report.text(true, WORDS).trim_end()),
                OutputFormat::Json => print_json(&report),
            }
            match report.state {
                State::Ok => Exit::Done,
                State::Degraded => Exit::Degraded,
                State::Failed => Exit::Failed,
            }
        }
        Err(failure) => failure.end(),
    }
}
