//! Results as messages.

use tidegate_sdk::json::{Decimal, Object, Paths};
use tidegate_sdk::prelude::*;
use tidegate_sdk::window::{Ended, Numbers};

use crate::gathered::Gathered;
use crate::settings::{Named, NamedField};
use crate::{Function, Settings};

/// How results are written.
#[derive(Debug)]
pub struct Telling {
    topic: Template,
    group: &'static str,
    fields: Vec<Field>,
    decimals: Option<u8>,
}

#[derive(Debug)]
struct Field {
    path: usize,
    /// What is told, and the name for it.
    told: Vec<(Function, String)>,
}

impl Telling {
    pub fn new(settings: &Settings, paths: &mut Paths) -> Result<Self> {
        let functions = settings
            .functions
            .clone()
            .unwrap_or_else(|| vec![Function::Mean]);
        let mut fields: Vec<Field> = Vec::new();
        for field in &settings.fields {
            let (field, name) = match field {
                Named::Path(field) => (field, None),
                Named::Table(NamedField { field, name }) => (field, name.clone()),
            };
            let path = paths
                .add(field)
                .map_err(|error| format!("`fields`: {error}"))?;
            let name = name.unwrap_or_else(|| paths.last_name(path));
            let mut told: Vec<(Function, String)> = Vec::new();
            for function in &functions {
                let name = format!("{name}_{}", function.name());
                let before = fields.iter().flat_map(|field| &field.told).chain(&told);
                if before.into_iter().any(|(_, other)| *other == name) {
                    return Err(format!("two results would be called `{name}`: set `as`").into());
                }
                told.push((*function, name));
            }
            fields.push(Field { path, told });
        }
        let is_by_device = settings.by.is_none() && settings.by_field.is_none();
        Ok(Self {
            topic: Template::new(&settings.topic, &[])
                .map_err(|error| format!("`topic`: {error}"))?,
            group: if is_by_device { "device" } else { "group" },
            fields,
            decimals: settings.decimals,
        })
    }

    /// Paths of the fields.
    pub fn paths(&self) -> Vec<usize> {
        self.fields.iter().map(|field| field.path).collect()
    }

    /// What has to be kept of a message's topic.
    pub fn topic_of<'m>(&self, message: &Message<'m>) -> &'m str {
        if self.topic.needs_topic() {
            message.topic()
        } else {
            ""
        }
    }

    /// A result that a message brought about.
    pub fn answer(
        &self,
        out: &mut Outputs<'_>,
        name: &str,
        topic: &str,
        window: &Ended<Gathered>,
    ) -> Result<()> {
        let topic = self.topic.fill(topic, name);
        out.message()
            .topic(&topic)
            .key(name)
            .write(|payload| self.write(name, window, payload))
    }

    /// A result that time brought about.
    pub fn tell(
        &self,
        tick: &mut Tick<'_, '_>,
        name: &str,
        topic: &str,
        window: &Ended<Gathered>,
    ) -> Result<()> {
        let topic = self.topic.fill(topic, name);
        tick.message(&topic, name)
            .write(|payload| self.write(name, window, payload))
    }

    fn write(&self, name: &str, window: &Ended<Gathered>, payload: &mut Vec<u8>) -> Result<()> {
        counter("windows", 1);
        let mut object = Object::begin(payload);
        object.member(self.group, name)?;
        object.member("from", &window.from)?;
        object.member("to", &window.to)?;
        object.member("count", &window.value.count)?;
        if window.value.clock_unset {
            object.member("clock", "unset")?;
        }
        for (field, numbers) in self.fields.iter().zip(&window.value.numbers) {
            for (function, name) in &field.told {
                match function.of(numbers) {
                    Some(number) => {
                        let number = match self.decimals {
                            Some(decimals) => number.rounded(decimals),
                            None => number,
                        };
                        object.raw(name, number.to_json().as_bytes());
                    }
                    None => object.raw(name, b"null"),
                }
            }
        }
        object.end();
        Ok(())
    }
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::Sum => "sum",
            Self::Count => "count",
            Self::First => "first",
            Self::Last => "last",
        }
    }

    fn of(self, numbers: &Numbers) -> Option<Decimal> {
        match self {
            Self::Min => numbers.min,
            Self::Max => numbers.max,
            Self::Mean => numbers.mean(),
            Self::Sum => numbers.sum(),
            Self::Count => Some(Decimal::from(numbers.count)),
            Self::First => numbers.first,
            Self::Last => numbers.last,
        }
    }
}
