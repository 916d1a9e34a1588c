//! What receipts and the lanes' inboxes synchronise with. The tests under loom (`tests/loom`) put their own in its place.

pub(super) use std::sync::Arc;
pub(super) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
pub(crate) use std::sync::{Mutex, MutexGuard};

pub(super) use tokio::sync::Notify;
