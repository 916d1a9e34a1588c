//! The demo.
pub mod broker;
mod link;
