//! A component, compiled and linked: the code of a plugin, without settings and state.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use wasmtime::component::{ComponentExportIndex, InstancePre};

use super::compile::Digest;
use super::guest::Guest;

/// Compiled code, which all flows that run it share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Program(Arc<Linked>);

/// What a program is.
pub(crate) struct Linked {
    pub(super) pre: InstancePre<Guest>,
    pub(super) digest: Arc<str>,
    pub(crate) imports: Arc<[String]>,
    pub(crate) transform: Transform,
    pub(crate) tick: Option<ComponentExportIndex>,
    pub(crate) state: Option<StateExports>,
}

impl Program {
    pub(super) fn new(linked: Linked) -> Self {
        Self(Arc::new(linked))
    }
}

impl Deref for Program {
    type Target = Linked;

    fn deref(&self) -> &Linked {
        &self.0
    }
}

/// The programs in use, by their digests: a component that a thousand flows run is there once.
#[derive(Default)]
pub(super) struct Programs(Mutex<CachedProgram>);

#[derive(Default)]
struct CachedProgram {
    used: HashMap<Digest, Weak<Linked>>,
    /// They stay while nobody uses them.
    kept: Option<Vec<Program>>,
}

impl Programs {
    /// From now on what is made stays.
    pub(crate) fn keep(&self) {
        self.lock().kept.get_or_insert_default();
    }

    pub(super) fn find(&self, digest: &Digest) -> Option<Program> {
        self.lock().used.get(digest)?.upgrade().map(Program)
    }

    pub(super) fn note(&self, digest: Digest, program: &Program) {
        let mut known = self.lock();
        known.used.retain(|_, program| program.strong_count() > 0);
        known.used.insert(digest, Arc::downgrade(&program.0));
        known
            .kept
            .iter_mut()
            .for_each(|kept| kept.push(program.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, CachedProgram> {
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
pub(crate) struct StateExports {
    pub(crate) save: ComponentExportIndex,
    pub(crate) restore: ComponentExportIndex,
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
