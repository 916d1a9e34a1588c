//! The plugins of one flow, in order: messages in, none or many out. Lanes are plain threads; no async.

mod settings;

pub use settings::{Artefact, Config, Limits, OnError, PluginConfig, TopicTemplate};
