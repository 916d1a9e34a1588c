//! Native code: how it is made of a component, and how it becomes runnable.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmtime::component::Component;

use super::memories;
use crate::chain::Unusable;

/// The engine that makes the code; code of another one is not used. Patch versions count: some mend the compiler.
pub(super) const VERSION: &str = env!("TIDEGATE_WASMTIME_VERSION");

pub(super) const MAX_CODE_BYTES: u64 = 256 << 20;

/// SHA-256 of a component.
pub(crate) type Digest = [u8; 32];

/// Native code. Made in `compile` and below it only: by the compiler, or from a file whose MAC was right.
pub(super) struct NativeCode(pub(super) Vec<u8>);

/// Compiles in this process. The compiler promises nothing about hostile input, so a panic is an error.
pub(super) fn precompile(wasm: &wasmtime::Engine, component: &[u8]) -> Result<NativeCode, String> {
    memories::check(component)?;
    match catch_unwind(AssertUnwindSafe(|| wasm.precompile_component(component))) {
        Ok(Ok(code)) => Ok(NativeCode(code)),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err("the compiler panicked".to_owned()),
    }
}

/// Makes code runnable. It is copied from memory rather than mapped from its file: pages of a mapping are read anew
/// when memory was short, and by then the card may give back other bytes than those that were checked.
#[expect(
    unsafe_code,
    reason = "the engine has no safe way to load code, since code can do anything"
)]
pub(super) fn load(wasm: &wasmtime::Engine, code: &NativeCode) -> Result<Component, Unusable> {
    // SAFETY: the bytes must be what `precompile_component` of this version of wasmtime made, unchanged. A `NativeCode` is
    // built in three places only: from that very call (`precompile`), from the answer of a child that is this
    // executable and did that call, its digest right (`child::compile`), and from a file of the cache that ends with
    // the MAC of exactly these bytes under a key that only this host's user can read, and that is written only with
    // bytes of the other two (`cache::find`, `cache::keep`). Version, processor and settings that do not fit are
    // refused by the engine's own header, in which the version is complete (`settings`).
    let component = unsafe { Component::deserialize(wasm, &code.0) };
    component.map_err(|error| Unusable::Compile(format!("its code does not load: {error:#}")))
}

/// What all engines of tidegate share: how guests are compiled, and what they may do.
pub(crate) fn settings(stack_bytes: usize) -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config
        .module_version(wasmtime::ModuleVersionStrategy::Custom(VERSION.to_owned()))
        .expect("a version has no 255 bytes")
        .strategy(wasmtime::Strategy::Cranelift)
        .allocation_strategy(wasmtime::InstanceAllocationStrategy::OnDemand)
        .memory_init_cow(true)
        .epoch_interruption(true)
        .consume_fuel(false)
        .max_wasm_stack(stack_bytes)
        // Checked against `max_wasm_stack` although no fiber is ever made: every call is synchronous.
        .async_stack_size(stack_bytes + (1 << 20))
        .wasm_backtrace_details(wasmtime::WasmBacktraceDetails::Enable);
    // What no plugin needs is not offered: most advisories of the engine were in the proposals.
    config
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .wasm_threads(false)
        .wasm_memory64(false)
        // Between two components of one the engine puts modules of its own making, which have both of their memories. What
        // a plugin brings along is held to one memory a module (`memories`).
        .wasm_multi_memory(true)
        .wasm_tail_call(false)
        .wasm_custom_page_sizes(false)
        .wasm_stack_switching(false)
        .wasm_wide_arithmetic(false)
        .wasm_relaxed_simd(false);
    config
}
