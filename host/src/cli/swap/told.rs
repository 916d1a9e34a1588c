//! What a change of a plugin or a reload is told as.

use std::time::Duration;

use serde::Deserialize;

use crate::chain::Comparison;
use crate::cli::terminal::differences;
use crate::cli::{print, say};
use crate::config::why_restart;
use crate::gateway::live::{ChangeLine, ChangeOutcome, FlowOutcome, FlowVerdict, PluginVerdict};
use crate::message::short_digest;
use crate::versions::history::HistoryEvent;
use crate::words;

pub(super) fn show(line: &ChangeLine) {
    match line {
        ChangeLine::Waits { behind } => print(&format!("waits: {behind}")),
        ChangeLine::Event(event) => {
            print(&transition(event));
            found(event).iter().for_each(|line| print(line));
        }
        ChangeLine::Difference {
            plugins,
            flows,
            ends,
            restart,
        } => {
            plugins
                .iter()
                .for_each(|plugin| print(&format!("changes live: {plugin}")));
            flows
                .iter()
                .for_each(|flow| print(&format!("changes live: flow.{flow}")));
            ends.iter()
                .for_each(|end| print(&format!("changes live: {end}")));
            restart.iter().for_each(|table| {
                print(&format!(
                    "needs a restart: {table}\n  {}",
                    why_restart(table)
                ))
            });
            if plugins.is_empty() && flows.is_empty() && ends.is_empty() && restart.is_empty() {
                print("the config is unchanged");
            }
        }
        ChangeLine::Stays { end, why } => print(&stays(end, why)),
        ChangeLine::Mistakes { text, .. } => {
            say(text);
            say("error: the config has mistakes; nothing was changed, and the running one stays");
        }
        ChangeLine::Gone { plugin } => say(&format!(
            "error: `{plugin}` left the config while this waited; nothing was changed"
        )),
        ChangeLine::Flow(verdict) => print(&flow_conclusion(verdict)),
        ChangeLine::Verdict(verdict) => print(&conclusion(verdict)),
    }
}

pub(super) fn transition(event: &HistoryEvent) -> String {
    let time = event.at.get(11..19).unwrap_or_default();
    let digests = if event.what == "seen" && event.old == event.new {
        format!("  {}, other settings", short_digest(&event.new))
    } else if event.what == "seen" {
        format!(
            "  {} → {}",
            short_digest(&event.old),
            short_digest(&event.new)
        )
    } else {
        String::new()
    };
    let is_final = matches!(&*event.what, "refused" | "rolled-back");
    let why = event
        .why
        .as_deref()
        .filter(|_| !is_final)
        .map(|why| format!("  {}", words::lines(why, words::LONG)))
        .unwrap_or_default();
    format!("{time}  {}{digests}{why}", event.what)
}

/// What a shadow has found, when it is over: how much differs, and the first difference of each kind.
pub(super) fn found(event: &HistoryEvent) -> Vec<String> {
    let is_told = matches!(&*event.what, "shadowed" | "refused");
    let comparison = event
        .figures
        .as_ref()
        .filter(|_| is_told)
        .and_then(|figures| figures.get("differences"));
    let Some(comparison) = comparison.and_then(|found| Comparison::deserialize(found).ok()) else {
        return Vec::new();
    };
    let mut lines = differences::counts(&comparison);
    let mut told = Vec::new();
    for sample in &comparison.samples {
        if !told.contains(&sample.kind) {
            told.push(sample.kind);
            lines.extend(differences::sample(sample).lines().map(str::to_owned));
        }
    }
    lines.iter().map(|line| format!("    {line}")).collect()
}

pub(super) fn conclusion(verdict: &PluginVerdict) -> String {
    let PluginVerdict {
        flow,
        plugin,
        running,
        why,
        undo,
        ..
    } = verdict;
    let name = format!("{flow}/{plugin}");
    let running = short_digest(running);
    let why = words::lines(why.as_deref().unwrap_or_default(), words::LONG);
    match verdict.verdict {
        ChangeOutcome::Confirmed => {
            let but = if why.is_empty() {
                String::new()
            } else {
                format!("\n  {why}")
            };
            format!(
                "{name}: {running} runs now; back: {}{but}",
                undo.as_deref().unwrap_or_default()
            )
        }
        ChangeOutcome::OnProbation => {
            let back = undo.as_deref().unwrap_or_default();
            format!(
                "{name}: {running} runs, on probation; follow: tidegate swap {name} --follow   end it: {back}"
            )
        }
        ChangeOutcome::Unchanged => format!("{name}: {running} runs already"),
        ChangeOutcome::Refused => {
            format!("{name}: refused, and {running} runs on, untouched\n  {why}")
        }
        ChangeOutcome::RolledBack => {
            format!("{name}: rolled back, and {running} runs on with its state\n  {why}")
        }
        ChangeOutcome::NotTried => format!("{name}: not tried, and {running} runs on\n  {why}"),
        ChangeOutcome::Suspended => {
            format!("{name}: no verdict, since the gateway stops; {running} runs at the next start")
        }
    }
}

/// One that is not ended although the config has it no more.
pub(super) fn stays(end: &str, why: &str) -> String {
    format!("{end}: stays\n  {}", words::lines(why, words::LONG))
}

pub(super) fn flow_conclusion(verdict: &FlowVerdict) -> String {
    let flow = format!("flow.{}", verdict.flow);
    let pause = Duration::from_micros(verdict.pause_us.unwrap_or_default());
    match verdict.verdict {
        FlowOutcome::Replaced => {
            format!("{flow}: replaced, with its state; messages waited {pause:.1?}")
        }
        FlowOutcome::Rerouted => format!("{flow}: its source asks for its topics now"),
        FlowOutcome::Added => format!("{flow}: added"),
        FlowOutcome::Removed => match verdict.why.as_deref() {
            None => format!("{flow}: removed; what it had made is still sent"),
            Some(why) => format!("{flow}: removed; {}", words::line(why, words::LONG)),
        },
        FlowOutcome::Refused => {
            format!(
                "{flow}: refused, and it runs on as before\n  {}",
                words::lines(verdict.why.as_deref().unwrap_or_default(), words::LONG)
            )
        }
    }
}
