//! What the process tells about itself.

#[cfg(feature = "allocations")]
pub mod allocations;
pub mod crash;
pub mod levels;
mod line;
pub mod log;
mod repeats;
pub mod sink;
pub mod trace;
