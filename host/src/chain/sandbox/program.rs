//! A component, compiled and linked: the code of a plugin, without settings and state.

use std::collections::HashMap;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use wasmtime::component::{Component, ComponentExportIndex, InstancePre};

use super::compile::{Digest, Origin};
use super::engine::Engine;
use super::guest::Guest;
use crate::chain::Error;
use crate::chain::settings::Artefact;
use crate::message::hexadecimal;
use crate::{builtin, file, trust, words};

/// Largest component that is compiled. Compiling takes many times its size in memory.
pub(crate) use crate::file::COMPONENT as MAX_COMPONENT_BYTES;

/// Why bytes do not make a program. The texts are for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Not WebAssembly at all, or cut short.
    #[error("not a WebAssembly component ({0})")]
    NotWasm(String),
    /// A module without the component's shell.
    #[error(
        "a core WebAssembly module, not a component: with Rust build it with `--target wasm32-wasip2`, with anything else wrap it by `wasm-tools component new`"
    )]
    CoreModule,
    /// It does not validate or compile.
    #[error("does not compile: {0}")]
    Compile(String),
    /// Compiling it takes more than it may.
    #[error("does not compile within the limits: {0}")]
    Costly(String),
    /// It could not even be tried.
    #[error("the compiler failed: {0}")]
    Compiler(String),
    /// Nobody waits for it any more.
    #[error("not compiled to the end: the gateway stops")]
    Unwanted,
    /// It wants something that is not granted.
    #[error(
        "denied import `{0}`: a plugin may import `log`, `metrics`, `clock` and `flow` of `tidegate:plugin@0.1` and WASI 0.2"
    )]
    DeniedImport(String),
    /// It wants what the host has, and the config does not grant.
    #[error("it {words} (`{import}`), which is not granted: add \"{grant}\" to this plugin's `grants`")]
    NotGranted {
        /// What it does with that.
        words: String,
        /// The import.
        import: String,
        /// The word in `grants`.
        grant: String,
    },
    /// It imports a granted interface in another shape.
    #[error("imports do not fit: {0}")]
    Import(String),
    /// It was built against the contract in a version that does not fit this one.
    #[error("built for version {0} of `tidegate:plugin`, and this gateway runs 0.1: build it with the SDK for 0.1")]
    OtherVersion(String),
    /// It has no `transform` of this contract.
    #[error("does not export `tidegate:plugin/transform@0.1.0` ({0})")]
    WrongWorld(String),
}

/// Compiled code, which all flows that run it share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Program(Arc<Linked>);

/// What a program is.
pub(crate) struct Linked {
    pre: InstancePre<Guest>,
    digest: Arc<str>,
    /// Interfaces it imports.
    pub(crate) imports: Arc<[String]>,
    pub(crate) transform: Transform,
    pub(crate) tick: Option<ComponentExportIndex>,
    pub(crate) state: Option<State>,
}

impl Deref for Program {
    type Target = Linked;

    fn deref(&self) -> &Linked {
        &self.0
    }
}

/// The programs in use, by their digests: a component that a thousand flows run is there once.
#[derive(Default)]
pub(super) struct Programs(Mutex<Known>);

#[derive(Default)]
struct Known {
    used: HashMap<Digest, Weak<Linked>>,
    /// They stay while nobody uses them.
    kept: Option<Vec<Program>>,
}

impl Programs {
    /// From now on what is made stays.
    pub(crate) fn keep(&self) {
        self.lock().kept.get_or_insert_default();
    }

    fn find(&self, digest: &Digest) -> Option<Program> {
        self.lock().used.get(digest)?.upgrade().map(Program)
    }

