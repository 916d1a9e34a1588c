//! What the process tells about itself.

#[cfg(feature = "allocations")]
pub mod allocations;
pub mod log;
