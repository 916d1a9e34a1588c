//! A config in the making: tables and keys by their paths, `uplink.cloud.keep_alive`.
//!
//! A change that finds nothing to change panics with its path. A change of the text would do nothing, and the case would
//! pass on another config than it speaks of. Tables stay in the order in which they came.

use std::fmt;

use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

/// Short back-offs, so that a case does not wait for a link that is there again.
const ENDS: &str = r#"[source.field]
backoff = { first = "50ms", cap = "400ms", jitter = 0.2 }

[uplink.cloud]
backoff = { first = "50ms", cap = "400ms", jitter = 0.2 }
"#;

const ALL: &str = r#"from = "field"
topics = ["devices/{device}/telemetry"]
to = { out = "cloud:telemetry" }
topic = "up/{topic}"
lanes = 3
"#;

/// What a gateway is started on; by default there is nothing in it. Every change gives the changed one back.
///
/// A path is the names of the tables to a key, with dots between them; one of several tables of a name, as the steps of a
/// flow are, is its number: `flow.all.plugin.0.settings`.
#[derive(Clone, Debug, Default)]
pub struct Config {
    root: Table,
}

impl Config {
    /// A source `field` and an uplink `cloud`, with short back-offs; no flow. They want their [URLs](Self::between).
    pub fn bare() -> Self {
        Self::read(ENDS)
    }

    /// The same with a flow `all` of all readings, in three lanes, to `up/<topic>`.
    pub fn forwarding() -> Self {
        Self::bare().add("flow.all", ALL)
    }

    /// The config with this text.
    ///
    /// # Panics
    /// When it is no TOML.
    #[track_caller]
    pub fn read(text: &str) -> Self {
        Self {
            root: tables("a config", text),
        }
    }

    /// Puts `field` and `cloud` at these URLs.
    ///
    /// # Panics
    /// When one of them is not there.
    #[track_caller]
    #[must_use]
    pub fn between(self, field: &str, cloud: &str) -> Self {
        self.set("source.field.url", field)
            .set("uplink.cloud.url", cloud)
    }

    /// Sets a key, which may be new, of a table that is there.
    ///
    /// # Panics
    /// When the table is not there.
    #[track_caller]
    #[must_use]
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Self {
        let (table, key) = parted(path);
        let table = self.table(table, path);
        table.insert(key, Item::Value(value.into()));
        self
    }

    /// Sets a key that has another value by now.
    ///
    /// # Panics
    /// When it has none.
    #[track_caller]
    #[must_use]
    pub fn change(self, path: &str, value: impl Into<Value>) -> Self {
        assert!(self.has(path), "there is no `{path}` to change in\n{self}");
        self.set(path, value)
    }

    /// Puts these lines of TOML into a table that is there, the file as a whole if `path` is empty. A key that it has
    /// already gets the value of these lines.
    ///
    /// # Panics
    /// When the table is not there, or the lines are no TOML.
    #[track_caller]
    #[must_use]
    pub fn put(mut self, path: &str, lines: &str) -> Self {
        let lines = tables(path, lines);
        let table = self.table(path, path);
        for (key, item) in lines {
            table.insert(&key, item);
        }
        self
    }

    /// Adds a table that is not there yet, with these lines of TOML: a flow, a class, `gateway`.
    ///
    /// # Panics
    /// When it is there, or the lines are no TOML.
    #[track_caller]
    #[must_use]
    pub fn add(mut self, path: &str, lines: &str) -> Self {
        assert!(!self.has(path), "there is a `{path}` already in\n{self}");
        let lines = tables(path, lines);
        let (parent, name) = parted(path);
        let mut table: &mut dyn TableLike = &mut self.root;
        for part in parts(parent) {
            let within = table.entry(part).or_insert_with(|| {
                let mut within = Table::new();
                within.set_implicit(true);
                Item::Table(within)
            });
            table = within
                .as_table_like_mut()
                .unwrap_or_else(|| panic!("`{part}` of `{path}` is no table"));
        }
        table.insert(name, Item::Table(lines));
        self
    }

