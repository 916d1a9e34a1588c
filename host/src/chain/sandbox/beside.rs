//! A thread beside the caller's, on which guests may run.

use tokio::runtime::Handle;

use super::engine::Engine;
use crate::chain::Error;

/// Stack of a thread that may compile, beside what guests may use of it.
const COMPILER_STACK_BYTES: usize = 6 << 20;

/// Runs `work` on a thread of its own, with room for a guest's stack and in the caller's runtime: guests may write to
/// their stderr, which wasmtime-wasi does by blocking on the runtime it finds, and an async task must not block so.
pub(crate) fn beside<R: Send>(
    engine: &Engine,
    runtime: Option<&Handle>,
    work: impl FnOnce() -> Result<R, Error> + Send,
) -> Result<R, Error> {
    std::thread::scope(|scope| {
        let run = move || {
            let _runtime = runtime.map(Handle::enter);
            work()
        };
        let stack = COMPILER_STACK_BYTES + 2 * engine.stack_bytes();
        let thread = std::thread::Builder::new()
            .name("prepare".to_owned())
            .stack_size(stack)
            .spawn_scoped(scope, run)
            .map_err(Error::Thread)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
