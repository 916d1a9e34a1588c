//! Tidegate: device messages through live-swappable WebAssembly plugins, kept while the link is away.
//!
//! Modules in the order data flows; `ARCHITECTURE.md` beside this crate is the map.

pub mod clock;
pub mod file;
pub mod heap;
pub mod words;
pub mod message;
pub mod link;
pub mod token;
pub mod mqtt;
pub mod nats;
pub mod source;
pub mod builtin;
pub mod trust;
pub mod chain;
pub mod devices;
pub mod recording;
pub mod spool;
pub mod uplink;
pub mod versions;
pub mod admin;
pub mod backup;
pub mod gateway;
pub mod config;
pub mod telemetry;
pub mod thread;
pub mod exit;
pub mod cases;
pub mod cli;
#[cfg(feature = "demo")]
pub mod sim;
#[cfg(feature = "demo")]
pub mod demo;
