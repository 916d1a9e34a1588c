//! From the bytes of a component to a program: compiled or out of the cache, what it exports found, what it imports bound.

use wasmtime::component::{Component, ComponentExportIndex};

use super::compile::{CodeOrigin, Digest};
use super::engine::Engine;
use super::program::{Linked, Program, StateExports, Transform};
use crate::chain::Unusable;
use crate::message::hexadecimal;
use crate::words;

/// The program of `bytes` that others run; else compiles it, or finds the code in the cache, and links it. May take
/// seconds: not for a worker.
///
/// # Errors
/// [`Unusable`], in plain words.
pub(crate) fn make(engine: &Engine, bytes: &[u8]) -> Result<(Program, CodeOrigin), Unusable> {
    check_header(bytes)?;
    let digest = sha256(bytes);
    if let Some(program) = engine.programs().find(&digest) {
        return Ok((program, CodeOrigin::Shared));
    }
    let (component, origin) = engine.compile(bytes, &digest)?;
    let program = link(engine, &component, &digest)?;
    engine.programs().note(digest, &program);
    Ok((program, origin))
}

/// The program of that digest, where others run it.
pub(crate) fn shared(engine: &Engine, digest: &Digest) -> Option<Program> {
    engine.programs().find(digest)
}

/// Its code by itself.
///
/// # Errors
/// [`Unusable`], in plain words.
pub(crate) fn compile(engine: &Engine, bytes: &[u8]) -> Result<(Component, Digest), Unusable> {
    check_header(bytes)?;
    let digest = sha256(bytes);
    let (component, _) = engine.compile(bytes, &digest)?;
    Ok((component, digest))
}

/// Finds out what it exports, and binds what it imports.
pub(crate) fn link(
    engine: &Engine,
    component: &Component,
    digest: &Digest,
) -> Result<Program, Unusable> {
    check_version(engine, component)?;
    let pre = engine
        .linker()
        .instantiate_pre(component)
        .map_err(|error| refused_import(engine, component, &error))?;
    let transform = transform(engine, component)?;
    let tick = interface(engine, component, "timer")
        .and_then(|timer| component.get_export_index(Some(&timer), "tick"));
    let state = interface(engine, component, "state").and_then(|state| {
        let function = |name| component.get_export_index(Some(&state), name);
        Some(StateExports {
            save: function("save")?,
            restore: function("restore")?,
        })
    });
    let imports = component
        .component_type()
        .imports(engine.wasm())
        .map(|(name, _)| name.to_owned())
        .collect();
    Ok(Program::new(Linked {
        pre,
        digest: hexadecimal(digest).into(),
        imports,
        transform,
        tick,
        state,
    }))
}

fn sha256(bytes: &[u8]) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

/// The two layers of WebAssembly share a header; telling them apart here gives a text that helps.
fn check_header(bytes: &[u8]) -> Result<(), Unusable> {
    match bytes {
        [] => Err(Unusable::NotWasm("the file is empty".to_owned())),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(Unusable::CoreModule),
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', ..] => Err(Unusable::NotWasm(
            "its header is of no known version".to_owned(),
        )),
        _ => Err(Unusable::NotWasm(
            "it does not begin with `\\0asm`".to_owned(),
        )),
    }
}

/// Before anything is linked, where the same mistake would show as an import that is denied.
fn check_version(engine: &Engine, component: &Component) -> Result<(), Unusable> {
    let ty = component.component_type();
    let imports = ty.imports(engine.wasm()).map(|(name, _)| name);
    let exports = ty.exports(engine.wasm()).map(|(name, _)| name);
    let versions = imports
        .chain(exports)
        .filter_map(|name| name.strip_prefix("tidegate:plugin/")?.split_once('@'));
    match versions
        .map(|(_, version)| version)
        .find(|version| !is_this_version(version))
    {
        Some(other) => Err(Unusable::OtherVersion(other.to_owned())),
        None => Ok(()),
    }
}

fn transform(engine: &Engine, component: &Component) -> Result<Transform, Unusable> {
    let wrong = || {
        let ty = component.component_type();
        let exports: Vec<_> = ty
            .exports(engine.wasm())
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        Unusable::WrongWorld(if exports.is_empty() {
            "it exports nothing".to_owned()
        } else {
            // There may be any number of them, under any names.
            words::line(&format!("it exports {}", exports.join(", ")), words::REASON)
        })
    };
    let found = interface(engine, component, "transform").ok_or_else(wrong)?;
    let function = |name| {
        component
            .get_export_index(Some(&found), name)
            .ok_or_else(wrong)
    };
    Ok(Transform {
        configure: function("configure")?,
        process: function("process")?,
    })
}

/// The exported interface `tidegate:plugin/<name>@0.1.z`: patch versions of the contract fit each other.
fn interface(engine: &Engine, component: &Component, name: &str) -> Option<ComponentExportIndex> {
    let ty = component.component_type();
    let full = ty
        .exports(engine.wasm())
        .map(|(export, _)| export)
        .find(|export| {
            let versioned = export
                .strip_prefix("tidegate:plugin/")
                .and_then(|rest| rest.strip_prefix(name));
            versioned
                .and_then(|rest| rest.strip_prefix('@'))
                .is_some_and(is_this_version)
        })?;
    component.get_export_index(None, full)
}

fn is_this_version(version: &str) -> bool {
    version
        .strip_prefix("0.1.")
        .is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

/// wasmtime names the import in its text only.
fn refused_import(engine: &Engine, component: &Component, error: &wasmtime::Error) -> Unusable {
    let text = format!("{error:#}");
    let ty = component.component_type();
    let named = ty
        .imports(engine.wasm())
        .map(|(name, _)| name)
        .find(|name| text.contains(&format!("`{name}`")));
    match named {
        Some(name) if text.contains("not found in the linker") => {
            Unusable::DeniedImport(name.to_owned())
        }
        _ => Unusable::Import(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Workshop;

    fn refused(bytes: &[u8]) -> String {
        let engine = Engine::new(256 << 10, Workshop::in_process()).unwrap();
        make(&engine, bytes).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_component_is_told_apart() {
        assert!(refused(b"").contains("the file is empty"));
        assert!(refused(b"#!/bin/sh").contains("does not begin with"));
        assert!(refused(b"\0asm\x01\0\0\0").contains("wasm32-wasip2"));
        assert!(refused(b"\0asm\x0d\0\x01\0").contains("it exports nothing"));
        assert!(refused(b"\0asm\x0d\0\x01\0\x07\x80").contains("does not compile"));
    }

    #[test]
    fn patch_versions_of_the_contract_fit() {
        assert!(is_this_version("0.1.0") && is_this_version("0.1.12"));
        for other in ["", "0.2.0", "0.1.", "0.1.0-rc", "-more@0.1.0", "1.1.0"] {
            assert!(!is_this_version(other), "{other}");
        }
    }
}
