//! The files of new plugins, as they lie in `templates` beside `src`, and what is built of them.

use super::language::{Language, NamedText};

// `SDK` and `LOCK`: the sources of the SDK, and the versions of what it needs, as `build.rs` finds them.
include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

/// What the rule of every template has to do.
pub(super) const CASES: &str = include_str!("../../../templates/cases/rule.cases");

/// What is no source.
pub(super) const IGNORED: &str = "/target\n/node_modules\n/.venv\n";

const RUST: &[NamedText] = &[
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
];

const JAVASCRIPT: &[NamedText] = &[
    (
        "package.json",
        include_str!("../../../templates/js/package.json.in"),
    ),
    ("README.md", include_str!("../../../templates/js/README.md")),
    ("rule.js", include_str!("../../../templates/js/rule.js")),
];

const TYPESCRIPT: &[NamedText] = &[
    (
        "package.json",
        include_str!("../../../templates/ts/package.json.in"),
    ),
    (
        "tsconfig.json",
        include_str!("../../../templates/ts/tsconfig.json"),
    ),
    ("README.md", include_str!("../../../templates/ts/README.md")),
    ("rule.ts", include_str!("../../../templates/ts/rule.ts")),
];

const PYTHON: &[NamedText] = &[
    (
        "README.md",
        include_str!("../../../templates/python/README.md"),
    ),
    ("rule.py", include_str!("../../../templates/python/rule.py")),
];

const C: &[NamedText] = &[
    ("README.md", include_str!("../../../templates/c/README.md")),
    ("rule.c", include_str!("../../../templates/c/rule.c")),
];

const GO: &[NamedText] = &[
    ("README.md", include_str!("../../../templates/go/README.md")),
    ("rule.go", include_str!("../../../templates/go/rule.go")),
];

/// A codec's files, but for the codec itself.
pub(super) const LORAWAN: &[NamedText] = &[
    (
        "package.json",
        include_str!("../../../templates/js/package.json.in"),
    ),
    (
        "README.md",
        include_str!("../../../templates/lorawan/README.md"),
    ),
    (
        "rule.js",
        include_str!("../../../templates/lorawan/rule.js"),
    ),
    (
        "lorawan.js",
        include_str!("../../../templates/lorawan/lorawan.js"),
    ),
];

/// What holds for any codec.
pub(super) const LORAWAN_CASES: &str = include_str!("../../../templates/lorawan/rule.cases");

impl Language {
    /// The files of a new plugin, beside those that all have, and its module.
    pub(super) fn template(self) -> &'static [NamedText] {
        match self {
            Self::Rust => RUST,
            Self::JavaScript => JAVASCRIPT,
            Self::TypeScript => TYPESCRIPT,
            Self::Python => PYTHON,
            Self::C => C,
            Self::Go => GO,
        }
    }

    /// The guide's page of it.
    pub(super) fn page(self) -> &'static str {
        match self {
            Self::Rust => "",
            Self::JavaScript | Self::TypeScript => {
                include_str!("../../../../plugins/javascript.md")
            }
            Self::Python => include_str!("../../../../plugins/python.md"),
            Self::C => include_str!("../../../../plugins/c.md"),
            Self::Go => include_str!("../../../../plugins/go.md"),
        }
    }

    /// What is typed once in a new folder, so that it can be built.
    pub(super) fn install(self) -> Option<&'static str> {
        match self {
            Self::Rust | Self::Go => None,
            Self::JavaScript | Self::TypeScript => Some("npm install"),
            Self::Python => {
                Some("python3 -m venv .venv && .venv/bin/pip install componentize-py==0.25.1")
            }
            Self::C => Some("python3 -m venv .venv && .venv/bin/pip install ziglang==0.17.1"),
        }
    }
}
