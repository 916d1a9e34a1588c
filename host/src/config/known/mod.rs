//! What the code knows of a config: each key that it asks for, table by table, noted while a config is read. Out of that and of the
//! manual come the config as it is in effect, the part of the manual that is about a key, and the schema for editors.

pub(super) mod effective;
pub(super) mod manual;
pub(super) mod schema;

use std::collections::BTreeMap;

/// What a key was asked as, beside what the manual shows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AskedKey {
    /// It has to be one of these.
    pub(super) words: Vec<String>,
    /// One text, or a list of them.
    pub(super) is_texts: bool,
    /// A number with or without a fraction.
    pub(super) is_number: bool,
    /// Tables with names that the operator chooses.
    pub(super) is_named: bool,
    /// A list of tables.
    pub(super) is_list: bool,
}

/// Keys by the full names of their tables: `source.field`, `flow.climate.plugin.0.limits`.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    tables: BTreeMap<String, KnownTable>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct KnownTable {
    pub(super) keys: BTreeMap<&'static str, AskedKey>,
    /// It takes any key.
    pub(super) is_open: bool,
}

impl Known {
    pub(super) fn table(&self, path: &str) -> Option<&KnownTable> {
        self.tables.get(path)
    }

    /// Notes that `key` was asked for, and what `more` says of it.
    pub(super) fn note(&mut self, path: &str, key: &'static str, more: impl FnOnce(&mut AskedKey)) {
        more(self.at(path).keys.entry(key).or_default());
    }

    pub(super) fn open(&mut self, path: &str) {
        self.at(path).is_open = true;
    }

    fn at(&mut self, path: &str) -> &mut KnownTable {
        self.tables.entry(path.to_owned()).or_default()
    }

    /// The names of the tables right below `path`.
    pub(super) fn below(&self, path: &str) -> Vec<&str> {
        let inside = format!("{path}.");
        let names = self
            .tables
            .keys()
            .filter_map(|table| table.strip_prefix(&inside));
        let mut names: Vec<&str> = names
            .map(|rest| rest.split('.').next().unwrap_or(rest))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
