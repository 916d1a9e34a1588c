//! The table of `tidegate top`.

use std::time::Duration;

use super::pace::{FlowPace, QueuePace, SourcePace, Throughput, UplinkPace};
use crate::cli::show::{age, bytes, count};

/// Columns where standard output is no terminal.
pub(super) const PLAIN_WIDTH: usize = 100;
/// Columns of the label before a name.
const LABEL: usize = 9;
/// Columns of a name.
const NAME: usize = 24;

/// One line for each part, each no longer than `width` columns; what is not as it should be stands at
/// the end, behind `!`.
pub(super) fn lines(pace: &Throughput, width: usize) -> Vec<String> {
    let uptime = age(Duration::from_secs(pace.uptime_s));
    let mut lines = vec![format!("{} runs for {uptime}", pace.name), String::new()];
    lines.extend(pace.sources.iter().map(source));
    lines.extend(pace.flows.iter().flat_map(flow));
    lines.extend(pace.queues.iter().map(queue));
    lines.extend(pace.uplinks.iter().map(uplink));
    lines.push(String::new());
    lines.push(kept(pace));
    if let Some(why) = &pace.store {
        lines.push(format!("! the store is not well: {why}"));
    }
    lines.extend(pace.troubles.iter().map(|words| format!("! {words}")));
    lines.into_iter().map(|line| cut(&line, width)).collect()
}

fn source(source: &SourcePace) -> String {
    let columns = [
        rate(source.in_per_s, "in"),
        String::new(),
        amount(source.unsettled, "unsettled"),
    ];
    row("source", &source.name, &source.state, &columns)
}

fn flow(flow: &FlowPace) -> Vec<String> {
    let mut columns = vec![rate(flow.in_per_s, "in"), rate(flow.out_per_s, "out")];
    let named = [
        (flow.filtered_per_s, "filtered"),
        (flow.rejected_per_s, "rejected"),
    ];
    columns.extend(
        named
            .iter()
            .filter(|(rate, _)| *rate > 0.0)
            .map(|(number, word)| rate(*number, word)),
    );
    if flow.waiting > 0 {
        columns.push(amount(flow.waiting, "waiting"));
    }
    let plugin = |plugin: &super::pace::PluginPace| {
        let mut columns = vec![
            format!("{:>12}", format!("{:.1} % cpu", plugin.cpu * 100.0)),
            format!("{:>12}", bytes(plugin.memory_bytes)),
        ];
        if !plugin.limit.is_empty() {
            columns.push(format!(
                "{} {:.0} %",
                plugin.limit,
                plugin.limit_used * 100.0
            ));
        }
        row("", &format!("└ {}", plugin.name), "", &columns)
    };
    let head = row("flow", &flow.name, "", &columns);
    std::iter::once(head)
        .chain(flow.plugins.iter().map(plugin))
        .collect()
}

fn queue(queue: &QueuePace) -> String {
    let mut columns = vec![
        rate(queue.in_per_s, "in"),
        rate(queue.out_per_s, "out"),
        amount(queue.owed, "owed"),
    ];
    if queue.disk_bytes > 0 {
        columns.push(format!("{} on disk", bytes(queue.disk_bytes)));
    }
    columns.extend(match (queue.full, queue.full_in_s) {
        (true, _) => Some("full".to_owned()),
        (false, Some(seconds)) if queue.owed > 0 => {
            Some(format!("full in {}", age(Duration::from_secs(seconds))))
        }
        _ => None,
    });
    row("queue", &queue.name, "", &columns)
}

fn uplink(uplink: &UplinkPace) -> String {
    let columns = [
        String::new(),
        rate(uplink.out_per_s, "out"),
        amount(uplink.inflight, "in flight"),
    ];
    row("uplink", &uplink.name, &uplink.state, &columns)
}

fn kept(pace: &Throughput) -> String {
    let gained = |per_s: f64| {
        if per_s > 0.0 {
            format!(" (+{} a second)", number(per_s))
        } else {
            String::new()
        }
    };
    format!(
        "parked {}{}   given up {}{}   memory {} of {}",
        count(pace.dead_letters),
        gained(pace.dead_letters_per_s),
        count(pace.given_up),
        gained(pace.given_up_per_s),
        bytes(pace.resident_bytes),
        bytes(pace.memory_limit_bytes)
    )
}

fn row(label: &str, name: &str, state: &str, columns: &[String]) -> String {
    let mut line = format!("{label:<LABEL$}{name:<NAME$} {state:<9}");
    for column in columns {
        line.push_str(&format!(" {column:>13}"));
    }
    line.trim_end().to_owned()
}

fn rate(per_s: f64, word: &str) -> String {
    format!("{}/s {word}", number(per_s))
}

fn amount(number: u64, word: &str) -> String {
    format!("{} {word}", count(number))
}

/// A rate as people read it, with a decimal only where it is below ten: `1,204`, `3.5`, `0`.
fn number(per_s: f64) -> String {
    if per_s > 0.0 && per_s < 10.0 {
        format!("{per_s:.1}")
    } else {
        count(per_s.round() as u64)
    }
}

fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let kept = line.chars().take(width.saturating_sub(1));
    kept.chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::status::tests::busy;

    #[test]
    fn a_busy_gateway_is_a_table_of_no_more_than_the_columns_there_are() {
        let (before, mut now) = (busy(), busy());
        now.sources[0].received += 2_000;
        now.queues[0].accepted += 3;
        let pace = Throughput::between(&before, &now, Duration::from_secs(1));
        let wide = lines(&pace, 400);
        let line = |start: &str| {
            wide.iter()
                .find(|line| line.starts_with(start))
                .unwrap()
                .clone()
        };
        assert!(line("source").contains("2,000/s in"), "{wide:#?}");
        assert!(
            line("queue").contains("3.0/s out") && line("queue").contains("full"),
            "{wide:#?}"
        );
        assert!(wide.iter().any(|line| line.starts_with('!')), "{wide:#?}");
        for width in [20, 60, PLAIN_WIDTH] {
            let cut = lines(&pace, width);
            assert!(
                cut.iter().all(|line| line.chars().count() <= width),
                "{cut:#?}"
            );
            assert_eq!(cut.len(), wide.len());
        }
    }
}
