//! The page as it is before any script has run: all numbers are there, as text.

use std::fmt::Write;

use super::view::PageView;
use crate::clock::utc;
use crate::devices::DeviceCounts;
use crate::gateway::api::health::{HealthPart, State};
use crate::gateway::api::status::{FlowStatus, PluginStatus, QueueStatus};

const TEMPLATE: &str = include_str!("index.html");
/// Digits of a digest.
const DIGEST: usize = 12;

/// The page of this moment.
pub(super) fn page(view: &PageView) -> String {
    let mut page = String::with_capacity(32 << 10);
    // What is put in is not looked at again: no name of a device can be a place of the template.
    for (index, piece) in TEMPLATE.split("{{").enumerate() {
        let text = if index == 0 {
            piece
        } else {
            let (place, text) = piece.split_once("}}").unwrap_or(("", piece));
            page.push_str(&put(place, view));
            text
        };
        page.push_str(text);
    }
    page
}

fn put(place: &str, view: &PageView) -> String {
    match place {
        "name" => escaped(&view.status.name),
        "version" => escaped(&view.status.version),
        "state" => view.health.state.name().to_owned(),
        "at" => moment(view.at_ms * 1_000),
        "facts" => facts(view),
        "well" if view.health.state == State::Ok => " hidden".to_owned(),
        "wrong" => view.health.parts.iter().filter_map(wrong).collect(),
        "tables" => tables(view),
        // Data for the script; no text in it can end it.
        "view" => serde_json::to_string(view)
            .unwrap_or_default()
            .replace('<', "\\u003c"),
        _ => String::new(),
    }
}

/// Text that is no markup, wherever it stands.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
    out
}

fn facts(view: &PageView) -> String {
    let status = &view.status;
    let process = status.process.as_ref();
    let memory = process.map(|process| {
        format!(
            "{} of {}",
            bytes(process.resident_bytes),
            bytes(process.memory_limit_bytes)
        )
    });
    let facts = [
        ("up", process.map(|process| time(process.uptime_s))),
        ("memory", memory),
        ("disk free", Some(bytes(status.store.free_bytes))),
        ("dead letters", Some(status.dead_letters.kept.to_string())),
        ("devices", view.devices.map(devices)),
    ];
    let fact = |(name, value): (&str, Option<String>)| {
        value.map(|value| format!("<div><dt>{name}</dt><dd>{value}</dd></div>"))
    };
    facts.into_iter().filter_map(fact).collect()
}

/// How many there are, and how many are not as they should be.
fn devices(counts: DeviceCounts) -> String {
    let odd = [
        (counts.silent, "silent"),
        (counts.offline, "offline"),
        (counts.mad, "mad"),
    ];
    let odd = odd.into_iter().filter(|(count, _)| *count > 0);
    let odd = odd.map(|(count, what)| format!(", {count} {what}"));
    format!("{}{}", counts.known, odd.collect::<String>())
}

fn wrong(part: &HealthPart) -> Option<String> {
    let why = part.why.as_ref().filter(|_| part.state != State::Ok)?;
    Some(format!(
        "<li class=\"{}\"><strong>{}</strong> <span>{}</span></li>",
        part.state.name(),
        escaped(&part.title()),
        escaped(why)
    ))
}

/// A table: its id and title, its columns (those of numbers begin with `#`), its rows.
struct HtmlTable<'a> {
    id: &'a str,
    title: &'a str,
    columns: &'a [&'a str],
    rows: Vec<(State, Vec<String>)>,
}

impl HtmlTable<'_> {
    fn html(&self) -> String {
        let mut html = String::new();
        let hidden = if self.rows.is_empty() { " hidden" } else { "" };
        let Self { id, title, .. } = self;
        // Nothing fails that writes into memory.
        let _ = write!(
            html,
            "<section{hidden}><h2 id=\"{id}-title\">{title}</h2><div class=\"scroll\"><table id=\"{id}\" aria-labelledby=\"{id}-title\"><thead><tr>"
        );
        for column in self.columns {
            let _ = match column.strip_prefix('#') {
                Some(column) => write!(html, "<th scope=\"col\" class=\"n\">{column}</th>"),
                None => write!(html, "<th scope=\"col\">{column}</th>"),
            };
        }
        html.push_str("</tr></thead><tbody>");
        for (state, cells) in &self.rows {
            let _ = write!(html, "<tr class=\"{}\">", state.name());
            for (cell, column) in cells.iter().zip(self.columns) {
                let class = if column.starts_with('#') {
                    " class=\"n\""
                } else {
                    ""
                };
                let _ = write!(html, "<td{class}>{}</td>", escaped(cell));
            }
            html.push_str("</tr>");
        }
        html + "</tbody></table></div></section>\n"
    }
}

