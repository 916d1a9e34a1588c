//! From the module that a compiler has made to a component: the canonical ABI is the module's own, here it gets its type, an
//! adapter for what its library wants of WASI, and loses what only a debugger reads.

use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::abilities::{Abilities, WORLD};
use super::stage::CONTRACT;

/// What a module's library wants of the system, and who stands in for that.
#[derive(Clone, Copy, Debug)]
pub(super) enum Adapter {
    /// The one that all use.
    Wasi,
    /// One without memory of its own: `adapter.wat` beside it says why.
    Go,
}

impl Adapter {
    fn bytes(self) -> &'static [u8] {
        match self {
            Self::Wasi => {
                wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER
            }
            Self::Go => include_bytes!("../../../../templates/go/adapter/adapter.wasm"),
        }
    }
}

/// The component of a core module; the error is what is wrong with the module, in words.
pub(super) fn wrap(module: &[u8], adapter: Adapter) -> Result<Vec<u8>, String> {
    let say = |error: anyhow::Error| format!("{error:#}");
    let mut module = without_debug_data(module)?;
    let mut resolve = Resolve::default();
    resolve.push_source("tidegate.wit", CONTRACT).map_err(say)?;
    let world = Abilities::of_module(&module).world();
    let package = resolve.push_source("world.wit", &world).map_err(say)?;
    let world = resolve.select_world(&[package], Some(WORLD)).map_err(say)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).map_err(say)?;
    let mut encoder = ComponentEncoder::default();
    encoder.module(&module).map_err(say)?;
    encoder
        .adapter(
            wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
            adapter.bytes(),
        )
        .map_err(say)?;
    encoder.encode().map_err(say)
}

/// The module without DWARF, which is most of what a library in C brings; the function names stay, since a trap's back-trace is
/// read by people.
fn without_debug_data(module: &[u8]) -> Result<Vec<u8>, String> {
    let mut kept = module.get(..8).unwrap_or_default().to_vec();
    let mut at = kept.len();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(|error| error.to_string())?;
        let is_debug = matches!(&payload, Payload::CustomSection(custom) if custom.name().starts_with(".debug"));
        if let Some((_, range)) = payload.as_section() {
            // With its id and length, which stand before it.
            if !is_debug {
                kept.extend_from_slice(&module[at..range.end]);
            }
            at = range.end;
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(id: u8, content: &[u8]) -> Vec<u8> {
        [&[id, content.len() as u8], content].concat()
    }

    #[test]
    fn debug_data_goes_and_names_stay() {
        let names = section(0, b"\x04name\x00\x02\x01a");
        let debug = section(0, b"\x0b.debug_infoxyz");
        let types = section(1, b"\x00");
        let module = [&b"\0asm\x01\0\0\0"[..], &debug, &types, &debug, &names].concat();
        let kept = [&b"\0asm\x01\0\0\0"[..], &types, &names].concat();
        assert_eq!(without_debug_data(&module), Ok(kept));
    }

    #[test]
    fn a_module_that_is_no_plugin_is_told_what_it_lacks() {
        let error = wrap(b"\0asm\x01\0\0\0", Adapter::Wasi).unwrap_err();
        assert!(error.contains("tidegate:plugin/transform"), "{error}");
        assert!(wrap(b"no module", Adapter::Wasi).is_err());
    }
}
