//! The change of a plugin, or of the whole chain of a flow, while messages flow: plan, driver, and what is told of it.
//!
//! Works on the lanes from outside, through their inboxes; no lane knows it.

pub(super) mod event;
pub(super) mod handover;
mod lanes;
pub(super) mod outcome;
pub(super) mod plan;
mod prepare;
pub(super) mod swap;
mod teller;
