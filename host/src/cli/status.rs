//! `tidegate status`: the whole account at a glance.

pub mod devices;
mod traces;

use std::time::Duration;

use clap::Args;

use super::place::{Access, DataDirArgument, GatewayOrFiles};
use super::show::{WIDTH, age, bytes, count, moment, of, row};
use super::{Global, OutputFormat, Surroundings, print, print_json};
use crate::exit::Exit;
use crate::gateway::api::status::{FlowStatus, QueueStatus, SourceStatus, Status, UplinkStatus};
use crate::gateway::api::trouble::{ConditionStatus, TroubleStatus};
use crate::message::short_digest;
use crate::telemetry::crash::Crash;

const EXAMPLES: &str = "\
Examples:
  tidegate status                                  of the gateway with the usual config
  tidegate status --data-dir /var/lib/tidegate     without its config
  tidegate status -o json | jq '.queues[] | {name, in_ram, on_disk}'

A running gateway is asked through its control socket, <data_dir>/admin.sock, which its user and group may use. Of a \
stopped one the files are read, and the first line says so. Counts of messages are since the start; what a queue owes \
and the dead letters outlive it.

  unsettled   taken from the devices' broker and not yet acknowledged to it
  rejected    became dead letters: see `tidegate parked list`
  dropped     by hand, or for want of memory: of level 0, or made by a plugin's
              timer
  └ for       how long a connection has not been in use, or upstream has not taken
              what it should, when it is tried next, and why; -o json has each as a
              condition of a kind
  full        a class has as much as its `max` lets it have: what comes takes the
              place of what was there
  lasts       how long an outage there is room for, at what came so far: in the free
              space, or in the class that is full first; one that is full already does
              not count
  given up    since the store was made, as classes and faults wanted it: see
              `tidegate ledger`
  damaged     lost to damage on disk: see `tidegate spool check`

It ends with 7 while no source or no uplink of a running gateway has a connection, no upstream takes anything, or its \
store is not well.";

/// Seconds of two years.
const LONG: u64 = 730 * 86_400;

/// Arguments of `tidegate status`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    at: DataDirArgument,
}

pub fn run(global: &Global, arguments: &Arguments, surroundings: Surroundings) -> Exit {
    let shown = GatewayOrFiles::find(global, &arguments.at, surroundings, Access::Look)
        .and_then(|place| place.status());
    match shown {
        Ok(status) => {
            match global.output {
                OutputFormat::Text => print(&text(&status)),
                OutputFormat::Json => print_json(&status),
            }
            exit_of(&status)
        }
        Err(failure) => failure.end(),
    }
}

/// What scripts are told: a gateway none of whose sources or none of whose uplinks has a connection that is of use does its job in part, and
/// one whose store is not well may soon not even do that.
fn exit_of(status: &Status) -> Exit {
    let stands = |uplink: &UplinkStatus| {
        let kinds = ["refuses-everything", "acknowledges-nothing"];
        let mut own = uplink.conditions.iter();
        own.any(|condition| kinds.contains(&&*condition.kind))
    };
    let is_up = |uplink: &UplinkStatus| uplink.on_fallback || (uplink.connected && !stands(uplink));
    let is_cut_off = (!status.uplinks.is_empty() && !status.uplinks.iter().any(is_up))
        || (!status.sources.is_empty() && !status.sources.iter().any(|source| source.connected));
    if status.running && (is_cut_off || !status.store.well) {
        Exit::Degraded
    } else {
        Exit::Done
    }
}

/// The account for people.
fn text(status: &Status) -> String {
    let mut lines = head(status);
    lines.extend(
        status
            .config
            .words()
            .iter()
            .map(|(_, words)| wrapped("  config   ".to_owned(), words)),
    );
    lines.extend(
        status
            .sources
            .iter()
            .flat_map(|one| below(source(one), one.trouble.as_ref(), &one.conditions)),
    );
    lines.extend(
        status
            .flows
            .iter()
            .flat_map(|one| flow(one, status.running)),
    );
    lines.extend(status.queues.iter().map(queue));
    lines.extend(
        status
            .uplinks
            .iter()
            .flat_map(|one| below(uplink(one), one.trouble.as_ref(), &one.conditions)),
    );
    lines.extend(parked(status));
    lines.extend(given_up(status));
    lines.extend(store(status));
    lines.extend(crashes(&status.crashes));
    lines.extend(status.traces.iter().map(traces::row_of));
    if let Some(process) = &status.process {
        let limit = format!("of {}", bytes(process.memory_limit_bytes));
        lines.push(row("memory", &bytes(process.resident_bytes), &[limit]));
    }
    lines.join("\n")
}

fn head(status: &Status) -> Vec<String> {
    match &status.process {
        Some(process) => {
            let uptime = age(Duration::from_secs(process.uptime_s));
            let Status {
                name,
                version,
                boot,
                ..
            } = status;
            vec![format!(
                "{name} runs for {uptime}   (tidegate {version}, start {boot}, process {})",
                process.pid
            )]
        }
        None => {
            vec![
                format!("{} does not run; this is what its files say", status.name),
                format!("  {}", status.data_dir.display()),
            ]
        }
    }
}

