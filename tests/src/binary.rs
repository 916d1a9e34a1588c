//! Where the workspace is, and the real `tidegate` binary: built once per run, with the profile the caller has.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// Root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the tests crate lies one folder below the root")
}

/// The `tidegate` binary. `cargo test` does not build the binaries of other packages, so for a test this does, once, and
/// selects what `cargo demo` selects, so that the two share what is compiled. A benchmark takes the binary that lies
/// beside it, as it was built.
pub fn tidegate() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match BINARY.get_or_init(|| build().map_err(|error| format!("{error:#}"))) {
        Ok(path) => Ok(path),
        Err(text) => bail!("{text}"),
    }
}

fn build() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let folder = own.parent().context("a program lies in a folder")?;
    if !folder.ends_with("deps") {
        return existing(folder.join("tidegate"));
    }
    let profile_folder = folder.parent().context("`deps` lies in a folder")?;
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => bail!("`{}` is no profile folder", profile_folder.display()),
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // Cargo tells this program about its own package; a build script that asks for the same words (ring's does) would run
    // again for them, with all that depends on it, and once more for the next `cargo test`.
    for (name, _) in std::env::vars_os() {
        let is_ours = |start: &&str| name.to_str().is_some_and(|name| name.starts_with(*start));
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"]
            .iter()
            .any(is_ours)
        {
            command.env_remove(&name);
        }
    }
    let status = command
        .args([
            "build",
            "--quiet",
            "--bin",
            "tidegate",
            "--profile",
            profile,
        ])
        .current_dir(workspace())
        .status()
        .context("cannot run cargo to build `tidegate`")?;
    if !status.success() {
        bail!("building `tidegate` failed: {status}");
    }
    existing(profile_folder.join("tidegate"))
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if !path.is_file() {
        bail!("there is no `{}`; `cargo build` makes it", path.display());
    }
    Ok(path)
}
