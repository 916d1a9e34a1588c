//! Messages and dead letters as JSON: one line each in an export, and what the control socket answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::{Uptime, WallTime, utc};
use crate::message::{Headers, Marks, Message, MessageId, Seq, Span, push_header};
use crate::spool::dead_letters::letter::LetterRecord;
use crate::spool::tools::base64;

/// What a record cannot be made of.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    #[error("`{0}` is not base64")]
    Base64(&'static str),
    /// MQTT has no such topic.
    #[error("the topic is empty, longer than 65,535 bytes, or has a wildcard")]
    Topic,
    /// Too long for the form headers have inside.
    #[error("a header's name or value is longer than 65,535 bytes")]
    Header,
}

/// A message. Everything but `topic` may be left out in what is imported; `payload` is base64, and `text` stands for
/// it where it is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordContent {
    /// Name of the flow.
    pub flow: String,
    pub topic: String,
    /// The key's place in the topic: offset and length in bytes.
    pub key: (u16, u16),
    /// The key, where the topic does not hold it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Names and values, where all values are text.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The headers in the form of the plugin contract, base64, where not all values are text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers_base64: Option<String>,
    pub payload: Option<String>,
    /// The payload, where it is text: for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Level it came with.
    pub qos: u8,
    /// It was, or is to be, retained.
    pub retain: bool,
    /// All marks, as word 6 of the plugin contract has them.
    pub marks: Option<u32>,
    /// Boot of its message id.
    pub boot: u32,
    /// Number of its message id.
    pub number: u64,
    /// When it arrived: RFC 3339, for people.
    pub received: String,
    /// The same in microseconds since 1970.
    pub received_us: u64,
    /// The same in microseconds since the machine booted.
    pub uptime_us: u64,
}

impl RecordContent {
    /// Of a message of `flow`.
    pub fn of(message: &Message, flow: &str) -> Self {
        let text = std::str::from_utf8(&message.payload)
            .ok()
            .map(str::to_owned);
        let headers = text_headers(&message.headers);
        Self {
            flow: flow.to_owned(),
            topic: message.topic_str().to_owned(),
            key: (message.key.offset, message.key.len),
            device: message
                .device
                .as_deref()
                .map(|device| String::from_utf8_lossy(device).into_owned()),
            headers_base64: headers.is_none().then(|| base64::encode(&message.headers)),
            headers: headers.unwrap_or_default(),
            payload: Some(base64::encode(&message.payload)),
            text,
            qos: message.marks.qos() as u8,
            retain: message.marks.has(Marks::RETAIN),
            marks: Some(message.marks.0),
            boot: message.id.boot,
            number: message.id.seq,
            received: utc(message.received.0),
            received_us: message.received.0,
            uptime_us: message.uptime.0,
        }
    }

    /// The message; its flow goes by name only.
    pub(super) fn message(&self) -> Result<Message, RecordError> {
        if self.topic.is_empty()
            || self.topic.len() > usize::from(u16::MAX)
            || self.topic.contains(['+', '#', '\0'])
        {
            return Err(RecordError::Topic);
        }
        let decoded = |name, text: &String| base64::decode(text).ok_or(RecordError::Base64(name));
        let payload = match (&self.payload, &self.text) {
            (Some(payload), _) => decoded("payload", payload)?,
            (None, text) => text.clone().unwrap_or_default().into_bytes(),
        };
        let headers = match &self.headers_base64 {
            Some(block) => decoded("headers_base64", block)?,
            None => self
                .headers
                .iter()
                .try_fold(Vec::new(), |mut block, (name, value)| {
                    push_header(&mut block, name, value.as_bytes())
                        .map_err(|_| RecordError::Header)?;
                    Ok(block)
                })?,
        };
        let qos = crate::message::Qos::from_level(self.qos).unwrap_or_default();
        let marks = self
            .marks
            .map_or_else(|| Marks::of(qos).with(Marks::RETAIN, self.retain), Marks);
        Ok(Message {
            id: MessageId {
                boot: self.boot,
                seq: self.number,
            },
            flow: None,
            topic: Bytes::copy_from_slice(self.topic.as_bytes()),
            key: Span {
                offset: self.key.0,
                len: self.key.1,
            },
            headers: headers.into(),
            payload: payload.into(),
            marks,
            received: WallTime(self.received_us),
            uptime: Uptime(self.uptime_us),
            device: self
                .device
                .as_ref()
                .filter(|device| !device.is_empty())
                .map(|device| device.as_bytes().into()),
            trace: None,
        })
    }
}

