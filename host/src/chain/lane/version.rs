//! A plugin as it runs in a chain: its code with its settings, limits and routes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::chain::Error;
use crate::chain::metrics::PluginMetrics;
use crate::chain::sandbox::batch::{PackedBatch, Shape, unpack};
use crate::chain::sandbox::capability::Grants;
use crate::chain::sandbox::engine::Engine;
use crate::chain::sandbox::fault::Fault;
use crate::chain::sandbox::guest::GuestContext;
use crate::chain::sandbox::instance::{Instance, PluginSetup};
use crate::chain::sandbox::program::Program;
use crate::chain::settings::{Artefact, Limits, PluginConfig, Topics};
use crate::clock::Now;
use crate::message::{Destination, PluginRef, short_digest};
use crate::{builtin, file, words};

/// What stands for a text of the settings in a plugin's words.
const STARS: &str = "***";
/// A shorter text is part of too many words.
const LEAST_SECRET: usize = 4;

/// The port to the next plugin, or out of the chain.
pub(crate) const OUT: &str = "out";

/// Ports a plugin may declare beside `out`.
const MAX_PORTS: usize = 64;

/// Shortest interval of ticks: a shorter one is a busy loop.
const SHORTEST_TICK: Duration = Duration::from_millis(1);

/// What a port leads to, by the config.
pub(crate) type Ports = BTreeMap<String, Vec<Destination>>;

/// One version of one plugin of a chain; every lane has an instance of it.
pub(crate) struct Version {
    pub(crate) reference: PluginRef,
    pub(crate) program: Program,
    pub(crate) settings: String,
    pub(crate) setup: PluginSetup,
    pub(crate) limits: Limits,
    pub(crate) grants: Grants,
    /// How soon its state is to be on disk; `None` when it keeps none, or shall not.
    pub(crate) checkpoint: Option<Duration>,
    pub(crate) metrics: PluginMetrics,
    /// What its flow takes.
    pub(crate) topics: Arc<Topics>,
    routes: Vec<Vec<Destination>>,
}

/// What makes a version, beside its code.
#[derive(Clone, Copy)]
pub(crate) struct Recipe<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) plugin: &'a PluginConfig,
    pub(crate) ports: &'a Ports,
    pub(crate) metrics: &'a PluginMetrics,
    pub(crate) topics: &'a Arc<Topics>,
    pub(crate) now: Now,
}

impl Version {
    /// Configures a first instance, which is given back, to learn what the plugin asks for.
    ///
    /// # Errors
    /// No instance can be made, the plugin refuses its settings, or what it asks for cannot be had.
    pub(crate) fn configure(
        program: Program,
        settings: String,
        recipe: Recipe<'_>,
    ) -> Result<(Self, Instance), Error> {
        let Recipe {
            engine,
            plugin,
            ports,
            metrics,
            topics,
            now,
        } = recipe;
        let name = &plugin.name;
        let broken = |fault| Error::Instantiate {
            plugin: Arc::clone(name),
            source: Box::new(fault),
        };
        let context = GuestContext {
            limits: &plugin.limits,
            metrics,
            lane: 0,
            topics,
        };
        let mut instance = Instance::new(&program, engine, context).map_err(broken)?;
        let configured = instance.configure(&settings, now).map_err(broken)?;
        let setup = configured.map_err(|why| settings_refused(plugin, &settings, &why))?;
        check_setup(&setup, &program).map_err(|why| Error::Setup {
            plugin: Arc::clone(name),
            why,
        })?;
        let routes = routes(name, &setup, ports)?;
        let reference = PluginRef {
            name: Arc::clone(name),
            digest: Arc::clone(program.digest()),
        };
        let limits = plugin.limits;
        let grants = plugin.grants.clone();
        let metrics = metrics.clone();
        let checkpoint = plugin.checkpoint.filter(|_| program.state.is_some());
        let topics = Arc::clone(topics);
        Ok((
            Self {
                reference,
                program,
                settings,
                setup,
                limits,
                grants,
                checkpoint,
                metrics,
                topics,
                routes,
            },
            instance,
        ))
    }

    /// Shows a configured instance an empty batch.
    ///
    /// # Errors
    /// What it did wrong.
    pub(crate) fn self_test(&self, instance: &mut Instance, now: Now) -> Result<(), Fault> {
        instance.mute(true);
        let answer = instance.process(&PackedBatch::default(), now)?;
        unpack(&answer, self.shape(Some(0)), &mut Vec::new())
    }

    /// Tells it the time, if it has a timer.
    ///
    /// # Errors
    /// What it did wrong.
    pub(crate) fn self_test_tick(&self, instance: &mut Instance, now: Now) -> Result<(), Fault> {
        if self.tick_every().is_none() {
            return Ok(());
        }
        let answer = instance.tick(now)?;
        unpack(&answer, self.shape(None), &mut Vec::new())
    }

    /// What its outputs are checked against; `inputs` is `None` for a tick.
    pub(crate) fn shape(&self, inputs: Option<usize>) -> Shape {
        let limits = &self.limits;
        Shape {
            inputs,
            ports: self.ports(),
            max_entries: limits.output_messages,
            max_bytes: limits.output_bytes,
        }
    }

    /// Where messages of `port` go; `None` is `out`.
    pub(crate) fn route(&self, port: u16) -> Option<&[Destination]> {
        usize::from(port)
            .checked_sub(1)
            .and_then(|index| self.routes.get(index))
            .map(Vec::as_slice)
    }

