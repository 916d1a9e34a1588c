//! Tidegate: device messages through live-swappable WebAssembly plugins, kept while the link is away.
//!
//! Modules in the order data flows; `ARCHITECTURE.md` beside this crate is the map.

pub mod builtin;
pub mod chain;
pub mod clock;
pub mod message;
pub mod mqtt;
pub mod source;
pub mod spool;
pub mod uplink;
