//! What upstream does not take, and what stands still for it, while it lasts: for status, `/readyz` and gauges.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Of what sort it is; what weighs most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionKind {
    /// Only one message at a time is tried.
    RefusesEverything,
    /// Nothing that was sent has an answer.
    AcknowledgesNothing,
    /// Connections end, one after the other, with nothing accepted.
    EndsConnections,
    /// What is refused has no room among the dead letters, and stays in its queue.
    DeadLettersFull,
    /// More than one message in twenty is refused.
    RefusesMany,
    /// It refuses for now what comes faster than it takes, or ends connections over it.
    LimitsRate,
    /// The packet limit is lower than what it took before.
    LimitLowered,
    /// Messages of tidegate's own that are not tried any more.
    TopicBarred,
    /// Refused for good, and not yet parked.
    Refused,
    Busy,
    /// A connection may have ended over them.
    Suspect,
    /// They had no answer.
    Unanswered,
    /// They wait for one of their key.
    Behind,
}

impl ConditionKind {
    /// As scripts and metrics know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RefusesEverything => "refuses-everything",
            Self::AcknowledgesNothing => "acknowledges-nothing",
            Self::EndsConnections => "ends-connections",
            Self::DeadLettersFull => "dead-letters-full",
            Self::RefusesMany => "refuses-many",
            Self::LimitsRate => "limits-rate",
            Self::LimitLowered => "limit-lowered",
            Self::TopicBarred => "topic-barred",
            Self::Refused => "refused",
            Self::Busy => "refused-for-now",
            Self::Suspect => "suspect",
            Self::Unanswered => "unanswered",
            Self::Behind => "behind",
        }
    }

    /// For people: what it is, and what can be done.
    fn words(self) -> &'static str {
        match self {
            Self::RefusesEverything => {
                "upstream refuses everything, one message at a time is tried; check topics, rights and limits there"
            }
            Self::AcknowledgesNothing => "upstream acknowledges nothing",
            Self::EndsConnections => {
                "upstream ends one connection after the other and accepts nothing"
            }
            Self::DeadLettersFull => {
                "the dead letters have no room for what upstream refuses, which stays in its queue; put upstream right, then `tidegate parked retry`, or drop some"
            }
            Self::RefusesMany => "upstream refuses more than 5 % of what it is sent",
            Self::LimitsRate => {
                "upstream refuses what comes faster than it likes, or ends the connection, and is sent to at its pace"
            }
            Self::LimitLowered => {
                "upstream announces a packet limit below what it took before; larger ones are refused"
            }
            Self::TopicBarred => {
                "upstream ended connections over messages that tidegate makes; none of that topic is tried again before the next start"
            }
            Self::Refused => "refused, and parked when upstream takes another one",
            Self::Busy => "refused for now, and sent again",
            Self::Suspect => "tried alone, as upstream may have ended a connection over each",
            Self::Unanswered => "sent again beside others, as upstream has acknowledged none",
            Self::Behind => "behind another one of the same device",
        }
    }
}

/// Something that upstream does not take, and what waits for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkCondition {
    pub kind: ConditionKind,
    pub since: Instant,
    /// Messages that wait for it, as far as they are known.
    pub messages: u64,
    /// When something is tried next, where that is known.
    pub next_try: Option<Instant>,
    /// Upstream's words, or which topic; clean and bounded, on one line.
    pub(super) why: String,
}

impl UplinkCondition {
    pub(super) fn new(kind: ConditionKind, now: Instant) -> Self {
        Self {
            kind,
            since: now,
            messages: 0,
            next_try: None,
            why: String::new(),
        }
    }

    /// On one line, without the times.
    pub fn words(&self) -> String {
        let why = if self.why.is_empty() { "" } else { ": " };
        format!("{}{why}{}", self.own_words(), self.why)
    }

    /// The same without upstream's words and topics.
    pub fn own_words(&self) -> String {
        let messages = match self.messages {
            0 => String::new(),
            1 => "1 message: ".to_owned(),
            many => format!("{many} messages: "),
        };
        format!("{messages}{}", self.kind.words())
    }
}

/// The name of an uplink or fallback, and the number of its connection.
pub(super) type ConnectionNumber = (Arc<str>, u64);

/// The conditions of all uplinks.
#[derive(Clone, Debug, Default)]
pub(super) struct UplinkConditions(
    pub(super) Arc<Mutex<BTreeMap<ConnectionNumber, Vec<UplinkCondition>>>>,
);

impl UplinkConditions {
    /// Those of `name` over all its connections, each kind once.
    pub(super) fn of(&self, name: &str) -> Vec<UplinkCondition> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: BTreeMap<ConditionKind, UplinkCondition> = BTreeMap::new();
        let of_name = all.iter().filter(|((known, _), _)| &**known == name);
        for condition in of_name.flat_map(|(_, conditions)| conditions) {
            let Some(known) = found.get_mut(&condition.kind) else {
                found.insert(condition.kind, condition.clone());
                continue;
            };
            known.messages += condition.messages;
            known.since = known.since.min(condition.since);
            known.next_try = known.next_try.into_iter().chain(condition.next_try).min();
        }
        found.into_values().collect()
    }
}
