//! What a config should not go live with: it can be run, and whoever answers for the gateway would be sorry. Each finding has a
//! short name of its own, which never changes its meaning, and is mended, or accepted in `[accepted]` with the reason why.

pub(super) mod accepted;
pub(super) mod advice;
mod ends;
mod flows;
mod house;
mod site;

use self::accepted::Accepted;
use self::advice::Advice;
use super::problem::code::ProblemCode;
use super::problem::{Problem, Problems};
use super::tree::{Node, Place, Table, TomlEntry};
use super::{Config, layers};

/// Something that was found, and what it is of: `source.field`, `spool`.
#[derive(Debug)]
struct StrictFinding {
    advice: Advice,
    subject: String,
    place: Place,
    message: String,
    hint: String,
}

/// What a config lacks for going live.
#[derive(Debug)]
pub struct Strict {
    /// Neither mended nor accepted, with the warnings that every check gives, and what is accepted and not there any more.
    pub problems: Problems,
    /// How many are neither mended nor accepted.
    pub open: usize,
    pub accepted: Vec<Pardon>,
}

/// A finding that somebody has accepted.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub struct Pardon {
    pub code: &'static str,
    /// What it is of; empty for what is a warning of every check.
    pub subject: String,
    pub reason: String,
}

/// One look at a config.
struct StrictLook<'a> {
    config: &'a Config,
    found: Vec<StrictFinding>,
}

impl Config {
    /// Looks for what a gateway should not go live with.
    pub fn strict(&self) -> Strict {
        let mut look = StrictLook {
            config: self,
            found: Vec::new(),
        };
        look.ends();
        look.flows();
        look.house();
        let mut used = vec![false; self.accepted.len()];
        let mut accepted = Vec::new();
        let mut problems = Vec::new();
        for warning in self.warnings.iter() {
            match pardon(&self.accepted, warning.code.name(), "", &mut used) {
                Some(pardon) => accepted.push(pardon),
                None => problems.push(warning.clone()),
            }
        }
        for finding in look.found {
            let name = finding.advice.name();
            match pardon(&self.accepted, name, &finding.subject, &mut used) {
                Some(pardon) => accepted.push(pardon),
                None => problems.push(finding.into()),
            }
        }
        let is_open = |problem: &&Problem| problem.code != ProblemCode::SecretElsewhere;
        let open = problems.iter().filter(is_open).count();
        let idle = self.accepted.iter().zip(used).filter(|(_, used)| !used);
        problems.extend(idle.map(|(accepted, _)| unneeded(accepted)));
        let texts = std::sync::Arc::clone(&self.origin.texts);
        Strict {
            problems: Problems::new(texts, problems),
            open,
            accepted,
        }
    }
}

/// Why a finding is accepted; the word for its subject alone goes before the one for all of its kind.
fn pardon(
    all: &[Accepted],
    code: &'static str,
    subject: &str,
    used: &mut [bool],
) -> Option<Pardon> {
    let of = |wanted: Option<&str>| {
        all.iter()
            .position(|one| one.code == code && one.subject.as_deref() == wanted)
    };
    let at = of(Some(subject)).or_else(|| of(None))?;
    used[at] = true;
    Some(Pardon {
        code,
        subject: subject.to_owned(),
        reason: crate::words::line(&all[at].reason, 200),
    })
}

fn unneeded(accepted: &Accepted) -> Problem {
    let what = match &accepted.subject {
        Some(subject) => format!("`{}` of `{subject}`", accepted.code),
        None => format!("`{}`", accepted.code),
    };
    Problem {
        code: ProblemCode::Unneeded,
        message: format!("{what} is accepted, and nothing of that kind is found any more"),
        hint: Some("leave the line out: it would hide the next one".to_owned()),
        place: accepted.place,
    }
}

impl From<StrictFinding> for Problem {
    fn from(finding: StrictFinding) -> Self {
        Self {
            code: ProblemCode::Advice(finding.advice),
            message: finding.message,
            hint: Some(finding.hint),
            place: finding.place,
        }
    }
}

impl<'a> StrictLook<'a> {
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a text of one finding, and a struct of them would be one more finding"
    )]
    fn find(
        &mut self,
        advice: Advice,
        subject: impl Into<String>,
        place: Place,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.found.push(StrictFinding {
            advice,
            subject: subject.into(),
            place,
            message: message.into(),
            hint: hint.into(),
        });
    }

    /// The tables `[kind.NAME]` as they were written.
    fn tables(&self, kind: &str) -> Vec<(&'a TomlEntry, &'a Table)> {
        let tables = self.config.origin.tree.table(kind);
        let entries = tables.map_or(&[][..], |tables| &tables.entries);
        let table = |entry: &'a TomlEntry| match &entry.item.node {
            Node::Table(table) => Some((entry, table)),
            _ => None,
        };
        entries.iter().filter_map(table).collect()
    }

    /// Where a key of a table that there is one of was written, else that table, else the file.
    fn place(&self, table: &str, key: &str) -> Place {
        let entry = self.config.origin.tree.entry(table);
        let whole = entry.map_or(Place::whole(layers::FILE), |entry| entry.place);
        let table = self.config.origin.tree.table(table);
        table.map_or(whole, |table| place_in(table, key, whole))
    }
}

/// Where `key` was written in a table, else `whole`.
fn place_in(table: &Table, key: &str, whole: Place) -> Place {
    table.get(key).map_or(whole, |item| item.place)
}

#[cfg(test)]
mod tests;
