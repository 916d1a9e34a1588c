//! `tidegate plugin inspect`: what a component is, and what it asks for, in plain words.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::builtin;
use crate::chain::{self, Capability, CompileLimits, Engine, Inspection, Limits, Workshop};
use crate::cli::show::{WIDTH, bytes};
use crate::cli::{Global, OutputFormat, print, print_json, say};
use crate::exit::Exit;
use crate::file;
use crate::words;
use crate::words::with_causes;

/// Unknown imports that are named: there may be any number.
const MOST_NAMES: usize = 20;
/// Imports of a document, and characters of a name in it.
const MOST_IMPORTS: usize = 1_000;
const LONGEST_NAME: usize = 400;

/// Asks for the names of what is built in.
const ALL: &str = "builtin:?";

const EXAMPLES: &str = "\
Examples:
  tidegate plugin inspect                                                    names the built-in ones
  tidegate plugin inspect builtin:filter                                     with all of its settings
  tidegate plugin inspect rule.wasm
  tidegate plugin inspect rule.wasm --settings '{\"field\":\"temperature\"}'     and what it asks for with these
  tidegate plugin inspect rule.wasm -o json | jq -r '.imports[].capability'

Runs nothing of it but, with --settings, its `configure`. What it needs beyond the default limits of a gateway is measured \
and told. Ends with 4 when no gateway would let it in.";

/// Arguments of `tidegate plugin inspect`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Inspect {
    /// The component, or the name of one that is built in. Without it, the names of these are printed.
    #[arg(value_name = "FILE", default_value = ALL, hide_default_value = true)]
    component: PathBuf,
    /// Settings as JSON: configures it and tells its ports.
    #[arg(long, value_name = "JSON", value_parser = json_value)]
    settings: Option<Value>,
}

fn json_value(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))
}

/// Does what was asked.
pub fn inspect(global: &Global, arguments: &Inspect) -> Exit {
    let written = arguments.component.to_str();
    if written == Some(ALL) {
        match global.output {
            OutputFormat::Text => builtin::NAMES
                .iter()
                .for_each(|name| print(&format!("builtin:{name}"))),
            OutputFormat::Json => print_json(&json!({ "builtin": builtin::NAMES })),
        }
        return Exit::Done;
    }
    let is_bare = |name: &&str| builtin::NAMES.contains(name) && !arguments.component.exists();
    let builtin = written
        .and_then(|written| written.strip_prefix("builtin:"))
        .or(written.filter(is_bare));
    let content = match builtin {
        Some(name) => builtin::component(name).ok_or_else(|| {
            format!(
                "no plugin `{name}` is built in; there are: {}",
                builtin::NAMES.join(", ")
            )
        }),
        None => file::read(&arguments.component, file::COMPONENT)
            .map_err(|error| format!("cannot read `{}`: {error}", arguments.component.display())),
    };
    let content = match content {
        Ok(content) => content,
        Err(why) => {
            say(&format!("error: {why}"));
            return Exit::Failed;
        }
    };
    let manual = builtin.and_then(builtin::manual);
    match measure(&content, arguments.settings.as_ref(), None) {
        Ok((found, is_costly)) => {
            let needs = needs(&found, is_costly);
            match global.output {
                OutputFormat::Text => print(
                    &(text(&found, &needs)
                        + &manual
                            .map(|manual| format!("\n\n{manual}"))
                            .unwrap_or_default()),
                ),
                OutputFormat::Json => {
                    let mut document = document(&found, &needs);
                    if let Some(manual) = manual {
                        document["manual"] = manual.into();
                    }
                    print_json(&document);
                }
            }
            let is_good = found.refused.is_none() && !matches!(found.setup, Some(Err(_)));
            if is_good { Exit::Done } else { Exit::Plugin }
        }
        Err(error) => {
            say(&format!("error: {}", with_causes(&error)));
            Exit::Plugin
        }
    }
}

/// What compiling may take by default, as `host/default.toml` has it.
const DEFAULT: CompileLimits = CompileLimits {
    memory_bytes: 512 << 20,
    time: Duration::from_secs(300),
};

/// No limit that a plugin meets.
const AMPLE: CompileLimits = CompileLimits {
    memory_bytes: 16 << 30,
    time: Duration::from_secs(3_600),
};

/// Looks at a component within the limits of compiling, and without where it does not fit in: `true` says that it was so. The code
/// is kept in `cache`, where there is one.
pub(super) fn measure(
    component: &[u8],
    settings: Option<&Value>,
    cache: Option<PathBuf>,
) -> Result<(Inspection, bool), chain::Error> {
    let look = |limits| {
        let engine = Engine::new(
            Limits::default().stack_bytes,
            Workshop::new(limits, cache.clone()),
        )?;
        chain::inspect(component, &engine, settings)
    };
    match look(DEFAULT) {
        Err(chain::Error::Unusable {
            source: chain::Unusable::Costly(_),
            ..
        }) => look(AMPLE).map(|found| (found, true)),
        result => result.map(|found| (found, false)),
    }
}

