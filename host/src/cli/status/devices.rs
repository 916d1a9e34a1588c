//! `tidegate devices`: who was seen, and whether he is there.

use std::time::Duration;

use clap::Args;
use clap_complete::engine::ArgValueCandidates;

use crate::cli::completions::names;
use crate::cli::place::{CommandFailure, DataDirArgument, running};
use crate::cli::show::{age, bytes, count, of};
use crate::cli::{Global, OutputFormat, Surroundings, print, print_json, say};
use crate::devices::{DeviceList, DeviceQuery, DeviceState, ListedDevice};
use crate::exit::Exit;
use crate::words;

const EXAMPLES: &str = "\
Examples:
  tidegate devices                                  those gone mad and silent ones first
  tidegate devices --state silent                   who was not heard for longer than `devices.heartbeat`
  tidegate devices --mad                            who sends too much, or is in quarantine
  tidegate devices sensor-7                         those with that in their name
  tidegate devices -o json | jq -r '.devices[] | select(.state == \"offline\") | .device'

  heard      how long ago; after a restart, before anything was heard, the day of the last message
  rate       messages a second, over the last minute";

/// Columns that a name may take.
const NAME: usize = 30;

/// Arguments of `tidegate devices`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DevicesArguments {
    /// Only those with this in their name.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Only those in this state.
    #[arg(long, value_name = "STATE", value_parser = parse_state)]
    state: Option<DeviceState>,
    /// Only those that have gone mad: by their rate, or in quarantine.
    #[arg(long)]
    mad: bool,
    /// Only those that this source heard last.
    #[arg(long, value_name = "SOURCE", add = ArgValueCandidates::new(names::sources))]
    source: Option<String>,
    /// At most so many; with `-o json` all, where nothing is said.
    #[arg(long, value_name = "N")]
    most: Option<usize>,
    #[command(flatten)]
    at: DataDirArgument,
}

fn parse_state(text: &str) -> Result<DeviceState, String> {
    let mut all = DeviceState::ALL.into_iter();
    all.find(|state| state.name() == text).ok_or_else(|| {
        format!(
            "one of {}",
            DeviceState::ALL.map(DeviceState::name).join(", ")
        )
    })
}

pub fn devices(global: &Global, arguments: DevicesArguments, surroundings: Surroundings) -> Exit {
    match show(global, arguments, surroundings) {
        Ok(exit) => exit,
        Err(failure) => failure.end(),
    }
}

fn show(
    global: &Global,
    arguments: DevicesArguments,
    surroundings: Surroundings,
) -> Result<Exit, CommandFailure> {
    /// A screen or two.
    const FEW: usize = 100;
    let is_text = global.output == OutputFormat::Text;
    let what = "what the gateway knows of devices is read where it runs";
    let client = running(global, &arguments.at, surroundings, what)?;
    let query = DeviceQuery {
        state: arguments.state,
        mad: arguments.mad,
        source: arguments.source,
        name: arguments.name,
        most: arguments.most.or(is_text.then_some(FEW)),
    };
    let list: DeviceList = client.post("/v1/devices", &query)?;
    if !is_text {
        print_json(&list);
        return Ok(Exit::Done);
    }
    if !list.is_on {
        say("this gateway keeps no register of devices: write [devices] into its config");
        return Ok(Exit::Failed);
    }
    print(&head(&list));
    if !list.devices.is_empty() {
        print(&format!(
            "{:<NAME$}  {:<8} {:>10} {:>9} {:>9} {:>9}",
            "device", "state", "heard", "rate", "messages", "bytes"
        ));
    }
    list.devices.iter().for_each(|device| print(&line(device)));
    if list.more > 0 {
        say(&format!(
            "and {}: --most shows more of them",
            of(list.more, "other")
        ));
    }
    Ok(Exit::Done)
}

fn head(list: &DeviceList) -> String {
    let counts = &list.counts;
    let each = [
        (counts.online, "online"),
        (counts.silent, "silent"),
        (counts.offline, "offline"),
        (counts.unknown, "unknown"),
        (counts.mad, "gone mad"),
        (list.forgotten, "forgotten since the start"),
    ];
    let each = each.into_iter().filter(|(number, _)| *number > 0);
    let each: Vec<_> = each
        .map(|(number, what)| format!("{} {what}", count(number)))
        .collect();
    let known = of(counts.known, "device");
    if each.is_empty() {
        known
    } else {
        format!("{known}: {}", each.join(", "))
    }
}

/// One device, in a line of the table. Its name is whatever it calls itself.
fn line(device: &ListedDevice) -> String {
    let name = words::line(&device.device, NAME);
    let heard = match (device.silent_s, &device.last) {
        (Some(seconds), _) => age(Duration::from_secs(seconds)),
        (None, Some(last)) => last.get(..10).unwrap_or(last).to_owned(),
        (None, None) => "-".to_owned(),
    };
    let mut line = format!(
        "{name:<NAME$}  {:<8} {heard:>10} {:>7}/s {:>9} {:>9}",
        device.state.name(),
        device.rate,
        count(device.messages),
        bytes(device.bytes),
    );
    let odd = [
        (device.is_mad, "mad"),
        (device.is_quarantined, "quarantined"),
    ];
    for (_, what) in odd.into_iter().filter(|(is_so, _)| *is_so) {
        line.push_str("  ");
        line.push_str(what);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_is_a_name_in_one_line() {
        let device = ListedDevice {
            device: "d\u{1b}[2J\n7\u{202e}".to_owned(),
            state: DeviceState::Silent,
            why: Some("heartbeat".to_owned()),
            since: None,
            version: 0,
            source: "field".to_owned(),
            first: None,
            last: None,
            silent_s: Some(3_700),
            messages: 1_204,
            bytes: 5_000,
            rate: 0.25,
            is_mad: false,
            is_quarantined: true,
        };
        let line = line(&device);
        assert!(
            !line
                .chars()
                .any(|symbol| symbol.is_control() || symbol == '\u{202e}'),
            "{line:?}"
        );
        assert!(
            line.contains("silent")
                && line.contains("1 h 1 min")
                && line.ends_with("  quarantined"),
            "{line}"
        );
    }
}
