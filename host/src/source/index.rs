//! Which flows a topic may be for, so that a message is not held against the patterns of a thousand others.

use std::collections::HashMap;

use crate::message::Pattern;

/// Up to so many flows it is quicker to ask each.
const FEW: usize = 8;

/// The flows of a source, by the levels that their patterns begin with.
pub(super) enum FlowIndex {
    /// So many that all are asked.
    Few(usize),
    /// Numbers of flows by the plain levels before a pattern's first wildcard.
    Many(HashMap<String, Vec<usize>>),
}

impl FlowIndex {
    /// Of the patterns of each flow.
    pub(super) fn new<'a>(flows: impl ExactSizeIterator<Item = &'a [Pattern]>) -> Self {
        if flows.len() <= FEW {
            return Self::Few(flows.len());
        }
        let mut by_start: HashMap<String, Vec<usize>> = HashMap::new();
        for (number, patterns) in flows.enumerate() {
            for pattern in patterns {
                by_start.entry(pattern.start()).or_default().push(number);
            }
        }
        Self::Many(by_start)
    }

    /// Puts the numbers of all flows in which a pattern may match `topic` into `found`, rising, each once.
    pub(super) fn look(&self, topic: &str, found: &mut Vec<usize>) {
        found.clear();
        match self {
            Self::Few(count) => found.extend(0..*count),
            Self::Many(by_start) => {
                let ends = topic
                    .bytes()
                    .enumerate()
                    .filter(|(_, byte)| *byte == b'/')
                    .map(|(end, _)| end);
                for end in std::iter::once(0).chain(ends).chain([topic.len()]) {
                    found.extend(by_start.get(&topic[..end]).into_iter().flatten());
                }
                found.sort_unstable();
                found.dedup();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    proptest! {
        #[test]
        fn every_flow_that_matches_is_found(
            patterns in proptest::collection::vec("(a|b||\\+|\\{x\\})(/(a|b||\\+)){0,3}(/#)?", 9..30),
            topics in proptest::collection::vec("(a|b|)(/(a|b|)){0,4}", 1..20),
        ) {
            let flows: Vec<Vec<Pattern>> = patterns.iter().filter_map(|text| Some(vec![Pattern::parse(text).ok()?])).collect();
            prop_assume!(flows.len() > FEW);
            let index = FlowIndex::new(flows.iter().map(Vec::as_slice));
            let mut found = Vec::new();
            for topic in topics {
                index.look(&topic, &mut found);
                prop_assert!(found.is_sorted_by(|one, next| one < next));
                let matching = (0..flows.len()).filter(|flow| flows[*flow][0].matches(&topic).is_some());
                for flow in matching {
                    prop_assert!(found.contains(&flow), "{topic:?} and {:?}", patterns);
                }
            }
        }
    }

    #[test]
    fn of_a_thousand_flows_only_those_are_asked_that_begin_like_the_topic() {
        let flows: Vec<_> = (0..1_000)
            .map(|flow| vec![pattern(&format!("site/m{flow}/{{device}}/data"))])
            .collect();
        let index = FlowIndex::new(flows.iter().map(Vec::as_slice));
        let mut found = Vec::new();
        index.look("site/m7/d1/data", &mut found);
        assert_eq!(found, [7]);
        index.look("elsewhere/m7", &mut found);
        assert!(found.is_empty());
    }
}
