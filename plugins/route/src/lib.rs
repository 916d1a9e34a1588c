//! Leads each reading to a port by its fields and its topic; it goes on unchanged.
//!
//! ```toml
//! settings = { routes = [{ field = "level", op = ">=", value = 3, to = "alarms" }, { field = "kind", op = "like", value = "temp*", to = "climate" }, { topic = "devices/test-1/#", to = "drop" }] }
//! to       = { out = "cloud:telemetry", alarms = "cloud:alarm", climate = "cloud:telemetry" }
//! ```
//!
//! - `routes`: a list of 100 at most; the first that a reading fits leads it. Required; each has
//!   - `field`, `op`, `value`: a comparison, as `filter` has them: `>`, `>=`, `<`, `<=`, `==`, `!=`, `in`, `not in`, `like` (a text that a
//!     pattern fits: `*` stands for any letters, `?` for one), `exists`, `absent`. Default: none.
//!   - `topic`: a topic filter, with MQTT's wildcards `+` and `#`. Default: every topic. One of `field` and `topic` is needed; of both,
//!     both must fit.
//!   - `to`: the port, of letters, digits, `-` and `_`; `"out"`, on to the next plugin; `"drop"`, the reading ends here. Required.
//! - `otherwise`: where the rest goes, a port, `"out"` or `"drop"`. Default: `"out"`.
//! - `missing`: what becomes of a reading that lacks a compared field; `null` is no value, unless it is compared with. `"skip"`: it does not
//!   fit. `"reject"`: it goes to the dead letters. Default: `"skip"`.
//!
//! The name of every port has to stand in the flow's `to`, which says where it leads. A payload that is not a JSON object, or a field that is
//! no number where one is compared, rejects the message with the reason in words; where no route looks at fields, payloads may be
//! anything. What deletes a retained reading (an empty payload) has no fields: it goes by `topic` alone, and else to `otherwise`; retain
//! under topics whose readings are led by fields to one place.

use tidegate_sdk::TopicFilter;
use tidegate_sdk::compare::{Comparison, Op, Where};
use tidegate_sdk::json::Paths;
use tidegate_sdk::prelude::*;
use tidegate_sdk::serde_json::Value;

settings! {
    /// The plugin's settings.
    pub struct Settings {
        /// The routes, in the order in which they are looked at.
        pub routes: Vec<RouteSettings>,
        /// Where the rest goes.
        #[serde(default = "default_otherwise")]
        pub otherwise: String,
        /// What becomes of a reading that lacks a compared field.
        #[serde(default)]
        pub missing: Missing,
    }
}

settings! {
    /// Who goes where.
    pub struct RouteSettings {
        /// Path of the field that is compared.
        pub field: Option<String>,
        /// How it is compared.
        pub op: Option<Op>,
        /// With what.
        #[serde(default, deserialize_with = "given")]
        pub value: Option<Value>,
        /// A topic filter.
        pub topic: Option<String>,
        /// The port.
        pub to: String,
    }
}

settings! {
    /// What becomes of a reading that lacks a compared field.
    #[derive(Copy, Default, PartialEq, Eq)]
    #[serde(rename_all = "lowercase")]
    pub enum Missing {
        /// It is rejected.
        Reject,
        /// It does not fit.
        #[default]
        Skip,
    }
}

fn default_otherwise() -> String {
    "out".to_owned()
}

/// A `null` that was written is a value, too.
fn given<'de, D: tidegate_sdk::serde::Deserializer<'de>>(
    value: D,
) -> std::result::Result<Option<Value>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

/// Routes at most: all of them are looked at with a reading that fits none.
const MOST_ROUTES: usize = 100;

/// Letters of a port's name at most.
const LONGEST_PORT: usize = 32;

/// The configured plugin.
#[derive(Debug)]
pub struct Router {
    paths: Paths,
    routes: Vec<Route>,
    otherwise: String,
    missing: Missing,
    needs_json: bool,
}

#[derive(Debug)]
struct Route {
    comparison: Option<Comparison>,
    topic: Option<TopicFilter>,
    to: String,
}

impl Transform for Router {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.routes.is_empty() || settings.routes.len() > MOST_ROUTES {
            return Err(format!("`routes` has 1 to {MOST_ROUTES} of them").into());
        }
        check_port(&settings.otherwise).map_err(|error| format!("`otherwise`: {error}"))?;
        let mut paths = Paths::default();
        let mut routes = Vec::new();
        for (place, route) in settings.routes.into_iter().enumerate() {
            let route = Route::new(route, &mut paths)
                .map_err(|error| format!("`routes.{place}`: {error}"))?;
            routes.push(route);
        }
        Ok(Self {
            needs_json: routes.iter().any(|route| route.comparison.is_some()),
            paths,
            routes,
            otherwise: settings.otherwise,
            missing: settings.missing,
        })
    }

    fn ports(&self) -> Vec<String> {
        let mut ports: Vec<String> = Vec::new();
        let named = self.routes.iter().map(|route| &route.to);
        for port in named.chain([&self.otherwise]) {
            if !matches!(&**port, "out" | "drop") && !ports.contains(port) {
                ports.push(port.clone());
            }
        }
        ports
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        let found = match self.needs_json && !message.is_delete() {
            true => Some(self.paths.find(message.payload())?),
            false => None,
        };
        let mut to = &self.otherwise;
        for route in &self.routes {
            let is_of_topic = |filter: &TopicFilter| filter.matches(message.topic_bytes());
            if !route.topic.as_ref().is_none_or(is_of_topic) {
                continue;
            }
            let fits = match (&route.comparison, &found) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(comparison), Some(found)) => match comparison.holds(found)? {
                    Some(holds) => holds,
                    None if self.missing == Missing::Skip => false,
                    None => found.require(comparison.path()).map(|_| false)?,
                },
            };
            if fits {
                to = &route.to;
                break;
            }
        }
        match &**to {
            "drop" => Ok(()),
            port => out.pass_to(port),
        }
    }
}

impl Route {
    fn new(settings: RouteSettings, paths: &mut Paths) -> Result<Self> {
        let RouteSettings {
            field,
            op,
            value,
            topic,
            to,
        } = settings;
        check_port(&to).map_err(|error| format!("`to`: {error}"))?;
        let comparison = match (field, op) {
            (Some(field), Some(op)) => Some(Comparison::new(Where { field, op, value }, paths)?),
            (None, None) if value.is_none() => None,
            (Some(_), None) => return Err("`op` is missing".into()),
            _ => return Err("it compares no `field`".into()),
        };
        let topic = topic.as_deref().map(TopicFilter::new).transpose()?;
        if comparison.is_none() && topic.is_none() {
            return Err(
                "it has neither `field` nor `topic`; where the rest goes says `otherwise`".into(),
            );
        }
        Ok(Self {
            comparison,
            topic,
            to,
        })
    }
}

fn check_port(port: &str) -> Result<()> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if port.is_empty() || port.len() > LONGEST_PORT || !port.chars().all(is_letter) {
        return Err(format!(
            "a port has 1 to {LONGEST_PORT} letters, digits, `-` or `_`, not `{port}`"
        )
        .into());
    }
    Ok(())
}

tidegate_sdk::export!(Router);

#[cfg(test)]
mod tests;
