//! `tidegate parked`: dead letters, by hand.

mod shown;

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use self::shown::full;
use self::shown::line;
use super::place::{Access, CommandFailure, DataDirArgument, GatewayOrFiles, running};
use super::show::WIDTH;
use super::show::count;
use super::show::of;
use super::terminal::lines::JsonLines;
use super::{Global, OutputFormat, Surroundings, print, print_json, say};
use crate::exit::Exit;
use crate::gateway::api::letters::{Retried, RetryRequest};
use crate::spool::{AffectedCount, Letter, LetterFilter, LetterId, LetterPage, ToolRequest};
use crate::words;

/// Letters asked for at a time.
const PAGE: usize = 500;
/// Letters sent on their way at a time: each such part waits until it is safe.
const PART: usize = 200;

/// Columns of a topic in the list.
const TOPIC: usize = 40;

const LIST: &str = "\
Examples:
  tidegate parked list
  tidegate parked list --flow climate --reason poison
  tidegate parked list --after 3-17                   the next page: those behind the last one shown
  tidegate parked list -o json | jq -r '.letters[] | [.id, .topic, .detail] | @tsv'

Reasons: `rejected` by a plugin, in its own words; `poison`, a plugin trapped, ran out of time or broke its contract on \
it; `too-long`, over a limit, so only its head is kept; `refused` for good by upstream; `quarantined`, since what its device \
sent before was bad too; `malformed`, it came in with a field that MQTT forbids; `circled`, it came back again and again: \
what a flow sends is taken in again.";

const SHOW: &str = "\
Examples:
  tidegate parked show 3-17
  tidegate parked show 3-17 -o json | jq -r .payload | base64 -d > payload.bin

Everything there is: topic, headers, payload, times, the plugin and the SHA-256 of its component, the reason in words, \
and of a trap the back-trace and the last lines the plugin wrote.";

const RETRY: &str = "\
Examples:
  tidegate parked retry 3-17 3-18
  tidegate parked retry --flow climate --reason rejected      after the plugin was mended
  tidegate parked retry --all

Sends them on their way again, oldest first: what a plugin stopped at goes through today's plugins from that one on; \
what upstream refused goes back into its queue. A letter is taken out only when its message is safe elsewhere, so a power \
cut in between loses nothing and may send it twice. What fails again is parked again, under a new name, and the exit code \
is then 1. Needs a running gateway.";

const EXPORT: &str = "\
Examples:
  tidegate parked export > parked.ndjson
  tidegate parked export --flow climate --to parked.ndjson
  jq -c '{queue:\"cloud:telemetry\", topic, payload}' parked.ndjson | tidegate spool import -

One line of JSON for each letter, with `payload` in base64 and as `text` where it is text. Nothing is taken out.";

const DROP: &str = "\
Examples:
  tidegate parked drop 3-17
  tidegate parked export --to parked.ndjson && tidegate parked drop --all --yes

Takes letters out for good. More than those named one by one are only taken out with --yes.";

/// The commands about dead letters.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Dead letters, newest first; as JSON page by page, oldest first.
    #[command(after_help = LIST)]
    List(ListLetters),
    /// Everything about one dead letter.
    #[command(after_help = SHOW)]
    Show(Show),
    /// Send dead letters on their way again.
    #[command(after_help = RETRY)]
    Retry(Chosen),
    /// Dead letters as lines of JSON.
    #[command(after_help = EXPORT)]
    Export(ExportLetters),
    /// Take dead letters out for good.
    #[command(after_help = DROP)]
    Drop(DropLetters),
}

/// Which letters, by what they are.
#[derive(Debug, Args)]
pub struct Which {
    /// Of this flow only.
    #[arg(long, value_name = "FLOW")]
    flow: Option<String>,
    /// Of this reason only.
    #[arg(long, value_name = "REASON", value_parser = ["rejected", "poison", "too-long", "refused", "quarantined", "malformed", "circled", "unframed"])]
    reason: Option<String>,
}

impl Which {
    fn filter(&self) -> LetterFilter {
        LetterFilter {
            flow: self.flow.clone(),
            reason: self.reason.clone(),
        }
    }
}

/// Arguments of `tidegate parked list`.
#[derive(Debug, Args)]
pub struct ListLetters {
    #[command(flatten)]
    which: Which,
    /// Letters on the page.
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    count: u16,
    /// The page behind this letter: of older ones; as JSON, where the oldest come first, of newer ones.
    #[arg(long, value_name = "ID")]
    after: Option<LetterId>,
    #[command(flatten)]
    at: DataDirArgument,
}

