//! Builds the shipped plugins as components for `src/builtin.rs`, so that a fresh clone needs one command.

#[path = "build/components.rs"]
mod components;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// As `NAMES` in `src/builtin.rs`; what is missing here does not compile there.
const SHIPPED: [&str; 3] = ["decode-json", "filter", "threshold"];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The engine's exact version; the crate itself tells only the first number of it.
fn wasmtime_version(root: &Path) -> Result<String, String> {
    let path = root.join("Cargo.lock");
    let lock = fs::read_to_string(&path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    let line = lock.lines().skip_while(|line| *line != "name = \"wasmtime\"").nth(1).unwrap_or_default();
    let version = line.strip_prefix("version = \"").and_then(|rest| rest.strip_suffix('"'));
    version.map(str::to_owned).ok_or_else(|| format!("`{}` does not name the version of wasmtime", path.display()))
}

fn run() -> Result<(), String> {
    let manifest = components::variable("CARGO_MANIFEST_DIR")?;
    let root = Path::new(&manifest).parent().ok_or("`host` lies in the workspace")?;
    let crates: Vec<_> = SHIPPED.iter().map(|name| root.join("plugins").join(name)).collect();
    components::rerun_if_changed(root, &crates);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    let out_dir = components::variable("OUT_DIR")?;
    println!("cargo::rustc-env=TIDEGATE_WASMTIME_VERSION={}", wasmtime_version(root)?);
    for (name, path) in SHIPPED.iter().zip(components::build(root, &SHIPPED.map(String::from))?) {
        let copy = Path::new(&out_dir).join(format!("{name}.wasm"));
        fs::copy(&path, &copy).map_err(|error| format!("cannot copy `{}` to `{}`: {error}", path.display(), copy.display()))?;
    }
    Ok(())
}
