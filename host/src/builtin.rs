//! The plugins compiled into this binary (`plugin = "builtin:<name>"`), as components.

use std::sync::OnceLock;

struct Builtin {
    name: &'static str,
    /// Its component by zstd: together they are a third as large.
    packed: &'static [u8],
    /// Bytes of the component.
    bytes: usize,
    /// Text of its `src/lib.rs`, whose head is its manual.
    code: &'static str,
}

// `NAMES` and `PLUGINS`: each folder of `plugins` that makes a component, as `build.rs` finds them.
include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

fn plugin(name: &str) -> Option<&'static Builtin> {
    PLUGINS.iter().find(|plugin| plugin.name == name)
}

/// Whether this names a plugin in this binary.
pub fn is_meant(written: &str) -> bool {
    NAMES.contains(&written.strip_prefix("builtin:").unwrap_or(written))
}

/// The component of a plugin in this binary; `None` when there is none of that name.
pub fn component(name: &str) -> Option<Vec<u8>> {
    plugin(name).map(unpacked)
}

fn unpacked(plugin: &Builtin) -> Vec<u8> {
    zstd::bulk::decompress(plugin.packed, plugin.bytes).expect("what the build packed is whole")
}

/// Whether these are the bytes of a plugin in this binary.
pub fn is_one(component: &[u8]) -> bool {
    let mut long_alike = PLUGINS
        .iter()
        .filter(|plugin| plugin.bytes == component.len());
    long_alike.any(|plugin| unpacked(plugin) == component)
}

/// SHA-256 of that component. It is computed once: a thousand flows ask for it some thousand times.
pub fn digest(name: &str) -> Option<&'static [u8; 32]> {
    static DIGESTS: [OnceLock<[u8; 32]>; NAMES.len()] = [const { OnceLock::new() }; NAMES.len()];
    let place = NAMES.iter().position(|known| *known == name)?;
    let component = component(name)?;
    let compute = || {
        let digest = ring::digest::digest(&ring::digest::SHA256, &component);
        digest.as_ref().try_into().expect("a SHA-256 has 32 bytes")
    };
    Some(DIGESTS[place].get_or_init(compute))
}

/// What a plugin in this binary does and all of its settings, as it stands at the head of its code.
pub fn manual(name: &str) -> Option<String> {
    let lines = plugin(name)?
        .code
        .lines()
        .map_while(|line| line.strip_prefix("//!"));
    Some(
        lines
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect::<Vec<_>>()
            .join("\n"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of settings in `code`: those of serde where it renames.
    fn settings(code: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut renamed = None;
        for block in code.split("settings! {").skip(1) {
            for line in block.lines().take_while(|line| *line != "}").map(str::trim) {
                if let Some((_, name)) = line.split_once("rename = \"") {
                    renamed = name.split_once('"').map(|(name, _)| name.to_owned());
                } else if let Some((name, _)) = line
                    .strip_prefix("pub ")
                    .and_then(|rest| rest.split_once(": "))
                {
                    names.push(renamed.take().unwrap_or_else(|| name.to_owned()));
                }
            }
        }
        names
    }

    /// All the code of a plugin.
    fn code(name: &str) -> String {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../plugins")
            .join(name)
            .join("src");
        let files = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.extension().is_some_and(|end| end == "rs"))
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect()
    }

    #[test]
    fn the_manual_of_each_plugin_names_each_of_its_settings() {
        for name in NAMES {
            let manual = manual(name).unwrap();
            let settings = settings(&code(name));
            assert!(!settings.is_empty(), "{name} has no settings");
            for setting in settings {
                assert!(
                    manual.contains(&format!("`{setting}`")),
                    "{name}: `{setting}` is in no manual"
                );
            }
        }
        assert!(manual("filter").unwrap().starts_with("Keeps readings") && manual("x").is_none());
    }

    #[test]
    fn every_folder_that_makes_a_component_is_shipped_and_nothing_else() {
        assert!(
            ["decode-json", "filter", "threshold"]
                .iter()
                .all(|name| NAMES.contains(name)),
            "{NAMES:?}"
        );
        assert!(!NAMES.contains(&"sdk") && NAMES.is_sorted());
    }

    #[test]
    fn every_name_has_a_component_and_nothing_else_does() {
        /// Magic and version of a component; a core module has another version.
        const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
        for name in NAMES {
            let mut component = component(name).unwrap();
            assert!(component.starts_with(COMPONENT), "{name}");
            let digest = ring::digest::digest(&ring::digest::SHA256, &component);
            assert_eq!(self::digest(name).unwrap(), digest.as_ref(), "{name}");
            assert!(is_one(&component), "{name}");
            *component.last_mut().unwrap() ^= 1;
            assert!(!is_one(&component), "{name}");
        }
        assert_eq!(
            (component("decode_json"), digest("decode_json")),
            (None, None)
        );
    }
}
