//! How each part of the gateway is; the JSON form is a promise to scripts.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::words::{Reader, Words};
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
    /// In words, and what to do; on one line. The operator reads all of it, others its open form.
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
    Fair(Words),
    /// Cannot do its job.
    Bad(Words),
}

/// A part, before it is known who reads of it.
#[derive(Clone, Debug)]
pub(super) struct FoundPart {
    kind: &'static str,
    name: String,
    health: Health,
}

impl Health {
    /// Well, unless there is something to say.
    pub(super) fn fair(words: Vec<Words>, between: &str) -> Self {
        if words.is_empty() {
            Self::Good
        } else {
            Self::Fair(Words::join(&words, between))
        }
    }

    /// As a part of the gateway.
    pub(super) fn of(self, kind: &'static str, name: &str) -> FoundPart {
        FoundPart {
            kind,
            name: name.to_owned(),
            health: self,
        }
    }
}

impl FoundPart {
    fn told(self, reader: Reader) -> HealthPart {
        let (state, words) = match self.health {
            Health::Good => (State::Ok, None),
            Health::Fair(words) => (State::Degraded, Some(words)),
            Health::Bad(words) => (State::Failed, Some(words)),
        };
        HealthPart {
            kind: self.kind.to_owned(),
            name: self.name,
            state,
            why: words.map(|words| words.to(reader)),
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
    pub(super) fn new(found: Vec<FoundPart>, reader: Reader) -> Self {
        let parts: Vec<_> = found.into_iter().map(|one| one.told(reader)).collect();
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

    fn shown(part: FoundPart, verbose: bool) -> (StatusCode, String) {
        let report = Report::new(vec![part], Reader::Anybody);
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
            let uplink = Health::Fair(Words::own("degraded for 5 s")).of("uplink", "cloud");
            let expected = "[~] uplink cloud degraded for 5 s\nready, degraded\n";
            assert_eq!(shown(uplink, verbose), (StatusCode::OK, expected.into()));
        }
    }

    #[test]
    fn a_failed_part_is_named_without_being_asked() {
        assert_eq!(
            shown(Health::Bad(Words::own("disk full")).of("spool", ""), false),
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
