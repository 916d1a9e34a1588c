//! Rust: cargo makes the component, and rustup the target for it.

use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use serde_json::Value;

use super::error::{BuildError, TARGET};
use crate::cli::say;

const REMEDY: &str = "install Rust from https://rustup.rs";

/// Builds the crate in `folder`.
///
/// # Errors
/// It does not build, or makes no component.
pub(super) fn build(folder: &Path, quiet: bool) -> Result<PathBuf, BuildError> {
    let manifest = folder
        .join("Cargo.toml")
        .canonicalize()
        .map_err(|_| BuildError::NoSource(folder.to_path_buf()))?;
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
        remedy: REMEDY,
        source,
    })?;
    if !output.status.success() {
        return Err(BuildError::Failed {
            tool: "cargo build",
            path: folder.to_path_buf(),
        });
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let path = messages
        .lines()
        .filter_map(|line| component_of(line, &manifest))
        .next_back();
    path.ok_or_else(|| BuildError::NoComponent(folder.to_path_buf()))
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

/// The target is there when the toolchain of that folder has a standard library for it.
fn ensure_target(folder: &Path) -> Result<(), BuildError> {
    let rustc = Process::new("rustc")
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .output();
    let output = rustc.map_err(|source| BuildError::NoProgram {
        program: "rustc",
        remedy: REMEDY,
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
    use serde_json::json;

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
}
