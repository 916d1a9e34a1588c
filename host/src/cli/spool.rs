//! `tidegate spool`: what is owed upstream, by hand.

mod carry;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::engine::ArgValueCandidates;
use serde_json::json;

use self::carry::export;
use self::carry::import;
use super::completions::names;
use super::place::Access;
use super::place::CommandFailure;
use super::place::DataDirArgument;
use super::place::GatewayOrFiles;
use super::show::{WIDTH, count, moment, of, row};
use super::status::{queue as queue_row, store as store_rows};
use super::{Global, OutputFormat, Surroundings, print, print_json, say};
use crate::exit::Exit;
use crate::message::Seq;
use crate::spool::{AffectedCount, Checked, DamageFinding, QueueRecord, RecordPage, ToolRequest};
use crate::words;

/// Messages asked for at a time.
const PAGE: usize = 2_000;
/// Bytes of lines that are imported at a time.
const PAGE_BYTES: usize = 4 << 20;

const STAT: &str = "\
Examples:
  tidegate spool stat
  tidegate spool stat -o json | jq '.queues[].on_disk'";

const PEEK: &str = "\
Examples:
  tidegate spool peek                        the next ten messages of every queue
  tidegate spool peek cloud:alarm -n 100
  tidegate spool peek cloud:alarm -o json | jq -r '.records[].topic'

Looking takes nothing out. On a running gateway what is shown may be delivered meanwhile.";

const EXPORT: &str = "\
Examples:
  tidegate spool export > owed.ndjson                     everything that is owed
  tidegate spool export cloud:telemetry --to owed.ndjson
  jq -r 'select(.text) | [.topic, .text] | @tsv' owed.ndjson

One line of JSON for each message: queue, topic, headers, `payload` (base64), `text` (where the payload is text), time \
of arrival, its place in the queue (`seq`) and the number it was taken under (`boot`, `number`). Nothing is taken out: \
`tidegate spool drop` does that. What cannot be read is named on standard error, and the exit code is then 1.";

const IMPORT: &str = "\
Examples:
  tidegate spool import owed.ndjson
  jq -c 'select(.topic | startswith(\"devices/d7/\"))' owed.ndjson | tidegate spool import -
  echo '{\"queue\":\"cloud:alarm\",\"topic\":\"test/a\",\"text\":\"hello\"}' | tidegate spool import -

Appends the messages to their queues, behind what is there, in the order of the lines. They get new places, and with \
them new ids upstream (`id` of the uplink): importing twice sends twice. Ends when all of them are accepted upstream or on \
disk.";

const CHECK: &str = "\
Examples:
  tidegate spool check
  tidegate spool check -o json | jq '.findings'

Reads every message on disk and every dead letter, and names what is damaged or missing. Changes nothing, as all that only \
looks: of a stopped gateway the index (64 MiB at most) is copied to memory, and read there. Ends with 0 \
when all is well and with 1 when something was found; `tidegate spool repair` then sets the damaged parts aside.";

const REPAIR: &str = "\
Examples:
  tidegate spool repair
  tidegate spool repair --data-dir /mnt/card/tidegate

Sets damaged chunks aside (their bytes are kept in `damaged/`), so that what lies behind them is delivered, and notes \
afresh what each queue owes. An index that does not open is moved to store.damaged-<seconds> and made up from the files: \
nothing is lost by it. A gateway does the same by itself, at its start and when it comes to a damaged place.";

const DROP: &str = "\
Examples:
  tidegate spool export cloud:debug --to debug.ndjson && tidegate spool drop cloud:debug --yes
  tidegate spool drop cloud:debug            how many messages that would give up

Gives up everything a queue owes, in RAM and on disk, for good; devices are told that it is settled. Log and ledger say \
how many messages that were. A queue that the config does not have any more can be dropped while the gateway is stopped.";

/// The commands about the spool.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// What each queue owes.
    #[command(after_help = STAT)]
    Stat(DataDirArgument),
    /// The next messages of a queue.
    #[command(after_help = PEEK)]
    Peek(Peek),
    /// Messages as lines of JSON.
    #[command(after_help = EXPORT)]
    Export(ExportMessages),
    /// Lines of JSON as messages.
    #[command(after_help = IMPORT)]
    Import(ImportMessages),
    /// Read everything, and tell what is damaged.
    #[command(after_help = CHECK)]
    Check(DataDirArgument),
    /// Set aside what is damaged.
    #[command(after_help = REPAIR)]
    Repair(DataDirArgument),
    /// Give up what a queue owes.
    #[command(after_help = DROP)]
    Drop(DropQueue),
}

