//! What a rule tells: its alarm and its messages.

use tidegate_sdk::json::{Object, Paths};
use tidegate_sdk::prelude::*;

use crate::settings::{Alarm, On, Publish};
use crate::text::{About, Named, Set, Text};

/// A message, ready to leave.
#[derive(Debug)]
pub struct Told<'t> {
    /// Through this port.
    pub port: &'t str,
    /// Under this topic.
    pub topic: String,
    /// With this payload.
    pub payload: Vec<u8>,
    /// Whether upstream is to retain it.
    pub retain: bool,
    /// The counter that it counts in.
    pub counter: Option<&'static str>,
}

/// A change of a rule, in microseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// The first reading that asked for it.
    pub since_us: u64,
    /// When it happened.
    pub at_us: u64,
}

/// All that a rule tells.
#[derive(Debug)]
pub struct Telling {
    name: String,
    alarm: Option<(String, Template, Option<Text>)>,
    messages: Vec<(On, String, Template, Payload, bool)>,
}

#[derive(Debug)]
enum Payload {
    Text(Text),
    Fields(Vec<(String, Set)>),
}

#[derive(Serialize)]
#[serde(crate = "tidegate_sdk::serde")]
struct AlarmMessage<'a> {
    alarm: &'a str,
    device: &'a str,
    state: &'a str,
    since: u64,
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl Told<'_> {
    /// Sends it as what a message or a tick makes.
    pub fn send(&self, draft: Draft<'_, '_>) -> Result<()> {
        let draft = draft.port(self.port).retain(self.retain);
        draft.payload(&self.payload)?;
        if let Some(name) = self.counter {
            counter(name, 1);
        }
        Ok(())
    }
}

impl Telling {
    /// Takes all texts apart.
    pub fn new(
        name: &str,
        (alarm, publish): (Option<Alarm>, Vec<Publish>),
        named: &mut Named,
        paths: &mut Paths,
    ) -> Result<Self> {
        let topic = |setting: &str, topic: &str| {
            Template::new(topic, &[("name", name)])
                .map_err(|error| Error::from(format!("`{setting}.topic`: {error}")))
        };
        let alarm = match alarm {
            None => None,
            Some(alarm) => {
                let text = alarm.text.as_deref();
                let text = text.map(|text| Text::new(text, name, named, paths));
                let text = text.transpose();
                let text = text.map_err(|error| format!("`alarm.text`: {error}"))?;
                Some((alarm.port, topic("alarm", &alarm.topic)?, text))
            }
        };
        let mut messages = Vec::new();
        for (number, message) in publish.into_iter().enumerate() {
            let setting = format!("publish.{number}");
            let payload = Payload::new(&message, name, named, paths)
                .map_err(|error| format!("`{setting}`: {error}"))?;
            let topic = topic(&setting, &message.topic)?;
            messages.push((message.on, message.port, topic, payload, message.retain));
        }
        Ok(Self {
            name: name.to_owned(),
            alarm,
            messages,
        })
    }

    /// The ports it needs.
    pub fn ports(&self) -> impl Iterator<Item = &str> {
        let alarm = self.alarm.iter().map(|(port, ..)| port.as_str());
        alarm.chain(self.messages.iter().map(|(_, port, ..)| port.as_str()))
    }

    /// Whether anything is told of changes.
    pub fn has_edges(&self) -> bool {
        self.alarm.is_some() || self.messages.iter().any(|(on, ..)| *on != On::Each)
    }

    /// Whether it says more of the topic than the key.
    pub fn needs_topic(&self) -> bool {
        let of_alarm = |(_, topic, text): &(String, Template, Option<Text>)| {
            topic.needs_topic() || text.as_ref().is_some_and(Text::needs_topic)
        };
        self.alarm.iter().any(of_alarm)
            || self.messages.iter().any(|(_, _, topic, payload, _)| {
                topic.needs_topic()
                    || match payload {
                        Payload::Text(text) => text.needs_topic(),
                        Payload::Fields(fields) => fields.iter().any(|(_, set)| set.needs_topic()),
                    }
            })
    }

    /// What a change is told by.
    pub fn change(&self, about: &About<'_>, change: Change) -> Result<Vec<Told<'_>>> {
        let mut told = Vec::new();
        if let Some((port, topic, text)) = &self.alarm {
            let message = AlarmMessage {
                alarm: &self.name,
                device: about.key,
                state: about.state(),
                since: change.since_us,
                at: change.at_us,
                text: text.as_ref().map(|text| text.fill(about)),
            };
            let counter = if about.holds {
                "alarms_raised"
            } else {
                "alarms_cleared"
            };
            told.push(Told {
                port,
                topic: topic.fill(about.topic, about.key),
                payload: tidegate_sdk::serde_json::to_vec(&message)?,
                retain: false,
                counter: Some(counter),
            });
        }
        let on = if about.holds { On::Raised } else { On::Cleared };
        told.extend(self.messages_on(on, about));
        Ok(told)
    }

    /// What is sent with each reading while the rule holds.
    pub fn each(&self, about: &About<'_>) -> Vec<Told<'_>> {
        self.messages_on(On::Each, about).collect()
    }

    fn messages_on(&self, wanted: On, about: &About<'_>) -> impl Iterator<Item = Told<'_>> {
        let messages = self.messages.iter().filter(move |(on, ..)| *on == wanted);
        messages.map(move |(_, port, topic, payload, retain)| Told {
            port,
            topic: topic.fill(about.topic, about.key),
            payload: payload.fill(about),
            retain: *retain,
            counter: None,
        })
    }
}

impl Payload {
    fn new(message: &Publish, name: &str, named: &mut Named, paths: &mut Paths) -> Result<Self> {
        match (&message.payload, &message.fields) {
            (Some(text), None) => Text::new(text, name, named, paths).map(Self::Text),
            (None, Some(fields)) => {
                let mut sets = Vec::new();
                for (field, value) in fields {
                    let set = Set::new(value.clone(), name, named, paths)
                        .map_err(|error| format!("`fields.{field}`: {error}"))?;
                    sets.push((field.clone(), set));
                }
                Ok(Self::Fields(sets))
            }
            _ => Err("it has `payload`, a text, or `fields`, a JSON object".into()),
        }
    }

    fn fill(&self, about: &About<'_>) -> Vec<u8> {
        match self {
            Self::Text(text) => text.fill(about).into_bytes(),
            Self::Fields(fields) => {
                let mut payload = Vec::new();
                let mut object = Object::begin(&mut payload);
                for (name, set) in fields {
                    object.raw(name, set.fill(about).as_bytes());
                }
                object.end();
                payload
            }
        }
    }
}
