//! `[[flow.NAME.plugin]]`: one plugin of a chain.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::builtin;
use crate::chain::{Artefact, Limits, PluginConfig, Probation, RefusedState};
use crate::trust::Trust;

use super::guard;
use crate::config::check::nearest;
use crate::config::fields::Fields;
use crate::config::problem::code::ProblemCode;
use crate::config::tree::{Node, Place};

/// A plugin, and where it was written.
#[derive(Debug)]
pub(super) struct PluginSpec {
    pub(super) config: PluginConfig,
    pub(super) places: Places,
}

/// What is the same for all plugins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Common<'a> {
    pub(crate) stack_bytes: usize,
    pub(crate) trust: &'a Trust,
}

/// Where to point when a plugin turns out to be at fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    pub(crate) artefact: Place,
    pub(crate) settings: Place,
}

/// Reads the plugins of a flow, first to last.
pub(super) fn read_all(flow: &mut Fields<'_>, common: Common<'_>) -> Vec<PluginSpec> {
    let mut plugins: Vec<PluginSpec> = Vec::new();
    for mut fields in flow.list("plugin") {
        let plugin = read(&mut fields, common);
        let name = &plugin.config.name;
        if !name.is_empty() && plugins.iter().any(|other| other.config.name == *name) {
            let (key, hint) = if fields.has("name") {
                ("name", "choose another")
            } else {
                ("plugin", "tell them apart: name = \"…\"")
            };
            fields.problem(
                ProblemCode::PluginName,
                key,
                format!("two plugins of this flow are named `{name}`"),
                hint.to_owned(),
            );
        }
        fields.done();
        plugins.push(plugin);
    }
    plugins
}

fn read(fields: &mut Fields<'_>, common: Common<'_>) -> PluginSpec {
    let (artefact, default_name) = artefact(fields);
    let name = match fields.text("name") {
        Some(name) => {
            fields.check.name("plugin", name, fields.place_of("name"));
            name.to_owned()
        }
        None => default_name,
    };
    let settings = settings(fields);
    let on_error = guard::on_error(fields);
    let breaker = guard::breaker(fields);
    let grants = guard::grants(fields);
    let checkpoint = checkpoint(fields);
    let states = [
        ("fresh", RefusedState::Fresh),
        ("required", RefusedState::Required),
    ];
    let refused_state = fields.choice("refused_state", &states).unwrap_or_default();
    let limits = limits(fields, common.stack_bytes);
    let probation = probation(fields);
    let signed_as = fields.text("signed_as").unwrap_or(&name).into();
    let places = Places {
        artefact: fields.place_of("plugin"),
        settings: fields.place_of("settings"),
    };
    let name = Arc::from(name);
    let trust = common.trust.clone();
    let config = PluginConfig {
        name,
        artefact,
        settings,
        limits,
        on_error,
        breaker,
        grants,
        checkpoint,
        refused_state,
        probation,
        trust,
        signed_as,
        highest: None,
    };
    PluginSpec { config, places }
}

