//! TOML as a tree in which every key and value knows the text it was written in.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where something was written: a text by its index, and the bytes in it; `None` means the text as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub(super) text: usize,
    pub(super) span: Option<(usize, usize)>,
}

impl Place {
    /// The text as a whole.
    pub(super) fn whole(text: usize) -> Self {
        Self { text, span: None }
    }

    /// Some bytes of it.
    pub(super) fn at(text: usize, span: Range<usize>) -> Self {
        Self {
            text,
            span: Some((span.start, span.end)),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    /// `None`: does not fit 64 bits.
    Integer(Option<i64>),
    Float(f64),
    Flag(bool),
    /// A date or time, as text.
    Moment(String),
    List(Vec<TomlItem>),
    Table(Table),
}

impl Node {
    /// What it is, for an error.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number with a fraction",
            Self::Flag(_) => "true or false",
            Self::Moment(_) => "a date or time",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// Whether both mean the same, wherever and in whatever order they were written.
    pub(super) fn means(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Text(one), Self::Text(two)) | (Self::Moment(one), Self::Moment(two)) => {
                one == two
            }
            (Self::Integer(one), Self::Integer(two)) => one == two,
            (Self::Float(one), Self::Float(two)) => one.to_bits() == two.to_bits(),
            (Self::Flag(one), Self::Flag(two)) => one == two,
            (Self::List(one), Self::List(two)) => {
                one.len() == two.len()
                    && one
                        .iter()
                        .zip(two)
                        .all(|(one, two)| one.node.means(&two.node))
            }
            (Self::Table(one), Self::Table(two)) => one.means(two),
            _ => false,
        }
    }

    /// What lies at a path in it, by names and by places in lists.
    pub(super) fn find<'p>(&self, path: impl IntoIterator<Item = &'p str>) -> Option<&TomlItem> {
        let mut found: Option<&TomlItem> = None;
        for name in path {
            found = Some(match found.map_or(self, |item| &item.node) {
                Self::Table(table) => table.get(name)?,
                Self::List(items) => items.get(name.parse::<usize>().ok()?)?,
                _ => return None,
            });
        }
        found
    }

    /// As JSON, for a plugin's settings; a number JSON does not know (`nan`, `inf`) becomes null.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) | Self::Moment(text) => text.clone().into(),
            Self::Integer(number) => (*number).into(),
            Self::Float(number) => (*number).into(),
            Self::Flag(flag) => (*flag).into(),
            Self::List(items) => items.iter().map(|item| item.node.to_json()).collect(),
            Self::Table(table) => table
                .entries
                .iter()
                .map(|entry| (entry.key.clone(), entry.item.node.to_json()))
                .collect(),
        }
    }

    /// The first number in it that JSON does not know or that does not fit 64 bits.
    pub(super) fn find_unfit_number<'a>(&'a self, place: &'a Place) -> Option<Place> {
        match self {
            Self::Integer(None) => Some(*place),
            Self::Float(number) if !number.is_finite() => Some(*place),
            Self::List(items) => items
                .iter()
                .find_map(|item| item.node.find_unfit_number(&item.place)),
            Self::Table(table) => table
                .entries
                .iter()
                .find_map(|entry| entry.item.node.find_unfit_number(&entry.item.place)),
            _ => None,
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct TomlItem {
    pub(super) place: Place,
    pub(super) node: Node,
}

/// A key, its place and its value.
#[derive(Clone, Debug)]
pub(super) struct TomlEntry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) item: TomlItem,
}

/// Entries in the order they were written.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) entries: Vec<TomlEntry>,
}

/// A step of an override's path could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a table")]
pub(super) struct NotATable(pub(super) String);

impl Table {
    /// Builds the tree of a document that was parsed from text number `text`.
    pub(super) fn from_toml(text: usize, table: &DeTable<'_>) -> Self {
        Self::shifted(text, 0, table)
    }

    fn shifted(text: usize, shift: usize, table: &DeTable<'_>) -> Self {
        let mut entries: Vec<_> = table
            .iter()
            .map(|(key, value)| TomlEntry {
                key: key.get_ref().to_string(),
                place: Place::at(text, moved(key.span(), shift)),
                item: TomlItem::from_toml(text, shift, value),
            })
            .collect();
        entries.sort_by_key(|entry| entry.place);
        Self { entries }
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &str) -> Option<&TomlItem> {
        self.entry(key).map(|entry| &entry.item)
    }

