//! `tidegate plugin build`: a plugin's source to a component, with what that needs brought along.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use clap::Args;
use serde_json::{Value, json};

use super::inspect;
use crate::chain;
use crate::cli::{Global, OutputFormat, print, print_json, say};
use crate::exit::Exit;
use crate::file;
use crate::message::short_digest;
use crate::trust;
use crate::words::with_causes;

const TARGET: &str = "wasm32-wasip2";

const EXAMPLES: &str = "\
Examples:
  tidegate plugin build                       the crate in this folder
  tidegate plugin build plugins/my-rule       another one
  tidegate plugin build -o json | jq -r .path

Needs cargo. The target wasm32-wasip2 is added through rustup where it is missing.";

/// Arguments of `tidegate plugin build`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Build {
    /// Folder with the plugin's Cargo.toml.
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
}

/// A plugin that could not be built. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error("`{0}` has no Cargo.toml: give the folder of a plugin's crate")]
    NoCrate(PathBuf),
    #[error("cannot run `{program}`: install Rust from https://rustup.rs")]
    NoProgram {
        program: &'static str,
        source: io::Error,
    },
    #[error("the target {TARGET} is missing and cannot be added; type: rustup target add {TARGET}")]
    NoTarget(#[source] Option<io::Error>),
    #[error("cargo build failed in `{0}`")]
    Failed(PathBuf),
    #[error("`{0}` builds no component: its Cargo.toml needs [lib] crate-type = [\"cdylib\"]")]
    NoComponent(PathBuf),
    #[error("`{0}` is a plain wasm module, not a component: build it with Rust 1.82 or newer")]
    PlainModule(PathBuf),
    #[error(
        "`{0}` builds a component that is no plugin, since it exports no `transform`: its code needs `export!(YourPlugin);`"
    )]
    NoExport(PathBuf),
    #[error("`{path}` was built, and no gateway lets it in: {why}")]
    Refused { path: PathBuf, why: String },
    #[error("cannot read `{path}`")]
    Read { path: PathBuf, source: io::Error },
}

/// A component that was built.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) path: PathBuf,
    bytes: usize,
    digest: String,
}

/// Does what was asked.
pub(super) fn run(global: &Global, arguments: &Build) -> Exit {
    match build(&arguments.folder, global.quiet > 0) {
        Ok(built) => {
            match global.output {
                OutputFormat::Text => print(&format!(
                    "{}  {} KiB  {}",
                    built.path.display(),
                    built.bytes.div_ceil(1024),
                    built.digest
                )),
                OutputFormat::Json => print_json(
                    &json!({ "path": built.path, "bytes": built.bytes, "digest": built.digest }),
                ),
            }
            Exit::Done
        }
        Err(error) => error.end(),
    }
}

impl BuildError {
    /// Says it, and answers the exit code.
    pub(super) fn end(&self) -> Exit {
        say(&format!("error: {self}"));
        if let Some(cause) = std::error::Error::source(self) {
            say(&format!("  because: {cause}"));
        }
        let is_unfit = matches!(
            self,
            Self::PlainModule(_) | Self::NoExport(_) | Self::Refused { .. }
        );
        if is_unfit { Exit::Plugin } else { Exit::Failed }
    }
}

