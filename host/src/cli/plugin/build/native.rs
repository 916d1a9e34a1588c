//! C and Go: a compiler makes a core module, and the component is made of that here.

use std::path::Path;
use std::process::Command as Process;

use super::component::{Adapter, wrap};
use super::error::BuildError;
use super::stage::BuildStage;
use super::tool::{ZIG, run};
use crate::cli::plugin::language::PluginSource;
use crate::file;

/// Bytes of the stack: a module's own default there is 16 MiB, all that a plugin may have.
const STACK: &str = "-Wl,-z,stack-size=65536";

/// Builds the C sources of a stage.
pub(super) fn c(source: &PluginSource, stage: &BuildStage, made: &Path) -> Result<(), BuildError> {
    let mut zig = ZIG.command(&source.folder)?;
    let module = stage.folder.join("module.wasm");
    let is_alone = stage.entry.file_name() != Some("rule.c".as_ref());
    let all = std::fs::read_dir(&stage.folder).map_err(|source| BuildError::Read {
        path: stage.folder.clone(),
        source,
    })?;
    let mut units: Vec<_> = all
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "c"))
        .filter(|path| !is_alone || *path == stage.entry)
        .collect();
    units.sort();
    zig.args(["cc", "-target", "wasm32-wasi", "-mexec-model=reactor"])
        // An optimised build has no assertions otherwise, and what they say is what a dead letter shows.
        .args(["-O2", "-UNDEBUG", "-D_GNU_SOURCE", "-Wall", STACK])
        .arg("-I")
        .arg(&stage.folder)
        .args(units)
        .arg("-o")
        .arg(&module)
        .env("ZIG_LOCAL_CACHE_DIR", stage.folder.join("cache"));
    run(ZIG.name, &mut zig, &source.entry)?;
    assemble(&module, Adapter::Wasi, made)
}

/// Builds the Go sources of a stage.
pub(super) fn go(source: &PluginSource, stage: &BuildStage, made: &Path) -> Result<(), BuildError> {
    let module = stage.folder.join("module.wasm");
    let mut go = Process::new("go");
    go.args([
        "build",
        "-trimpath",
        "-buildmode=c-shared",
        "-ldflags=-s",
        "-o",
    ])
    .arg(&module)
    .arg(".")
    .current_dir(&stage.folder)
    .envs([
        ("GOOS", "wasip1"),
        ("GOARCH", "wasm"),
        ("GOFLAGS", "-mod=mod"),
        ("GOWORK", "off"),
    ]);
    if Process::new("go").arg("version").output().is_err() {
        return Err(BuildError::NoTool {
            tool: "Go",
            version: "1.26",
            command: "see https://go.dev/dl (1.24 or newer; 1.26.8 is what plugins are held to)"
                .to_owned(),
        });
    }
    run("go", &mut go, &source.entry)?;
    assemble(&module, Adapter::Go, made)
}

fn assemble(module: &Path, adapter: Adapter, made: &Path) -> Result<(), BuildError> {
    // With debug data it is larger than what comes of it.
    let content = file::read(module, 4 * file::COMPONENT).map_err(|source| BuildError::Read {
        path: module.to_path_buf(),
        source,
    })?;
    let component = wrap(&content, adapter).map_err(|why| BuildError::Wrap {
        path: module.to_path_buf(),
        why,
    })?;
    std::fs::write(made, component).map_err(|source| BuildError::Write {
        path: made.to_path_buf(),
        source,
    })
}
