//! What is owed upstream: RAM head, sled tail. It alone decides when a message is safe.

mod settings;

pub use settings::{Config, QueueConfig};
