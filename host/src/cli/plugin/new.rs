//! `tidegate plugin new`: the folder of a plugin that builds, with cases that pass. All of it comes out of this program.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::language::Language;
use super::templates::{CASES, IGNORED, LOCK, LORAWAN, LORAWAN_CASES, SDK};
use crate::cli::{Global, OutputFormat, print, print_json, say};
use crate::exit::Exit;
use crate::file;

/// Characters of a name.
const LONGEST_NAME: usize = 64;

const EXAMPLES: &str = "\
Examples:
  tidegate plugin new my-rule                          in Rust
  tidegate plugin new my-rule --language python
  cd my-rule && tidegate plugin test                   build it, and run its cases
  tidegate plugin new em300 --from-lorawan codec.js    decodes what a LoRaWAN device sends

Needs no network: SDK or module come along. What builds it is fetched once: by cargo the few crates that the SDK needs, in other \
languages the tool that `tidegate plugin build` names.";

/// Arguments of `tidegate plugin new`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct New {
    /// Name of the plugin, and of the folder that is made.
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// What it is written in.
    #[arg(
        long,
        alias = "lang",
        value_name = "LANGUAGE",
        default_value = "rust",
        conflicts_with = "from_lorawan"
    )]
    language: Language,
    /// Make it of a codec of the LoRa Alliance's payload codec API (TS013: decodeUplink, encodeDownlink), in JavaScript.
    #[arg(long, value_name = "CODEC.js")]
    from_lorawan: Option<PathBuf>,
}

type Files = Vec<(String, String)>;

/// Paths and texts of all that is made of a template, with `{{name}}` where its name stands.
fn files(language: Language, name: &str) -> Files {
    let named = |text: &str| text.replace("{{name}}", name);
    let own = language
        .template()
        .iter()
        .map(|(path, text)| (named(path), named(text)));
    let cases = (format!("cases/{name}.cases"), CASES.to_owned());
    let mut files: Files = own
        .chain([cases, (".gitignore".to_owned(), IGNORED.to_owned())])
        .collect();
    if language == Language::Rust {
        let sdk = SDK
            .iter()
            .map(|(path, text)| (format!("sdk/{path}"), without_tests(text)));
        files.extend(sdk);
        files.push(("Cargo.lock".to_owned(), LOCK.to_owned()));
    }
    // The page, below its heading, is the rest of the folder's README.
    let page = language
        .page()
        .split_once('\n')
        .map_or("", |(_, page)| page);
    let readme = files.iter_mut().filter(|(path, _)| path == "README.md");
    readme.for_each(|(_, text)| text.push_str(page.trim_start()));
    let module = language.module().iter();
    files.extend(module.map(|(path, text)| ((*path).to_owned(), (*text).to_owned())));
    files
}

