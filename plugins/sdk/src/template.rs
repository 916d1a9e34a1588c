//! Topics with names in braces, as a flow's own `topic` has them.

use crate::host::{self, Flow};
use crate::plugin::Result;

/// A topic in which names in braces stand for parts of the message: `{topic}`, `{device}` and `{key}` (the message's key),
/// the other names in the flow's topics, `{flow}`, and what the plugin adds.
#[derive(Clone, Debug)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Topic,
    Key,
    /// Filters of the flow, and the level that the name is in each.
    Level(Vec<(String, usize)>),
}

impl Template {
    /// Takes it apart; `own` are names of the plugin and what they stand for.
    ///
    /// # Errors
    /// A name that is not known, with those that are; a topic that cannot be published to, whatever the message.
    pub fn new(text: &str, own: &[(&str, &str)]) -> Result<Self> {
        let flow = host::flow();
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after
                .split_once('}')
                .ok_or_else(|| format!("`{text}` has a `{{` without `}}`"))?;
            push(&mut parts, &mut plain, before);
            match own.iter().find(|(known, _)| *known == name) {
                Some((_, value)) => push(&mut parts, &mut plain, value),
                None if name == "flow" => push(&mut parts, &mut plain, &flow.name),
                None => {
                    parts.push(
                        Part::named(name, &flow).ok_or_else(|| unknown(name, own, &flow.topics))?,
                    );
                    plain.push('x');
                }
            }
            rest = behind;
        }
        push(&mut parts, &mut plain, rest);
        if plain.is_empty() || plain.contains(is_bad) {
            let (braces, shown) = (
                text.contains('{'),
                plain.replace(char::is_control, "\u{fffd}"),
            );
            let shown = if braces {
                format!("`{text}` makes a topic like `{shown}`, which")
            } else {
                format!("`{shown}`")
            };
            return Err(format!(
                "{shown} is no topic to publish on: a topic is not empty and has no `+` and `#`"
            )
            .into());
        }
        Ok(Self { parts })
    }

    /// The topic for a message with this topic and key. What of the key cannot stand in a topic that is published to becomes
    /// `_`: a key may be a name that no topic was made of.
    pub fn fill(&self, topic: &str, key: &str) -> String {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Topic => filled.push_str(topic),
                Part::Key => filled.extend(key.chars().map(|it| if is_bad(it) { '_' } else { it })),
                Part::Level(places) => {
                    filled.push_str(level(places, topic).unwrap_or_default());
                }
            }
        }
        filled
    }

    /// Whether it is the message's key and nothing else.
    pub fn is_key(&self) -> bool {
        let is_empty = |part: &&Part| matches!(part, Part::Text(text) if text.is_empty());
        let mut parts = self.parts.iter().filter(|part| !is_empty(part));
        matches!((parts.next(), parts.next()), (Some(Part::Key), None))
    }

    /// Whether it is the same for every message.
    pub fn is_text(&self) -> bool {
        let mut parts = self.parts.iter();
        parts.all(|part| matches!(part, Part::Text(_)))
    }

    /// Whether it says more of the topic than the key: whoever fills it later has to keep that.
    pub fn needs_topic(&self) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Topic | Part::Level(_)))
    }
}

/// What stands in no topic that is published to.
fn is_bad(letter: char) -> bool {
    matches!(letter, '+' | '#') || letter.is_control()
}

fn push(parts: &mut Vec<Part>, plain: &mut String, text: &str) {
    plain.push_str(text);
    parts.push(Part::Text(text.to_owned()));
}

impl Part {
    fn named(name: &str, flow: &Flow) -> Option<Self> {
        match name {
            "topic" => Some(Self::Topic),
            "key" => Some(Self::Key),
            name if is_key(name, flow) => Some(Self::Key),
            name => places(name, &flow.topics)
                .map(Self::Level)
                .or_else(|| (name == "device").then_some(Self::Key)),
        }
    }
}

