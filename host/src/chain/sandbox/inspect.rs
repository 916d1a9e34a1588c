//! What a component is and asks for, told without a flow: for who decides whether to let it in.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use wasmtime::component::Component;

use super::beside::beside;
use super::capability::Capability;
use super::engine::Engine;
use super::guest::GuestContext;
use super::instance::Instance;
use super::link;
use super::program::Program;
use crate::chain::Error;
use crate::chain::metrics::Metrics;
use crate::chain::settings::Limits;
use crate::message::hexadecimal;

/// What an instance may use that is looked at: a whole language fits in.
const MAX_MEMORY_BYTES: usize = 1 << 30;
const MAX_TABLE_ELEMENTS: usize = 1_000_000;
const MAX_CALL_TIME: Duration = Duration::from_secs(60);

/// An interface a component imports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentImport {
    /// Its name with version.
    pub name: String,
    /// What it is for.
    pub capability: Capability,
}

/// What a component asked for when it got its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    pub ports: Vec<String>,
    /// Interval of its ticks.
    pub tick_every: Option<Duration>,
    /// Version of its state's form.
    pub state_version: u32,
    /// Linear memory it has by then, bytes.
    pub memory_bytes: usize,
}

/// What is known of a component.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// SHA-256 of the component, in hexadecimal.
    pub digest: Arc<str>,
    pub bytes: usize,
    /// Version of the plugin contract it was built for.
    pub contract: String,
    /// Whether it exports `transform`, `timer` and `state`.
    pub has_transform: bool,
    pub has_timer: bool,
    pub has_state: bool,
    pub imports: Vec<ComponentImport>,
    /// Time to make code of it.
    pub compile_time: Duration,
    /// Why no gateway lets it in, whatever it grants.
    pub refused: Option<String>,
    /// Linear memory of a fresh instance, bytes; `None` when there is none to be had.
    pub memory_bytes: Option<usize>,
    /// What it asked for, or why it refused the settings; `None` without settings.
    pub setup: Option<Result<Requested, String>>,
}

/// Looks at a component; with `settings`, configures an instance as well. Blocks for as long as compiling takes.
///
/// # Errors
/// [`Error::Engine`] when the engine does not start; [`Error::Unusable`] when it is no component or does not compile.
pub fn inspect(
    bytes: &[u8],
    engine: &Engine,
    settings: Option<&serde_json::Value>,
) -> Result<Inspection, Error> {
    let unusable = |source| Error::Unusable {
        plugin: "inspected".into(),
        source,
    };
    beside(engine, Handle::try_current().ok().as_ref(), || {
        let begun = engine.clock().moment();
        let (component, digest) = link::compile(engine, bytes).map_err(unusable)?;
        let compile_time = engine.clock().since(begun);
        let found = look(engine, &component);
        let base = Inspection {
            digest: hexadecimal(&digest).into(),
            bytes: bytes.len(),
            compile_time,
            ..found
        };
        Ok(match link::link(engine, &component, &digest) {
            Ok(program) => tried(base, &program, engine, settings)?,
            Err(why) => Inspection {
                refused: Some(why.to_string()),
                ..base
            },
        })
    })
}

/// What its type tells.
fn look(engine: &Engine, component: &Component) -> Inspection {
    let ty = component.component_type();
    let imports = ty.imports(engine.wasm()).map(|(name, _)| name.to_owned());
    let imports: Vec<_> = imports
        .map(|name| ComponentImport {
            capability: Capability::of(&name),
            name,
        })
        .collect();
    let exports: Vec<_> = ty
        .exports(engine.wasm())
        .map(|(name, _)| name.to_owned())
        .collect();
    let has = |interface: &str| {
        exports
            .iter()
            .any(|name| name.starts_with(&format!("tidegate:plugin/{interface}@")))
    };
    let names = exports
        .iter()
        .chain(imports.iter().map(|import| &import.name));
    let contract = names
        .filter_map(|name| name.strip_prefix("tidegate:plugin/")?.split_once('@'))
        .map(|(_, version)| version);
    Inspection {
        digest: "".into(),
        bytes: 0,
        contract: contract.max().unwrap_or_default().to_owned(),
        has_transform: has("transform"),
        has_timer: has("timer"),
        has_state: has("state"),
        imports,
        compile_time: Duration::ZERO,
        refused: None,
        memory_bytes: None,
        setup: None,
    }
}

/// What an instance tells.
fn tried(
    base: Inspection,
    program: &Program,
    engine: &Engine,
    settings: Option<&serde_json::Value>,
) -> Result<Inspection, Error> {
    let metrics = Metrics::new(&prometheus::Registry::new())
        .map_err(|error| Error::Engine(error.to_string()))?;
    // It is measured, so that whoever runs it knows what limits it needs.
    let limits = Limits {
        memory_bytes: MAX_MEMORY_BYTES,
        table_elements: MAX_TABLE_ELEMENTS,
        call_time: MAX_CALL_TIME,
        ..Limits::default()
    };
    let metrics = metrics.plugin(&"inspected".into(), &"inspected".into());
    let topics = &Arc::default();
    let mut instance = match Instance::new(
        program,
        engine,
        GuestContext {
            limits: &limits,
            metrics: &metrics,
            lane: 0,
            topics,
        },
    ) {
        Ok(instance) => instance,
        Err(fault) => {
            return Ok(Inspection {
                refused: Some(fault.to_string()),
                ..base
            });
        }
    };
    instance.mute(true);
    let memory_bytes = Some(instance.memory_bytes());
    let setup = settings.map(|settings| {
        match instance.configure(&settings.to_string(), engine.clock().now()) {
            Ok(Ok(setup)) => Ok(Requested {
                state_version: setup.state_version(),
                ports: setup.ports,
                tick_every: (setup.tick_every_us > 0)
                    .then(|| Duration::from_micros(setup.tick_every_us)),
                memory_bytes: instance.memory_bytes(),
            }),
            Ok(Err(why)) => Err(why),
            Err(fault) => Err(fault.to_string()),
        }
    });
    Ok(Inspection {
        memory_bytes,
        setup,
        ..base
    })
}
