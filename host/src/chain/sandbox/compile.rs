//! From a component to code that can run: out of the cache, or through the compiler.
//!
//! ```text
//! component ─► digest ─► cache: file with a right MAC? ──yes──► code
//!                          │ no                                  ▲
//!                          └─► compiler, a child process ────────┤
//!                                with little memory and time     │
//!                                          └─► cache ────────────┘
//! ```
//!
//! The gateway itself has no compiler in its engine: a component that takes endless memory or time to compile ends the
//! child, and the pages the compiler works on never belong to the gateway. Code is native and trusted: what runs was
//! made by this executable on this host, and nothing else is ever loaded.

mod cache;
mod child;
mod memories;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::component::Component;

use super::program::Unusable;
use cache::{Cache, Entry, Found};
pub use child::compile_plugin;

/// The engine that makes the code; code of another one is not used. Patch versions count: some mend the compiler.
const VERSION: &str = env!("TIDEGATE_WASMTIME_VERSION");

/// Largest compiled component.
const MAX_CODE_BYTES: u64 = 256 << 20;

/// SHA-256 of a component.
pub(crate) type Digest = [u8; 32];

/// How components become code.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// Who compiles.
    pub compiler: Compiler,
    /// Folder in which code is kept over restarts; only this process may use it. `None`: compiled at every start.
    pub cache: Option<PathBuf>,
}

/// Who compiles.
#[derive(Clone, Debug)]
pub enum Compiler {
    /// A process of its own, which runs this program with `compile-plugin`.
    Child(PathBuf, CompileLimits),
    /// This process: for tests and benchmarks, whose executable is not tidegate.
    InProcess,
}

/// What compiling one component may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Address space of the compiler's process, bytes.
    pub memory_bytes: u64,
    /// Wall time.
    pub time: Duration,
}

impl Workshop {
    /// Compiles in children of this executable, and keeps the code in `cache`.
    pub fn new(limits: CompileLimits, cache: Option<PathBuf>) -> Self {
        // The running file itself, also when it was replaced on disk meanwhile.
        Self { compiler: Compiler::Child(PathBuf::from("/proc/self/exe"), limits), cache }
    }

    /// Compiles in this process and keeps nothing.
    pub fn in_process() -> Self {
        Self { compiler: Compiler::InProcess, cache: None }
    }
}

/// Where code came from; the name is used in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Cached,
    Compiled,
    /// There was some in the cache that this host did not write, or not like this.
    Recompiled,
    /// Another flow runs it.
    Shared,
}

impl Origin {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Compiled => "compiled",
            Self::Recompiled => "recompiled",
            Self::Shared => "shared",
        }
    }
}

/// Native code. Made in this module and those below it only: by the compiler, or from a file whose MAC was right.
struct Code(Vec<u8>);

/// An open workshop.
pub(super) struct Shop {
    compiler: Compiler,
    cache: Option<Cache>,
    stack_bytes: usize,
    is_closed: AtomicBool,
}

impl Shop {
    /// Opens the cache. One that cannot be used is reported and left out: then everything is compiled at every start.
    pub(crate) fn open(workshop: Workshop, stack_bytes: usize) -> Self {
        let open = |folder: &Path| {
            Cache::open(folder).inspect_err(|error| {
                tracing::warn!(path = %folder.display(), %error, "compiled plugins are not kept, so starts take longer");
            })
        };
        let cache = workshop.cache.as_deref().and_then(|folder| open(folder).ok());
        Self { compiler: workshop.compiler, cache, stack_bytes, is_closed: AtomicBool::new(false) }
    }

    /// What is being compiled is not wanted any more, nor anything that is not in the cache.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// Whether the engine of this process needs a compiler.
    pub(super) fn compiles_here(compiler: &Compiler) -> bool {
        matches!(compiler, Compiler::InProcess)
    }

