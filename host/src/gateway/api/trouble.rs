//! Why a connection is not in use, and what else does not go as it should: as `status` and health tell it.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::link::{self, LinkAccount};
use crate::{source, uplink};

/// Why a connection is not in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TroubleStatus {
    /// In words, and what to do.
    pub cause: String,
    /// Seconds since it was last in use for long, or since the first attempt failed; where it stands again, until then.
    pub since_s: u64,
    /// Seconds until it is tried again; missing while it is being tried, or stands again.
    pub next_try_s: Option<u64>,
    /// Seconds since it stands again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_s: Option<u64>,
}

impl TroubleStatus {
    /// What is known of it, as seen `now`.
    pub(super) fn of(trouble: link::Trouble, now: Instant) -> Self {
        Self {
            cause: trouble.cause,
            since_s: seconds_since(trouble.since, trouble.online.unwrap_or(now)),
            next_try_s: trouble.next_try.map(|at| seconds_until(at, now)),
            over_s: trouble.online.map(|at| seconds_since(at, now)),
        }
    }
}

/// Something that does not go as it should and is no lost connection, while it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionStatus {
    /// Of what sort: `client-id-taken-over`, of a source also `device-silent`, `registers-refused`, `behind`, `no-room`,
    /// `unframed`, `program-failed`, `clock-not-set`, `file-missing`, `file-unreadable`, `file-out-of-step`,
    /// `too-many-files`, `files-not-looked-at`, `file-like-another`,
    /// `not-renewed`, `session-of-before`, `session-left-behind`, of an uplink also `fallback-away`, `refuses-everything`, `acknowledges-nothing`,
    /// `ends-connections`, `dead-letters-full`, `refuses-many`, `limits-rate`, `limit-lowered`, `topic-barred`, and for messages that wait
    /// apart `refused`, `refused-for-now`, `suspect`, `unanswered`, `behind`.
    pub kind: String,
    /// In words, upstream's among them, on one line.
    pub words: String,
    /// The gateway's own among them, which name no topic, no address and nothing that somebody said.
    #[serde(skip)]
    pub own: String,
    /// Messages that wait for it, as far as they are known.
    pub messages: u64,
    /// Seconds since it began.
    pub since_s: u64,
    /// Seconds until something is tried next, where that is known.
    pub next_try_s: Option<u64>,
}

impl ConditionStatus {
    /// Of the connections of a source or uplink.
    fn of_link(link: &LinkAccount, now: Instant) -> Vec<Self> {
        let of = |takeover: &link::Takeover| Self {
            kind: "client-id-taken-over".to_owned(),
            words: takeover.words(),
            own: "another client may have its client id".to_owned(),
            messages: 0,
            since_s: seconds_since(takeover.since, now),
            next_try_s: None,
        };
        link.takeover.iter().map(of).collect()
    }

    pub(super) fn of_source(account: &source::Account, now: Instant) -> Vec<Self> {
        let of = |condition: &source::SourceCondition| Self {
            kind: condition.kind.to_owned(),
            words: condition.words.clone(),
            own: condition.own.to_owned(),
            messages: condition.messages,
            since_s: seconds_since(condition.since, now),
            next_try_s: condition.next_try.map(|at| seconds_until(at, now)),
        };
        let own = account.conditions.iter().map(of);
        own.chain(Self::of_link(&account.link, now)).collect()
    }

    pub(super) fn of_uplink(account: &uplink::Account, now: Instant) -> Vec<Self> {
        let of = |by: &str, condition: &uplink::UplinkCondition| Self {
            kind: condition.kind.name().to_owned(),
            words: format!("{by}{}", condition.words()),
            own: format!("{by}{}", condition.own_words()),
            messages: condition.messages,
            since_s: seconds_since(condition.since, now),
            next_try_s: condition.next_try.map(|at| seconds_until(at, now)),
        };
        let own = account.conditions.iter().map(|one| of("", one));
        let stand_in = account.of_fallback.iter().map(|one| of("fallback: ", one));
        let trouble = account.fallback_trouble.iter().map(|trouble| Self {
            kind: "fallback-away".to_owned(),
            words: format!("the fallback does not work: {}", trouble.cause),
            own: "the fallback does not work".to_owned(),
            messages: 0,
            since_s: seconds_since(trouble.since, now),
            next_try_s: trouble.next_try.map(|at| seconds_until(at, now)),
        });
        own.chain(trouble)
            .chain(stand_in)
            .chain(Self::of_link(&account.link, now))
            .collect()
    }
}

fn seconds_since(at: Instant, now: Instant) -> u64 {
    now.saturating_duration_since(at).as_secs()
}

fn seconds_until(at: Instant, now: Instant) -> u64 {
    let left = at.saturating_duration_since(now);
    u64::try_from(left.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX)
}
