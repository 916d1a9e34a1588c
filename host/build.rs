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

fn run() -> Result<(), String> {
    let manifest = components::variable("CARGO_MANIFEST_DIR")?;
    let root = Path::new(&manifest).parent().ok_or("`host` lies in the workspace")?;
    let crates: Vec<_> = SHIPPED.iter().map(|name| root.join("plugins").join(name)).collect();
    components::rerun_if_changed(root, &crates);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    let out_dir = components::variable("OUT_DIR")?;
    for (name, path) in SHIPPED.iter().zip(components::build(root, &SHIPPED.map(String::from))?) {
        let copy = Path::new(&out_dir).join(format!("{name}.wasm"));
        fs::copy(&path, &copy).map_err(|error| format!("cannot copy `{}` to `{}`: {error}", path.display(), copy.display()))?;
    }
    Ok(())
}