/// Arguments of `tidegate parked show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The letter's name, as `list` shows it.
    #[arg(value_name = "ID")]
    id: LetterId,
    #[command(flatten)]
    at: DataDirArgument,
}

/// Arguments of `tidegate parked export`.
#[derive(Debug, Args)]
pub struct ExportLetters {
    #[command(flatten)]
    which: Which,
    /// A new file to write; standard output without it.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    at: DataDirArgument,
}

/// Letters by name, or all that fit.
#[derive(Debug, Args)]
pub struct Chosen {
    /// Names of letters, as `list` shows them.
    #[arg(value_name = "ID", conflicts_with_all = ["flow", "reason", "all"])]
    ids: Vec<LetterId>,
    /// All letters.
    #[arg(long, conflicts_with_all = ["flow", "reason"])]
    all: bool,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    at: DataDirArgument,
}

/// Arguments of `tidegate parked drop`.
#[derive(Debug, Args)]
pub struct DropLetters {
    #[command(flatten)]
    chosen: Chosen,
    /// Yes, all of them.
    #[arg(long)]
    yes: bool,
}

/// Does what was asked.
pub fn run(global: &Global, command: Command, surroundings: Surroundings) -> Exit {
    let find =
        |at: &DataDirArgument, purpose| GatewayOrFiles::find(global, at, surroundings, purpose);
    let done = match &command {
        Command::List(arguments) => {
            find(&arguments.at, Access::Look).and_then(|place| list(global, arguments, &place))
        }
        Command::Show(arguments) => {
            find(&arguments.at, Access::Look).and_then(|place| show(global, arguments, &place))
        }
        Command::Retry(chosen) => retry(global, chosen, surroundings),
        Command::Export(arguments) => {
            find(&arguments.at, Access::Look).and_then(|place| export(arguments, &place))
        }
        Command::Drop(arguments) => {
            let purpose = if arguments.is_meant() {
                Access::Change
            } else {
                Access::Look
            };
            find(&arguments.chosen.at, purpose).and_then(|place| forget(global, arguments, place))
        }
    };
    done.unwrap_or_else(|failure| failure.end())
}

fn list(
    global: &Global,
    arguments: &ListLetters,
    place: &GatewayOrFiles,
) -> Result<Exit, CommandFailure> {
    if global.output == OutputFormat::Json {
        let page: LetterPage = place.ask(ToolRequest::Letters {
            filter: arguments.which.filter(),
            after: arguments.after,
            max: usize::from(arguments.count),
        })?;
        print_json(
            &json!({ "letters": page.letters, "next": page.next.map(|next| next.to_string()) }),
        );
        return Ok(Exit::Done);
    }
    let (newest, older) = newest(arguments, place)?;
    // A pipe has no width.
    let width = if std::io::stdout().is_terminal() {
        WIDTH
    } else {
        words::LONG
    };
    newest
        .iter()
        .rev()
        .for_each(|letter| print(&line(letter, width)));
    match (newest.len(), older) {
        (0, _) => say("no dead letters"),
        (_, 0) => {}
        (_, older) => say(&format!(
            "{} more, older: --after {} shows the next page",
            count(older as u64),
            newest.front().map_or("", |letter| letter.id.as_str())
        )),
    }
    Ok(Exit::Done)
}

/// The newest letters of those that are older than `after`, oldest first, and how many are older still.
fn newest(
    arguments: &ListLetters,
    place: &GatewayOrFiles,
) -> Result<(VecDeque<Letter>, usize), CommandFailure> {
    let (mut newest, mut older, mut from) = (VecDeque::new(), 0, None);
    let is_meant = |letter: &Letter| {
        let id = letter.id.parse::<LetterId>().ok();
        arguments
            .after
            .is_none_or(|after| id.is_none_or(|id| id < after))
    };
    loop {
        let page: LetterPage = place.ask(ToolRequest::Letters {
            filter: arguments.which.filter(),
            after: from,
            max: PAGE,
        })?;
        newest.extend(page.letters.into_iter().filter(is_meant));
        let beyond = newest.len().saturating_sub(usize::from(arguments.count));
        older += newest.drain(..beyond).count();
        from = page.next;
        if from.is_none() || (arguments.after.is_some() && from >= arguments.after) {
            return Ok((newest, older));
        }
    }
}