fn artefact(fields: &mut Fields<'_>) -> (Artefact, String) {
    fields.require("plugin", "\"builtin:filter\"");
    let written = fields.text("plugin").unwrap_or_default();
    let place = fields.place_of("plugin");
    if let Some(name) = written.strip_prefix("builtin:") {
        if !builtin::NAMES.contains(&name) {
            let known = builtin::NAMES.join(", ");
            let hint = nearest(name, builtin::NAMES).map_or_else(
                || format!("there are: {known}"),
                |near| format!("did you mean `builtin:{near}`? (there are: {known})"),
            );
            fields.problem(
                ProblemCode::Builtin,
                "plugin",
                format!("no plugin `{name}` is built in"),
                hint,
            );
        }
        return (Artefact::Builtin(name.to_owned()), name.to_owned());
    }
    if written.starts_with("oci://") {
        fields.problem(
            ProblemCode::Later,
            "plugin",
            "plugins from a registry are not available yet",
            "give the path of a component".to_owned(),
        );
    } else if builtin::NAMES.contains(&written)
        && crate::file::about(&fields.check.sources.folder().join(written)).is_err()
    {
        let hint = format!("did you mean `builtin:{written}`?");
        fields.problem(
            ProblemCode::PluginFile,
            "plugin",
            "plugin file not found",
            hint,
        );
    } else if fields.has("plugin") && !written.is_empty() {
        fields
            .check
            .file(ProblemCode::PluginFile, place, "plugin file", written);
    } else if fields.has("plugin") {
        fields.problem(
            ProblemCode::PluginFile,
            "plugin",
            "the path is empty",
            "give a path, or builtin:NAME".to_owned(),
        );
    }
    let stem = Path::new(written)
        .file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default();
    (
        Artefact::File(fields.check.sources.folder().join(written)),
        stem,
    )
}

fn settings(fields: &mut Fields<'_>) -> serde_json::Value {
    let Some(item) = fields.find("settings") else {
        return serde_json::Value::Object(serde_json::Map::new());
    };
    if !matches!(item.node, Node::Table(_)) {
        let name = format!("{}.settings", fields.path);
        fields.wrong_type(&name, "a table, as in { field = \"temperature\" }", item);
    }
    if let Some(place) = item.node.find_unfit_number(&item.place) {
        fields.check.problem(
            ProblemCode::OutOfRange,
            place,
            "plugins get their settings as JSON, which has no such number",
            None,
        );
    }
    item.node.to_json()
}

fn checkpoint(fields: &mut Fields<'_>) -> Option<Duration> {
    if fields
        .find("checkpoint")
        .is_some_and(|item| matches!(&item.node, Node::Text(text) if text == "off"))
    {
        return None;
    }
    Some(fields.duration(
        "checkpoint",
        Duration::from_millis(10)..=Duration::from_secs(24 * 3_600),
    ))
}

/// Three quarters of `memory`, unless the config says otherwise.
fn recycle_bytes(limits: &mut Fields<'_>, memory_bytes: usize) -> usize {
    match limits.find("recycle_at").map(|item| &item.node) {
        None => memory_bytes / 4 * 3,
        Some(Node::Text(text)) if text == "off" => usize::MAX,
        Some(_) => {
            usize::try_from(limits.size("recycle_at", 1 << 20..=1 << 30)).unwrap_or(usize::MAX)
        }
    }
}

fn probation(fields: &mut Fields<'_>) -> Probation {
    let mut section = fields.section("probation");
    let probation = Probation {
        time: section.duration("time", Duration::ZERO..=Duration::from_secs(24 * 3_600)),
        messages: u64::from(section.count("messages", 1..=1_000_000_000)),
        max_rejected: section.share("max_rejected", 0.0..=1.0),
        latency_factor: section.share("latency_factor", 1.0..=1_000.0),
        memory_factor: section.share("memory_factor", 1.0..=1_000.0),
    };
    section.done();
    probation
}

fn limits(fields: &mut Fields<'_>, stack_bytes: usize) -> Limits {
    let mut section = fields.section("limits");
    let whole = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let memory_bytes = whole(section.size("memory", 1 << 20..=1 << 30));
    let limits = Limits {
        memory_bytes,
        recycle_bytes: recycle_bytes(&mut section, memory_bytes),
        call_time: section.duration("time", Duration::from_millis(1)..=Duration::from_secs(60)),
        output_messages: section.count("output_messages", 1..=1_000_000) as usize,
        output_bytes: whole(section.size("output", 1 << 10..=256 << 20)),
        stack_bytes,
        table_elements: section.count("table_elements", 100..=10_000_000) as usize,
        state_bytes: whole(section.size("state", 0..=1 << 30)),
        log_lines_per_second: section.count("log_lines_per_second", 0..=10_000),
    };
    section.done();
    limits
}