fn tables(view: &PageView) -> String {
    let all = ends(view).into_iter().chain(flows(view)).chain(past(view));
    all.map(|table| table.html()).collect()
}

fn state_of(view: &PageView, kind: &str, name: &str) -> State {
    let is_it = |part: &&HealthPart| part.kind == kind && part.name == name;
    let part = view.health.parts.iter().find(is_it);
    part.map(|part| part.state).unwrap_or_default()
}

/// A rate needs two looks.
fn no_rate() -> String {
    "–".to_owned()
}

fn ends(view: &PageView) -> Vec<HtmlTable<'static>> {
    let status = &view.status;
    let sources = status.sources.iter().map(|one| {
        let cells = vec![
            one.name.clone(),
            one.state.clone(),
            no_rate(),
            count(one.received),
            count(one.unsettled),
        ];
        (state_of(view, "source", &one.name), cells)
    });
    let uplinks = status.uplinks.iter().map(|one| {
        let numbers = [one.forwarded, one.inflight, one.refused].map(count);
        let cells = [one.name.clone(), one.state.clone(), no_rate()];
        (
            state_of(view, "uplink", &one.name),
            cells.into_iter().chain(numbers).collect(),
        )
    });
    vec![
        HtmlTable {
            id: "sources",
            title: "Sources",
            columns: &["source", "state", "#now", "#since the start", "#unsettled"],
            rows: sources.collect(),
        },
        HtmlTable {
            id: "uplinks",
            title: "Uplinks",
            columns: &[
                "uplink",
                "state",
                "#now",
                "#accepted",
                "#in flight",
                "#refused",
            ],
            rows: uplinks.collect(),
        },
    ]
}

fn flows(view: &PageView) -> Vec<HtmlTable<'static>> {
    vec![queues(view), through(view), plugins(view)]
}

fn queues(view: &PageView) -> HtmlTable<'static> {
    let row = |one: &QueueStatus| (state_of(view, "queue", &one.name), queue(one));
    HtmlTable {
        id: "queues",
        title: "Queues",
        columns: &[
            "queue",
            "#in memory",
            "#on disk",
            "#bytes",
            "#at most",
            "#room for",
            "#oldest",
        ],
        rows: view.status.queues.iter().map(row).collect(),
    }
}

/// What goes through each flow.
fn through(view: &PageView) -> HtmlTable<'static> {
    let row = |one: &FlowStatus| {
        let filtered = one.filtered + one.absorbed;
        let counts = [one.messages_in, one.messages_out, filtered, one.rejected].map(count);
        let cells = [one.name.clone(), no_rate()].into_iter().chain(counts);
        let cells = cells.chain([one.bytes_in, one.bytes_out].map(bytes));
        (state_of(view, "flow", &one.name), cells.collect())
    };
    HtmlTable {
        id: "flows",
        title: "Flows",
        columns: &[
            "flow",
            "#now",
            "#in",
            "#out",
            "#filtered",
            "#rejected",
            "#bytes in",
            "#bytes out",
        ],
        rows: view.status.flows.iter().map(row).collect(),
    }
}

fn plugins(view: &PageView) -> HtmlTable<'static> {
    let mut rows = Vec::new();
    for flow in &view.status.flows {
        rows.extend(flow.plugins.iter().map(|one| plugin(flow, one)));
    }
    HtmlTable {
        id: "plugins",
        title: "Plugins",
        columns: &[
            "plugin",
            "version",
            "breaker",
            "#processor",
            "#memory",
            "nearest limit",
        ],
        rows,
    }
}

fn plugin(flow: &FlowStatus, one: &PluginStatus) -> (State, Vec<String>) {
    let short = |digest: &str| digest.get(..DIGEST).unwrap_or(digest).to_owned();
    let candidate = one
        .candidate
        .as_ref()
        .map(|one| format!(" → {} ({})", short(&one.digest), one.state));
    let state = match &*one.breaker {
        "open" => State::Failed,
        "half-open" => State::Degraded,
        _ => State::Ok,
    };
    let limit = (!one.limit.is_empty())
        .then(|| format!("{:.0} % of {}", one.limit_used * 100.0, one.limit));
    let cells = vec![
        format!("{}/{}", flow.name, one.name),
        short(&one.digest) + &candidate.unwrap_or_default(),
        one.breaker.clone(),
        no_rate(),
        bytes(one.memory_bytes),
        limit.unwrap_or_default(),
    ];
    (state, cells)
}

