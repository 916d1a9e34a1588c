//! How a way into a cluster begins, and whether there is one.

use std::sync::Arc;

use super::cluster::Cluster;
use super::requests::TopicView;
use super::verdict::{self, NO_LEADER, RecordVerdict, UNKNOWN_TOPIC};
use super::{Config, Error};

/// Connects and logs in, and looks the topic up where it is one for all.
pub(super) async fn open(
    config: &Arc<Config>,
    first: usize,
) -> Result<(Box<Cluster>, TopicView), Error> {
    let topic = config.topic.plain();
    let topics: Vec<&str> = topic.as_deref().into_iter().collect();
    let cluster = Box::pin(Cluster::open(Arc::clone(config), first, &topics)).await?;
    let Some(topic) = topic else {
        return Ok((Box::new(cluster), TopicView::default()));
    };
    let view = cluster.topic(&topic).cloned().unwrap_or_default();
    match fault(&topic, &view) {
        Some(fault) => Err(fault),
        None => Ok((Box::new(cluster), view)),
    }
}

/// Why nothing can be written to a topic, by what the cluster says of it.
pub(super) fn fault(topic: &str, view: &TopicView) -> Option<Error> {
    match view.code {
        0 if !view.leaders.is_empty() => None,
        0 | NO_LEADER => Some(Error::Busy(verdict::in_words(NO_LEADER, ""))),
        UNKNOWN_TOPIC => Some(held(topic, UNKNOWN_TOPIC, "")),
        code => match RecordVerdict::of(code) {
            // It is no word about the messages of this topic.
            RecordVerdict::Moved | RecordVerdict::Passing => {
                Some(Error::Busy(verdict::in_words(code, "")))
            }
            _ => Some(held(topic, code, "")),
        },
    }
}

/// Nothing is taken for a topic before somebody has acted.
pub(super) fn held(topic: &str, code: i16, words: &str) -> Error {
    Error::Held {
        topic: topic.to_owned(),
        answer: verdict::in_words(code, words),
        hint: verdict::hint(code),
    }
}

/// Logs in, asks where the topic is, and leaves; nothing is written and nothing made.
pub(in super::super) async fn reach(config: &Config) -> Result<String, Error> {
    let config = Arc::new(config.clone());
    let (cluster, view) = Box::pin(open(&config, 0)).await?;
    let size = cluster.size();
    cluster.close().await;
    let Some(topic) = config.topic.plain() else {
        let topic = &config.topic;
        return Ok(format!(
            "a cluster of {size} answers; whether there is a topic is seen once a message comes, as it is `{topic}` of each"
        ));
    };
    if view.may_write == Some(false) {
        return Err(held(&topic, 29, ""));
    }
    let count = view.leaders.len();
    let without = view
        .leaders
        .iter()
        .filter(|leader| leader.is_none())
        .count();
    let mut said = format!("the topic `{topic}` is there, with partitions: {count}");
    if without > 0 {
        said.push_str(&format!(", of which {without} have no leader for now"));
    }
    Ok(said)
}