    /// The entry of `key`.
    pub(super) fn entry(&self, key: &str) -> Option<&TomlEntry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The table under `key`, if it is one.
    pub(super) fn table(&self, key: &str) -> Option<&Self> {
        match self.get(key).map(|item| &item.node) {
            Some(Node::Table(table)) => Some(table),
            _ => None,
        }
    }

    /// Whether both mean the same.
    pub(super) fn means(&self, other: &Self) -> bool {
        self.entries.len() == other.entries.len()
            && self.entries.iter().all(|entry| {
                other
                    .get(&entry.key)
                    .is_some_and(|item| item.node.means(&entry.item.node))
            })
    }

    /// Puts `item` at `path`, making the tables on the way; a number steps into a list.
    pub(super) fn insert(&mut self, path: &[String], item: TomlItem) -> Result<(), NotATable> {
        let Some((key, rest)) = path.split_first() else {
            return Ok(());
        };
        let place = item.place;
        let known = self.entries.iter().position(|entry| entry.key == *key);
        let at = known.unwrap_or_else(|| {
            let item = TomlItem {
                place,
                node: Node::Table(Self::default()),
            };
            self.entries.push(TomlEntry {
                key: key.clone(),
                place,
                item,
            });
            self.entries.len() - 1
        });
        self.entries[at].item.insert(key, rest, item)
    }
}

impl TomlItem {
    /// Builds the tree of a value; `shift` is where the parsed piece begins in its text.
    pub(super) fn from_toml(text: usize, shift: usize, value: &Spanned<DeValue<'_>>) -> Self {
        let node = match value.get_ref() {
            DeValue::String(content) => Node::Text(content.to_string()),
            DeValue::Integer(number) => {
                Node::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
            }
            DeValue::Float(number) => Node::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(flag) => Node::Flag(*flag),
            DeValue::Datetime(moment) => Node::Moment(moment.to_string()),
            DeValue::Array(items) => Node::List(
                items
                    .iter()
                    .map(|item| Self::from_toml(text, shift, item))
                    .collect(),
            ),
            DeValue::Table(table) => Node::Table(Table::shifted(text, shift, table)),
        };
        Self {
            place: Place::at(text, moved(value.span(), shift)),
            node,
        }
    }

    fn insert(&mut self, name: &str, path: &[String], item: Self) -> Result<(), NotATable> {
        let Some((key, rest)) = path.split_first() else {
            *self = item;
            return Ok(());
        };
        match &mut self.node {
            Node::Table(table) => table.insert(path, item),
            Node::List(items) => {
                let found = key
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get_mut(index));
                found
                    .ok_or_else(|| NotATable(format!("{name}.{key}")))?
                    .insert(key, rest, item)
            }
            _ => Err(NotATable(name.to_owned())),
        }
    }
}

fn moved(span: Range<usize>, shift: usize) -> Range<usize> {
    span.start + shift..span.end + shift
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Table {
        Table::from_toml(0, DeTable::parse(text).unwrap().get_ref())
    }

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn entries_keep_the_order_they_were_written_in() {
        let tree = tree("[b]\n[a]\n[c]\n");
        assert_eq!(
            tree.entries
                .iter()
                .map(|entry| entry.key.as_str())
                .collect::<Vec<_>>(),
            ["b", "a", "c"]
        );
    }

    #[test]
    fn order_and_place_do_not_change_the_meaning() {
        assert!(tree("a = 1\n\nb = [1, 2.5]").means(&tree("b = [1,2.5]\na = 1")));
        assert!(!tree("a = 1").means(&tree("a = 2")));
        assert!(!tree("a = 1").means(&tree("a = 1\nb = 1")));
    }

    #[test]
    fn an_override_reaches_into_lists_and_makes_tables() {
        let mut tree = tree("[[flow.a.plugin]]\nplugin = \"x\"\n");
        let item = TomlItem {
            place: Place::whole(1),
            node: Node::Integer(Some(3)),
        };
        tree.insert(&path("flow.a.plugin.0.settings.x"), item.clone())
            .unwrap();
        tree.insert(&path("spool.y"), item.clone()).unwrap();
        let (flow, spool) = (
            tree.get("flow").unwrap().node.to_json(),
            tree.get("spool").unwrap().node.to_json(),
        );
        assert_eq!(
            flow,
            serde_json::json!({"a": {"plugin": [{"plugin": "x", "settings": {"x": 3}}]}})
        );
        assert_eq!(spool, serde_json::json!({"y": 3}));
        assert_eq!(
            tree.insert(&path("spool.y.z"), item.clone()),
            Err(NotATable("y".into()))
        );
        assert_eq!(
            tree.insert(&path("flow.a.plugin.1.x"), item),
            Err(NotATable("plugin.1".into()))
        );
    }
}