    fn note(&self, digest: Digest, program: &Program) {
        let mut known = self.lock();
        known.used.retain(|_, program| program.strong_count() > 0);
        known.used.insert(digest, Arc::downgrade(&program.0));
        known.kept.iter_mut().for_each(|kept| kept.push(program.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the required functions are.
#[derive(Clone)]
pub(crate) struct Transform {
    pub(crate) configure: ComponentExportIndex,
    pub(crate) process: ComponentExportIndex,
}

/// Where the functions of `state` are.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) save: ComponentExportIndex,
    pub(crate) restore: ComponentExportIndex,
}

impl Program {
    /// The program of `bytes` that others run; else compiles it, or finds the code in the cache, and links it. May take
    /// seconds: not for a worker.
    ///
    /// # Errors
    /// [`Unusable`], in plain words.
    pub(crate) fn make(engine: &Engine, bytes: &[u8]) -> Result<(Self, Origin), Unusable> {
        check_header(bytes)?;
        let digest = sha256(bytes);
        if let Some(program) = engine.programs().find(&digest) {
            return Ok((program, Origin::Shared));
        }
        let (component, origin) = engine.compile(bytes, &digest)?;
        let program = Self::link(engine, &component, &digest)?;
        engine.programs().note(digest, &program);
        Ok((program, origin))
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
    pub(crate) fn link(engine: &Engine, component: &Component, digest: &Digest) -> Result<Self, Unusable> {
        check_version(engine, component)?;
        let pre = engine.linker().instantiate_pre(component).map_err(|error| refused_import(engine, component, &error))?;
        let transform = transform(engine, component)?;
        let tick = interface(engine, component, "timer").and_then(|timer| component.get_export_index(Some(&timer), "tick"));
        let state = interface(engine, component, "state").and_then(|state| {
            let function = |name| component.get_export_index(Some(&state), name);
            Some(State { save: function("save")?, restore: function("restore")? })
        });
        let imports = component.component_type().imports(engine.wasm()).map(|(name, _)| name.to_owned()).collect();
        Ok(Self(Arc::new(Linked { pre, digest: hexadecimal(digest).into(), imports, transform, tick, state })))
    }
}

impl Linked {
    /// SHA-256 of the component, in hexadecimal.
    pub(crate) fn digest(&self) -> &Arc<str> {
        &self.digest
    }

    pub(super) fn pre(&self) -> &InstancePre<Guest> {
        &self.pre
    }
}

fn sha256(bytes: &[u8]) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().try_into().expect("a SHA-256 has 32 bytes")
}

/// Reads an artefact: the bytes of a component.
///
/// # Errors
/// There is none, or it is too large.
pub fn read(plugin: &Arc<str>, artefact: &Artefact) -> Result<Vec<u8>, Error> {
    match artefact {
        Artefact::Builtin(name) => {
            let unknown = || Error::UnknownBuiltin { plugin: Arc::clone(plugin), name: name.clone() };
            builtin::component(name).map(<[u8]>::to_vec).ok_or_else(unknown)
        }
        Artefact::File(path) | Artefact::Kept(path) => {
            let failed = |source| Error::Read { plugin: Arc::clone(plugin), path: path.clone(), source };
            file::read(path, MAX_COMPONENT_BYTES).map_err(failed)
        }
    }
}

/// Reads the signature beside a component, if there is one.
pub(crate) fn read_signature(plugin: &Arc<str>, component: &Path) -> Result<Option<String>, Error> {
    let path = trust::signature_path(component);
    match trust::read_signature(&path) {
        Ok(signature) => Ok(signature),
        Err(source) => Err(Error::Read { plugin: Arc::clone(plugin), path, source }),
    }
}

/// The two layers of WebAssembly share a header; telling them apart here gives a text that helps.
fn check_header(bytes: &[u8]) -> Result<(), Unusable> {
    match bytes {
        [] => Err(Unusable::NotWasm("the file is empty".to_owned())),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(Unusable::CoreModule),
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', ..] => Err(Unusable::NotWasm("its header is of no known version".to_owned())),
        _ => Err(Unusable::NotWasm("it does not begin with `\\0asm`".to_owned())),
    }
}

/// Before anything is linked, where the same mistake would show as an import that is denied.
fn check_version(engine: &Engine, component: &Component) -> Result<(), Unusable> {
    let ty = component.component_type();
    let imports = ty.imports(engine.wasm()).map(|(name, _)| name);
    let exports = ty.exports(engine.wasm()).map(|(name, _)| name);
    let versions = imports.chain(exports).filter_map(|name| name.strip_prefix("tidegate:plugin/")?.split_once('@'));
    match versions.map(|(_, version)| version).find(|version| !is_this_version(version)) {
        Some(other) => Err(Unusable::OtherVersion(other.to_owned())),
        None => Ok(()),
    }
}

fn transform(engine: &Engine, component: &Component) -> Result<Transform, Unusable> {
    let wrong = || {
        let ty = component.component_type();
        let exports: Vec<_> = ty.exports(engine.wasm()).map(|(name, _)| format!("`{name}`")).collect();
        Unusable::WrongWorld(if exports.is_empty() {
            "it exports nothing".to_owned()
        } else {
            // There may be any number of them, under any names.
            words::line(&format!("it exports {}", exports.join(", ")), words::REASON)
        })
    };
    let found = interface(engine, component, "transform").ok_or_else(wrong)?;
    let function = |name| component.get_export_index(Some(&found), name).ok_or_else(wrong);
    Ok(Transform { configure: function("configure")?, process: function("process")? })
}

/// The exported interface `tidegate:plugin/<name>@0.1.z`: patch versions of the contract fit each other.
fn interface(engine: &Engine, component: &Component, name: &str) -> Option<ComponentExportIndex> {
    let ty = component.component_type();
    let full = ty.exports(engine.wasm()).map(|(export, _)| export).find(|export| {
        let versioned = export.strip_prefix("tidegate:plugin/").and_then(|rest| rest.strip_prefix(name));
        versioned.and_then(|rest| rest.strip_prefix('@')).is_some_and(is_this_version)
    })?;
    component.get_export_index(None, full)
}

fn is_this_version(version: &str) -> bool {
    version.strip_prefix("0.1.").is_some_and(|patch| !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit()))
}

/// wasmtime names the import in its text only.
fn refused_import(engine: &Engine, component: &Component, error: &wasmtime::Error) -> Unusable {
    let text = format!("{error:#}");
    let ty = component.component_type();
    let named = ty.imports(engine.wasm()).map(|(name, _)| name).find(|name| text.contains(&format!("`{name}`")));
    match named {
        Some(name) if text.contains("not found in the linker") => Unusable::DeniedImport(name.to_owned()),
        _ => Unusable::Import(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Workshop;

    fn refused(bytes: &[u8]) -> String {
        let engine = Engine::new(256 << 10, Workshop::in_process()).unwrap();
        Program::make(&engine, bytes).map(|_| ()).unwrap_err().to_string()
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
