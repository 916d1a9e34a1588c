//! One plugin in its sandbox: code, an instance of it, one call with its limits, and what can go wrong in one.
//!
//! In come packed batches, ticks and pages of state; out come answers, or a [`fault::Fault`], which is a value. Only this
//! folder names `wasmtime`. Never done here: anything about lanes, other plugins or which version runs.

pub(super) mod batch;
pub(super) mod beside;
pub(super) mod capability;
mod classify;
pub(super) mod compile;
pub(super) mod engine;
pub(super) mod fault;
pub(super) mod guest;
mod imports;
pub(super) mod inspect;
pub(super) mod instance;
pub(super) mod link;
pub(super) mod program;
pub(super) mod series;
pub(super) mod state;
