//! The demo's folder: a config, plugin files that can be replaced, logs, and the gateway's data.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::builtin::{NAMES, component};

/// What the filter lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterLevel {
    /// Above 20 °C, which is 68 °F: about half of all readings.
    Above20,
    /// Above 15 °C, which is 59 °F: nearly all.
    Above15,
}

impl FilterLevel {
    fn fahrenheit(self) -> u32 {
        match self {
            Self::Above20 => 68,
            Self::Above15 => 59,
        }
    }
}

/// The folder and what the config in it says.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    field: SocketAddr,
    cloud: SocketAddr,
}

impl Layout {
    /// Makes the folder and writes config and plugins. `field` and `cloud` are the brokers' addresses as the gateway
    /// is to use them.
    pub fn create(root: &Path, field: SocketAddr, cloud: SocketAddr) -> io::Result<Self> {
        let layout = Self {
            root: root.to_path_buf(),
            field,
            cloud,
        };
        fs::create_dir_all(layout.plugin_folder())?;
        for (name, component) in NAMES
            .iter()
            .filter_map(|name| Some((name, component(name)?)))
        {
            fs::write(layout.plugin(name), component)?;
        }
        layout.write_config(FilterLevel::Above20)?;
        Ok(layout)
    }

    /// The gateway's data folder.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub fn config(&self) -> PathBuf {
        self.root.join("tidegate.toml")
    }

    pub fn plugin(&self, name: &str) -> PathBuf {
        self.plugin_folder().join(format!("{name}.wasm"))
    }

    fn plugin_folder(&self) -> PathBuf {
        self.root.join("plugins")
    }

    /// Writes the config anew with this filter; readers see the old or the new, never a part.
    pub fn write_config(&self, filter: FilterLevel) -> io::Result<()> {
        replace(&self.config(), text(self, filter).as_bytes())
    }

    /// Replaces a plugin's file by another build of it: the same code with a note in it, as a compiler of another
    /// day would leave one.
    pub fn rebuild(&self, name: &str, note: &str) -> io::Result<()> {
        let path = self.plugin(name);
        let mut component = fs::read(&path)?;
        push_note(&mut component, note);
        replace(&path, &component)
    }
}

/// Written beside it, then renamed over it.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, bytes)?;
    fs::rename(&fresh, path)
}

/// Appends a custom section, which every WebAssembly reader skips: id 0, size, name, content.
fn push_note(component: &mut Vec<u8>, note: &str) {
    const NAME: &[u8] = b"tidegate-demo";
    let note = &note.as_bytes()[..note.len().min(100)];
    let size = 1 + NAME.len() + note.len();
    // Lengths below 128 are one byte in LEB128.
    component.extend([0, size.min(127) as u8, NAME.len() as u8]);
    component.extend_from_slice(NAME);
    component.extend_from_slice(note);
}

fn text(layout: &Layout, filter: FilterLevel) -> String {
    let Layout { field, cloud, .. } = layout;
    let limit = filter.fahrenheit();
    let plugin =
        |name: &str| toml::Value::String(layout.plugin(name).to_string_lossy().into_owned());
    let decode = plugin("decode-json");
    let keep = plugin("filter");
    let threshold = plugin("threshold");
    format!(
        r#"# Written by `tidegate demo`. Change a plugin's settings, or replace its file, while the gateway runs.
[gateway]
name = "demo"

[admin]
listen = "127.0.0.1:0"

[log]
format = "text"

[source.field]
url = "mqtt://{field}"

# Goes through the demo's link, which it can cut. A demo cannot wait a minute for the next attempt.
[uplink.cloud]
url     = "mqtt://{cloud}"
backoff = {{ first = "200ms", cap = "1s", jitter = 0.2 }}

[flow.climate]
from   = "field"
topics = ["devices/{{device}}/telemetry"]
to     = {{ out = "cloud:telemetry", alarms = "cloud:alarm" }}
topic  = "up/{{topic}}"

[[flow.climate.plugin]]
plugin   = {decode}
probation = {{ time = "2s" }}
settings = {{ pick = ["device", "seq", "ts", {{ from = "temperature", to = "fahrenheit", scale = 1.8, offset = 32 }}, "humidity"] }}

[[flow.climate.plugin]]
plugin   = {keep}
probation = {{ time = "2s" }}
settings = {{ where = [{{ field = "fahrenheit", op = ">", value = {limit} }}] }}

[[flow.climate.plugin]]
plugin   = {threshold}
probation = {{ time = "2s" }}
settings = {{ field = "fahrenheit", above = 80, hysteresis = 2 }}
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(root: &Path) -> Layout {
        let address = "127.0.0.1:1883".parse().unwrap();
        Layout::create(root, address, address).unwrap()
    }

    #[test]
    fn the_config_is_toml_and_its_filter_can_be_changed() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(folder.path());
        let limit = |layout: &Layout| {
            let table: toml::Table = fs::read_to_string(layout.config())
                .unwrap()
                .parse()
                .unwrap();
            table["flow"]["climate"]["plugin"][1]["settings"]["where"][0]["value"]
                .as_integer()
                .unwrap()
        };
        assert_eq!(limit(&layout), 68);
        layout.write_config(FilterLevel::Above15).unwrap();
        assert_eq!(limit(&layout), 59);
    }

    #[test]
    fn a_rebuilt_plugin_differs_by_a_custom_section_of_its_declared_size() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(folder.path());
        let before = fs::read(layout.plugin("filter")).unwrap();
        layout.rebuild("filter", "second build").unwrap();
        let after = fs::read(layout.plugin("filter")).unwrap();
        let section = after.strip_prefix(before.as_slice()).unwrap();
        assert_eq!(section[0], 0);
        assert_eq!(usize::from(section[1]), section.len() - 2);
        assert!(section.ends_with(b"second build"));
    }
}
