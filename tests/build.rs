//! Builds the guests under `guests/` as components and lists them for `src/guests.rs`: a folder there is a constant.

#[path = "../host/build/components.rs"]
mod components;

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

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
    let root = Path::new(&manifest)
        .parent()
        .ok_or("`tests` lies in the workspace")?;
    let folder = Path::new(&manifest).join("guests");
    let entries = fs::read_dir(&folder)
        .map_err(|error| format!("cannot read `{}`: {error}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    components::rerun_if_changed(root, &[folder]);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../host/build");

    let packages: Vec<String> = names.iter().map(|name| format!("guest-{name}")).collect();
    let out_dir = components::variable("OUT_DIR")?;
    let mut list = String::new();
    for (name, path) in names.iter().zip(components::build(root, &packages)?) {
        let copy = Path::new(&out_dir).join(format!("{name}.wasm"));
        fs::copy(&path, &copy).map_err(|error| {
            format!(
                "cannot copy `{}` to `{}`: {error}",
                path.display(),
                copy.display()
            )
        })?;
        let constant = name.to_uppercase().replace('-', "_");
        let _ = writeln!(list, "/// `tests/guests/{name}`.");
        let _ = writeln!(
            list,
            "pub const {constant}: Guest = Guest {{ name: {name:?}, path: {copy:?}, component: include_bytes!({copy:?}) }};"
        );
    }
    let constants: Vec<String> = names
        .iter()
        .map(|name| name.to_uppercase().replace('-', "_"))
        .collect();
    let _ = writeln!(
        list,
        "/// All of them.\npub const ALL: &[Guest] = &[{}];",
        constants.join(", ")
    );
    let list_path = Path::new(&out_dir).join("guests.rs");
    fs::write(&list_path, list)
        .map_err(|error| format!("cannot write `{}`: {error}", list_path.display()))
}
