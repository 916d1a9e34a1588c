//! `[class.NAME]`: what is given up of what is owed, and who goes first.

use std::sync::Arc;
use std::time::Duration;

use crate::message::Qos;
use crate::spool::{DropPolicy, Policy};

use super::connection;
use super::fields::Fields;
use super::tree::{Node, Place};
use crate::config::problem::code::ProblemCode;

/// The classes every gateway has.
const PRESETS: [&str; 4] = ["alarm", "state", "telemetry", "debug"];

#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) name: Arc<str>,
    /// Where the operator wrote it.
    pub(super) place: Option<Place>,
    pub(super) policy: Policy,
    /// Its share when several classes are drained, from 1 to 100.
    pub(super) weight: u32,
    /// Level of what is published; `None`: the uplink's.
    pub(super) qos: Option<Qos>,
    pub(super) is_fresh_first: bool,
}

/// The classes every gateway has, then those of the operator's own.
pub(super) fn read_all(root: &mut Fields<'_>) -> Vec<Class> {
    let mut written: Vec<Class> = root
        .named("class")
        .into_iter()
        .map(|(name, fields)| {
            let place = Some(fields.place);
            Class {
                place,
                ..read(fields, name)
            }
        })
        .collect();
    let mut classes: Vec<Class> = Vec::new();
    for name in PRESETS {
        let own = written
            .iter()
            .position(|class| &*class.name == name)
            .map(|at| written.remove(at));
        classes.push(own.unwrap_or_else(|| read(root.preset("class", name), name)));
    }
    classes.extend(written);
    classes
}

fn read(mut fields: Fields<'_>, name: &str) -> Class {
    let policy = Policy {
        max_bytes: fields.size("max", 256 << 10..=1 << 40),
        max_age: max_age(&mut fields),
        drop: fields
            .choice("drop", &DropPolicy::WORDS)
            .unwrap_or_default(),
    };
    let weight = fields.count("weight", 1..=100);
    let qos = fields
        .find("qos")
        .is_some()
        .then(|| connection::qos(&mut fields));
    let is_fresh_first = fields
        .choice("order", &[("first-in", false), ("fresh-first", true)])
        .unwrap_or_default();
    if is_fresh_first && policy.drop.supersedes() {
        let hint = "a class that keeps the last of each topic has little to catch up with: leave `order` out".to_owned();
        fields.problem(
            ProblemCode::Conflict,
            "order",
            "an old state would arrive behind a newer one of its topic",
            hint,
        );
    }
    fields.done();
    Class {
        name: name.into(),
        place: None,
        policy,
        weight,
        qos,
        is_fresh_first,
    }
}

fn max_age(fields: &mut Fields<'_>) -> Option<Duration> {
    match fields.find("max_age").map(|item| &item.node) {
        Some(Node::Text(text)) if text == "never" => None,
        _ => Some(fields.duration(
            "max_age",
            Duration::from_secs(60)..=Duration::from_secs(3_650 * 86_400),
        )),
    }
}
