//! Why a chain cannot be built. Every text names the plugin or flow.

use std::path::PathBuf;
use std::sync::Arc;

use crate::chain::sandbox::fault::Fault;
use crate::trust::Denied;

/// A chain that cannot be built, or an engine that cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This machine cannot run the engine.
    #[error("wasm engine does not start: {0}")]
    Engine(String),
    /// No thread is to be had.
    #[error("a thread does not start")]
    Thread(#[source] std::io::Error),
    /// A component cannot be read.
    #[error("plugin `{plugin}`: cannot read `{}`", path.display())]
    Read {
        plugin: Arc<str>,
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no such plugin in this binary.
    #[error("plugin `{plugin}`: there is no built-in plugin `{name}`")]
    UnknownBuiltin {
        plugin: Arc<str>,
        /// What was asked for.
        name: String,
    },
    /// A component's signature does not let it in.
    #[error("plugin `{plugin}` is not let in: {source}")]
    Denied { plugin: Arc<str>, source: Denied },
    /// A component cannot be used.
    #[error("plugin `{plugin}`: {source}")]
    Unusable { plugin: Arc<str>, source: Unusable },
    /// A plugin failed before its first message.
    #[error("plugin `{plugin}` fails while it is started: {source}")]
    Instantiate {
        plugin: Arc<str>,
        source: Box<Fault>,
    },
    /// A plugin does not accept its settings.
    #[error("plugin `{plugin}` refuses its settings: {why}")]
    Configure {
        plugin: Arc<str>,
        /// In its own words.
        why: String,
    },
    /// A plugin asks for what it cannot have.
    #[error("plugin `{plugin}`: {why}")]
    Setup {
        plugin: Arc<str>,
        /// What it asks for.
        why: String,
    },
    /// A plugin cannot read what it is to remember, and shall not start without.
    #[error(
        "plugin `{plugin}` cannot take over its state: {why}; put back the version that saved it, or let it start without: refused_state = \"fresh\""
    )]
    State {
        plugin: Arc<str>,
        /// In its own words, or the store's.
        why: String,
    },
    /// A plugin does not read what the one of its name leaves it.
    #[error(
        "plugin `{plugin}` cannot take over its state from the running one: {why}; give it another name if it is to begin without"
    )]
    Inherit {
        plugin: Arc<str>,
        /// In its own words.
        why: String,
    },
    /// A running chain does not come to rest, so that none can take over from it.
    #[error("flow `{flow}` does not come to rest: {why}")]
    Leave { flow: Arc<str>, why: String },
    /// A port leads nowhere.
    #[error(
        "plugin `{plugin}` has a port `{port}` without a route: add it to the flow's `to`, or give it \"drop\" there"
    )]
    PortWithoutRoute { plugin: Arc<str>, port: String },
    /// The end of the chain leads nowhere.
    #[error("flow `{flow}` has no route for `out`")]
    NoOut { flow: Arc<str> },
    /// A topic template names what is not known.
    #[error(
        "flow `{flow}`: `topic` holds `{{{placeholder}}}`; known are `{{topic}}`, `{{flow}}`, `{{device}}`, `{{key}}` and the names that all of its `topics` have"
    )]
    Template { flow: Arc<str>, placeholder: String },
    /// Time was to pass by so much that nobody would wait for it.
    #[error("so much time cannot pass at once: plugins would be told the time more than {0} times")]
    TooFar(usize),
}

impl Error {
    /// Whether what is missing may be there again without anybody changing anything here: a file that cannot be read.
    pub fn is_away(&self) -> bool {
        let denied = matches!(
            self,
            Self::Denied {
                source: Denied::KeyAway { .. },
                ..
            }
        );
        denied || matches!(self, Self::Read { .. })
    }

    /// Name of the plugin that is to blame, if it is one.
    pub fn plugin(&self) -> Option<&Arc<str>> {
        match self {
            Self::Read { plugin, .. }
            | Self::UnknownBuiltin { plugin, .. }
            | Self::Denied { plugin, .. }
            | Self::Unusable { plugin, .. }
            | Self::Instantiate { plugin, .. }
            | Self::Configure { plugin, .. }
            | Self::Setup { plugin, .. }
            | Self::State { plugin, .. }
            | Self::Inherit { plugin, .. }
            | Self::PortWithoutRoute { plugin, .. } => Some(plugin),
            Self::Engine(_)
            | Self::Thread(_)
            | Self::NoOut { .. }
            | Self::Template { .. }
            | Self::Leave { .. }
            | Self::TooFar(_) => None,
        }
    }
}

/// Why bytes do not make a program. The texts are for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Not WebAssembly at all, or cut short.
    #[error("not a WebAssembly component ({0})")]
    NotWasm(String),
    /// A module without the component's shell.
    #[error(
        "a core WebAssembly module, not a component: with Rust build it with `--target wasm32-wasip2`, with anything else wrap it by `wasm-tools component new`"
    )]
    CoreModule,
    /// It does not validate or compile.
    #[error("does not compile: {0}")]
    Compile(String),
    /// Compiling it takes more than it may.
    #[error("does not compile within the limits: {0}")]
    Costly(String),
    /// It could not even be tried.
    #[error("the compiler failed: {0}")]
    Compiler(String),
    /// Nobody waits for it any more.
    #[error("not compiled to the end: the gateway stops")]
    Unwanted,
    /// It wants something that is not granted.
    #[error(
        "denied import `{0}`: a plugin may import `log`, `metrics`, `clock` and `flow` of `tidegate:plugin@0.1` and WASI 0.2"
    )]
    DeniedImport(String),
    /// It wants what the host has, and the config does not grant.
    #[error(
        "it {words} (`{import}`), which is not granted: add \"{grant}\" to this plugin's `grants`"
    )]
    NotGranted {
        /// What it does with that.
        words: String,
        import: String,
        /// The word in `grants`.
        grant: String,
    },
    /// It imports a granted interface in another shape.
    #[error("imports do not fit: {0}")]
    Import(String),
    /// It was built against the contract in a version that does not fit this one.
    #[error(
        "built for version {0} of `tidegate:plugin`, and this gateway runs 0.1: build it with the SDK for 0.1"
    )]
    OtherVersion(String),
    /// It has no `transform` of this contract.
    #[error("does not export `tidegate:plugin/transform@0.1.0` ({0})")]
    WrongWorld(String),
}
