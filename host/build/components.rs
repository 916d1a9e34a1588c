//! Builds crates of this workspace into components with a nested cargo. Shared by `host/build.rs` (the shipped
//! plugins) and `tests/build.rs` (the guests).
//!
//! The nested cargo has a target folder of its own, `guests` inside the outer one: the outer cargo holds the lock
//! on its own. What a wrapper, a coverage tool or clippy put into the environment is not for components.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "guest";

/// Variables that would change how components are built.
const SCRUBBED: [&str; 13] = [
    "CARGO_BUILD_BUILD_DIR",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "CLIPPY_ARGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTDOCFLAGS",
    "RUSTFLAGS",
];

/// Builds `packages` of the workspace at `root` side by side; gives the path of each one's component. The error says what to do.
/// Each has to be a `cdylib` only: cargo does no link-time optimisation for a crate that is an `rlib` as well, which made a
/// plain filter cost twice as much.
pub fn build(root: &Path, packages: &[String]) -> Result<Vec<PathBuf>, String> {
    let target_dir = target_dir(root);
    fs::create_dir_all(&target_dir)
        .map_err(|error| format!("cannot create `{}`: {error}", target_dir.display()))?;
    ensure_target(&target_dir)?;
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(root)
        .args(["build", "--locked", "--quiet", "--lib"])
        .args(["--target", TARGET, "--profile", PROFILE, "--target-dir"])
        .arg(&target_dir);
    for package in packages {
        cargo.args(["--package", package]);
    }
    scrub(&mut cargo);
    let output = cargo
        .output()
        .map_err(|error| format!("cannot run cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "a component did not build:\n{}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let folder = target_dir.join(TARGET).join(PROFILE);
    let file = |package: &String| folder.join(format!("{}.wasm", package.replace('-', "_")));
    Ok(packages.iter().map(file).collect())
}

/// What every component is made of, besides its own crate.
pub fn rerun_if_changed(root: &Path, crates: &[PathBuf]) {
    let shared = [
        "wit",
        "plugins/sdk/src",
        "plugins/sdk/Cargo.toml",
        "Cargo.toml",
        "Cargo.lock",
    ]
    .map(|path| root.join(path));
    for path in shared.iter().chain(crates) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
}

/// Value of a variable that cargo sets for build scripts.
pub fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("`{name}` is not set: this is a build script, run by cargo"))
}

/// `guests` inside the outer target folder, which is the one that cargo marked as a cache.
fn target_dir(root: &Path) -> PathBuf {
    let out_dir = env::var_os("OUT_DIR")
        .map(PathBuf::from)
        .unwrap_or_default();
    let outer = out_dir
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists());
    outer
        .map_or_else(|| root.join("target"), Path::to_path_buf)
        .join("guests")
}

fn scrub(command: &mut Command) {
    let per_target = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for name in
        per_target.filter(|name| name.starts_with("CARGO_PROFILE_") || name.ends_with("_RUSTFLAGS"))
    {
        command.env_remove(name);
    }
    for name in SCRUBBED {
        command.env_remove(name);
    }
}

/// Adds the target through rustup when the toolchain lacks it. Two build scripts may want that at once.
fn ensure_target(folder: &Path) -> Result<(), String> {
    let path = folder.join("target.lock");
    let lock = File::create(&path)
        .map_err(|error| format!("cannot create `{}`: {error}", path.display()))?;
    lock.lock()
        .map_err(|error| format!("cannot lock `{}`: {error}", path.display()))?;
    if has_target()? {
        return Ok(());
    }
    println!(
        "cargo::warning=target {TARGET} is missing: adding it with `rustup target add {TARGET}`"
    );
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .output();
    let why = match added {
        Ok(output) if output.status.success() && has_target()? => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("cannot run rustup: {error}"),
    };
    Err(format!(
        "plugins need the Rust target {TARGET}, and it could not be added. Type: rustup target add {TARGET}\n{why}"
    ))
}

fn has_target() -> Result<bool, String> {
    let mut rustc = Command::new(variable("RUSTC")?);
    let output = rustc
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    let output = output.map_err(|error| format!("cannot run rustc: {error}"))?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let has_std = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("libstd-");
    Ok(output.status.success()
        && fs::read_dir(folder)
            .is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(has_std))))
}
