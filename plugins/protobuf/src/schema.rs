//! The types that the settings bring, and which one a payload is.

use prost_reflect::{DescriptorPool, MessageDescriptor};
use tidegate_sdk::TopicFilter;
use tidegate_sdk::foreign::Bytes;
use tidegate_sdk::prelude::*;

use crate::ByTopic;

/// Names of types that an error shows.
const MOST_SHOWN: usize = 20;

/// Types by topic.
#[derive(Debug)]
pub struct Types {
    by_topic: Vec<(TopicFilter, MessageDescriptor)>,
    other: Option<MessageDescriptor>,
}

impl Types {
    /// Reads a set of descriptors in base64, and finds the types in it.
    ///
    /// # Errors
    /// It is none, a type is not in it, or no type is named.
    pub fn new(descriptors: &str, message: Option<&str>, by_topic: &[ByTopic]) -> Result<Self> {
        let letters: String = descriptors.split_ascii_whitespace().collect();
        let bytes = Bytes::Base64.read(&letters);
        let bytes = bytes.filter(|bytes| !bytes.is_empty()).ok_or(
            "`descriptors` is not base64 of a set of descriptors: `base64 set.bin` makes it",
        )?;
        let pool = DescriptorPool::decode(bytes.as_slice()).map_err(|error| {
            format!("`descriptors` is no set of descriptors: {error}; `protoc --include_imports --descriptor_set_out=set.bin` writes one")
        })?;
        let mut topics = Vec::new();
        for (place, one) in by_topic.iter().enumerate() {
            let setting = format!("messages.{place}");
            let filter = TopicFilter::new(&one.topic);
            topics.push((
                filter.map_err(|error| format!("`{setting}`: {error}"))?,
                find(&pool, &one.message, &format!("{setting}.message"))?,
            ));
        }
        let other = message.map(|name| find(&pool, name, "message"));
        if other.is_none() && topics.is_empty() {
            let known = known(&pool);
            return Err(format!("the setting `message` is missing; there are: {known}").into());
        }
        Ok(Self {
            by_topic: topics,
            other: other.transpose()?,
        })
    }

    /// The type of what comes under a topic.
    ///
    /// # Errors
    /// None is set for it.
    pub fn of(&self, topic: &str) -> Result<&MessageDescriptor> {
        let mut by_topic = self.by_topic.iter();
        by_topic
            .find(|(filter, _)| filter.matches(topic.as_bytes()))
            .map(|(_, kind)| kind)
            .or(self.other.as_ref())
            .ok_or_else(|| format!("no type in `messages` is for the topic `{topic}`").into())
    }
}

fn find(pool: &DescriptorPool, name: &str, setting: &str) -> Result<MessageDescriptor> {
    let found = pool.get_message_by_name(name);
    found.ok_or_else(|| {
        let known = known(pool);
        format!("`{setting}`: no type is called `{name}`; there are: {known}").into()
    })
}

/// What types there are, without those that come with the format.
fn known(pool: &DescriptorPool) -> String {
    let own = |message: &MessageDescriptor| {
        message.package_name() != "google.protobuf" && !message.is_map_entry()
    };
    let mut names: Vec<String> = pool
        .all_messages()
        .filter(own)
        .take(MOST_SHOWN)
        .map(|message| format!("`{}`", message.full_name()))
        .collect();
    if names.is_empty() {
        names.push("none".to_owned());
    }
    names.join(", ")
}
