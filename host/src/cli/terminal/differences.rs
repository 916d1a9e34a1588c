//! Where two versions of a plugin differ, for people.

use crate::chain::{Comparison, Counts, DifferenceSample, ShownEffect};
use crate::cli::show::{count, moment};
use crate::clock::utc;
use crate::words;

/// Columns of a payload.
const PAYLOAD: usize = 400;

/// The counts, on a line for messages and one for ticks, where there were any.
pub fn counts(comparison: &Comparison) -> Vec<String> {
    let parts: Vec<_> = comparison
        .parts
        .iter()
        .map(|(part, number)| format!("{} {}", part.name(), count(*number)))
        .collect();
    let parts = if parts.is_empty() {
        String::new()
    } else {
        format!("  (in {})", parts.join(", "))
    };
    let mut lines = vec![format!("messages  {}{parts}", of(comparison.inputs))];
    if comparison.ticks.compared() > 0 {
        lines.push(format!("ticks     {}", of(comparison.ticks)));
    }
    lines
}

fn of(counts: Counts) -> String {
    let Counts {
        same,
        missing,
        extra,
        changed,
    } = counts;
    let [same, missing, extra, changed] = [same, missing, extra, changed].map(count);
    format!("{same} same, {missing} missing, {extra} extra, {changed} changed")
}

/// One difference, on a few lines.
pub fn sample(sample: &DifferenceSample) -> String {
    let parts: Vec<_> = sample.parts.iter().map(|part| part.name()).collect();
    let what = if parts.is_empty() {
        String::new()
    } else {
        format!(" ({})", parts.join(", "))
    };
    let (id, topic) = sample
        .input
        .as_ref()
        .map_or(("tick", ""), |input| (&input.id, &input.topic));
    let mut lines = vec![format!(
        "{}{what}  {}  {id}  {}",
        sample.kind.name(),
        moment(&utc(sample.at_us)),
        words::lines(topic, words::LONG)
    )];
    if let Some(input) = &sample.input {
        lines.push(format!(
            "    in   {}",
            words::line(&input.payload.to_string(), PAYLOAD)
        ));
    }
    lines.extend(side("old", &sample.old));
    lines.extend(side("new", &sample.new));
    lines.join("\n")
}

fn side(name: &str, shown: &[ShownEffect]) -> Vec<String> {
    if shown.is_empty() {
        return vec![format!("    {name}  nothing")];
    }
    shown
        .iter()
        .map(|shown| format!("    {name}  {}", one(shown)))
        .collect()
}

fn one(shown: &ShownEffect) -> String {
    let payload = words::line(&shown.payload.to_string(), PAYLOAD);
    if shown.port.is_empty() {
        return format!("{} {payload}", shown.outcome.name())
            .trim_end()
            .to_owned();
    }
    let headers: Vec<_> = shown
        .headers
        .iter()
        .map(|(name, value)| words::line(&format!(" {name}={value}"), PAYLOAD))
        .collect();
    let retain = if shown.retain { " retain" } else { "" };
    format!(
        "{} {}{retain}{}  {payload}",
        shown.port,
        words::line(&shown.topic, PAYLOAD),
        headers.concat()
    )
}