    /// Adds an uplink at this URL, with all else as it is by default.
    ///
    /// # Panics
    /// When it is there already.
    #[track_caller]
    #[must_use]
    pub fn uplink(self, name: &str, url: &str) -> Self {
        let path = format!("uplink.{name}");
        self.add(&path, "").set(&format!("{path}.url"), url)
    }

    /// Adds a source at this URL, with all else as it is by default.
    ///
    /// # Panics
    /// When it is there already.
    #[track_caller]
    #[must_use]
    pub fn source(self, name: &str, url: &str) -> Self {
        let path = format!("source.{name}");
        self.add(&path, "").set(&format!("{path}.url"), url)
    }

    /// Adds a plugin behind those that this flow has, with these lines of TOML.
    ///
    /// # Panics
    /// When the flow is not there, or the lines are no TOML.
    #[track_caller]
    #[must_use]
    pub fn step(mut self, flow: &str, lines: &str) -> Self {
        let path = format!("flow.{flow}");
        let step = tables(&format!("{path}.plugin"), lines);
        self.table(&path, &path)
            .entry("plugin")
            .or_insert_with(|| Item::ArrayOfTables(toml_edit::ArrayOfTables::new()))
            .as_array_of_tables_mut()
            .unwrap_or_else(|| panic!("`{path}.plugin` is no list of tables"))
            .push(step);
        self
    }

    /// Takes a key or a table out.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        let (table, key) = parted(path);
        let gone = self.table(table, path).remove(key);
        assert!(
            gone.is_some(),
            "there is no `{path}` to take out of\n{self}"
        );
        self
    }

    /// Gives a table or a key another name, by which it is the last one in its table.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    #[must_use]
    pub fn rename(mut self, path: &str, name: &str) -> Self {
        let (parent, key) = parted(path);
        let table = self.table(parent, path);
        let item = table.remove(key);
        let item = item.unwrap_or_else(|| panic!("there is no `{path}` to rename"));
        table.insert(name, item);
        self
    }

    /// Whether this key or table is there.
    fn has(&self, path: &str) -> bool {
        let (table, key) = parted(path);
        let mut root = self.root.clone();
        let parts: Vec<&str> = parts(table).collect();
        descend(&mut root, &parts).is_some_and(|table| table.contains_key(key))
    }

    /// The table at `path`, on the way to `aim`.
    #[track_caller]
    fn table(&mut self, path: &str, aim: &str) -> &mut dyn TableLike {
        let parts: Vec<&str> = parts(path).collect();
        descend(&mut self.root, &parts)
            .unwrap_or_else(|| panic!("there is no table `{path}`, for `{aim}`"))
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        DocumentMut::from(self.root.clone()).fmt(f)
    }
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('.').filter(|part| !part.is_empty())
}

/// The way to a table, and what is looked for in it.
fn parted(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

fn descend<'a>(table: &'a mut dyn TableLike, path: &[&str]) -> Option<&'a mut dyn TableLike> {
    let [name, rest @ ..] = path else {
        return Some(table);
    };
    match table.get_mut(name)? {
        Item::ArrayOfTables(several) => {
            let (number, rest) = rest.split_first()?;
            descend(several.get_mut(number.parse().ok()?)?, rest)
        }
        Item::Value(Value::Array(several)) => {
            let (number, rest) = rest.split_first()?;
            let one = several.get_mut(number.parse().ok()?)?;
            descend(one.as_inline_table_mut()?, rest)
        }
        item => descend(item.as_table_like_mut()?, rest),
    }
}

/// What these lines say, in no place of a file yet.
#[track_caller]
fn tables(path: &str, lines: &str) -> Table {
    let mut table = match lines.parse::<DocumentMut>() {
        Ok(document) => document.into_table(),
        Err(error) => panic!("what is put at `{path}` is no TOML: {error}\n{lines}"),
    };
    forget_places(&mut table);
    table
}

