//! `tidegate ledger`: what was given up, and why.

use clap::Args;
use serde::Deserialize;

use super::place::{Access, CommandFailure, DataDirArgument, GatewayOrFiles};
use super::show::{count, moment, of};
use super::{Global, OutputFormat, Surroundings, print, print_json};
use crate::clock::utc;
use crate::exit::Exit;
use crate::message::LossReason;
use crate::spool::ToolRequest;

const EXAMPLES: &str = "\
Examples:
  tidegate ledger
  tidegate ledger -o json | jq 'map(select(.reason == \"quota-oldest\") | .count) | add'

A message is delivered, owed, filtered, a dead letter, or in the ledger. Its entries are merged by reason, class, topic, \
device and time; when there are too many, device and topic are left out first, and no message is ever un-counted. A `-` \
stands for what is not known or was merged.";

/// What each reason says.
fn meaning(reason: LossReason) -> &'static str {
    match reason {
        LossReason::QuotaOldest => "its class had no room (`max`), and the oldest went",
        LossReason::QuotaNewest => "its class had no room (`max`), and what came went",
        LossReason::Superseded => "a newer message of the same topic took its place",
        LossReason::Expired => {
            "over its class' `max_age`, its flow's `expires`, or the expiry it came with"
        }
        LossReason::Damaged => "the disk lost it",
        LossReason::SpoolFull => "the store could not write, and memory was full",
        LossReason::LettersFull => {
            "a dead letter, where the store could not write and memory was full"
        }
        LossReason::DeadLettersEvicted => "a dead letter that made room for newer ones",
        LossReason::Qos0Pressed => "a source had no room for level 0",
        LossReason::Unrouted => "a broker sent it for a subscription that no flow has any more",
        LossReason::SourcePressed => "a source had no room, and nobody whom it could tell to wait",
        LossReason::SocketFull => "the system had no room for it before a source could take it",
        LossReason::FileGone => {
            "it stood in a followed file that was deleted or cut; number not known: 0"
        }
        LossReason::Unframed => {
            "bytes without a whole message, more often than letters are kept of them"
        }
        LossReason::BrokerSessionLost => {
            "the devices' broker forgot us; how many is not known, so 0"
        }
        LossReason::ByHand => "an operator dropped it",
        LossReason::PluginFailed => "a plugin with `on_error = \"drop\"` failed on it",
        LossReason::MemoryFull => {
            "memory was full, and nobody waits for it: a plugin's timer made it"
        }
    }
}

fn help() -> String {
    let reasons =
        LossReason::ALL.map(|reason| format!("\n  {:<22}{}", reason.name(), meaning(reason)));
    format!("{EXAMPLES}\n\nReasons:{}", reasons.concat())
}

/// Arguments of `tidegate ledger`.
#[derive(Debug, Args)]
#[command(after_help = help())]
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
    #[serde(default)]
    flow: Option<String>,
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
        let queue = match (&entry.flow, entry.uplink.is_empty()) {
            (None, true) => "-".to_owned(),
            (Some(flow), true) => format!("flow {flow}"),
            (None, false) => format!("{}:{}", entry.uplink, entry.class),
            (Some(flow), false) => format!("{}:{} of flow {flow}", entry.uplink, entry.class),
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
    fn the_help_has_every_reason_and_fits_a_terminal() {
        let help = help();
        for reason in LossReason::ALL {
            assert!(help.contains(&format!("\n  {} ", reason.name())), "{help}");
        }
        let reasons = help.split_once("Reasons:").unwrap().1;
        assert!(reasons.lines().all(|line| line.len() <= 100), "{reasons}");
    }

    #[test]
    fn an_entry_is_shown_with_what_is_known() {
        let entry = |topic: Option<&str>, count| LedgerLine {
            reason: "quota-oldest".into(),
            uplink: "cloud".into(),
            class: "telemetry".into(),
            topic: topic.map(str::to_owned),
            device: None,
            flow: None,
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