/// The same, of a codec.
fn lorawan_files(codec: String, name: &str) -> Files {
    let named = |text: &str| text.replace("{{name}}", name);
    let own = LORAWAN.iter().chain(Language::JavaScript.module());
    let mut files: Files = own
        .map(|(path, text)| ((*path).to_owned(), named(text)))
        .collect();
    files.push((format!("cases/{name}.cases"), LORAWAN_CASES.to_owned()));
    files.push((".gitignore".to_owned(), IGNORED.to_owned()));
    files.push(("codec.js".to_owned(), codec));
    files
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

/// Bytes of a codec: some bring tables along.
const LONGEST_CODEC: u64 = 4 << 20;

/// What is to be written; the error is for who asked for it.
fn made(arguments: &New) -> Result<Files, String> {
    let Some(codec) = &arguments.from_lorawan else {
        return Ok(files(arguments.language, &arguments.name));
    };
    let text = file::read_text(codec, LONGEST_CODEC)
        .map_err(|error| format!("cannot read `{}`: {error}", codec.display()))?;
    if !text.contains("decodeUplink") && !text.contains("encodeDownlink") {
        return Err(format!(
            "`{}` has neither decodeUplink nor encodeDownlink: it is not written to the payload codec API (TS013)",
            codec.display()
        ));
    }
    Ok(lorawan_files(text, &arguments.name))
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
    let files = match made(arguments) {
        Ok(files) => files,
        Err(why) => {
            say(&format!("error: {why}"));
            return Exit::Failed;
        }
    };
    if let Err((path, error)) = write_all(&folder, files) {
        say(&format!(
            "error: cannot write `{}`: {error}",
            path.display()
        ));
        return Exit::Failed;
    }
    match global.output {
        OutputFormat::Text => print(&next(arguments)),
        OutputFormat::Json => print_json(&json!({ "path": folder })),
    }
    Exit::Done
}

/// What was made, and what to do with it.
fn next(arguments: &New) -> String {
    let name = &arguments.name;
    let (rule, install) = match (&arguments.from_lorawan, arguments.language) {
        (Some(_), _) => ("codec.js", Language::JavaScript.install()),
        (None, Language::Rust) => ("src/lib.rs", None),
        (None, language) => (language.entry(), language.install()),
    };
    let (rule, cases) = (
        format!("{name}/{rule}"),
        format!("{name}/cases/{name}.cases"),
    );
    let width = rule.len().max(cases.len());
    let install = install.map_or_else(String::new, |command| format!("{command} && "));
    format!(
        "{rule:width$}   the rule\n{cases:width$}   what it has to do\n\nnext: cd {name} && {install}tidegate plugin test"
    )
}

fn write_all(folder: &Path, files: Files) -> Result<(), (PathBuf, io::Error)> {
    for (path, text) in files {
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
        let made = files(Language::Rust, "above");
        let text = |path: &str| &*made.iter().find(|(known, _)| known == path).unwrap().1;
        let code = text("src/lib.rs").split_once("\n\n").unwrap().1;
        let cases = text("cases/above.cases").split_once('\n').unwrap().1;
        let page = include_str!("../../../../plugins/README.md");
        assert!(include_str!("../../../../README.md").contains(code));
        assert!(page.contains(code) && page.contains(cases));
    }

    #[test]
    fn the_pages_of_other_languages_show_what_is_made() {
        let silence = [
            (
                Language::JavaScript,
                include_str!("../../../../examples/languages/silence/silence.js"),
            ),
            (
                Language::Python,
                include_str!("../../../../examples/languages/silence/silence.py"),
            ),
            (
                Language::C,
                include_str!("../../../../examples/languages/silence/silence.c"),
            ),
            (
                Language::Go,
                include_str!("../../../../examples/languages/silence/silence.go"),
            ),
        ];
        for (language, silence) in silence {
            let made = files(language, "above");
            let text = |path: &str| &*made.iter().find(|(known, _)| known == path).unwrap().1;
            let page = language.page();
            assert!(page.contains(text(language.entry())), "{language:?}");
            assert!(page.contains(silence), "{language:?}");
            assert!(text("README.md").contains(silence), "{language:?}");
            assert!(
                !made
                    .iter()
                    .any(|(path, text)| path.contains("{{") || text.contains("{{name}}"))
            );
        }
    }

    #[test]
    fn the_example_filters_are_the_templates() {
        let filter = [
            (
                Language::JavaScript,
                include_str!("../../../../examples/languages/filter/filter.js"),
            ),
            (
                Language::Python,
                include_str!("../../../../examples/languages/filter/filter.py"),
            ),
            (
                Language::C,
                include_str!("../../../../examples/languages/filter/filter.c"),
            ),
            (
                Language::Go,
                include_str!("../../../../examples/languages/filter/filter.go"),
            ),
        ];
        for (language, filter) in filter {
            let made = files(language, "above");
            assert!(made.contains(&(language.entry().to_owned(), filter.to_owned())));
        }
        assert_eq!(
            include_str!("../../../../examples/languages/filter/filter.cases"),
            CASES
        );
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