fn source(source: &SourceStatus) -> String {
    if source.state.is_empty() {
        return row("source", &source.name, &[]);
    }
    let mut details = vec![
        source.state.clone(),
        format!("{} in", count(source.received)),
        format!("{} unsettled", count(source.unsettled)),
    ];
    if source.dropped > 0 {
        details.push(format!("{} dropped", count(source.dropped)));
    }
    details.extend(
        (source.refused_filters > 0)
            .then(|| format!("topic filters REFUSED: {}", count(source.refused_filters))),
    );
    details.extend(
        (source.lowered_filters > 0)
            .then(|| format!("with a lower level: {}", count(source.lowered_filters))),
    );
    details.extend(
        (source.session_s > 0)
            .then(|| format!("session ends after {} s away", count(source.session_s))),
    );
    row("source", &source.name, &details)
}

/// A row, and below it why its connection is not in use and what else is not as it should be.
fn below(
    row: String,
    trouble: Option<&TroubleStatus>,
    conditions: &[ConditionStatus],
) -> Vec<String> {
    let trouble = trouble.map(|trouble| {
        let next = match (trouble.over_s, trouble.next_try_s) {
            (Some(seconds), _) => format!("until {} ago", age(Duration::from_secs(seconds))),
            (None, Some(seconds)) => next_try(seconds),
            (None, None) => "tried now".to_owned(),
        };
        cause(trouble.since_s, &next, &trouble.cause)
    });
    let conditions = conditions.iter().map(|condition| {
        let next = condition.next_try_s.map(next_try).unwrap_or_default();
        cause(condition.since_s, &next, &condition.words)
    });
    std::iter::once(row)
        .chain(trouble)
        .chain(conditions)
        .collect()
}

fn next_try(seconds: u64) -> String {
    format!("next try in {}", age(Duration::from_secs(seconds)))
}

/// Since when, what comes next, and in words why: on lines of its own, since it is long.
fn cause(since_s: u64, next: &str, words: &str) -> String {
    let since = age(Duration::from_secs(since_s));
    let between = if next.is_empty() { "" } else { ", " };
    wrapped(format!("  └ for {since}{between}{next}:"), words)
}

/// `head` and words, on as many lines as they take.
fn wrapped(head: String, words: &str) -> String {
    let mut lines = vec![head];
    for word in words.split_whitespace() {
        match lines
            .last_mut()
            .filter(|line| line.chars().count() + 1 + word.chars().count() <= WIDTH)
        {
            Some(line) => line.extend([" ", word]),
            None => lines.push(format!("    {word}")),
        }
    }
    lines.join("\n")
}

fn flow(flow: &FlowStatus, running: bool) -> Vec<String> {
    let mut details = Vec::new();
    if running {
        details = vec![
            format!("{} in", count(flow.messages_in)),
            format!("{} out", count(flow.messages_out)),
            format!("{} filtered", count(flow.filtered)),
            format!("{} rejected", count(flow.rejected)),
        ];
        details.extend((flow.dropped > 0).then(|| format!("{} dropped", count(flow.dropped))));
        details.extend(
            (flow.quarantined > 0)
                .then(|| format!("{} quarantined", of(flow.quarantined, "device"))),
        );
        details.extend((flow.absorbed > 0).then(|| format!("{} into state", count(flow.absorbed))));
        details.extend((flow.waiting > 0).then(|| format!("{} waiting", count(flow.waiting))));
    }
    if let Some(why) = &flow.down {
        details = vec![format!("down, its messages wait: {why}")];
    }
    let mut lines = vec![row("flow", &flow.name, &details)];
    for plugin in &flow.plugins {
        let mut details = vec![short_digest(&plugin.digest).to_owned()];
        details.extend(
            matches!(&*plugin.breaker, "open" | "half-open")
                .then(|| format!("its breaker is {}", plugin.breaker)),
        );
        let candidate = plugin.candidate.as_ref();
        details.extend(candidate.map(|tried| {
            format!(
                "{} is tried beside it: {}",
                short_digest(&tried.digest),
                tried.state
            )
        }));
        details.extend(
            plugin
                .fallback
                .as_deref()
                .map(|digest| format!("{} can come back", short_digest(digest))),
        );
        details.extend(
            plugin
                .differs_from_config
                .then(|| "not what the config says".to_owned()),
        );
        details.retain(|detail| !detail.is_empty());
        lines.push(row("", &format!("└ {}", plugin.name), &details));
    }
    lines
}

