//! What holds when a plugin or a device keeps failing, and what a plugin may do.

use std::time::Duration;

use crate::chain::{BreakerConfig, Grants, OnError, QuarantineConfig};

use crate::config::fields::Fields;
use crate::config::problem::code::ProblemCode;
use crate::config::tree::Node;

/// What happens to a message a plugin fails on.
pub(super) fn on_error(fields: &mut Fields<'_>) -> OnError {
    let words = [OnError::Park, OnError::Drop, OnError::Pass, OnError::Hold]
        .map(|on_error| (on_error.name(), on_error));
    fields.choice("on_error", &words).unwrap_or_default()
}

/// When a plugin is not asked any more.
pub(super) fn breaker(fields: &mut Fields<'_>) -> BreakerConfig {
    let mut section = fields.section("breaker");
    let breaker = BreakerConfig {
        after: section.count("after", 1..=1_000_000),
        window: section.duration(
            "window",
            Duration::from_millis(10)..=Duration::from_secs(3_600),
        ),
        retry: section.duration(
            "retry",
            Duration::from_millis(10)..=Duration::from_secs(3_600),
        ),
        close_after: section.count("close_after", 1..=1_000_000),
    };
    section.done();
    breaker
}

/// When a device is not listened to any more.
pub(super) fn quarantine(fields: &mut Fields<'_>) -> Option<QuarantineConfig> {
    if fields
        .find("quarantine")
        .is_some_and(|item| matches!(&item.node, Node::Text(text) if text == "off"))
    {
        return None;
    }
    let mut section = fields.section("quarantine");
    let quarantine = QuarantineConfig {
        after: section.count("after", 1..=1_000_000),
        retry: section.duration(
            "retry",
            Duration::from_millis(10)..=Duration::from_secs(86_400),
        ),
    };
    section.done();
    Some(quarantine)
}

/// What a plugin may do.
pub(super) fn grants(fields: &mut Fields<'_>) -> Grants {
    let mut grants = Grants {
        clock: false,
        random: false,
        topics: Vec::new(),
    };
    for (text, place) in fields.texts("grants") {
        match (text, text.strip_prefix("topics:")) {
            ("clock", _) => grants.clock = true,
            ("random", _) => grants.random = true,
            (_, Some(filter)) if is_filter(filter) => grants.topics.push(filter.to_owned()),
            (_, Some(filter)) => {
                let hint =
                    "write, for example: \"topics:alarms/#\"; `+` and `#` stand for whole levels"
                        .to_owned();
                fields.check.problem(
                    ProblemCode::Topic,
                    place,
                    format!("`{filter}` is no topic filter"),
                    hint,
                );
            }
            _ => {
                let hint =
                    "there are: clock, random, topics:FILTER; files and network are never granted"
                        .to_owned();
                fields.check.problem(
                    ProblemCode::Choice,
                    place,
                    format!("`{text}` cannot be granted"),
                    hint,
                );
            }
        }
    }
    grants
}

fn is_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').rev();
    let is_level = |level: &str| level == "+" || !level.contains(['+', '#', '\0']);
    !filter.is_empty()
        && levels
            .next()
            .is_some_and(|last| last == "#" || is_level(last))
        && levels.all(is_level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_whole_levels_and_the_last_one_only() {
        for filter in ["a", "a/b", "a/+/c", "#", "+", "a/#", "/"] {
            assert!(is_filter(filter), "{filter}");
        }
        for filter in ["", "a#", "a/#/b", "a+/b", "a\0"] {
            assert!(!is_filter(filter), "{filter}");
        }
    }
}