/// Arguments of `tidegate spool peek`.
#[derive(Debug, Args)]
pub struct Peek {
    /// `uplink:class`; all queues without it.
    #[arg(value_name = "QUEUE", add = ArgValueCandidates::new(names::queues))]
    queue: Option<String>,
    /// Messages of each queue.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    count: u16,
    #[command(flatten)]
    at: DataDirArgument,
}

/// Arguments of `tidegate spool export`.
#[derive(Debug, Args)]
pub struct ExportMessages {
    /// `uplink:class`, one or more; all queues without.
    #[arg(value_name = "QUEUE", add = ArgValueCandidates::new(names::queues))]
    queues: Vec<String>,
    /// A new file to write; standard output without it.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    at: DataDirArgument,
}

/// Arguments of `tidegate spool import`.
#[derive(Debug, Args)]
pub struct ImportMessages {
    /// What `export` has written; `-` for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Put every message into this queue, `uplink:class`, whatever its line says.
    #[arg(long, value_name = "QUEUE", add = ArgValueCandidates::new(names::queues))]
    queue: Option<String>,
    #[command(flatten)]
    at: DataDirArgument,
}

/// Arguments of `tidegate spool drop`.
#[derive(Debug, Args)]
pub struct DropQueue {
    /// Its name, `uplink:class`.
    #[arg(value_name = "QUEUE", add = ArgValueCandidates::new(names::queues))]
    queue: String,
    /// Yes, give it up.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    at: DataDirArgument,
}

/// Does what was asked.
pub fn run(global: &Global, command: Command, surroundings: Surroundings) -> Exit {
    let find =
        |at: &DataDirArgument, purpose| GatewayOrFiles::find(global, at, surroundings, purpose);
    let done = match &command {
        Command::Stat(at) => find(at, Access::Look).and_then(|place| stat(global, &place)),
        Command::Peek(arguments) => {
            find(&arguments.at, Access::Look).and_then(|place| peek(global, arguments, &place))
        }
        Command::Export(arguments) => {
            find(&arguments.at, Access::Look).and_then(|place| export(arguments, &place))
        }
        Command::Import(arguments) => {
            find(&arguments.at, Access::Change).and_then(|place| import(global, arguments, place))
        }
        Command::Check(at) => find(at, Access::Look).and_then(|place| check(global, &place)),
        Command::Repair(at) => find(at, Access::Repair).and_then(|place| repair(global, place)),
        Command::Drop(arguments) => {
            let purpose = if arguments.yes {
                Access::Change
            } else {
                Access::Look
            };
            find(&arguments.at, purpose).and_then(|place| drop_queue(global, arguments, place))
        }
    };
    done.unwrap_or_else(|failure| failure.end())
}

fn stat(global: &Global, place: &GatewayOrFiles) -> Result<Exit, CommandFailure> {
    let status = place.status()?;
    match global.output {
        OutputFormat::Json => print_json(
            &json!({ "running": status.running, "queues": status.queues, "store": status.store }),
        ),
        OutputFormat::Text => {
            if !place.is_running() {
                say("the gateway does not run; this is what its files say");
            }
            status
                .queues
                .iter()
                .map(queue_row)
                .chain(store_rows(&status))
                .for_each(|line| print(&line));
        }
    }
    Ok(Exit::Done)
}

fn queues(place: &GatewayOrFiles, wanted: &[String]) -> Result<Vec<String>, CommandFailure> {
    if !wanted.is_empty() {
        return Ok(wanted.to_vec());
    }
    Ok(place
        .status()?
        .queues
        .into_iter()
        .map(|queue| queue.name)
        .collect())
}

