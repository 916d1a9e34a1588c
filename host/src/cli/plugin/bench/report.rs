//! What was measured, for people and for programs.

use serde::Serialize;

use super::figures::{RoundSpread, ratio};
use super::measure::{Measured, SizeFigures};
use super::messages::Sample;
use crate::chain::{Compiled, PluginConfig};
use crate::cli::print;
use crate::cli::show::{bytes, count, of};
use crate::message::short_digest;
use crate::words;

/// Columns of why there is no figure.
const WIDTH: usize = 66;
/// Lines of what a plugin that failed left behind.
const DETAIL: usize = 16;

/// All that was measured.
#[derive(Serialize)]
pub(super) struct BenchReport {
    messages: SampleReport,
    rounds: usize,
    /// Whether this program is what people run: else the host's part of each figure is larger than it is there.
    optimised: bool,
    /// The one that was asked for, and the one that it was measured against.
    plugins: Vec<PluginBench>,
    /// How many times as long the first one takes as the second.
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<Vec<SizeRatio>>,
}

/// On what it was measured.
#[derive(Serialize)]
struct SampleReport {
    count: usize,
    from: String,
    left_out: usize,
}

/// What one plugin costs.
#[derive(Serialize)]
pub(super) struct PluginBench {
    name: String,
    digest: String,
    component_bytes: usize,
    compile_seconds: f64,
    limits: LimitsReport,
    batches: Vec<BatchBench>,
    #[serde(skip)]
    rounds: Vec<Vec<f64>>,
}

/// What it may use.
#[derive(Serialize)]
struct LimitsReport {
    memory_bytes: usize,
    call_seconds: f64,
}

/// What it costs in batches of one size, or why that is not known.
#[derive(Serialize)]
struct BatchBench {
    messages: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    figures: Option<BatchFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

#[derive(Serialize)]
struct BatchFigures {
    ns_per_message: RoundSpread,
    batch_seconds: f64,
    longest_batch_seconds: f64,
    memory_bytes: usize,
    outputs: usize,
    absorbed: usize,
    rejected: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// How two compare in batches of one size; `None` where there is no figure of one of them.
#[derive(Serialize)]
struct SizeRatio {
    messages: usize,
    ratio: Option<RoundSpread>,
}

impl PluginBench {
    pub(super) fn new(
        plugin: &PluginConfig,
        (digest, code): (String, Compiled),
        sizes: Vec<(usize, Measured)>,
    ) -> Self {
        let rounds = sizes.iter().map(|(_, measured)| match measured {
            Ok(figures) => figures.rounds.clone(),
            Err(_) => Vec::new(),
        });
        Self {
            name: plugin.name.to_string(),
            digest,
            component_bytes: code.component_bytes,
            compile_seconds: code.taken.as_secs_f64(),
            limits: LimitsReport {
                memory_bytes: plugin.limits.memory_bytes,
                call_seconds: plugin.limits.call_time.as_secs_f64(),
            },
            rounds: rounds.collect(),
            batches: sizes.into_iter().map(BatchBench::new).collect(),
        }
    }

    fn label(&self) -> String {
        format!("{} {}", self.name, short_digest(&self.digest))
    }

    fn lines(&self) -> Vec<String> {
        let code = format!(
            "{}   component {}, compiled in {}",
            self.label(),
            bytes(self.component_bytes as u64),
            time(self.compile_seconds)
        );
        let titles = [
            "batch",
            "ns a message",
            "middle half",
            "a batch",
            "longest",
            "memory",
        ];
        let limits = [
            "limit",
            "",
            "",
            "",
            &time(self.limits.call_seconds),
            &bytes(self.limits.memory_bytes as u64),
        ];
        let mut lines = vec![code, row(titles)];
        lines.extend(self.batches.iter().map(BatchBench::line));
        lines.push(row(limits));
        lines.extend(self.remarks());
        lines
    }

    /// What it did not take, and what it left behind where it failed.
    fn remarks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let figures = self.batches.iter().find_map(|batch| batch.figures.as_ref());
        if let Some(figures) = figures {
            let mut what = format!(
                "  each message once: {}, {} absorbed, {} rejected",
                of(figures.outputs as u64, "output"),
                count(figures.absorbed as u64),
                count(figures.rejected as u64)
            );
            if let Some(reason) = &figures.reason {
                what.push_str(&format!(" ({})", words::line(reason, WIDTH)));
            }
            lines.push(what);
        }
        let failed = self.batches.iter().find_map(|batch| batch.failed.as_ref());
        let detail = failed.iter().flat_map(|failed| failed.lines().skip(1));
        lines.extend(
            detail
                .take(DETAIL)
                .map(|line| format!("        | {}", words::line(line, WIDTH))),
        );
        lines
    }
}

impl BatchBench {
    fn new((messages, measured): (usize, Measured)) -> Self {
        let (figures, failed) = match measured {
            Ok(figures) => (Some(BatchFigures::new(figures, messages)), None),
            Err(why) => (None, Some(why)),
        };
        Self {
            messages,
            figures,
            failed,
        }
    }

