//! `tidegate plugin new`: the folder of a plugin that builds, with cases that pass. All of it comes out of this program.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::{Global, OutputFormat, print, print_json, say};
use crate::exit::Exit;

// `SDK` and `LOCK`: the sources of the SDK, and the versions of what it needs, as `build.rs` finds them.
include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// Files of a project, with `{{name}}` where its name stands.
const RUST: &[(&str, &str)] = &[
    (
        "Cargo.toml",
        include_str!("../../../templates/rust/Cargo.toml.in"),
    ),
    (
        "README.md",
        include_str!("../../../templates/rust/README.md"),
    ),
    (
        "src/lib.rs",
        include_str!("../../../templates/rust/src/lib.rs.in"),
    ),
    (
        "cases/{{name}}.cases",
        include_str!("../../../templates/rust/cases/rule.cases"),
    ),
    (".gitignore", "/target\n"),
];

/// Characters of a name.
const LONGEST_NAME: usize = 64;

const EXAMPLES: &str = "\
Examples:
  tidegate plugin new my-rule
  cd my-rule && tidegate plugin test          build it, and run its cases

Needs no network: the SDK comes along. To build it cargo fetches the few crates that the SDK needs, once.";

/// Arguments of `tidegate plugin new`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct New {
    /// Name of the plugin, and of the folder that is made.
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// What it is written in.
    #[arg(long, value_name = "LANGUAGE", default_value = "rust")]
    lang: Language,
}

/// What a plugin can be written in.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Language {
    Rust,
}

impl Language {
    /// Paths and texts of all that is made.
    fn files(self, name: &str) -> Vec<(String, String)> {
        let named = |text: &str| text.replace("{{name}}", name);
        match self {
            Self::Rust => {
                let own = RUST.iter().map(|(path, text)| (named(path), named(text)));
                let sdk = SDK
                    .iter()
                    .map(|(path, text)| (format!("sdk/{path}"), without_tests(text)));
                let lock = ("Cargo.lock".to_owned(), LOCK.to_owned());
                own.chain(sdk).chain([lock]).collect()
            }
        }
    }
}

/// The SDK's own tests stay at home; the contract lies beside its sources.
fn without_tests(text: &str) -> String {
    text.replace("#[cfg(test)]\nmod tests;\n", "")
        .replace("path: \"../../wit\"", "path: \"wit\"")
}

/// A crate's name that is also a plugin's.
fn name(text: &str) -> Result<String, String> {
    let is_letter =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let is_name = text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.chars().all(is_letter)
        && !text.ends_with('-')
        && text.len() <= LONGEST_NAME;
    let taken = [
        "test",
        "core",
        "std",
        "alloc",
        "sdk",
        "tidegate-sdk",
        "proc-macro",
    ];
    if !is_name {
        return Err("write it in small letters, digits and hyphens, as in my-rule".to_owned());
    }
    if taken.contains(&text) {
        return Err("that name has another meaning for cargo: choose another".to_owned());
    }
    Ok(text.to_owned())
}

/// Does what was asked.
pub(super) fn run(global: &Global, arguments: &New) -> Exit {
    let folder = PathBuf::from(&arguments.name);
    if folder.symlink_metadata().is_ok() {
        say(&format!(
            "error: `{}` is there already: choose another name, or move it away",
            folder.display()
        ));
        return Exit::Failed;
    }
    if let Err((path, error)) = write_all(&folder, arguments) {
        say(&format!(
            "error: cannot write `{}`: {error}",
            path.display()
        ));
        return Exit::Failed;
    }
    match global.output {
        OutputFormat::Text => print(&format!(
            "{0}/src/lib.rs         the rule\n{0}/cases/{0}.cases   what it has to do\n\nnext: cd {0} && tidegate plugin test",
            arguments.name
        )),
        OutputFormat::Json => print_json(&json!({ "path": folder })),
    }
    Exit::Done
}

fn write_all(folder: &Path, arguments: &New) -> Result<(), (PathBuf, io::Error)> {
    for (path, text) in arguments.lang.files(&arguments.name) {
        let path = folder.join(path);
        let written = path
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, text));
        written.map_err(|error| (path, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_for_cargo_and_for_a_config() {
        for good in ["a", "my-rule", "r2d2"] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for wrong in [
            "",
            "My",
            "2x",
            "a_b",
            "a b",
            "../x",
            "a-",
            "test",
            "x/y",
            &"x".repeat(65),
        ] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_pages_show_what_is_made() {
        let text = |path: &str| RUST.iter().find(|(known, _)| *known == path).unwrap().1;
        let code = text("src/lib.rs").split_once("\n\n").unwrap().1;
        let cases = text("cases/{{name}}.cases").split_once('\n').unwrap().1;
        let page = include_str!("../../../../plugins/README.md");
        assert!(include_str!("../../../../README.md").contains(code));
        assert!(page.contains(code) && page.contains(cases));
    }

    #[test]
    fn all_that_the_sdk_needs_comes_along_and_is_small() {
        let files: Vec<&str> = SDK.iter().map(|(path, _)| *path).collect();
        for wanted in [
            "Cargo.toml",
            "src/lib.rs",
            "src/json/scan.rs",
            "wit/tidegate.wit",
        ] {
            assert!(files.contains(&wanted), "{files:?}");
        }
        assert!(!files.iter().any(|path| path.ends_with("tests.rs")));
        for (path, text) in SDK {
            let made = without_tests(text);
            assert!(
                !made.contains("../../wit") && !made.contains(".workspace"),
                "{path}"
            );
        }
        let bytes: usize = SDK.iter().map(|(_, text)| text.len()).sum::<usize>() + LOCK.len();
        assert!(bytes < 300 << 10, "{bytes} bytes");
    }
}