/// One queue; `tidegate spool stat` shows the same.
pub fn queue(queue: &QueueStatus) -> String {
    let mut details = vec![format!("{} in RAM", count(queue.in_ram))];
    details.push(match queue.disk_bytes {
        0 => format!("{} on disk", count(queue.on_disk)),
        size => format!("{} on disk ({})", count(queue.on_disk), bytes(size)),
    });
    details.extend(
        queue
            .oldest_age_s
            .map(|seconds| format!("oldest {}", age(Duration::from_secs(seconds)))),
    );
    if queue.appended + queue.accepted > 0 {
        details.push(format!("{} appended", count(queue.appended)));
        details.push(format!("{} accepted", count(queue.accepted)));
    }
    details.extend(queue.full.then(|| "full".to_owned()));
    details.extend((queue.dropped > 0).then(|| format!("{} dropped", count(queue.dropped))));
    details.extend((queue.damaged > 0).then(|| format!("{} damaged", count(queue.damaged))));
    row("queue", &queue.name, &details)
}

fn uplink(uplink: &UplinkStatus) -> String {
    if uplink.state.is_empty() {
        return row("uplink", &uplink.name, &[]);
    }
    let mut details = vec![
        uplink.state.clone(),
        format!("{} out", count(uplink.forwarded)),
        format!("{} in flight", count(uplink.inflight)),
    ];
    details.extend((uplink.refused > 0).then(|| format!("{} refused", count(uplink.refused))));
    details.extend(
        uplink
            .on_fallback
            .then(|| "its fallback has its queues".to_owned()),
    );
    details.extend((uplink.failures > 0).then(|| of(uplink.failures, "failure")));
    row("uplink", &uplink.name, &details)
}

fn parked(status: &Status) -> Vec<String> {
    let letters = &status.dead_letters;
    let mut details: Vec<String> = letters
        .by_reason
        .iter()
        .filter(|(_, kept)| **kept > 0)
        .map(|(reason, kept)| format!("{} {reason}", count(*kept)))
        .collect();
    if letters.kept > 0 {
        details.push(bytes(letters.bytes));
    }
    details
        .extend((letters.waiting > 0).then(|| format!("{} being written", count(letters.waiting))));
    details.extend(
        (letters.evicted > 0)
            .then(|| format!("{} made room for newer ones", count(letters.evicted))),
    );
    vec![row("parked", &count(letters.kept), &details)]
}

/// The newest of them, and how many there are.
fn crashes(crashes: &[Crash]) -> Vec<String> {
    let Some(last) = crashes.last() else {
        return Vec::new();
    };
    let many = of(crashes.len() as u64, "panic");
    let details = [
        format!(
            "the last at {} in thread `{}`",
            moment(&last.at),
            last.thread
        ),
        "-o json has them with their stacks".to_owned(),
    ];
    let words = format!("{} ({})", last.what, last.place);
    let report = wrapped(
        "  └ a fault in tidegate, please report it:".to_owned(),
        &words,
    );
    vec![row("crashes", &many, &details), report]
}

fn given_up(status: &Status) -> Option<String> {
    let all: u64 = status.given_up.values().sum();
    let details: Vec<String> = status
        .given_up
        .iter()
        .map(|(reason, messages)| format!("{} {reason}", count(*messages)))
        .collect();
    (all > 0).then(|| row("given up", &count(all), &details))
}

/// The store; `tidegate spool stat` shows the same.
pub fn store(status: &Status) -> Vec<String> {
    let store = &status.store;
    let seconds = |seconds| age(Duration::from_secs(seconds));
    let mut details: Vec<String> = store.why.iter().cloned().collect();
    details.push(match store.last_write_age_s {
        Some(last) => format!(
            "{} written in a day, the last {} ago",
            bytes(store.day_bytes),
            seconds(last)
        ),
        None => "0 B written since the start".to_owned(),
    });
    details.push(format!("{} free", bytes(store.free_bytes)));
    details.extend(store.lasts_s.map(|lasts| match lasts {
        // Beyond that nobody plans.
        LONG.. => "lasts for years at this rate".to_owned(),
        lasts => format!("lasts {} at this rate", seconds(lasts)),
    }));
    let mut lines = Vec::new();
    if status.running {
        lines.push(row(
            "store",
            if store.well { "well" } else { "NOT WELL" },
            &details,
        ));
    }
    if status.running && store.ram_bytes >= store.most_ram_bytes {
        let held = format!("{} of messages", bytes(store.ram_bytes));
        lines.push(row(
            "memory",
            "FULL",
            &[held, "lanes and sources wait".to_owned()],
        ));
    }
    lines.extend(
        store
            .damaged_store
            .iter()
            .map(|path| format!("  a damaged store was moved to {}", path.display())),
    );
    lines.extend(store.lost.iter().map(|lost| format!("  {lost}")));
    let stranger = |(name, messages): (&String, &u64)| {
        row(
            "queue",
            name,
            &[
                format!("{} owed", count(*messages)),
                "not in the config".to_owned(),
            ],
        )
    };
    lines.extend(store.strangers.iter().map(stranger));
    lines
}

#[cfg(test)]
pub(in crate::cli) mod tests;