/// Whether every topic's key is this name: what the flow says, or `{device}`, or else its first one.
fn is_key(name: &str, flow: &Flow) -> bool {
    let key = |topic: &String| {
        let named = || {
            levels(topic)
                .filter_map(capture)
                .find(|name| *name == "device")
        };
        flow.key.clone().or_else(|| {
            named()
                .or_else(|| levels(topic).find_map(capture))
                .map(str::to_owned)
        })
    };
    !flow.topics.is_empty()
        && flow
            .topics
            .iter()
            .all(|topic| key(topic).as_deref() == Some(name))
}

fn places(name: &str, topics: &[String]) -> Option<Vec<(String, usize)>> {
    let place = |topic: &String| {
        let filter = levels(topic)
            .map(|level| if capture(level).is_some() { "+" } else { level })
            .collect::<Vec<_>>();
        Some((
            filter.join("/"),
            levels(topic).position(|level| capture(level) == Some(name))?,
        ))
    };
    // Without a flow (`plugin inspect`) nobody knows which there are.
    topics.iter().map(place).collect()
}

fn level<'t>(places: &[(String, usize)], topic: &'t str) -> Option<&'t str> {
    let place = places
        .iter()
        .find(|(filter, _)| matches(filter, topic))
        .map(|(_, place)| *place)?;
    topic.split('/').nth(place)
}

fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for part in filter.split('/') {
        match (part, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (part, Some(level)) if part == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

fn levels(topic: &str) -> impl Iterator<Item = &str> {
    let shared = topic
        .strip_prefix("$share/")
        .and_then(|rest| rest.split_once('/'));
    shared.map_or(topic, |(_, topic)| topic).split('/')
}

fn capture(level: &str) -> Option<&str> {
    level
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
}

fn unknown(name: &str, own: &[(&str, &str)], topics: &[String]) -> String {
    let mut known: Vec<&str> = vec!["device", "key", "topic", "flow"];
    known.extend(own.iter().map(|(name, _)| *name));
    let captures = topics
        .first()
        .into_iter()
        .flat_map(|topic| levels(topic))
        .filter_map(capture);
    known.extend(captures.filter(|name| *name != "device" && places(name, topics).is_some()));
    let known = known
        .iter()
        .map(|name| format!("`{{{name}}}`"))
        .collect::<Vec<_>>()
        .join(", ");
    format!("`{{{name}}}` is not known where the topic is made; known here: {known}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test::in_flow;

    fn refused(text: &str) -> String {
        Template::new(text, &[("name", "boiler #1")])
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn names_are_those_of_the_flow_and_the_plugin_and_values_are_never_expanded() {
        in_flow("climate", &["{site}/{device}/t", "x/{site}/{device}"]);
        let template =
            Template::new("{flow}/{site}/{device}/{name}", &[("name", "{key}")]).unwrap();
        assert_eq!(
            template.fill("barn/{name}/t", "{name}"),
            "climate/barn/{name}/{key}"
        );
        assert_eq!(template.fill("x/barn/d7", "d7"), "climate/barn/d7/{key}");
        assert!(template.needs_topic() && !Template::new("a/{key}", &[]).unwrap().needs_topic());
        let is_key = |text| Template::new(text, &[]).unwrap().is_key();
        assert!(is_key("{key}") && is_key("{device}") && !is_key("{site}") && !is_key("x{key}"));
        assert_eq!(
            Template::new("{topic}/up", &[]).unwrap().fill("a/b", "b"),
            "a/b/up"
        );
    }

    #[test]
    fn what_cannot_be_is_refused_in_words() {
        in_flow("climate", &["{site}/{device}/t"]);
        let known = "known here: `{device}`, `{key}`, `{topic}`, `{flow}`, `{name}`, `{site}`";
        assert_eq!(
            refused("a/{room}"),
            format!("`{{room}}` is not known where the topic is made; {known}")
        );
        assert!(refused("a/{name}").contains("makes a topic like `a/boiler #1`"));
        assert!(
            refused("a/#").starts_with("`a/#` is no topic to publish on")
                && refused("").contains("is not empty")
        );
        assert!(refused("a/{").contains("without"));
    }
}