fn queue(one: &QueueStatus) -> Vec<String> {
    vec![
        one.name.clone(),
        count(one.in_ram),
        count(one.on_disk),
        bytes(one.disk_bytes),
        one.limit_bytes.map_or("none".to_owned(), bytes),
        one.full_in_s.map(time).unwrap_or_default(),
        one.oldest_age_s
            .filter(|age| *age > 0)
            .map(time)
            .unwrap_or_default(),
    ]
}

fn past(view: &PageView) -> Vec<HtmlTable<'static>> {
    let ok = |cells| (State::Ok, cells);
    let letters = view.kept.letters.iter().map(|one| {
        ok(vec![
            moment(one.parked_us),
            one.reason.to_owned(),
            one.at.clone(),
            bytes(one.bytes),
        ])
    });
    let ledger = view.ledger.iter().map(|one| {
        ok(vec![
            one.reason.to_owned(),
            one.queue.clone(),
            count(one.count),
            moment(one.first_us),
            moment(one.last_us),
        ])
    });
    let events = view.kept.events.iter().map(|one| {
        let names = [&*one.flow, &*one.plugin]
            .into_iter()
            .filter(|name| !name.is_empty());
        let names = names.collect::<Vec<_>>().join("/");
        let at = one.at.get(..19).unwrap_or(&one.at).replace('T', " ");
        ok(vec![
            at,
            names,
            one.what.clone(),
            one.why.clone().unwrap_or_default(),
        ])
    });
    vec![
        HtmlTable {
            id: "letters",
            title: "Newest dead letters: <code>tidegate parked list</code> has what they say",
            columns: &["parked (UTC)", "reason", "at", "#payload"],
            rows: letters.collect(),
        },
        HtmlTable {
            id: "ledger",
            title: "Given up: <code>tidegate ledger</code> has topics and devices",
            columns: &["reason", "queue", "#messages", "first (UTC)", "last (UTC)"],
            rows: ledger.collect(),
        },
        HtmlTable {
            id: "events",
            title: "Changes of plugins and config",
            columns: &["at (UTC)", "of", "what", "why"],
            rows: events.collect(),
        },
    ]
}

fn moment(us: u64) -> String {
    let text = utc(us);
    text.get(..19)
        .filter(|_| us > 0)
        .unwrap_or_default()
        .replace('T', " ")
}

fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from(unit > 0 && value < 100.0);
    format!("{value:.digits$} {}", UNITS[unit])
}

fn time(seconds: u64) -> String {
    const STEPS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let Some(at) = STEPS.iter().position(|(length, _)| seconds >= *length) else {
        return "0 s".to_owned();
    };
    let (length, unit) = STEPS[at];
    let next = STEPS.get(at + 1);
    let rest = next.map(|(next, unit)| (seconds % length / next, *unit));
    match rest {
        Some((rest, smaller)) if rest > 0 => {
            format!("{} {unit} {rest} {smaller}", seconds / length)
        }
        _ => format!("{} {unit}", seconds / length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_no_markup() {
        let table = HtmlTable {
            id: "sources",
            title: "Sources",
            columns: &["source", "#in"],
            rows: vec![(
                State::Failed,
                vec!["<script>'\"&{{name}}".to_owned(), count(1_234_567)],
            )],
        };
        let html = table.html();
        assert!(
            html.contains("&lt;script&gt;&#39;&quot;&amp;{{name}}") && !html.contains("<script"),
            "{html}"
        );
        assert!(
            html.contains("<tr class=\"failed\">")
                && html.contains("<td class=\"n\">1,234,567</td>"),
            "{html}"
        );
    }

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!(
            ["0 B", "1.5 KiB", "512 MiB"],
            [0, 1_536, 512 << 20]
                .map(bytes)
                .each_ref()
                .map(|text| &**text)
        );
        assert_eq!(
            ["0 s", "1 min 1 s", "2 d 1 h"],
            [0, 61, 176_400].map(time).each_ref().map(|text| &**text)
        );
        assert_eq!(moment(0), "");
    }
}
