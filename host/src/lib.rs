//! Tidegate: device messages through live-swappable WebAssembly plugins, kept while the link is away.
//!
//! Modules in the order data flows; `ARCHITECTURE.md` beside this crate is the map.

pub mod chain;
pub mod cli;
pub mod clock;
pub mod config;
pub mod exit;
pub mod message;
pub mod mqtt;
pub mod source;
pub mod spool;
pub mod telemetry;
pub mod uplink;