    /// The code of `component`. May take seconds.
    pub(crate) fn make(
        &self,
        wasm: &wasmtime::Engine,
        component: &[u8],
        digest: &Digest,
    ) -> Result<(Component, Origin), Unusable> {
        let Some(cache) = &self.cache else { return Ok((load(wasm, &self.compile(wasm, component)?)?, Origin::Compiled)) };
        let entry = Entry::of(digest, &self.settings());
        let origin = match cache.find(&entry) {
            // It has the engine's own header, too: other processors have other code.
            Found::Code(code) => match load(wasm, &code) {
                Ok(component) => return Ok((component, Origin::Cached)),
                Err(error) => refused(&entry, &error.to_string()),
            },
            Found::Nothing => Origin::Compiled,
            Found::Refused(why) => refused(&entry, &why),
        };
        let code = self.compile(wasm, component)?;
        cache.keep(&entry, &code);
        Ok((load(wasm, &code)?, origin))
    }

    fn compile(&self, wasm: &wasmtime::Engine, component: &[u8]) -> Result<Code, Unusable> {
        match &self.compiler {
            Compiler::Child(program, limits) => child::compile(program, *limits, self.stack_bytes, component, &self.is_closed),
            Compiler::InProcess => precompile(wasm, component).map_err(Unusable::Compile),
        }
    }

    /// Everything beside the component that decides what its code looks like.
    fn settings(&self) -> String {
        format!("{VERSION} {} {:?}", std::env::consts::ARCH, settings(self.stack_bytes))
    }
}

fn refused(entry: &Entry, why: &str) -> Origin {
    tracing::warn!(file = entry.name(), why, "a compiled plugin in the cache is not used; it is compiled again");
    Origin::Recompiled
}

/// Compiles in this process. The compiler promises nothing about hostile input, so a panic is an error.
fn precompile(wasm: &wasmtime::Engine, component: &[u8]) -> Result<Code, String> {
    memories::check(component)?;
    match catch_unwind(AssertUnwindSafe(|| wasm.precompile_component(component))) {
        Ok(Ok(code)) => Ok(Code(code)),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err("the compiler panicked".to_owned()),
    }
}

/// Makes code runnable. It is copied from memory rather than mapped from its file: pages of a mapping are read anew
/// when memory was short, and by then the card may give back other bytes than those that were checked.
#[expect(unsafe_code, reason = "the engine has no safe way to load code, since code can do anything")]
fn load(wasm: &wasmtime::Engine, code: &Code) -> Result<Component, Unusable> {
    // SAFETY: the bytes must be what `precompile_component` of this version of wasmtime made, unchanged. A `Code` is
    // built in three places only: from that very call (`precompile`), from the answer of a child that is this
    // executable and did that call, its digest right (`child::compile`), and from a file of the cache that ends with
    // the MAC of exactly these bytes under a key that only this host's user can read, and that is written only with
    // bytes of the other two (`cache::find`, `cache::keep`). Version, processor and settings that do not fit are
    // refused by the engine's own header, in which the version is complete (`settings`).
    let component = unsafe { Component::deserialize(wasm, &code.0) };
    component.map_err(|error| Unusable::Compile(format!("its code does not load: {error:#}")))
}

/// What all engines of tidegate share: how guests are compiled, and what they may do.
pub(crate) fn settings(stack_bytes: usize) -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config
        .module_version(wasmtime::ModuleVersionStrategy::Custom(VERSION.to_owned()))
        .expect("a version has no 255 bytes")
        .strategy(wasmtime::Strategy::Cranelift)
        .allocation_strategy(wasmtime::InstanceAllocationStrategy::OnDemand)
        .memory_init_cow(true)
        .epoch_interruption(true)
        .consume_fuel(false)
        .max_wasm_stack(stack_bytes)
        // Checked against `max_wasm_stack` although no fiber is ever made: every call is synchronous.
        .async_stack_size(stack_bytes + (1 << 20))
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Enable);
    // What no plugin needs is not offered: most advisories of the engine were in the proposals.
    config
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_threads(false)
        .wasm_memory64(false)
        // Between two components of one the engine puts modules of its own making, which have both of their memories. What
        // a plugin brings along is held to one memory a module (`memories`).
        .wasm_multi_memory(true)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_stack_switching(false)
        .wasm_wide_arithmetic(false)
        .wasm_relaxed_simd(false);
    config
}