fn peek(global: &Global, arguments: &Peek, place: &GatewayOrFiles) -> Result<Exit, CommandFailure> {
    let max = usize::from(arguments.count);
    let mut all = RecordPage::default();
    for queue in queues(place, arguments.queue.as_slice())? {
        let page: RecordPage = place.ask(ToolRequest::Page {
            queue,
            from: Seq::FIRST,
            max,
        })?;
        all.records.extend(page.records);
        all.findings.extend(page.findings);
    }
    match global.output {
        OutputFormat::Json => {
            print_json(&json!({ "records": all.records, "findings": all.findings }))
        }
        OutputFormat::Text => {
            all.records.iter().for_each(|record| print(&shown(record)));
            if all.records.is_empty() {
                say("nothing is owed");
            }
        }
    }
    tell(&all.findings);
    Ok(if all.findings.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// A message in two lines.
fn shown(record: &QueueRecord) -> String {
    let content = &record.content;
    let body = match &content.text {
        Some(text) if text.is_empty() => "(no payload)".to_owned(),
        Some(text) => words::line(text, WIDTH - 4),
        None => format!(
            "({} of payload that is no text)",
            content
                .payload
                .as_ref()
                .map_or(0, |text| text.len() / 4 * 3)
        ),
    };
    let received = moment(&content.received);
    let head = format!("{}  {received}  {}", record.queue, content.topic);
    format!("{}\n    {body}", words::line(&head, WIDTH))
}

fn tell(findings: &[DamageFinding]) {
    for DamageFinding {
        queue,
        from,
        to,
        what,
    } in findings
    {
        say(&format!(
            "{queue}: places {from} to {to} cannot be read: {what}"
        ));
    }
}

fn check(global: &Global, place: &GatewayOrFiles) -> Result<Exit, CommandFailure> {
    let checked: Checked = place.ask(ToolRequest::Check)?;
    show_checked(global, &checked);
    Ok(if checked.is_well() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn repair(global: &Global, place: GatewayOrFiles) -> Result<Exit, CommandFailure> {
    let checked: Checked = place.ask(ToolRequest::Repair)?;
    let index = place.status()?.store.damaged_store;
    place.close()?;
    show_checked(global, &checked);
    if global.output == OutputFormat::Text {
        let parts = checked.findings.len() as u64;
        say(&match (&index, parts) {
            (Some(path), 0) => format!(
                "repaired: the index was damaged, lies in {}, and was made up from the files",
                path.display()
            ),
            (None, 0) => "no queue needed repair".to_owned(),
            (_, parts) => format!("repaired: {} set aside", of(parts, "part")),
        });
    }
    Ok(Exit::Done)
}

fn show_checked(global: &Global, checked: &Checked) {
    if global.output == OutputFormat::Json {
        return print_json(&json!(checked));
    }
    for queue in &checked.queues {
        let mut details = vec![format!("{} messages can be read", count(queue.messages))];
        details.extend(
            (queue.noted != queue.messages).then(|| format!("{} were noted", count(queue.noted))),
        );
        print(&row("queue", &queue.queue, &details));
    }
    print(&row(
        "parked",
        &count(checked.letters),
        &["can be read".to_owned()],
    ));
    if checked.set_aside > 0 {
        print(&row(
            "aside",
            &count(checked.set_aside),
            &["damaged chunks that were set aside earlier".to_owned()],
        ));
    }
    let lost = [
        (checked.lost_letters, "dead letters"),
        (checked.lost_in_ledger, "messages counted in the ledger"),
        (checked.lost_states, "entries of plugins' state"),
        (
            checked.lost_commits,
            "commits of dead letters, ledger and plugins' state (or more: nobody knows what was in them)",
        ),
    ];
    for (number, what) in lost.into_iter().filter(|(number, _)| *number > 0) {
        say(&format!(
            "{} {what} are missing: the disk has lost them",
            count(number)
        ));
    }
    tell(&checked.findings);
    for id in &checked.damaged_letters {
        say(&format!(
            "dead letter {id} cannot be read; `tidegate parked drop {id}` takes it out"
        ));
    }
    say(if checked.is_well() {
        "all is well"
    } else {
        "not all is well"
    });
}

fn drop_queue(
    global: &Global,
    arguments: &DropQueue,
    place: GatewayOrFiles,
) -> Result<Exit, CommandFailure> {
    let queue = arguments.queue.clone();
    if !arguments.yes {
        let found = place
            .status()?
            .queues
            .into_iter()
            .find(|known| known.name == queue);
        let owed = found.map(|queue| queue.in_ram + queue.on_disk);
        let owed =
            owed.ok_or_else(|| CommandFailure::Said(format!("there is no queue `{queue}`")))?;
        return Err(CommandFailure::Usage(format!(
            "this would give up {} messages for good; say --yes",
            count(owed)
        )));
    }
    let done: AffectedCount = place.ask(ToolRequest::Drop { queue })?;
    place.close()?;
    match global.output {
        OutputFormat::Json => print_json(&json!({ "dropped": done.count })),
        OutputFormat::Text => say(&format!("{} messages given up", count(done.count))),
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests;