/// Builds the crate in `folder`.
///
/// # Errors
/// It does not build, or no gateway would let in what was built.
pub(super) fn build(folder: &Path, quiet: bool) -> Result<Built, BuildError> {
    let manifest = folder
        .join("Cargo.toml")
        .canonicalize()
        .map_err(|_| BuildError::NoCrate(folder.to_path_buf()))?;
    ensure_target(folder)?;
    let mut cargo = Process::new("cargo");
    cargo.args([
        "build",
        "--release",
        "--target",
        TARGET,
        "--message-format",
        "json-render-diagnostics",
    ]);
    if quiet {
        cargo.arg("--quiet");
    }
    let cargo = cargo
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .stdout(Stdio::piped());
    let output = cargo.output().map_err(|source| BuildError::NoProgram {
        program: "cargo",
        source,
    })?;
    if !output.status.success() {
        return Err(BuildError::Failed(folder.to_path_buf()));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let path = messages
        .lines()
        .filter_map(|line| component_of(line, &manifest))
        .next_back();
    let path = path.ok_or_else(|| BuildError::NoComponent(folder.to_path_buf()))?;
    built(path)
}

/// The component among the artefacts that a line of cargo's JSON tells of, if it is of the crate of `manifest`.
fn component_of(line: &str, manifest: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact"
        || message["manifest_path"].as_str().map(Path::new) != Some(manifest)
    {
        return None;
    }
    let files = message["filenames"]
        .as_array()?
        .iter()
        .filter_map(Value::as_str);
    files.map(PathBuf::from).find(|path| {
        path.extension()
            .is_some_and(|extension| extension == "wasm")
    })
}

fn built(path: PathBuf) -> Result<Built, BuildError> {
    let content = file::read(&path, file::COMPONENT).map_err(|source| BuildError::Read {
        path: path.clone(),
        source,
    })?;
    if !is_component(&content) {
        return Err(BuildError::PlainModule(path));
    }
    let found = inspect::measure(&content, None);
    let (found, _) = found.map_err(|error| BuildError::Refused {
        path: path.clone(),
        why: with_causes(&error),
    })?;
    check_fit(&path, &found)?;
    let digest = short_digest(&trust::digest(&content)).to_owned();
    Ok(Built {
        path,
        bytes: content.len(),
        digest,
    })
}

/// Whether a gateway would let it in.
fn check_fit(path: &Path, found: &chain::Inspection) -> Result<(), BuildError> {
    let path = path.to_path_buf();
    match &found.refused {
        _ if !found.has_transform => Err(BuildError::NoExport(path)),
        Some(why) => Err(BuildError::Refused {
            path,
            why: why.clone(),
        }),
        None => Ok(()),
    }
}

/// Components and modules begin alike and differ in the layer, bytes 6 and 7.
fn is_component(content: &[u8]) -> bool {
    content.starts_with(b"\0asm") && content.get(6..8) == Some(&[1, 0])
}

/// The target is there when the toolchain of that folder has a standard library for it.
fn ensure_target(folder: &Path) -> Result<(), BuildError> {
    let rustc = Process::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .output();
    let output = rustc.map_err(|source| BuildError::NoProgram {
        program: "rustc",
        source,
    })?;
    let library = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && library.is_dir() {
        return Ok(());
    }
    say(&format!("adding the target {TARGET} through rustup (once)"));
    let added = Process::new("rustup")
        .args(["target", "add", TARGET])
        .current_dir(folder)
        .stdout(Stdio::null())
        .status();
    match added {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(BuildError::NoTarget(None)),
        Err(error) => Err(BuildError::NoTarget(Some(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_component_of_the_crate_itself_is_taken() {
        let line = |manifest: &str, file: &str| {
            json!({ "reason": "compiler-artifact", "manifest_path": manifest, "filenames": [file] })
                .to_string()
        };
        let own = Path::new("/p/Cargo.toml");
        assert_eq!(
            component_of(&line("/p/Cargo.toml", "/t/p.wasm"), own),
            Some(PathBuf::from("/t/p.wasm"))
        );
        assert_eq!(
            component_of(&line("/p/Cargo.toml", "/t/libp.rlib"), own),
            None
        );
        assert_eq!(component_of(&line("/q/Cargo.toml", "/t/q.wasm"), own), None);
        assert_eq!(component_of("not json", own), None);
    }

    #[test]
    fn a_plain_module_is_no_component() {
        assert!(is_component(b"\0asm\x0d\0\x01\0rest"));
        assert!(!is_component(b"\0asm\x01\0\0\0rest"));
        assert!(!is_component(b"\0asm"));
    }

    #[test]
    fn a_component_without_the_export_is_no_plugin() {
        let engine = chain::Engine::new(
            chain::Limits::default().stack_bytes,
            chain::Workshop::in_process(),
        )
        .unwrap();
        let found = chain::inspect(b"\0asm\x0d\0\x01\0", &engine, None).unwrap();
        let error = check_fit(Path::new("p.wasm"), &found).unwrap_err();
        assert!(
            matches!(error, BuildError::NoExport(_))
                && error.to_string().contains("export!(YourPlugin)"),
            "{error}"
        );
    }

    #[test]
    fn a_folder_without_a_crate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = build(folder.path(), true).unwrap_err().to_string();
        assert!(
            error.contains(&folder.path().display().to_string()),
            "{error}"
        );
    }
}
