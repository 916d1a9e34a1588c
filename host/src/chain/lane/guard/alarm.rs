//! Tells who wants to know that a breaker has opened.

use std::sync::{Arc, OnceLock};

/// A plugin whose breaker has opened: it keeps failing, and no bisection, fresh instance or pause has helped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerOpened {
    /// Name of the flow.
    pub flow: Arc<str>,
    /// Place of the plugin in its flow, from 0 on.
    pub plugin: usize,
    /// SHA-256 of the component that failed.
    pub digest: Arc<str>,
    /// The fault that opened it, in words.
    pub why: String,
}

type Hook = Box<dyn Fn(BreakerOpened) + Send + Sync>;

/// Who wants to know.
#[derive(Default)]
pub(crate) struct Alarm(OnceLock<Hook>);

impl Alarm {
    /// The first one stays.
    pub(crate) fn set(&self, hook: Hook) {
        let _ = self.0.set(hook);
    }

    pub(super) fn ring(&self, opened: BreakerOpened) {
        if let Some(hook) = self.0.get() {
            hook(opened);
        }
    }
}
