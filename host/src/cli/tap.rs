//! `tidegate tap`: the messages of a flow before and after each of its plugins, as they pass.

use clap::Args;

use super::place::{CommandFailure, DataDirArgument, running};
use super::show::moment;
use super::{Global, OutputFormat, Surroundings, print, print_json, say};
use crate::clock::utc;
use crate::exit::Exit;
use crate::gateway::api::tap::{OpenedTap, SeenMessage, SeenPage, TapOrder};
use crate::words;

const EXAMPLES: &str = "\
Examples:
  tidegate tap climate                       every message of the flow, at each step
  tidegate tap climate/threshold             what goes into one plugin, and what comes out of it
  tidegate tap climate --device d7 -n 20     of one device, and no more than twenty
  tidegate tap climate --topic 'devices/+/telemetry' -o json | jq -r .text

  > decode-json      on its way into the plugin
  decode-json >      it came out of it, for the next one
  => cloud:alarm     it leaves the flow, for a queue or another flow
  !! rejected        it is parked, and why

What a plugin filters goes in and does not come out. Nothing waits for this: what there is no room for passes unseen, and \
its number is said. Payloads are shown up to 4 KiB. It goes on across swaps and reloads; Ctrl-C ends it.";

/// Arguments of `tidegate tap`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// A flow, or one plugin of it.
    #[arg(value_name = "FLOW[/PLUGIN]")]
    what: String,
    /// Of messages with this key only.
    #[arg(long, value_name = "KEY")]
    device: Option<String>,
    /// Of topics that match only, as they are at each step.
    #[arg(long, value_name = "FILTER")]
    topic: Option<String>,
    /// End after so many.
    #[arg(short = 'n', long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    at: DataDirArgument,
}

pub fn run(global: &Global, arguments: Arguments, surroundings: Surroundings) -> Exit {
    match follow(global, arguments, surroundings) {
        Ok(()) => Exit::Done,
        Err(failure) => failure.end(),
    }
}

fn follow(
    global: &Global,
    arguments: Arguments,
    surroundings: Surroundings,
) -> Result<(), CommandFailure> {
    let what = "nothing passes through a gateway that is off";
    let client = running(global, &arguments.at, surroundings, what)?;
    let (flow, plugin) = match arguments.what.split_once('/') {
        Some((flow, plugin)) => (flow.to_owned(), Some(plugin.to_owned())),
        None => (arguments.what, None),
    };
    let order = TapOrder {
        flow,
        plugin,
        device: arguments.device,
        topic: arguments.topic,
    };
    let OpenedTap { tap } = client.post("/v1/taps", &order)?;
    let mut left = arguments.count.unwrap_or(u64::MAX);
    while left > 0 {
        let page: SeenPage = client.get(&format!("/v1/taps/{tap}"))?;
        if page.missed > 0 {
            say(&format!("{} passed unseen", words_of(page.missed)));
        }
        for seen in page.seen {
            match global.output {
                OutputFormat::Text => print(&text(&seen)),
                OutputFormat::Json => print_json(&seen),
            }
            left -= 1;
            if left == 0 {
                break;
            }
        }
        if super::terminal::is_closed() {
            break;
        }
    }
    client.post::<()>(&format!("/v1/taps/{tap}/close"), &())?;
    Ok(())
}

fn words_of(missed: u64) -> String {
    super::show::of(missed, "message")
}

/// One message: where it is, its topic, and its payload.
fn text(seen: &SeenMessage) -> String {
    const PAYLOAD: usize = 400;
    let place = match &*seen.at {
        "into" => format!("> {}", seen.of),
        "out-of" => format!("{} >", seen.of),
        "leaves" => format!("=> {}", seen.of),
        _ => format!("!! {}", seen.of),
    };
    let at = moment(&utc(seen.at_us));
    let clock = at.get(11..).unwrap_or(&at);
    let content = &seen.content;
    let payload = match &content.text {
        Some(text) => words::line(text, PAYLOAD),
        None => format!("({} bytes that are no text)", seen.payload_bytes),
    };
    let why = seen
        .detail
        .as_ref()
        .map(|why| format!("  {}", words::line(why, PAYLOAD)));
    format!(
        "{clock}  {place:<20}  {}  {payload}{}",
        words::line(&content.topic, PAYLOAD),
        why.unwrap_or_default()
    )
}
