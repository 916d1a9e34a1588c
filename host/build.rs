//! Builds the shipped plugins as components for `src/builtin.rs`, so that a fresh clone needs one command.

#[path = "build/commit.rs"]
mod commit;
#[path = "build/components.rs"]
mod components;
#[path = "build/sdk.rs"]
mod sdk;

use std::path::Path;
use std::process::ExitCode;
use std::{fs, io};

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
    let lock = fs::read_to_string(&path)
        .map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
    let line = lock
        .lines()
        .skip_while(|line| *line != "name = \"wasmtime\"")
        .nth(1)
        .unwrap_or_default();
    let version = line
        .strip_prefix("version = \"")
        .and_then(|rest| rest.strip_suffix('"'));
    version
        .map(str::to_owned)
        .ok_or_else(|| format!("`{}` does not name the version of wasmtime", path.display()))
}

fn run() -> Result<(), String> {
    let manifest = components::variable("CARGO_MANIFEST_DIR")?;
    let root = Path::new(&manifest)
        .parent()
        .ok_or("`host` lies in the workspace")?;
    let folder = root.join("plugins");
    let names = shipped(&folder)?;
    // A folder that comes counts as well.
    components::rerun_if_changed(root, std::slice::from_ref(&folder));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    let out_dir = components::variable("OUT_DIR")?;
    println!(
        "cargo::rustc-env=TIDEGATE_WASMTIME_VERSION={}",
        wasmtime_version(root)?
    );
    println!("cargo::rustc-env=TIDEGATE_COMMIT={}", commit::commit(root));
    println!(
        "cargo::rustc-env=TIDEGATE_TARGET={}",
        components::variable("TARGET")?
    );
    let mut list = format!(
        "/// Names of the plugins in this binary.\npub const NAMES: &[&str] = &{names:?};\n"
    );
    list.push_str("const PLUGINS: &[Builtin] = &[\n");
    for (name, path) in names.iter().zip(components::build(root, &names)?) {
        let copy = Path::new(&out_dir).join(format!("{name}.wasm.zst"));
        let bytes = pack(&path, &copy).map_err(|error| {
            format!(
                "cannot pack `{}` into `{}`: {error}",
                path.display(),
                copy.display()
            )
        })?;
        let code = folder.join(name).join("src/lib.rs");
        list.push_str(&format!(
            "Builtin {{ name: {name:?}, packed: include_bytes!({copy:?}), bytes: {bytes}, code: include_str!({code:?}) }},\n"
        ));
    }
    list.push_str("];\n");
    sdk::write(root, Path::new(&out_dir))?;
    let path = Path::new(&out_dir).join("builtin.rs");
    fs::write(&path, list).map_err(|error| format!("cannot write `{}`: {error}", path.display()))
}

/// Writes a component by zstd, as small as it gets; how many bytes it has.
fn pack(from: &Path, to: &Path) -> io::Result<usize> {
    let component = fs::read(from)?;
    fs::write(to, zstd::bulk::compress(&component, 19)?)?;
    Ok(component.len())
}

/// The plugins that are shipped: every folder whose crate makes a component. Its name is the plugin's.
fn shipped(folder: &Path) -> Result<Vec<String>, String> {
    let entries = fs::read_dir(folder)
        .map_err(|error| format!("cannot read `{}`: {error}", folder.display()))?;
    let mut names = Vec::new();
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap_or_default();
        if !manifest.contains("\"cdylib\"") {
            continue;
        }
        if manifest.contains("\"rlib\"") {
            let place = path.join("Cargo.toml");
            return Err(format!(
                "`{}`: a shipped plugin is a \"cdylib\" only (`components` says why)",
                place.display()
            ));
        }
        names.extend(
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned()),
        );
    }
    names.sort();
    Ok(names)
}
