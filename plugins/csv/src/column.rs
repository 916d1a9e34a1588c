//! Columns and what is in them.

use std::collections::BTreeSet;

use tidegate_sdk::json::plain_number;
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json::Value;

use crate::rows::Row;

settings! {
    /// A column: its name, or a table that says more.
    #[serde(untagged, expecting = "a column is a name, or a table of `name` and perhaps `type`")]
    pub enum Column {
        /// Whatever it is.
        Name(String),
        /// Of a kind.
        Typed(Typed),
    }
}

settings! {
    /// A column of a kind.
    pub struct Typed {
        /// The field's name.
        pub name: String,
        /// What is in it.
        #[serde(rename = "type", default)]
        pub kind: Kind,
    }
}

settings! {
    /// What is in a column.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Kind {
        /// A number where it is one, else text.
        #[default]
        Auto,
        /// A number.
        Number,
        /// Text.
        Text,
        /// True or false.
        Truth,
    }
}

settings! {
    /// What parts the whole of a number from its fraction.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Mark {
        /// `1.5`
        #[default]
        Point,
        /// `1,5`
        Comma,
    }
}

/// A column that becomes a field.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: String,
    pub kind: Kind,
}

/// All columns; `None` for those that are left out.
#[derive(Clone, Debug)]
pub struct Columns(pub Vec<Option<Named>>);

impl Columns {
    /// As the settings have them.
    pub fn new(columns: Vec<Column>) -> Result<Self> {
        let columns = columns.into_iter().map(|column| match column {
            Column::Name(name) => (name, Kind::Auto),
            Column::Typed(Typed { name, kind }) => (name, kind),
        });
        Self::checked(columns).map_err(|error| format!("`columns`: {error}").into())
    }

    /// As the first line of a payload has them.
    pub fn named_by(row: &Row<'_>) -> Result<Self> {
        let columns = row.cells.iter().map(|name| (name.to_string(), Kind::Auto));
        Self::checked(columns).map_err(|error| format!("line {}: {error}", row.line).into())
    }

    fn checked(columns: impl Iterator<Item = (String, Kind)>) -> Result<Self, String> {
        let (mut named, mut names) = (Vec::new(), BTreeSet::new());
        for (name, kind) in columns {
            if name.is_empty() {
                named.push(None);
                continue;
            }
            if !names.insert(name.clone()) {
                return Err(format!("two are called `{name}`"));
            }
            named.push(Some(Named { name, kind }));
        }
        if names.is_empty() {
            return Err("none has a name".to_owned());
        }
        Ok(Self(named))
    }
}

impl Kind {
    /// What is in a cell as JSON; `None` when it is not of this kind.
    pub fn read(self, cell: &str, mark: Mark) -> Option<String> {
        let text = || Value::from(cell).to_string();
        let number = || match mark {
            Mark::Point => plain_number(cell),
            Mark::Comma if cell.contains('.') => None,
            Mark::Comma => plain_number(&cell.replace(',', ".")),
        };
        match self {
            Self::Text => Some(text()),
            Self::Number => number(),
            Self::Auto => {
                let digits = cell.trim_start_matches('-');
                let is_code = digits.len() > 1
                    && digits.starts_with('0')
                    && digits.as_bytes()[1].is_ascii_digit();
                let is_signed = cell.starts_with('+');
                Some(
                    number()
                        .filter(|_| !is_code && !is_signed)
                        .unwrap_or_else(text),
                )
            }
            Self::Truth => match cell.to_ascii_lowercase().as_str() {
                "true" | "on" | "yes" | "1" => Some("true".to_owned()),
                "false" | "off" | "no" | "0" => Some("false".to_owned()),
                _ => None,
            },
        }
    }

    /// For reasons.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Auto | Self::Text => "text",
            Self::Number => "number",
            Self::Truth => "truth",
        }
    }
}
