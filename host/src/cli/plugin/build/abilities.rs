//! What a plugin has beside `transform`: told from its source or its module, and said to tools as a world.

use wasmparser::{ExternalKind, Parser, Payload};

/// The abilities of a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Abilities {
    pub(super) timer: bool,
    pub(super) state: bool,
}

impl Abilities {
    /// Those that a module in JavaScript exports, by `export const { transform, state } = …` or `export { … }`.
    pub(super) fn of_javascript(text: &str) -> Self {
        let mut found = Self::default();
        let mut parts = text.split("export");
        parts.next();
        for part in parts {
            let part = part.trim_start();
            let part = ["const", "let", "var"]
                .iter()
                .find_map(|word| part.strip_prefix(word))
                .unwrap_or(part)
                .trim_start();
            let names = match part.strip_prefix('{') {
                Some(rest) => rest.split('}').next().unwrap_or_default(),
                None => part.split(['=', ';', '\n']).next().unwrap_or_default(),
            };
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            for name in names.split(|letter| !is_name(letter)) {
                found.timer |= name == "timer";
                found.state |= name == "state";
            }
        }
        found
    }

    /// Those that a module in Python has at its outermost level: `State = …`, `class Timer: …`.
    pub(super) fn of_python(text: &str) -> Self {
        let mut found = Self::default();
        let outer = text
            .lines()
            .filter(|line| !line.starts_with([' ', '\t', '#']));
        for line in outer {
            let names = match line.strip_prefix("class ") {
                Some(rest) => rest.split(['(', ':']).next().unwrap_or_default(),
                None => line.split_once('=').map_or("", |(names, _)| names),
            };
            for name in names.split(',').map(str::trim) {
                found.timer |= name == "Timer";
                found.state |= name == "State";
            }
        }
        found
    }

    /// Those that a core module exports, as the canonical ABI calls them.
    pub(super) fn of_module(module: &[u8]) -> Self {
        let mut found = Self::default();
        for payload in Parser::new(0).parse_all(module).map_while(Result::ok) {
            let Payload::ExportSection(exports) = payload else {
                continue;
            };
            for export in exports.into_iter().map_while(Result::ok) {
                if export.kind == ExternalKind::Func {
                    found.timer |= export.name.starts_with("tidegate:plugin/timer@");
                    found.state |= export.name.starts_with("tidegate:plugin/state@");
                }
            }
        }
        found
    }

    /// A world of the contract with these, in a package of its own.
    pub(super) fn world(self) -> String {
        let mut worlds = vec!["transformer"];
        worlds.extend(self.timer.then_some("ticking"));
        worlds.extend(self.state.then_some("stateful"));
        let included: String = worlds
            .iter()
            .map(|world| format!("  include tidegate:plugin/{world}@0.1.0;\n"))
            .collect();
        format!("package tidegate:made;\nworld assembled {{\n{included}}}\n")
    }
}

/// Name of that world.
pub(super) const WORLD: &str = "assembled";

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Abilities = Abilities {
        timer: false,
        state: false,
    };
    const BOTH: Abilities = Abilities {
        timer: true,
        state: true,
    };

    #[test]
    fn a_javascript_module_says_them_by_its_exports() {
        let of = Abilities::of_javascript;
        assert_eq!(
            of("export const { transform } = define({ state: 1 });"),
            NONE
        );
        assert_eq!(
            of("export const { transform, timer, state } = define({})"),
            BOTH
        );
        assert_eq!(
            of("var x;\nexport {\n  state,\n  timer,\n  transform\n};\n"),
            BOTH
        );
        assert!(of("export const state = 1;").state);
    }

    #[test]
    fn a_python_module_says_them_by_its_names() {
        let of = Abilities::of_python;
        assert_eq!(
            of("Transform = filter(keep)\n# State = 1\n    State = 2\n"),
            NONE
        );
        assert_eq!(of("class Timer(Base):\n    pass\nState = x(y)\n"), BOTH);
        assert_eq!(of("Transform, Timer, State = define(Rule)"), BOTH);
    }
}
