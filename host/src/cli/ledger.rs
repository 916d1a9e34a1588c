//! `tidegate ledger`: what was given up, and why.

use clap::Args;
use serde::Deserialize;

use super::place::{Access, CommandFailure, DataDirArgument, GatewayOrFiles};
use super::show::{count, moment, of};
use super::{Global, OutputFormat, Surroundings, print, print_json};
use crate::clock::utc;
use crate::exit::Exit;
use crate::spool::ToolRequest;

const EXAMPLES: &str = "\
Examples:
  tidegate ledger
  tidegate ledger -o json | jq 'map(select(.reason == \"quota-oldest\") | .count) | add'

A message is delivered, owed, filtered, a dead letter, or in the ledger. Its entries are merged by reason, class, topic, \
device and time; when there are too many, device and topic are left out first, and no message is ever un-counted. A `-` \
stands for what is not known or was merged.

Reasons:
  quota-oldest, quota-newest   the class had no room: its `max` and `drop`
  expired                      it was owed for longer than `max_age`
  superseded                   a newer message of the same topic took its place
  damaged                      the disk lost it
  spool-full, letters-full     the store could not write, and memory was full
  dead-letters-evicted         made room for newer dead letters
  qos0-pressed                 a source had no room for level 0
  unrouted                     a broker sent it for a subscription that no flow has any more
  broker-session-lost          the devices' broker forgot us; how many is not known, so 0
  by-hand                      an operator dropped it
  plugin-failed                a plugin with `on_error = \"drop\"` failed on it";

/// Arguments of `tidegate ledger`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    at: DataDirArgument,
}

/// An entry, as the spool tells it.
#[derive(Debug, Deserialize)]
struct LedgerLine {
    reason: String,
    uplink: String,
    class: String,
    topic: Option<String>,
    device: Option<String>,
    count: u64,
    first: u64,
    last: u64,
}

pub fn run(global: &Global, arguments: &Arguments, surroundings: Surroundings) -> Exit {
    match GatewayOrFiles::find(global, &arguments.at, surroundings, Access::Look)
        .and_then(|place| show(global, &place))
    {
        Ok(()) => Exit::Done,
        Err(failure) => failure.end(),
    }
}

fn show(global: &Global, place: &GatewayOrFiles) -> Result<(), CommandFailure> {
    let entries: serde_json::Value = place.ask(ToolRequest::Ledger)?;
    let failed = |error: serde_json::Error| {
        CommandFailure::Said(format!("an answer of another form: {error}"))
    };
    match global.output {
        OutputFormat::Json => print_json(&entries),
        OutputFormat::Text => print(&text(
            &serde_json::from_value::<Vec<LedgerLine>>(entries).map_err(failed)?,
        )),
    }
    Ok(())
}

/// Two lines an entry, so that it fits 80 columns.
fn text(entries: &[LedgerLine]) -> String {
    if entries.is_empty() {
        return "nothing was given up".to_owned();
    }
    let total: u64 = entries.iter().map(|entry| entry.count).sum();
    let mut lines = vec![format!(
        "{} given up, in {}",
        of(total, "message"),
        if entries.len() == 1 {
            "1 entry".to_owned()
        } else {
            format!("{} entries", entries.len())
        }
    )];
    for entry in entries {
        let queue = if entry.uplink.is_empty() {
            "-".to_owned()
        } else {
            format!("{}:{}", entry.uplink, entry.class)
        };
        let [topic, device] =
            [&entry.topic, &entry.device].map(|part| part.as_deref().unwrap_or("-"));
        lines.push(format!(
            "{:>12}  {:<20}  {queue}  {device}",
            count(entry.count),
            entry.reason
        ));
        lines.push(format!(
            "{:>12}  {} to {}  {topic}",
            "",
            moment(&utc(entry.first)),
            moment(&utc(entry.last))
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_shown_with_what_is_known() {
        let entry = |topic: Option<&str>, count| LedgerLine {
            reason: "quota-oldest".into(),
            uplink: "cloud".into(),
            class: "telemetry".into(),
            topic: topic.map(str::to_owned),
            device: None,
            count,
            first: 1_700_000_000_000_000,
            last: 1_700_000_060_000_000,
        };
        let shown = text(&[entry(Some("a/b"), 1_204), entry(None, 1)]);
        assert!(
            shown.starts_with("1,205 messages given up, in 2 entries\n       1,204  quota-oldest          cloud:telemetry  -\n")
        );
        assert!(
            shown.contains(&format!(
                "{} to {}  a/b",
                moment(&utc(1_700_000_000_000_000)),
                moment(&utc(1_700_000_060_000_000))
            )),
            "{shown}"
        );
        assert_eq!(text(&[]), "nothing was given up");
    }
}