fn show(global: &Global, arguments: &Show, place: &GatewayOrFiles) -> Result<Exit, CommandFailure> {
    let letter: Letter = place.ask(ToolRequest::Letter { id: arguments.id })?;
    match global.output {
        OutputFormat::Json => print_json(&json!(letter)),
        OutputFormat::Text => print(&full(&letter)),
    }
    Ok(Exit::Done)
}

fn export(arguments: &ExportLetters, place: &GatewayOrFiles) -> Result<Exit, CommandFailure> {
    let mut lines = JsonLines::to(arguments.to.as_deref())?;
    each_page(place, &arguments.which.filter(), |page| {
        page.iter().try_for_each(|letter| lines.push(letter))
    })?;
    say(&format!("{} exported", of(lines.finish()?, "dead letter")));
    Ok(Exit::Done)
}

fn each_page(
    place: &GatewayOrFiles,
    filter: &LetterFilter,
    mut take: impl FnMut(&[Letter]) -> Result<(), CommandFailure>,
) -> Result<(), CommandFailure> {
    let mut after = None;
    loop {
        let page: LetterPage = place.ask(ToolRequest::Letters {
            filter: filter.clone(),
            after,
            max: PAGE,
        })?;
        take(&page.letters)?;
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

impl Chosen {
    fn is_by_name(&self) -> bool {
        !self.ids.is_empty()
    }

    /// The names, oldest first; all that there are now, so that what is parked anew meanwhile is not met again.
    fn names(&self, place: &GatewayOrFiles) -> Result<Vec<LetterId>, CommandFailure> {
        if self.is_by_name() {
            let mut ids = self.ids.clone();
            ids.sort_unstable();
            return Ok(ids);
        }
        if !self.all && self.which.flow.is_none() && self.which.reason.is_none() {
            return Err(CommandFailure::Usage(
                "name letters, or say --flow, --reason or --all".to_owned(),
            ));
        }
        let mut ids = Vec::new();
        each_page(place, &self.which.filter(), |page| {
            for letter in page {
                ids.push(letter.id.parse().map_err(CommandFailure::Said)?);
            }
            Ok(())
        })?;
        Ok(ids)
    }
}

impl DropLetters {
    fn is_meant(&self) -> bool {
        self.yes || self.chosen.is_by_name()
    }
}

fn retry(
    global: &Global,
    chosen: &Chosen,
    surroundings: Surroundings,
) -> Result<Exit, CommandFailure> {
    let client = running(
        global,
        &chosen.at,
        surroundings,
        "dead letters go through the plugins of a running one",
    )?;
    let ids = chosen.names(&GatewayOrFiles::Running(client.clone()))?;
    let mut all = Retried::default();
    for part in ids.chunks(PART) {
        let part: Retried =
            client.post("/v1/parked/retry", &RetryRequest { ids: part.to_vec() })?;
        all.retried += part.retried;
        all.parked_again += part.parked_again;
        all.left.extend(part.left);
    }
    if global.output == OutputFormat::Json {
        print_json(&json!(all));
    } else {
        say(&format!(
            "{} sent on {} way, {} parked again",
            of(all.retried, "dead letter"),
            if all.retried == 1 { "its" } else { "their" },
            count(all.parked_again)
        ));
        all.left
            .iter()
            .for_each(|left| say(&format!("{} stays: {}", left.id, left.why)));
    }
    Ok(if all.left.is_empty() && all.parked_again == 0 {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn forget(
    global: &Global,
    arguments: &DropLetters,
    place: GatewayOrFiles,
) -> Result<Exit, CommandFailure> {
    let ids = arguments.chosen.names(&place)?;
    if !arguments.is_meant() {
        return Err(CommandFailure::Usage(format!(
            "this would take {} out for good; say --yes",
            of(ids.len() as u64, "dead letter")
        )));
    }
    let mut dropped = 0;
    for part in ids.chunks(PAGE) {
        let done: AffectedCount = place.ask(ToolRequest::Forget { ids: part.to_vec() })?;
        dropped += done.count;
    }
    place.close()?;
    match global.output {
        OutputFormat::Json => print_json(&json!({ "dropped": dropped })),
        OutputFormat::Text => say(&format!("{} taken out", of(dropped, "dead letter"))),
    }
    let missing = ids.len() as u64 - dropped;
    if missing > 0 {
        let were = if missing == 1 { "was" } else { "were" };
        say(&format!("{} {were} not there", count(missing)));
    }
    Ok(if missing == 0 {
        Exit::Done
    } else {
        Exit::Failed
    })
}

#[cfg(test)]
mod tests;
