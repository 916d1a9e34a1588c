//! Tidegate: device messages through live-swappable WebAssembly plugins, kept while the link is away.
//!
//! Modules in the order data flows; `ARCHITECTURE.md` beside this crate is the map.

pub mod message;