/// The headers as text; `None` when that would lose something.
fn text_headers(block: &[u8]) -> Option<Vec<(String, String)>> {
    let text = |entry: Result<(&str, &[u8]), _>| {
        let (name, value) = entry.ok()?;
        Some((name.to_owned(), std::str::from_utf8(value).ok()?.to_owned()))
    };
    Headers(block).map(text).collect()
}

/// A message of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRecord {
    pub queue: String,
    /// Its place in the queue; an import gives a new one.
    #[serde(default)]
    pub seq: Seq,
    #[serde(flatten)]
    pub content: RecordContent,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Its name: boot and number.
    pub id: String,
    /// `rejected`, `poison`, `too-long` (then the payload is only its head), `refused`,
    /// `quarantined`, `malformed` or `circled`.
    pub reason: String,
    /// In words: the plugin's own, the trap with its back-trace and the guest's last lines, or upstream's code.
    pub detail: String,
    /// Name of the plugin at fault.
    pub plugin: Option<String>,
    /// SHA-256 of its component.
    pub plugin_digest: Option<String>,
    /// The queue it was refused from, `uplink:class`.
    pub queue: Option<String>,
    /// A plugin had named its topic before it stopped.
    pub own_topic: bool,
    /// When it was parked: RFC 3339.
    pub parked: String,
    /// The same in microseconds since 1970.
    pub parked_us: u64,
    #[serde(flatten)]
    pub content: RecordContent,
}

impl Letter {
    pub(super) fn of(record: &LetterRecord) -> Self {
        Self {
            id: record.id.to_string(),
            reason: record.reason.name().to_owned(),
            detail: record.detail.clone(),
            plugin: record.plugin.as_ref().map(|plugin| plugin.name.to_string()),
            plugin_digest: record
                .plugin
                .as_ref()
                .map(|plugin| plugin.digest.to_string()),
            queue: record
                .queue
                .as_ref()
                .map(|(uplink, class)| format!("{uplink}:{class}")),
            own_topic: record.own_topic,
            parked: utc(record.parked_us),
            parked_us: record.parked_us,
            content: RecordContent::of(&record.message, &record.flow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::disk::chunk::tests::any_message;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_message_survives_its_line_of_json(message in any_message(), name in "[a-z]{1,9}") {
            prop_assume!(!message.topic.is_empty());
            let record = QueueRecord { queue: "cloud:alarm".into(), seq: Seq(7), content: RecordContent::of(&message, &name) };
            let line = serde_json::to_string(&record).unwrap();
            prop_assert!(!line.contains('\n'));
            let read: QueueRecord = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(&read, &record);
            prop_assert_eq!(read.content.message().unwrap(), Message { flow: None, ..message });
        }

        #[test]
        fn text_headers_survive_too(entries in proptest::collection::vec(("[a-z:]{0,9}", ".{0,9}"), 0..4)) {
            let mut block = Vec::new();
            for (name, value) in &entries {
                push_header(&mut block, name, value.as_bytes()).unwrap();
            }
            let message = Message { topic: "a".into(), headers: block.clone().into(), ..Message::default() };
            let content = RecordContent::of(&message, "");
            prop_assert_eq!(&content.headers, &entries);
            prop_assert_eq!(&content.message().unwrap().headers[..], &block[..]);
        }
    }

    #[test]
    fn a_line_written_by_hand_needs_a_queue_and_a_topic() {
        let record: QueueRecord =
            serde_json::from_str(r#"{"queue":"cloud:alarm","topic":"a/b","text":"hot"}"#).unwrap();
        let message = record.content.message().unwrap();
        assert_eq!(
            (&*message.topic, &*message.payload),
            (&b"a/b"[..], &b"hot"[..])
        );
        let wild = RecordContent {
            topic: "a/+".into(),
            ..RecordContent::default()
        };
        assert_eq!(wild.message(), Err(RecordError::Topic));
        let odd = RecordContent {
            topic: "a".into(),
            payload: Some("?".into()),
            ..RecordContent::default()
        };
        assert_eq!(odd.message(), Err(RecordError::Base64("payload")));
    }
}
