//! `tidegate plugin build`: a plugin's sources to a component, by the tools of its language.

mod abilities;
mod component;
mod error;
mod native;
mod rust;
mod script;
mod stage;
mod tool;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::inspect;
use super::language::{Language, PluginSource};
use crate::chain;
use crate::cli::{Global, OutputFormat, print, print_json};
use crate::exit::Exit;
use crate::file;
use crate::message::short_digest;
use crate::trust;
use crate::words::with_causes;
pub(super) use error::BuildError;
use stage::BuildStage;

const EXAMPLES: &str = "\
Examples:
  tidegate plugin build                       the plugin in this folder
  tidegate plugin build plugins/my-rule       another one
  tidegate plugin build rule.py               a single file, beside which its module is put
  tidegate plugin build -o json | jq -r .path

Which language it is shows in the folder: Cargo.toml, or rule.js, rule.ts, rule.py, rule.c, rule.go. What is missing is named \
with the command that installs it: cargo adds the target wasm32-wasip2 by itself; JavaScript wants componentize-qjs (npm), \
TypeScript esbuild as well, Python componentize-py (pip), C ziglang (pip), Go its own tools. They are looked for in \
node_modules and .venv here and above, then in PATH.";

/// Arguments of `tidegate plugin build`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Build {
    /// Folder with the plugin's sources, or its one file.
    #[arg(value_name = "DIR", default_value = ".")]
    pub folder: PathBuf,
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

/// Builds what `path`, a folder or a single file, has the sources of.
///
/// # Errors
/// A tool is missing, it does not build, or no gateway would let in what was built.
pub(super) fn build(path: &Path, quiet: bool) -> Result<Built, BuildError> {
    let source =
        PluginSource::find(path).ok_or_else(|| BuildError::NoSource(path.to_path_buf()))?;
    if source.language == Language::Rust {
        return built(rust::build(&source.folder, quiet)?);
    }
    let stage = BuildStage::open(&source)?;
    if !stage.is_built() {
        let making = stage.component.with_extension("making");
        match source.language {
            Language::C => native::c(&source, &stage, &making)?,
            Language::Go => native::go(&source, &stage, &making)?,
            Language::Python => script::python(&source, &stage, &making)?,
            _ => script::javascript(&source, &stage, &making)?,
        }
        stage.keep(&making)?;
    }
    built(stage.component)
}

fn built(path: PathBuf) -> Result<Built, BuildError> {
    let content = file::read(&path, file::COMPONENT).map_err(|source| BuildError::Read {
        path: path.clone(),
        source,
    })?;
    if !is_component(&content) {
        return Err(BuildError::PlainModule(path));
    }
    let found = inspect::measure(&content, None, code_of(&path));
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

/// Where the code of a component is kept that was built here: what brings a whole language along takes long to compile, and is run
/// right behind the build.
pub(super) fn code_of(component: &Path) -> Option<PathBuf> {
    let is_built_here = stage::digest_path(component).is_file();
    is_built_here.then(|| component.with_file_name("code"))
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_folder_without_sources_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = build(folder.path(), true).unwrap_err().to_string();
        assert!(
            error.contains(&folder.path().display().to_string()),
            "{error}"
        );
    }
}
