//! Which topics the flows of a source ask for: what none of them asks for is not taken. No sockets.

use super::super::FlowRoute;
use super::super::index::FlowIndex;
use crate::message::Pattern;

/// Patterns that a client is told, and characters of each, and of a topic.
const TOLD: usize = 8;
const TOLD_CHARACTERS: usize = 100;

pub(in crate::source) struct WantedTopics {
    patterns: Vec<Pattern>,
    index: FlowIndex,
}

impl WantedTopics {
    pub(in crate::source) fn new(routes: &[FlowRoute]) -> Self {
        let patterns: Vec<_> = routes.iter().map(|route| route.pattern.clone()).collect();
        Self {
            index: FlowIndex::new(patterns.iter().map(std::slice::from_ref)),
            patterns,
        }
    }

    /// In words where no flow asks for `topic`.
    pub(in crate::source) fn check(&self, topic: &[u8]) -> Result<(), String> {
        let topic = String::from_utf8_lossy(topic);
        let mut candidates = Vec::new();
        self.index.look(&topic, &mut candidates);
        let is_asked_for = |index: &usize| self.patterns[*index].matches(&topic).is_some();
        if candidates.iter().any(is_asked_for) {
            return Ok(());
        }
        let topic = crate::words::line(&topic, TOLD_CHARACTERS);
        Err(format!(
            "no flow takes the topic `{topic}`, so nothing of the body is taken; {}",
            self.told()
        ))
    }

    fn told(&self) -> String {
        let pattern = |pattern: &Pattern| {
            let text = crate::words::line(&pattern.to_string(), TOLD_CHARACTERS);
            format!("`{text}`")
        };
        let told: Vec<_> = self.patterns.iter().take(TOLD).map(pattern).collect();
        let more = self.patterns.len() - told.len();
        match (told.is_empty(), more) {
            (true, _) => "no flow takes from here".to_owned(),
            (false, 0) => format!("flows take {}", told.join(", ")),
            (false, more) => format!("flows take {} and {more} more", told.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(patterns: &[String]) -> WantedTopics {
        let patterns: Vec<_> = patterns
            .iter()
            .map(|pattern| Pattern::parse(pattern).unwrap())
            .collect();
        WantedTopics {
            index: FlowIndex::new(patterns.iter().map(std::slice::from_ref)),
            patterns,
        }
    }

    #[test]
    fn what_no_flow_asks_for_is_told_with_what_they_do_ask_for() {
        let few = asked(&["devices/{device}/telemetry".into(), "$share/g/a/#".into()]);
        for good in ["devices/d1/telemetry", "a", "a/b/c"] {
            assert_eq!(few.check(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in [
            "Devices/d1/telemetry",
            "devices/d1/telemetry/",
            "/devices/d1/telemetry",
            "devices/d1",
            "$SYS/x",
        ] {
            let words = few.check(bad.as_bytes()).unwrap_err();
            for told in [bad, "`devices/{device}/telemetry`, `a/#`"] {
                assert!(words.contains(told), "{words}");
            }
        }
        let none = asked(&[]).check(b"a").unwrap_err();
        assert!(none.contains("no flow takes from here"), "{none}");
    }

    #[test]
    fn of_a_thousand_flows_a_few_are_told() {
        let many: Vec<_> = (0..1_000)
            .map(|flow| format!("{}{flow}/{{device}}", "m".repeat(500)))
            .collect();
        let many = asked(&many);
        assert_eq!(
            many.check(format!("{}999/d", "m".repeat(500)).as_bytes()),
            Ok(())
        );
        let words = many.check("x".repeat(60_000).as_bytes()).unwrap_err();
        assert!(
            words.ends_with("and 992 more") && words.len() < 1_500,
            "{words}"
        );
    }
}
