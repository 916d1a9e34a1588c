//! Why a plugin could not be built. Each says what to do.

use std::io;
use std::path::PathBuf;

use crate::cli::say;
use crate::exit::Exit;

/// What components in Rust are built for.
pub(super) const TARGET: &str = "wasm32-wasip2";

/// A plugin that could not be built. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli::plugin) enum BuildError {
    #[error(
        "`{0}` has no plugin's sources: give a folder with a Cargo.toml, rule.js, rule.ts, rule.py, rule.c or rule.go, or such a file"
    )]
    NoSource(PathBuf),
    #[error("cannot run `{program}`: {remedy}")]
    NoProgram {
        program: &'static str,
        remedy: &'static str,
        source: io::Error,
    },
    #[error("{tool} {version} is missing; type:\n  {command}")]
    NoTool {
        tool: &'static str,
        version: &'static str,
        command: String,
    },
    #[error("the target {TARGET} is missing and cannot be added; type: rustup target add {TARGET}")]
    NoTarget(#[source] Option<io::Error>),
    #[error("{tool} failed on `{path}`")]
    Failed { tool: &'static str, path: PathBuf },
    #[error("`{0}` builds no component: its Cargo.toml needs [lib] crate-type = [\"cdylib\"]")]
    NoComponent(PathBuf),
    #[error("`{0}` is a plain wasm module, not a component: build it with Rust 1.82 or newer")]
    PlainModule(PathBuf),
    #[error(
        "`{0}` builds a component that is no plugin, since it exports no `transform`: in Rust its code needs `export!(YourPlugin);`, in other languages what the guide's first example ends with"
    )]
    NoExport(PathBuf),
    #[error("no component can be made of `{path}`: {why}")]
    Wrap { path: PathBuf, why: String },
    #[error("`{path}` was built, and no gateway lets it in: {why}")]
    Refused { path: PathBuf, why: String },
    #[error(
        "`{path}` has more than {most} sources: name the one file, or keep the plugin in a folder of its own"
    )]
    TooMany { path: PathBuf, most: usize },
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write `{path}`")]
    Write { path: PathBuf, source: io::Error },
}

impl BuildError {
    /// Says it, and answers the exit code.
    pub(in crate::cli::plugin) fn end(&self) -> Exit {
        say(&format!("error: {self}"));
        if let Some(cause) = std::error::Error::source(self) {
            say(&format!("  because: {cause}"));
        }
        let is_unfit = matches!(
            self,
            Self::PlainModule(_) | Self::NoExport(_) | Self::Wrap { .. } | Self::Refused { .. }
        );
        if is_unfit { Exit::Plugin } else { Exit::Failed }
    }
}
