//! The SDK as `tidegate plugin new` hands it out: its sources, the contract, a manifest that needs no workspace, and the
//! versions of what it depends on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What plugins depend on through it; the rest of the lock file is the gateway's.
const ROOTS: [&str; 4] = ["rmp-serde", "serde", "serde_json", "wit-bindgen"];

/// Writes `sdk.rs`, to be included: the list of files, and the lock file.
pub fn write(root: &Path, out_dir: &Path) -> Result<(), String> {
    let sdk = root.join("plugins/sdk");
    let mut files = Vec::new();
    collect(&sdk.join("src"), &mut files)?;
    files.sort();
    let manifest = out_dir.join("sdk-Cargo.toml");
    put(
        &manifest,
        &standalone(
            &read(&sdk.join("Cargo.toml"))?,
            &read(&root.join("Cargo.toml"))?,
        )?,
    )?;
    let lock = out_dir.join("sdk-Cargo.lock");
    put(&lock, &locked(&read(&root.join("Cargo.lock"))?)?)?;
    let mut entries = vec![
        ("Cargo.toml".to_owned(), manifest),
        ("wit/tidegate.wit".to_owned(), root.join("wit/tidegate.wit")),
    ];
    for path in files {
        let inside = path.strip_prefix(&sdk).map_err(|error| error.to_string())?;
        entries.push((inside.display().to_string(), path));
    }
    let mut list =
        String::from("/// Files of the SDK.\npub(super) const SDK: &[(&str, &str)] = &[\n");
    for (name, path) in entries {
        list.push_str(&format!("({name:?}, include_str!({path:?})),\n"));
    }
    list.push_str(&format!(
        "];\n/// Versions of what it depends on.\npub(super) const LOCK: &str = include_str!({lock:?});\n"
    ));
    put(&out_dir.join("sdk.rs"), &list)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = fs::read_dir(folder)
        .map_err(|error| format!("cannot read `{}`: {error}", folder.display()))?;
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|end| end == "rs")
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            files.push(path);
        }
    }
    Ok(())
}

/// The SDK's manifest with what it has from the workspace in place.
fn standalone(manifest: &str, workspace: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut is_kept = true;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_kept = !matches!(line, "[dev-dependencies]" | "[lints]");
        }
        let inherited = line.strip_suffix(".workspace = true").filter(|_| is_kept);
        let line = match inherited {
            Some(name) => {
                let start = format!("{name} = ");
                let found = workspace.lines().find(|line| line.starts_with(&start));
                found.ok_or_else(|| format!("the workspace says nothing of `{name}`"))?
            }
            None => line,
        };
        if is_kept {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

/// The packages of a lock file that [`ROOTS`] lead to.
fn locked(lock: &str) -> Result<String, String> {
    let packages: BTreeMap<String, &str> = lock
        .split("[[package]]\n")
        .skip(1)
        .map(|package| (identity(package), package))
        .collect();
    let mut wanted: Vec<&str> = ROOTS.to_vec();
    let mut found = BTreeMap::new();
    while let Some(name) = wanted.pop() {
        let is_it = |id: &&String| {
            id.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        let id = packages
            .keys()
            .find(is_it)
            .ok_or_else(|| format!("`Cargo.lock` has no `{name}`"))?;
        if found.insert(id, packages[id]).is_none() {
            let dependencies = packages[id]
                .lines()
                .filter_map(|line| line.strip_prefix(" \"")?.strip_suffix("\","));
            wanted.extend(dependencies);
        }
    }
    let head = lock.split("[[package]]\n").next().unwrap_or_default();
    Ok(found.values().fold(head.to_owned(), |text, package| {
        text + "[[package]]\n" + package
    }))
}

/// `name version` of a package, as others name it where there are several of that name.
fn identity(package: &str) -> String {
    let value = |key: &str| {
        let line = package
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap_or_default();
        line.trim_matches('"').to_owned()
    };
    format!("{} {}", value("name = "), value("version = "))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))
}

fn put(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write `{}`: {error}", path.display()))
}
