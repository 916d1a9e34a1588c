//! What a plugin can be written in, and how its sources are told from others.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

/// A language that `plugin new` has a template for, and `plugin build` a way to a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    Rust,
    #[value(name = "js", alias = "javascript")]
    JavaScript,
    #[value(name = "ts", alias = "typescript")]
    TypeScript,
    #[value(name = "python", alias = "py")]
    Python,
    C,
    Go,
}

/// The sources of a plugin, as they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PluginSource {
    pub(super) language: Language,
    /// The folder it lies in.
    pub(super) folder: PathBuf,
    /// The file that it begins with; of Rust its Cargo.toml.
    pub(super) entry: PathBuf,
    /// The plugin's name: that of the folder, or of the file where a file was named.
    pub(super) name: String,
}

const ALL: [Language; 6] = [
    Language::Rust,
    Language::JavaScript,
    Language::TypeScript,
    Language::Python,
    Language::C,
    Language::Go,
];

/// A file and its text.
pub(super) type NamedText = (&'static str, &'static str);

const GO: &[NamedText] = &[
    ("go.mod", include_str!("../../../templates/go/go.mod.in")),
    (
        "tidegate/abi/abi.go",
        include_str!("../../../templates/go/tidegate/abi/abi.go"),
    ),
    (
        "tidegate/message.go",
        include_str!("../../../templates/go/tidegate/message.go"),
    ),
    (
        "tidegate/outputs.go",
        include_str!("../../../templates/go/tidegate/outputs.go"),
    ),
    (
        "tidegate/tidegate.go",
        include_str!("../../../templates/go/tidegate/tidegate.go"),
    ),
    (
        "tidegate/exports.go",
        include_str!("../../../templates/go/tidegate/exports.go"),
    ),
    (
        "tidegate/state/state.go",
        include_str!("../../../templates/go/tidegate/state/state.go"),
    ),
    (
        "tidegate/state/exports.go",
        include_str!("../../../templates/go/tidegate/state/exports.go"),
    ),
    (
        "tidegate/timer/timer.go",
        include_str!("../../../templates/go/tidegate/timer/timer.go"),
    ),
    (
        "tidegate/timer/exports.go",
        include_str!("../../../templates/go/tidegate/timer/exports.go"),
    ),
];

impl Language {
    /// The file that a folder with a plugin in this language has, and begins with.
    pub(super) fn entry(self) -> &'static str {
        match self {
            Self::Rust => "Cargo.toml",
            Self::JavaScript => "rule.js",
            Self::TypeScript => "rule.ts",
            Self::Python => "rule.py",
            Self::C => "rule.c",
            Self::Go => "rule.go",
        }
    }

    /// The folder below `target` that is built in.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::JavaScript => "js",
            Self::TypeScript => "ts",
            Self::Python => "python",
            Self::C => "c",
            Self::Go => "go",
        }
    }

    /// What its sources end in.
    pub(super) fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Rust => &["rs"],
            Self::JavaScript => &["js", "mjs", "json"],
            Self::TypeScript => &["ts", "js", "mjs", "json"],
            Self::Python => &["py"],
            Self::C => &["c", "h"],
            Self::Go => &["go", "mod", "sum"],
        }
    }

    /// The module that hides words and bytes: what lies beside a rule, or is put there when it is built.
    pub(super) fn module(self) -> &'static [NamedText] {
        const JAVASCRIPT: NamedText = (
            "tidegate.js",
            include_str!("../../../templates/js/tidegate.js"),
        );
        const TYPES: NamedText = (
            "tidegate.d.ts",
            include_str!("../../../templates/js/tidegate.d.ts"),
        );
        match self {
            Self::Rust => &[],
            Self::JavaScript | Self::TypeScript => &[JAVASCRIPT, TYPES],
            Self::Python => &[(
                "tidegate.py",
                include_str!("../../../templates/python/tidegate.py"),
            )],
            Self::C => &[(
                "tidegate.h",
                include_str!("../../../templates/c/tidegate.h"),
            )],
            Self::Go => GO,
        }
    }
}

impl PluginSource {
    /// The plugin that `path`, a folder or a single file, has the sources of; `None` where there is none.
    pub(super) fn find(path: &Path) -> Option<Self> {
        let path = path.canonicalize().ok()?;
        let text = |part: Option<&std::ffi::OsStr>| Some(part?.to_str()?.to_owned());
        if path.is_dir() {
            let language = ALL
                .into_iter()
                .find(|language| path.join(language.entry()).is_file())?;
            return Some(Self {
                language,
                entry: path.join(language.entry()),
                name: text(path.file_name()).unwrap_or_else(|| "rule".to_owned()),
                folder: path,
            });
        }
        let ending = text(path.extension())?;
        let language = ALL
            .into_iter()
            .filter(|language| *language != Language::Rust)
            .find(|language| language.endings().first() == Some(&&*ending))?;
        Some(Self {
            language,
            folder: path.parent()?.to_owned(),
            name: text(path.file_stem())?,
            entry: path,
        })
    }

    /// Whether `path` is a folder, or a file that is to be built first.
    pub(super) fn is_meant(path: &Path) -> bool {
        path.is_dir() || Self::find(path).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_by_its_first_file_and_a_file_by_its_ending() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(PluginSource::find(folder.path()), None);
        for language in ALL {
            let own = folder.path().join(language.folder());
            std::fs::create_dir(&own).unwrap();
            std::fs::write(own.join(language.entry()), "").unwrap();
            let found = PluginSource::find(&own).unwrap();
            assert_eq!(
                (found.language, &*found.name),
                (language, language.folder())
            );
        }
        let file = folder.path().join("python/rule.py");
        let found = PluginSource::find(&file).unwrap();
        assert_eq!((found.language, &*found.name), (Language::Python, "rule"));
        assert!(
            PluginSource::is_meant(&file)
                && !PluginSource::is_meant(&folder.path().join("rust/Cargo.toml"))
        );
    }

    #[test]
    fn every_language_but_rust_has_a_module() {
        for language in ALL {
            assert_eq!(language.module().is_empty(), language == Language::Rust);
        }
    }
}