    fn line(&self) -> String {
        let size = self.messages.to_string();
        let Some(figures) = &self.figures else {
            let why = self.failed.as_deref().unwrap_or_default();
            let why = words::line(why.lines().next().unwrap_or_default(), WIDTH);
            return format!("  {size:>5}  {why}");
        };
        let BatchFigures { ns_per_message, .. } = figures;
        let whole = |number: f64| count(number.round() as u64);
        row([
            &size,
            &whole(ns_per_message.median),
            &format!(
                "{}–{}",
                whole(ns_per_message.low),
                whole(ns_per_message.high)
            ),
            &time(figures.batch_seconds),
            &time(figures.longest_batch_seconds),
            &bytes(figures.memory_bytes as u64),
        ])
    }
}

impl BatchFigures {
    fn new(figures: SizeFigures, messages: usize) -> Self {
        let SizeFigures {
            ns_per_message,
            longest,
            memory_bytes,
            answers,
            ..
        } = figures;
        Self {
            ns_per_message,
            batch_seconds: ns_per_message.median * messages as f64 / 1e9,
            longest_batch_seconds: longest.as_secs_f64(),
            memory_bytes,
            outputs: answers.outputs,
            absorbed: answers.absorbed,
            rejected: answers.rejected,
            reason: answers.reason,
        }
    }
}

impl BenchReport {
    pub(super) fn new(sample: &Sample, rounds: usize, plugins: Vec<PluginBench>) -> Self {
        let against = match &plugins[..] {
            [one, other] => Some(ratios(one, other)),
            _ => None,
        };
        Self {
            messages: SampleReport {
                count: sample.messages.len(),
                from: sample.from.clone(),
                left_out: sample.left_out,
            },
            rounds,
            optimised: !cfg!(debug_assertions),
            plugins,
            against,
        }
    }

    /// Whether there is a figure missing.
    pub(super) fn has_failed(&self) -> bool {
        let mut batches = self.plugins.iter().flat_map(|plugin| &plugin.batches);
        batches.any(|batch| batch.failed.is_some())
    }

    pub(super) fn show(&self) {
        let SampleReport {
            count: messages,
            from,
            left_out,
        } = &self.messages;
        let mut lines = vec![format!(
            "{} ({}), {}",
            of(*messages as u64, "message"),
            words::line(from, WIDTH),
            of(self.rounds as u64, "round")
        )];
        if *left_out > 0 {
            let left_out = of(*left_out as u64, "message");
            lines.push(format!("{left_out} of the files left out: see --help"));
        }
        if !self.optimised {
            let what =
                "this build of tidegate is not optimised: its own part is larger than in a release";
            lines.push(what.to_owned());
        }
        for plugin in &self.plugins {
            lines.push(String::new());
            lines.extend(plugin.lines());
        }
        if let (Some(against), [one, other]) = (&self.against, &self.plugins[..]) {
            lines.push(format!(
                "\n{} takes, of the time of {}",
                one.label(),
                other.label()
            ));
            lines.extend(against.iter().map(SizeRatio::line));
        }
        print(&lines.join("\n"));
    }
}

fn ratios(one: &PluginBench, other: &PluginBench) -> Vec<SizeRatio> {
    let rounds = one.rounds.iter().zip(&other.rounds);
    let sizes = one.batches.iter().map(|batch| batch.messages);
    sizes
        .zip(rounds)
        .map(|(messages, (one, other))| SizeRatio {
            messages,
            ratio: ratio(one, other),
        })
        .collect()
}

impl SizeRatio {
    fn line(&self) -> String {
        let shown = match self.ratio {
            Some(RoundSpread { median, low, high }) => format!("× {median:.3}  {low:.3}–{high:.3}"),
            None => "no figure of one of them".to_owned(),
        };
        format!("  {:>5}  {shown}", self.messages)
    }
}

fn row(cells: [&str; 6]) -> String {
    let [size, median, spread, batch, longest, memory] = cells;
    format!("  {size:>5}  {median:>12}  {spread:>17}  {batch:>9}  {longest:>9}  {memory:>9}")
        .trim_end()
        .to_owned()
}

/// Seconds in the unit that leaves one to three digits before the point.
fn time(seconds: f64) -> String {
    let units = [(1e9, "ns"), (1e6, "µs"), (1e3, "ms")];
    let fitting = units.iter().find(|(times, _)| seconds * times < 1e3);
    let (number, unit) = fitting.map_or((seconds, "s"), |(times, unit)| (seconds * times, *unit));
    if number >= 100.0 || unit == "ns" {
        format!("{number:.0} {unit}")
    } else if number >= 10.0 {
        format!("{number:.1} {unit}")
    } else {
        format!("{number:.2} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_fits() {
        let shown = [0.0, 123e-9, 1.234e-6, 12.34e-6, 0.2, 999.4e-3, 2.5].map(time);
        assert_eq!(
            shown,
            [
                "0 ns", "123 ns", "1.23 µs", "12.3 µs", "200 ms", "999 ms", "2.50 s"
            ]
        );
    }
}
