//! How the cases went, for whoever wrote the plugin.

use super::{CaseResult, StepDifference, Tested};
use crate::cli::print;
use crate::cli::show::of;
use crate::message::short_digest;
use crate::words;

/// Columns of an input.
const INPUT: usize = 120;
/// Lines of what a plugin that failed left behind.
const DETAIL: usize = 16;

pub(super) fn show(tested: &Tested) {
    for verdict in &tested.cases {
        if verdict.passed {
            print(&format!("ok    {}", words::line(&verdict.name, INPUT)));
        } else {
            print(&failed(verdict).join("\n"));
        }
    }
    let plugins = tested
        .plugins
        .iter()
        .map(|(name, digest)| format!("{name} {}", short_digest(digest)));
    let count = of((tested.passed + tested.failed) as u64, "case");
    let plugins = plugins.collect::<Vec<_>>().join(", ");
    print(
        format!(
            "{count}: {} passed, {} failed   {plugins}",
            tested.passed, tested.failed
        )
        .trim_end(),
    );
}

fn failed(verdict: &CaseResult) -> Vec<String> {
    let mut lines = vec![format!("FAIL  {}", words::line(&verdict.name, INPUT))];
    for difference in &verdict.differences {
        let place = format!("{}:{}", words::line(&verdict.file, INPUT), difference.line);
        lines.push(format!(
            "      {place}: {}",
            words::line(&difference.input, INPUT)
        ));
        put(difference, &mut lines);
    }
    lines
}

fn put(difference: &StepDifference, lines: &mut Vec<String>) {
    for pair in &difference.pairs {
        let side = |name: &str, text: &Option<String>| {
            text.as_ref()
                .map(|text| format!("        {name:<10}{text}"))
        };
        if pair.expected == pair.came && pair.parts_at.is_none() {
            lines.extend(side("both", &pair.came));
            continue;
        }
        lines.extend(side("expected", &pair.expected));
        lines.extend(side("got", &pair.came));
        lines.extend(pair.parts_at.map(|at| format!("{}^", " ".repeat(18 + at))));
    }
    let detail = difference.detail.iter().flat_map(|detail| detail.lines());
    lines.extend(
        detail
            .take(DETAIL)
            .map(|line| format!("        | {}", words::line(line, INPUT))),
    );
}