/// Where a table stood in the text it was read from says nothing of where it is to stand.
fn forget_places(table: &mut Table) {
    table.set_position(None);
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(table) => forget_places(table),
            Item::ArrayOfTables(several) => several.iter_mut().for_each(forget_places),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(config: &Config) -> Vec<String> {
        let text = config.to_string();
        // What it means is what is read of it again.
        assert_eq!(Config::read(&text).to_string().trim(), text.trim());
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn flows_and_their_steps_stay_in_the_order_in_which_they_came() {
        let config = Config::bare()
            .add("flow.z", "lanes = 1")
            .add("flow.a", "lanes = 2")
            .step("z", "plugin = \"one\"\nsettings = { x = 1 }")
            .step("z", "plugin = \"two\"")
            .step("a", "plugin = \"three\"")
            .uplink("annex", "mqtt://annex");
        let lines = flat(&config);
        let heads: Vec<&str> = lines
            .iter()
            .map(String::as_str)
            .filter(|line| line.starts_with('[') || line.starts_with("plugin"))
            .collect();
        assert_eq!(
            heads,
            [
                "[source.field]",
                "[uplink.cloud]",
                "[uplink.annex]",
                "[flow.z]",
                "[[flow.z.plugin]]",
                "plugin = \"one\"",
                "[[flow.z.plugin]]",
                "plugin = \"two\"",
                "[flow.a]",
                "[[flow.a.plugin]]",
                "plugin = \"three\"",
            ]
        );
    }

    #[test]
    fn keys_are_set_in_tables_of_every_form() {
        let config = Config::forwarding()
            .between("mqtt://a", "mqtt://b")
            .step(
                "all",
                "plugin = \"p\"\nsettings = { where = [{ value = 1 }] }",
            )
            .set("flow.all.to.alarms", "drop")
            .set("flow.all.plugin.0.settings.where.0.value", 2)
            .set("uplink.cloud.backoff.cap", "1s")
            .put("uplink.cloud", "qos = 2\nwill = { topic = \"t\" }")
            .put("source.field", "[device.a]\nstation = 7")
            .put("", "[gateway]\nname = \"barn\"")
            .add("class.telemetry", "max = \"1MiB\"")
            .without("flow.all.lanes")
            .rename("source.field", "devices");
        let value: toml_edit::Table = tables("", &config.to_string());
        let to = &value["flow"]["all"]["to"];
        assert_eq!(to["out"].as_str(), Some("cloud:telemetry"));
        assert_eq!(to["alarms"].as_str(), Some("drop"));
        let step = &value["flow"]["all"]["plugin"][0];
        assert_eq!(step["settings"]["where"][0]["value"].as_integer(), Some(2));
        assert_eq!(
            value["uplink"]["cloud"]["backoff"]["cap"].as_str(),
            Some("1s")
        );
        assert_eq!(value["uplink"]["cloud"]["url"].as_str(), Some("mqtt://b"));
        assert_eq!(value["uplink"]["cloud"]["qos"].as_integer(), Some(2));
        let device = &value["source"]["devices"]["device"]["a"];
        assert_eq!(device["station"].as_integer(), Some(7));
        assert_eq!(value["gateway"]["name"].as_str(), Some("barn"));
        assert_eq!(value["class"]["telemetry"]["max"].as_str(), Some("1MiB"));
        assert!(value["flow"]["all"].get("lanes").is_none());
        assert!(value["source"].get("field").is_none());
    }

    #[test]
    #[should_panic(expected = "no table `uplink.clod`, for `uplink.clod.rate`")]
    fn a_table_that_is_not_there_is_named() {
        drop(Config::bare().set("uplink.clod.rate", "1/s"));
    }

    #[test]
    #[should_panic(expected = "no `flow.all.lane` to take out")]
    fn what_is_taken_out_has_to_be_there() {
        drop(Config::forwarding().without("flow.all.lane"));
    }

    #[test]
    #[should_panic(expected = "no `flow.all.batch` to change")]
    fn what_is_changed_has_to_be_there() {
        drop(Config::forwarding().change("flow.all.batch", 1));
    }

    #[test]
    #[should_panic(expected = "a `flow.all` already")]
    fn what_is_added_must_not_be_there() {
        drop(Config::forwarding().add("flow.all", ""));
    }

    #[test]
    #[should_panic(expected = "what is put at `uplink.cloud` is no TOML")]
    fn lines_have_to_be_toml() {
        drop(Config::bare().put("uplink.cloud", "qos = = 1"));
    }
}
