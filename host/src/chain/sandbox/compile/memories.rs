//! The core modules of a component may have one memory each. The engine could do with more, and its own adapters between
//! components need it; no plugin does, and what no plugin needs is not offered.

use wasmparser::{Parser, Payload, TypeRef};

/// Looks at every core module in `component`. What cannot be parsed is left to the compiler, which says it better.
///
/// # Errors
/// A module has several, in words.
pub(crate) fn check(component: &[u8]) -> Result<(), String> {
    // Of the modules around the present place.
    let mut counts = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        let Ok(payload) = payload else { return Ok(()) };
        match payload {
            Payload::Version { .. } => counts.push(0),
            Payload::End(_) => drop(counts.pop()),
            Payload::ImportSection(imports) => add(&mut counts, imported(imports)),
            Payload::MemorySection(memories) => add(&mut counts, memories.count()),
            _ => {}
        }
        if counts.last().is_some_and(|count| *count > 1) {
            return Err(
                "a core module in it has several memories (multi-memory), which no plugin may"
                    .to_owned(),
            );
        }
    }
    Ok(())
}

fn add(counts: &mut [u32], more: u32) {
    if let Some(count) = counts.last_mut() {
        *count = count.saturating_add(more);
    }
}

fn imported(imports: wasmparser::ImportSectionReader<'_>) -> u32 {
    let memories = imports
        .into_imports()
        .filter(|import| matches!(import, Ok(import) if matches!(import.ty, TypeRef::Memory(_))));
    u32::try_from(memories.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::check;

    const HEAD: &[u8] = b"\0asm\x0d\0\x01\0";

    /// A component around a core module with these sections.
    fn component(sections: &[u8]) -> Vec<u8> {
        let module = [b"\0asm\x01\0\0\0".as_slice(), sections].concat();
        [HEAD, &[1, u8::try_from(module.len()).unwrap()], &module].concat()
    }

    #[test]
    fn components_inside_of_one_may_call_each_other() {
        let nested = include_bytes!("nested.wasm");
        assert_eq!(check(nested), Ok(()));
        let wasm = wasmtime::Engine::new(&super::super::code::settings(1 << 20)).unwrap();
        assert_eq!(
            super::super::code::precompile(&wasm, nested).map(drop),
            Ok(())
        );
    }

    #[test]
    fn a_module_has_one_memory_of_its_own_or_imported() {
        let (one, two) = ([5, 3, 1, 0, 1].as_slice(), [5, 5, 2, 0, 1, 0, 1].as_slice());
        let import = [2, 8, 1, 1, b'a', 1, b'b', 2, 0, 1].as_slice();
        assert_eq!(check(&component(one)), Ok(()));
        assert_eq!(
            check(&[component(one), component(one)[HEAD.len()..].to_vec()].concat()),
            Ok(()),
            "two modules"
        );
        assert!(
            check(&component(two))
                .unwrap_err()
                .contains("several memories")
        );
        assert!(
            check(&component(&[import, one].concat())).is_err(),
            "one is imported"
        );
        assert_eq!(
            check(b"no component"),
            Ok(()),
            "the compiler says what it is"
        );
    }
}
