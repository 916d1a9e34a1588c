//! Whether a pattern matches any of the topics that a template makes.

use super::{Level, Pattern};

/// What is known of one level of a topic.
struct Bounds<'a> {
    start: &'a str,
    end: &'a str,
    /// Nothing stands between the two.
    is_whole: bool,
    /// Something has to stand between them.
    is_filled: bool,
}

impl Bounds<'_> {
    fn admit(&self, text: &str) -> bool {
        if self.is_whole {
            return text == self.start;
        }
        let rest = text.strip_prefix(self.start);
        let between = rest.and_then(|rest| rest.strip_suffix(self.end));
        between.is_some_and(|between| !self.is_filled || !between.is_empty())
    }
}

impl Pattern {
    /// Whether there is a topic that matches, begins with `before`, ends with `after`, and has something between.
    pub fn meets(&self, before: &str, after: &str) -> bool {
        let is_hidden = before.starts_with('$');
        if is_hidden && !matches!(self.levels.first(), Some(Level::Exactly(_))) {
            return false;
        }
        let (head, tail): (Vec<_>, Vec<_>) =
            (before.split('/').collect(), after.split('/').collect());
        let fewest = head.len() + tail.len() - 1;
        // With as many more as the pattern has, what stands behind is clear of all of its levels: more are only for its `#`, to which
        // they are all the same.
        let most = fewest + self.levels.len();
        (fewest..=most).any(|count| self.meets_with(count, &head, &tail))
    }

    fn meets_with(&self, count: usize, head: &[&str], tail: &[&str]) -> bool {
        let (opened, closed) = (head.len() - 1, count - tail.len());
        let bounds = |at: usize| Bounds {
            start: match at {
                at if at <= opened => head[at],
                at if at > closed => tail[at - closed],
                _ => "",
            },
            end: if at == closed { tail[0] } else { "" },
            is_whole: at < opened || at > closed,
            is_filled: opened == closed,
        };
        for (at, level) in self.levels.iter().enumerate() {
            match level {
                Level::Rest => return at <= count,
                _ if at >= count => return false,
                Level::Exactly(text) if !bounds(at).admit(text) => return false,
                _ => {}
            }
        }
        self.levels.len() == count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts that may stand for a path: of up to three levels, and those of four that a pattern below asks for.
    fn paths() -> Vec<String> {
        let levels = ["a", "$a", "b", "c", "x", "ab", "xa", "xb", "xab", ""];
        let mut paths: Vec<String> = levels.iter().map(|&level| level.to_owned()).collect();
        for one in levels {
            for two in levels {
                paths.push(format!("{one}/{two}"));
                paths.extend(levels.iter().map(|three| format!("{one}/{two}/{three}")));
            }
        }
        paths.retain(|path| !path.is_empty());
        paths.extend(["a/c/b/a", "a/b/c/x", "/b/c/x"].map(str::to_owned));
        paths
    }

    #[test]
    fn it_meets_what_some_path_makes_of_a_template_and_nothing_else() {
        let templates = [
            ("", ""),
            ("a/", ""),
            ("x", ""),
            ("", "/b"),
            ("a/", "/b"),
            ("x", "b"),
            ("a", "/b/a"),
            ("$a/", ""),
            ("a/", "/b/a/b"),
        ];
        let patterns = [
            "a",
            "+",
            "#",
            "a/#",
            "a/{d}",
            "a/b",
            "a/+/b",
            "{d}/b",
            "xab",
            "xb",
            "x/#",
            "b/#",
            "a/b/#",
            "a/b/c/x/#",
            "+/+/+",
            "ab",
            "$a/+",
            "+/a",
            "c/#",
            "a/{d}/b/a",
            "xa/b",
        ];
        let mut met = 0;
        for (before, after) in templates {
            for text in patterns {
                let pattern = Pattern::parse(text).unwrap();
                let some = paths()
                    .iter()
                    .any(|path| pattern.matches(&format!("{before}{path}{after}")).is_some());
                assert_eq!(
                    pattern.meets(before, after),
                    some,
                    "{before}{{path}}{after} {text}"
                );
                met += usize::from(some);
            }
        }
        assert!(met > 40, "{met}");
    }
}