/// The settings that a gateway needs for it beside the defaults.
fn needs(found: &Inspection, is_costly: bool) -> Vec<String> {
    let mut needs = Vec::new();
    if is_costly {
        let memory = DEFAULT.memory_bytes >> 20;
        let time = DEFAULT.time;
        needs.push(format!("[gateway] plugin_compile_memory above {memory}MiB, or plugin_compile_time above {time:?}"));
    }
    let configured = found
        .setup
        .as_ref()
        .and_then(|setup| setup.as_ref().ok())
        .map(|asked| asked.memory_bytes);
    let memory = configured
        .into_iter()
        .chain(found.memory_bytes)
        .max()
        .unwrap_or_default();
    if memory > Limits::default().memory_bytes {
        // Room for the batches that it is to hold.
        let wanted = (memory + memory / 2).div_ceil(1 << 20);
        needs.push(format!(
            "limits = {{ memory = \"{wanted}MiB\" }}: it has {} before its first message",
            bytes(memory as u64)
        ));
    }
    needs
}

/// The capabilities among the imports, each once.
fn capabilities(found: &Inspection) -> Vec<Capability> {
    let mut capabilities: Vec<_> = found
        .imports
        .iter()
        .map(|import| import.capability)
        .collect();
    capabilities.sort_unstable();
    capabilities.dedup();
    capabilities.retain(|capability| *capability != Capability::Types);
    capabilities
}

fn exports(found: &Inspection) -> Vec<&'static str> {
    let there = [
        ("transform", found.has_transform),
        ("timer", found.has_timer),
        ("state", found.has_state),
    ];
    there
        .into_iter()
        .filter_map(|(name, is_there)| is_there.then_some(name))
        .collect()
}

fn text(found: &Inspection, needs: &[String]) -> String {
    let mut lines = vec![
        format!("digest     {}", found.digest),
        format!("size       {}", bytes(found.bytes as u64)),
        format!(
            "contract   {}",
            if found.contract.is_empty() {
                "none of ours"
            } else {
                &found.contract
            }
        ),
        format!("exports    {}", exports(found).join(", ")),
    ];
    put_imports(found, &mut lines);
    lines.extend(
        found
            .memory_bytes
            .map(|memory| format!("memory     {} at its start", bytes(memory as u64))),
    );
    lines.push(format!(
        "compiled   in {:?}",
        Duration::from_millis(found.compile_time.as_millis() as u64)
    ));
    match &found.setup {
        None => {}
        Some(Err(why)) => lines.push(format!("settings   refused: {why}")),
        Some(Ok(asked)) => {
            let ports = if asked.ports.is_empty() {
                "out".to_owned()
            } else {
                format!("out, {}", asked.ports.join(", "))
            };
            lines.push(format!("ports      {ports}"));
            lines.extend(
                asked
                    .tick_every
                    .map(|every| format!("ticks      every {every:?}")),
            );
        }
    }
    lines.extend(needs.iter().map(|need| format!("needs      {need}")));
    lines.extend(
        found
            .refused
            .as_ref()
            .map(|why| format!("refused    {why}")),
    );
    lines.join("\n")
}

fn put_imports(found: &Inspection, lines: &mut Vec<String>) {
    for (index, capability) in capabilities(found).into_iter().enumerate() {
        let grant = capability
            .grant()
            .map(|grant| format!(" [grant: {grant}]"))
            .unwrap_or_default();
        lines.push(format!(
            "{}{}{grant}",
            if index == 0 {
                "imports    "
            } else {
                "           "
            },
            capability.words()
        ));
    }
    let unknown = found
        .imports
        .iter()
        .filter(|import| import.capability == Capability::Unknown);
    lines.extend(
        unknown
            .clone()
            .take(MOST_NAMES)
            .map(|import| format!("           unknown: {}", words::line(&import.name, WIDTH))),
    );
    let more = unknown.count().saturating_sub(MOST_NAMES);
    lines.extend((more > 0).then(|| format!("           and {more} more that are unknown")));
}

fn document(found: &Inspection, needs: &[String]) -> Value {
    let import = |import: &chain::ComponentImport| {
        let capability = format!("{:?}", import.capability).to_lowercase();
        json!({
            "name": words::line(&import.name, LONGEST_NAME), "capability": capability, "words": import.capability.words(),
            "grant": import.capability.grant(),
        })
    };
    let setup = found.setup.as_ref().map(|setup| match setup {
        Ok(asked) => json!({
            "ports": asked.ports, "tick_every_us": asked.tick_every.map(|every| every.as_micros() as u64),
            "state_version": asked.state_version, "memory_bytes": asked.memory_bytes,
        }),
        Err(why) => json!({ "error": why }),
    });
    json!({
        "digest": &*found.digest, "bytes": found.bytes, "contract": found.contract, "exports": exports(found),
        "imports": found.imports.iter().take(MOST_IMPORTS).map(import).collect::<Vec<_>>(),
        "imports_left_out": found.imports.len().saturating_sub(MOST_IMPORTS), "memory_bytes": found.memory_bytes,
        "compile_ms": found.compile_time.as_millis() as u64, "refused": found.refused, "setup": setup, "needs": needs,
    })
}
