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
mod code;
mod memories;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use wasmtime::component::Component;

use crate::chain::Unusable;
use cache::{Cache, CacheEntry, CacheLookup};
pub use child::{CompileLimits, compile_plugin};
pub(crate) use code::{Digest, settings};
use code::{NativeCode, VERSION, load, precompile};

/// How components become code.
#[derive(Clone, Debug)]
pub struct Workshop {
    pub compiler: Compiler,
    /// Folder in which code is kept over restarts; only this process may use it. `None`: compiled at every start.
    pub cache: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub enum Compiler {
    /// A process of its own, which runs this program with `compile-plugin`.
    Child(PathBuf, CompileLimits),
    /// This process: for tests and benchmarks, whose executable is not tidegate.
    InProcess,
}

impl Workshop {
    /// Compiles in children of this executable, and keeps the code in `cache`.
    pub fn new(limits: CompileLimits, cache: Option<PathBuf>) -> Self {
        // The running file itself, also when it was replaced on disk meanwhile.
        Self {
            compiler: Compiler::Child(PathBuf::from("/proc/self/exe"), limits),
            cache,
        }
    }

    /// Compiles in this process and keeps nothing.
    pub fn in_process() -> Self {
        Self {
            compiler: Compiler::InProcess,
            cache: None,
        }
    }
}

/// Where code came from; the name is used in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CodeOrigin {
    Cached,
    Compiled,
    /// There was some in the cache that this host did not write, or not like this.
    Recompiled,
    /// Another flow runs it.
    Shared,
}

impl CodeOrigin {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cached => "cached",
            Self::Compiled => "compiled",
            Self::Recompiled => "recompiled",
            Self::Shared => "shared",
        }
    }
}

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
        let cache = workshop
            .cache
            .as_deref()
            .and_then(|folder| open(folder).ok());
        Self {
            compiler: workshop.compiler,
            cache,
            stack_bytes,
            is_closed: AtomicBool::new(false),
        }
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
    ) -> Result<(Component, CodeOrigin), Unusable> {
        let Some(cache) = &self.cache else {
            return Ok((
                load(wasm, &self.compile(wasm, component)?)?,
                CodeOrigin::Compiled,
            ));
        };
        let entry = CacheEntry::of(digest, &self.settings());
        let origin = match cache.find(&entry) {
            // It has the engine's own header, too: other processors have other code.
            CacheLookup::Code(code) => match load(wasm, &code) {
                Ok(component) => return Ok((component, CodeOrigin::Cached)),
                Err(error) => refused(&entry, &error.to_string()),
            },
            CacheLookup::Nothing => CodeOrigin::Compiled,
            CacheLookup::Refused(why) => refused(&entry, &why),
        };
        let code = self.compile(wasm, component)?;
        cache.keep(&entry, &code);
        Ok((load(wasm, &code)?, origin))
    }

    fn compile(&self, wasm: &wasmtime::Engine, component: &[u8]) -> Result<NativeCode, Unusable> {
        match &self.compiler {
            Compiler::Child(program, limits) => child::compile(
                program,
                *limits,
                self.stack_bytes,
                component,
                &self.is_closed,
            ),
            Compiler::InProcess => precompile(wasm, component).map_err(Unusable::Compile),
        }
    }

    /// Everything beside the component that decides what its code looks like.
    fn settings(&self) -> String {
        format!(
            "{VERSION} {} {:?}",
            std::env::consts::ARCH,
            settings(self.stack_bytes)
        )
    }
}

fn refused(entry: &CacheEntry, why: &str) -> CodeOrigin {
    tracing::warn!(
        file = entry.name(),
        why,
        "a compiled plugin in the cache is not used; it is compiled again"
    );
    CodeOrigin::Recompiled
}