    /// Ports there are, `out` included.
    pub(crate) fn ports(&self) -> usize {
        self.routes.len() + 1
    }

    /// Interval of its ticks.
    pub(crate) fn tick_every(&self) -> Option<Duration> {
        (self.setup.tick_every_us > 0).then(|| Duration::from_micros(self.setup.tick_every_us))
    }

    /// `name@digest`, as logs have it.
    pub(crate) fn label(&self) -> String {
        format!(
            "{}@{}",
            self.reference.name,
            short_digest(&self.reference.digest)
        )
    }
}

fn settings_refused(plugin: &PluginConfig, settings: &str, why: &str) -> Error {
    let values = serde_json::from_str(settings).unwrap_or_default();
    let component = component(&plugin.artefact).unwrap_or_default();
    Error::Configure {
        plugin: Arc::clone(&plugin.name),
        why: words::lines(&without_values(why, &values, &component), words::REASON),
    }
}

/// The bytes of a component, as far as they can be read.
fn component(artefact: &Artefact) -> Option<Vec<u8>> {
    match artefact {
        Artefact::Builtin(name) => builtin::component(name),
        Artefact::File(path) | Artefact::Kept(path) => file::read(path, file::COMPONENT).ok(),
    }
}

/// What a plugin says of its settings, without the texts that stand in them: one may be a secret in the wrong place. What
/// stands in its component as well, such as the name of a unit, is the plugin's own word.
fn without_values(why: &str, settings: &serde_json::Value, component: &[u8]) -> String {
    match settings {
        serde_json::Value::String(value) => {
            let value_bytes = value.as_bytes();
            // Looked for only where it is shown: a component is large, and a table may be.
            let is_shown = !value.is_empty() && why.contains(value.as_str());
            let mut parts = component.windows(value_bytes.len().max(1));
            match is_shown && parts.any(|part| part == value_bytes) {
                true => why.to_owned(),
                false => without_value(why, value),
            }
        }
        serde_json::Value::Array(values) => values.iter().fold(why.to_owned(), |why, value| {
            without_values(&why, value, component)
        }),
        serde_json::Value::Object(values) => values.values().fold(why.to_owned(), |why, value| {
            without_values(&why, value, component)
        }),
        _ => why.to_owned(),
    }
}

/// Quoted it is always taken out, else where it is a word and long enough to be no accident.
fn without_value(why: &str, value: &str) -> String {
    let mut shown = why.replace(&format!("{value:?}"), STARS);
    if value.len() < LEAST_SECRET {
        return shown;
    }
    let is_word = |symbol: Option<char>| symbol.is_some_and(char::is_alphanumeric);
    let mut from = 0;
    while let Some(at) = shown
        .get(from..)
        .and_then(|rest| rest.find(value))
        .map(|at| from + at)
    {
        let end = at + value.len();
        if is_word(shown[..at].chars().next_back()) || is_word(shown[end..].chars().next()) {
            from = end;
        } else {
            shown.replace_range(at..end, STARS);
            from = at + STARS.len();
        }
    }
    shown
}

fn check_setup(setup: &PluginSetup, program: &Program) -> Result<(), String> {
    if setup.ports.len() > MAX_PORTS {
        return Err(format!(
            "it declares {} ports; {MAX_PORTS} are allowed",
            setup.ports.len()
        ));
    }
    for (index, port) in setup.ports.iter().enumerate() {
        if port.is_empty() || port == OUT || setup.ports[..index].contains(port) {
            return Err(format!(
                "it declares the port `{port}`, which is empty, taken or declared twice"
            ));
        }
    }
    let tick = Duration::from_micros(setup.tick_every_us);
    if !tick.is_zero() && program.tick.is_none() {
        return Err("it asks for a tick and exports no `timer`".to_owned());
    }
    if !tick.is_zero() && tick < SHORTEST_TICK {
        return Err(format!(
            "it asks for a tick every {tick:?}; the shortest interval is {SHORTEST_TICK:?}"
        ));
    }
    Ok(())
}

fn routes(
    plugin: &Arc<str>,
    setup: &PluginSetup,
    ports: &Ports,
) -> Result<Vec<Vec<Destination>>, Error> {
    let missing = |port: &String| Error::PortWithoutRoute {
        plugin: Arc::clone(plugin),
        port: port.clone(),
    };
    setup
        .ports
        .iter()
        .map(|port| ports.get(port).cloned().ok_or_else(|| missing(port)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_says_of_its_settings_holds_none_of_their_texts() {
        let settings = serde_json::json!({ "above": "hunter2", "to": [{ "key": "s3cret" }], "unit": "C", "mode": "abov" });
        let why = "`above` must be a number, not the text \"hunter2\"; hunter2, s3cret, \"C\" and Celsius, above, abov";
        let shown =
            "`above` must be a number, not the text ***; ***, ***, *** and Celsius, above, ***";
        assert_eq!(without_values(why, &settings, b"nothing of it"), shown);
        assert_eq!(
            without_values("nothing", &serde_json::Value::Null, b""),
            "nothing"
        );
        let settings = serde_json::json!({ "from": "km/h", "to": "hunter2" });
        let why = "`hunter2` is no unit; there are: m/s, km/h, mph";
        assert_eq!(
            without_values(why, &settings, b"..m/skm/hmph.."),
            "`***` is no unit; there are: m/s, km/h, mph"
        );
    }
}
