//! A source of ticks: a clock.

use std::time::Duration;

use super::super::fields::Fields;
use super::shared::spec;
use super::spec::SourceSpec;
use crate::config::problem::code::ProblemCode;
use crate::message::legal;
use crate::source::SourceKind;
use crate::source::ticks::{Config, DayTime, Rhythm, TickZone};

/// Keys that mean nothing in every other way in.
pub(super) const OWN_KEYS: &[&str] = &["topic", "every", "at"];

/// Times of day at most.
const MOST_TIMES: usize = 96;

pub(super) fn read(fields: &mut Fields<'_>, name: &str) -> SourceSpec {
    let zone = zone(fields);
    let own = Config {
        rhythm: rhythm(fields, &zone),
        topic: topic(fields, name).into(),
        zone,
    };
    spec(fields, name, SourceKind::Ticks(Box::new(own)), u32::MAX)
}

fn zone(fields: &mut Fields<'_>) -> TickZone {
    let url = fields.text("url").unwrap_or_default();
    let name = url.strip_prefix("clock://").unwrap_or_default();
    TickZone::find(name).unwrap_or_else(|problem| {
        let hint = "write clock://local, clock://utc or a zone such as clock://Europe/Berlin (of which the machine has to have the rules: package tzdata)";
        let message = format!("the URL names no clock: {problem}");
        fields.problem(ProblemCode::Url, "url", message, hint.to_owned());
        TickZone::Local
    })
}

fn rhythm(fields: &mut Fields<'_>, zone: &TickZone) -> Rhythm {
    let times = times(fields);
    fields.find("every");
    let has_period = fields.has("every");
    let period = match has_period {
        true => {
            let range = Duration::from_millis(10)..=Duration::from_secs(86_400);
            fields.duration("every", range)
        }
        false => Duration::from_secs(60),
    };
    match (has_period, times.is_empty()) {
        (true, false) => {
            let message = "both `every` and `at` say when there is a tick";
            let hint = "leave one of them out; a second source may have it".to_owned();
            fields.problem(ProblemCode::Conflict, "at", message, hint);
        }
        (false, true) if !fields.has("at") => {
            let message = format!("`{}` does not say when there is a tick", fields.path);
            let hint = "add, for example: every = \"1m\", or at = [\"06:00\", \"18:30\"]";
            fields.problem(ProblemCode::Missing, "url", message, hint.to_owned());
        }
        _ => {}
    }
    match times.is_empty() {
        true => Rhythm::Every(period),
        false => Rhythm::At(times, zone.clone()),
    }
}

fn times(fields: &mut Fields<'_>) -> Vec<DayTime> {
    let mut times = Vec::new();
    let written = fields.texts("at");
    for (text, _) in &written {
        match DayTime::parse(text) {
            Some(time) => times.push(time),
            None => {
                let shown = crate::words::line(text, 40);
                let message = format!("`{}.at` has no time of day in `{shown}`", fields.path);
                let hint = "two digits each, from 00:00 to 23:59: \"06:30\"".to_owned();
                fields.problem(ProblemCode::OutOfRange, "at", message, hint);
            }
        }
    }
    if fields.has("at") && (written.is_empty() || written.len() > MOST_TIMES) {
        let message = format!("`{}.at` has {} times", fields.path, written.len());
        let hint = format!("1 to {MOST_TIMES}; more often is `every`");
        fields.problem(ProblemCode::OutOfRange, "at", message, hint);
    }
    times.sort_unstable();
    times.dedup();
    times
}

fn topic(fields: &mut Fields<'_>, name: &str) -> String {
    let written = fields.text("topic").unwrap_or_default();
    let topic = written.replace("{source}", name);
    let problem = match topic.contains(['{', '}']) {
        true => Err("has something in braces that is not known here"),
        false => legal::check_topic(topic.as_bytes()),
    };
    if let Err(problem) = problem {
        let message = format!("`{}.topic` makes no topic: it {problem}", fields.path);
        let hint = "a topic in which {source} may stand: \"clock/{source}\"".to_owned();
        fields.problem(ProblemCode::Topic, "topic", message, hint);
    }
    topic
}
