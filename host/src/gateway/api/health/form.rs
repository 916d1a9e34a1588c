//! How each part of the gateway is; the JSON form is a promise to scripts.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::admin::json;

/// Ordered by how much it weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    #[default]
    Ok,
    /// Does its job in part, or will soon not do it.
    Degraded,
    /// Cannot do its job.
    Failed,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthPart {
    /// `source`, `subscriptions`, `flow`, `devices`, `queue`, `uplink`, `certificate`, `spool`, `disk`, `memory`, `clock`,
    /// `dead-letters`, `crashes`, `config`, `loop`.
    pub kind: String,
    /// Which of that kind; empty where there is one only.
    pub name: String,
    pub state: State,
    /// In words, and what to do; on one line.
    pub why: Option<String>,
}

/// All that was looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The worst of its parts.
    pub state: State,
    pub parts: Vec<HealthPart>,
}

/// How one part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Good,
    /// Does its job in part: said.
    Fair(String),
    /// Cannot do its job.
    Bad(String),
}

impl Health {
    /// Well, unless there is something to say.
    pub(super) fn fair(words: Vec<String>, between: &str) -> Self {
        if words.is_empty() {
            Self::Good
        } else {
            Self::Fair(words.join(between))
        }
    }

    /// As a part of the gateway.
    pub(super) fn of(self, kind: &str, name: &str) -> HealthPart {
        let (state, why) = match self {
            Self::Good => (State::Ok, None),
            Self::Fair(why) => (State::Degraded, Some(why)),
            Self::Bad(why) => (State::Failed, Some(why)),
        };
        HealthPart {
            kind: kind.to_owned(),
            name: name.to_owned(),
            state,
            why,
        }
    }
}

impl HealthPart {
    /// As a person calls it.
    pub fn title(&self) -> String {
        match (&*self.kind, &*self.name) {
            (kind, "") => kind.to_owned(),
            ("subscriptions", name) => format!("source {name}: subscriptions"),
            ("loop", name) => name.to_owned(),
            (kind, name) => format!("{kind} {name}"),
        }
    }
}

impl Report {
    pub(super) fn new(parts: Vec<HealthPart>) -> Self {
        let state = parts.iter().map(|part| part.state).max();
        Self {
            state: state.unwrap_or_default(),
            parts,
        }
    }

    /// A line for each part that is not well, with `verbose` for each, and a last one of `words`, by the worst of them.
    pub fn text(&self, verbose: bool, words: [&str; 3]) -> String {
        let mut text = String::new();
        for part in &self.parts {
            let why = part.why.as_deref().unwrap_or_default();
            match part.state {
                State::Ok if verbose && why.is_empty() => {
                    text.push_str(&format!("[+] {} ok\n", part.title()));
                }
                State::Ok if verbose => text.push_str(&format!("[+] {} ok: {why}\n", part.title())),
                State::Ok => {}
                State::Degraded => text.push_str(&format!("[~] {} {why}\n", part.title())),
                State::Failed => text.push_str(&format!("[-] {} failed: {why}\n", part.title())),
            }
        }
        text + words[self.state as usize] + "\n"
    }

    /// In the form that is asked for: JSON has all of it. Only what has failed is no success.
    pub(super) fn answer(&self, asked: &HealthQuery, words: [&str; 3]) -> Response {
        let code = match self.state {
            State::Failed => StatusCode::SERVICE_UNAVAILABLE,
            State::Ok | State::Degraded => StatusCode::OK,
        };
        if asked.json {
            return (code, json(self)).into_response();
        }
        (code, self.text(asked.verbose, words)).into_response()
    }
}

/// What form is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct HealthQuery {
    verbose: bool,
    json: bool,
}

impl HealthQuery {
    pub(super) fn of(query: Option<&str>, headers: &HeaderMap) -> Self {
        let accepts = headers.get(header::ACCEPT);
        let accepts = accepts.and_then(|accept| accept.to_str().ok());
        Self {
            verbose: query.is_some_and(|query| query.split('&').any(|part| part == "verbose")),
            json: accepts.is_some_and(|accept| accept.contains("application/json")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 3] = ["ready", "ready, degraded", "not ready"];

    fn shown(part: HealthPart, verbose: bool) -> (StatusCode, String) {
        let report = Report::new(vec![part]);
        let asked = HealthQuery {
            verbose,
            json: false,
        };
        let code = report.answer(&asked, WORDS).status();
        (code, report.text(verbose, WORDS))
    }

    #[test]
    fn parts_that_work_are_told_when_asked() {
        let spool = || Health::Good.of("spool", "");
        assert_eq!(shown(spool(), false), (StatusCode::OK, "ready\n".into()));
        assert_eq!(
            shown(spool(), true),
            (StatusCode::OK, "[+] spool ok\nready\n".into())
        );
    }

    #[test]
    fn what_works_in_part_is_ready_and_degraded() {
        for verbose in [false, true] {
            let uplink = Health::Fair("degraded for 5s: no route".into()).of("uplink", "cloud");
            let expected = "[~] uplink cloud degraded for 5s: no route\nready, degraded\n";
            assert_eq!(shown(uplink, verbose), (StatusCode::OK, expected.into()));
        }
    }

    #[test]
    fn a_failed_part_is_named_without_being_asked() {
        assert_eq!(
            shown(Health::Bad("disk full".into()).of("spool", ""), false),
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "[-] spool failed: disk full\nnot ready\n".into()
            )
        );
    }

    #[test]
    fn json_is_given_to_whoever_accepts_it() {
        let mut headers = HeaderMap::new();
        assert!(!HealthQuery::of(Some("x&verbose"), &headers).json);
        assert!(HealthQuery::of(Some("x&verbose"), &headers).verbose);
        headers.insert(header::ACCEPT, "application/json".parse().unwrap());
        assert!(HealthQuery::of(None, &headers).json);
    }
}
