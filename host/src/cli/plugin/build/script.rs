//! JavaScript, TypeScript and Python: their tools put the language itself into the component.

use std::path::{Path, PathBuf};

use super::abilities::{Abilities, WORLD};
use super::error::BuildError;
use super::stage::BuildStage;
use super::tool::{ESBUILD, PYTHON, QUICKJS, run};
use crate::cli::plugin::language::{Language, PluginSource};

/// Builds the JavaScript or TypeScript of a stage. No WASI is stubbed: what an error says goes to standard error, and from there
/// into the dead letter.
pub(super) fn javascript(
    source: &PluginSource,
    stage: &BuildStage,
    made: &Path,
) -> Result<(), BuildError> {
    let mut quickjs = QUICKJS.command(&source.folder)?;
    let text = with_texts(&stage.text(&stage.entry)?, &stage.folder)?;
    stage.write(&stage.entry, &text)?;
    let needs_bundle = source.language == Language::TypeScript || takes_packages(&text);
    let entry = if needs_bundle {
        bundle(source, stage)?
    } else {
        stage.entry.clone()
    };
    let world = Abilities::of_javascript(&stage.text(&entry)?).world();
    let contract = stage.contract(&world)?;
    quickjs
        .arg("--wit")
        .arg(contract)
        .args(["--world", WORLD, "--sync", "--js"])
        .arg(&entry)
        .arg("--output")
        .arg(made);
    run(QUICKJS.name, &mut quickjs, &source.entry)
}

/// One module of the entry and all that it takes, packages included.
fn bundle(source: &PluginSource, stage: &BuildStage) -> Result<PathBuf, BuildError> {
    let bundled = stage.folder.join("bundled.js");
    let mut esbuild = ESBUILD.command(&source.folder)?;
    esbuild
        .arg(&stage.entry)
        .args(["--bundle", "--format=esm", "--log-level=warning"])
        // The host itself, which is no file.
        .arg("--external:tidegate:*")
        .arg(format!("--outfile={}", bundled.display()));
    if let Some(modules) = ESBUILD.modules(&source.folder) {
        esbuild.env("NODE_PATH", modules);
    }
    run(ESBUILD.name, &mut esbuild, &source.entry)?;
    Ok(bundled)
}

/// Whether it imports anything but files beside it and the host.
fn takes_packages(text: &str) -> bool {
    let imports = text
        .lines()
        .filter(|line| line.starts_with("import ") || line.contains(" from "));
    let mut names = imports.filter_map(|line| {
        let quote = ['"', '\'']
            .into_iter()
            .find(|quote| line.contains(*quote))?;
        line.split(quote).nth(1)
    });
    names.any(|name| !name.starts_with(['.', '/']) && !name.starts_with("tidegate:"))
}

/// `import NAME from "./FILE" with { type: "text" };` at the begin of a line becomes that file's text, since the engine knows no
/// such imports yet.
fn with_texts(text: &str, folder: &Path) -> Result<String, BuildError> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let Some((name, file)) = text_import(line) else {
            lines.push(line.to_owned());
            continue;
        };
        let path = folder.join(file);
        let read = crate::file::read_text(&path, 16 << 20);
        let found = read.map_err(|source| BuildError::Read { path, source })?;
        lines.push(format!(
            "const {name} = {};",
            serde_json::Value::from(found)
        ));
    }
    Ok(lines.join("\n") + "\n")
}

fn text_import(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("import ")?.split_once(" from \"./")?;
    let (file, rest) = rest.split_once('"')?;
    let with: String = rest.split_whitespace().collect();
    (with.trim_end_matches(';') == "with{type:\"text\"}").then_some((name, file))
}

/// Builds the Python of a stage.
pub(super) fn python(
    source: &PluginSource,
    stage: &BuildStage,
    made: &Path,
) -> Result<(), BuildError> {
    let mut python = PYTHON.command(&source.folder)?;
    let text = stage.text(&stage.entry)?;
    let contract = stage.contract(&Abilities::of_python(&text).world())?;
    let name = stage.entry.file_stem().and_then(|name| name.to_str());
    // A module's name is a word of the language.
    let module = name.unwrap_or("rule").replace('-', "_");
    if Some(&*module) != name {
        stage.write(&stage.folder.join(format!("{module}.py")), &text)?;
    }
    python
        .arg("--quiet")
        .arg("--wit-path")
        .arg(contract)
        .args(["--world", WORLD, "componentize", &module, "--python-path"])
        .arg(&stage.folder)
        .arg("--output")
        .arg(made)
        .env_remove("VIRTUAL_ENV")
        .current_dir(&stage.folder);
    run(PYTHON.name, &mut python, &source.entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_taken_as_text_becomes_its_text() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("codec.js"),
            "function f() { return \"é\\n\" }",
        )
        .unwrap();
        let rule = "import code from \"./codec.js\" with { type: \"text\" };\nimport { a } from \"./b.js\";";
        let made = with_texts(rule, folder.path()).unwrap();
        let wanted = "const code = \"function f() { return \\\"é\\\\n\\\" }\";\nimport { a } from \"./b.js\";\n";
        assert_eq!(made, wanted);
        let missing = "import code from \"./none.js\" with { type: \"text\" }";
        assert!(with_texts(missing, folder.path()).is_err());
    }

    #[test]
    fn packages_are_told_from_files() {
        assert!(takes_packages("import { x } from \"cbor-x\";"));
        assert!(takes_packages("import 'polyfill';"));
        assert!(!takes_packages("import { x } from \"./tidegate.js\";"));
        assert!(!takes_packages(
            "import { log } from \"tidegate:plugin/log@0.1.0\";"
        ));
    }
}
