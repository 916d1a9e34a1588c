//! A thread beside the caller's, on which guests may run.

use std::cell::Cell;

use tokio::runtime::Handle;

use super::engine::Engine;
use crate::chain::Error;

/// Stack of a thread that may compile, beside what guests may use of it.
const COMPILER_STACK_BYTES: usize = 6 << 20;

thread_local! {
    /// Whether this thread has room for a guest's stack.
    static IS_BESIDE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work` on a thread of its own, with room for a guest's stack and in the caller's runtime: guests may write to
/// their stderr, which wasmtime-wasi does by blocking on the runtime it finds, and an async task must not block so.
///
/// Where it is called on such a thread it takes that one.
///
/// # Errors
/// Those of `work`, and [`Error::Thread`] when there is no thread to be had.
pub fn beside<R: Send>(
    engine: &Engine,
    runtime: Option<&Handle>,
    work: impl FnOnce() -> Result<R, Error> + Send,
) -> Result<R, Error> {
    if IS_BESIDE.get() {
        let _runtime = runtime.map(Handle::enter);
        return work();
    }
    std::thread::scope(|scope| {
        let run = move || {
            IS_BESIDE.set(true);
            let _runtime = runtime.map(Handle::enter);
            work()
        };
        let stack = COMPILER_STACK_BYTES + 2 * engine.stack_bytes();
        let thread = std::thread::Builder::new()
            .name("prepare".to_owned())
            .stack_size(stack)
            .spawn_scoped(scope, run)
            .map_err(Error::Thread)?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
