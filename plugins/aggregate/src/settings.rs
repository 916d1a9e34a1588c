//! What an operator may set.

use tidegate_sdk::calendar::UtcOffset;
pub use tidegate_sdk::event::TimeFormat;
use tidegate_sdk::prelude::*;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// How long a window is.
        pub window: Length,
        /// How often one ends.
        pub every: Option<Length>,
        /// The numbers.
        #[serde(default)]
        pub fields: Vec<Named>,
        /// What is told of them.
        pub functions: Option<Vec<Function>>,
        /// Digits behind the point that remain.
        pub decimals: Option<u8>,
        /// What is gathered together: names in the flow's topics.
        pub by: Option<String>,
        /// The same by a field.
        pub by_field: Option<String>,
        /// What windows are counted in.
        #[serde(default)]
        pub time: Time,
        /// What is added to UTC for the time on the wall.
        pub utc_offset: Option<UtcOffset>,
        /// Where a payload has its time.
        pub time_field: Option<String>,
        /// How it is written.
        pub time_format: Option<TimeFormat>,
        /// How long a window waits for what comes late.
        pub lateness: Option<Period>,
        /// What becomes of a message that comes later.
        #[serde(default)]
        pub late: Late,
        /// What becomes of a message that lacks a field.
        #[serde(default)]
        pub missing: Missing,
        /// The results' topic.
        #[serde(default = "default_topic")]
        pub topic: String,
        /// Groups in a lane that are open at a time.
        pub max_groups: Option<usize>,
    }
}

settings! {
    /// The length of a window.
    #[derive(Copy, PartialEq, Eq)]
    #[serde(untagged, expecting = "a length is a time with its unit, such as \"10m\", or a whole number of messages")]
    pub enum Length {
        /// A time.
        Time(Period),
        /// So many messages.
        Messages(u32),
    }
}

settings! {
    /// A field: its path, or a table that says more.
    #[serde(untagged, expecting = "a field is a path, or a table of `field` and perhaps `as`")]
    pub enum Named {
        /// Under the last name of its path.
        Path(String),
        /// Under another name.
        Table(NamedField),
    }
}

settings! {
    /// A field under another name.
    pub struct NamedField {
        /// Its path.
        pub field: String,
        /// Its name in the result.
        #[serde(rename = "as")]
        pub name: Option<String>,
    }
}

settings! {
    /// What is told of the numbers in a window.
    #[derive(Copy, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Function {
        /// The smallest.
        Min,
        /// The largest.
        Max,
        /// The mean.
        Mean,
        /// The sum.
        Sum,
        /// How many.
        Count,
        /// The first.
        First,
        /// The last.
        Last,
    }
}

settings! {
    /// What windows are counted in.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Time {
        /// The time the gateway runs.
        #[default]
        Running,
        /// The time of day at arrival.
        Arrival,
        /// A time in the payload.
        Event,
    }
}

settings! {
    /// What becomes of a message that comes too late.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Late {
        /// It is rejected.
        #[default]
        Reject,
        /// It is filtered.
        Drop,
    }
}

settings! {
    /// What becomes of a message that lacks a field.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        #[default]
        Reject,
        /// The others count.
        Skip,
    }
}

fn default_topic() -> String {
    "aggregates/{key}".to_owned()
}

/// Groups with one number in one pane: as many as fit into what is kept at most, where names and numbers are short.
const MOST_GROUPS: usize = 6_000;

/// Numbers of one group beyond which too few groups would fit.
const MOST_EACH: usize = 500;

/// Digits behind the point beyond which a double has none.
const MOST_DECIMALS: u8 = 15;

/// Fields beyond which a result is more than a reading.
const MOST_FIELDS: usize = 32;

impl Settings {
    /// What does not go together.
    pub fn check(&self) -> Result<()> {
        let is_event = self.time == Time::Event;
        let counts_messages = matches!(self.window, Length::Messages(_));
        if self.fields.is_empty() && self.functions.is_some() {
            return Err("`functions` wants `fields`; without, messages are counted".into());
        }
        if self.functions.as_ref().is_some_and(Vec::is_empty) {
            return Err("`functions` is empty".into());
        }
        if self.fields.len() > MOST_FIELDS {
            return Err(format!("`fields` has more than {MOST_FIELDS}").into());
        }
        if self
            .decimals
            .is_some_and(|decimals| decimals > MOST_DECIMALS)
        {
            return Err(format!("`decimals` is more than {MOST_DECIMALS}").into());
        }
        if let Some(groups) = self.max_groups {
            tidegate_sdk::check_most("max_groups", groups, 190 + 70 * self.fields.len())?;
        }
        if is_event != self.time_field.is_some() {
            return Err("`time = \"event\"` and `time_field` go together".into());
        }
        let of_event = [
            ("time_format", self.time_format.is_some()),
            ("lateness", self.lateness.is_some()),
        ];
        if let Some((name, _)) = of_event.iter().find(|(_, given)| *given && !is_event) {
            return Err(format!("`{name}` is for `time = \"event\"`").into());
        }
        if self.utc_offset.is_some() && self.time == Time::Running {
            return Err("`utc_offset` is for `time = \"arrival\"` or \"event\"".into());
        }
        if counts_messages && self.time != Time::Running {
            return Err("`window` is a number of messages: `time` does not go with it".into());
        }
        Ok(())
    }

    /// How many groups fit, of which each has so many panes.
    pub fn most_groups(&self, panes: usize) -> Result<usize> {
        let each = panes.max(1) * self.fields.len().max(1);
        match self.max_groups {
            Some(groups) => Ok(groups),
            None if each > MOST_EACH => Err(format!(
                "{} fields in {panes} steps of `window` and `lateness` are too much state for each group: take fewer, or set `max_groups`",
                self.fields.len()
            )
            .into()),
            None => Ok(MOST_GROUPS / each),
        }
    }

    /// A number for what windows of these settings are, and what is in them.
    pub fn shape(&self) -> u32 {
        let of = (
            self.window,
            self.every,
            self.time,
            self.utc_offset,
            &self.fields,
        );
        // Never 0, which a new group has.
        tidegate_sdk::hash(format!("{of:?}").as_bytes()) as u32 | 1
    }
}
