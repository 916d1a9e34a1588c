//! What the source is subscribed to, wants to be, and what the broker has granted of that. No sockets, no clock.

use std::collections::BTreeMap;

use crate::message::Pattern;
use crate::message::Qos;
use crate::message::pattern::covers;
use crate::mqtt::{Protocol, Subscription};
use crate::source::FlowRoute;

/// The patterns of all routes and what is asked for beside them, without those whose filters another one covers: a broker may
/// send a message once for each.
pub(super) fn needed<'p>(routes: &'p [FlowRoute], beside: &'p [Pattern]) -> Vec<&'p Pattern> {
    let patterns = routes.iter().map(|route| &route.pattern).chain(beside);
    let patterns: Vec<&Pattern> = patterns.collect();
    let filters: Vec<String> = patterns.iter().map(|pattern| pattern.filter()).collect();
    let is_needed = |index: usize, filter: &str| {
        !filters.iter().enumerate().any(|(other, outer)| {
            other != index && covers(outer, filter) && (other < index || !covers(filter, outer))
        })
    };
    let patterns = patterns.into_iter().zip(&filters).enumerate();
    patterns
        .filter(|(index, (_, filter))| is_needed(*index, filter))
        .map(|(_, (pattern, _))| pattern)
        .collect()
}

/// What is to be asked for on a new connection: all of `wanted`, unless the broker speaks 3.1.1 and has our session with that.
/// There a SUBSCRIBE makes it send every retained message again.
pub(super) fn asks_for(
    wanted: &[Subscription],
    granted: &BTreeMap<String, Qos>,
    session: Option<Protocol>,
) -> Vec<Subscription> {
    let stands = |wanted: &Subscription| {
        session == Some(Protocol::V311)
            && granted
                .get(&wanted.filter)
                .is_some_and(|level| *level >= wanted.qos)
    };
    wanted
        .iter()
        .filter(|wanted| !stands(wanted))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_3_1_1_a_session_that_stands_is_asked_only_for_what_it_lacks() {
        let wanted = ["a", "b"].map(|filter| Subscription {
            filter: filter.to_owned(),
            qos: Qos::AtLeastOnce,
            id: None,
        });
        let asked = |granted: &[(&str, Qos)], session| {
            let granted = granted
                .iter()
                .map(|(filter, level)| ((*filter).to_owned(), *level))
                .collect();
            asks_for(&wanted, &granted, session)
                .into_iter()
                .map(|wanted| wanted.filter)
                .collect::<Vec<_>>()
        };
        let both = [("a", Qos::AtLeastOnce), ("b", Qos::ExactlyOnce)];
        assert!(asked(&both, Some(Protocol::V311)).is_empty());
        assert_eq!(asked(&both, Some(Protocol::V5)), ["a", "b"]);
        assert_eq!(asked(&both, None), ["a", "b"]);
        assert_eq!(
            asked(
                &[("a", Qos::AtLeastOnce), ("b", Qos::AtMostOnce)],
                Some(Protocol::V311)
            ),
            ["b"]
        );
    }
}
