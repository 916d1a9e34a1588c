//! The plugins compiled into this binary (`plugin = "builtin:<name>"`), as components.

/// Names of the plugins in this binary.
pub const NAMES: &[&str] = &["decode-json", "filter", "threshold"];

/// The component of a plugin in this binary; `None` when there is none of that name.
pub fn component(name: &str) -> Option<&'static [u8]> {
    match name {
        "decode-json" => Some(include_bytes!(concat!(env!("OUT_DIR"), "/decode-json.wasm"))),
        "filter" => Some(include_bytes!(concat!(env!("OUT_DIR"), "/filter.wasm"))),
        "threshold" => Some(include_bytes!(concat!(env!("OUT_DIR"), "/threshold.wasm"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_a_component_and_nothing_else_does() {
        /// Magic and version of a component; a core module has another version.
        const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
        for name in NAMES {
            assert!(component(name).unwrap().starts_with(COMPONENT), "{name}");
        }
        assert_eq!(component("decode_json"), None);
    }
}
