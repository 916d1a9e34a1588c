//! What the process tells about itself.

#[cfg(feature = "allocations")]
pub mod allocations;
mod line;
pub mod log;
mod repeats;
pub mod sink;
