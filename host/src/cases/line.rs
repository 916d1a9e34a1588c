//! One line: a message on its way in, or something that came of it. What is shown is read back as the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::text::{read_to_end, read_word, show};
use super::{MARKS, OUTCOMES, Outcome, QosLevel, WrittenMessage};
use crate::message::legal::{check_headers, check_topic};
use crate::message::push_header;

/// A line that says nothing. The text is for who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CaseLineError(pub String);

impl From<String> for CaseLineError {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// Reads `[topic +retain +name=value] payload`.
///
/// # Errors
/// It is none.
pub fn read_message(text: &str) -> Result<WrittenMessage, CaseLineError> {
    let inner = text
        .strip_prefix('[')
        .ok_or_else(|| "a message is written `[topic] payload`".to_owned())?;
    let (topic, mut rest) = read_word(inner, |rest| {
        rest.starts_with(" +") || rest.starts_with(']')
    })?;
    check_topic(&topic).map_err(|why| format!("the topic {why}"))?;
    let topic = String::from_utf8(topic).map_err(|_| "the topic is not text".to_owned())?;
    let mut sent = WrittenMessage {
        topic,
        ..WrittenMessage::default()
    };
    while let Some(mark) = rest.strip_prefix(" +") {
        rest = read_mark(mark, &mut sent)?;
    }
    let payload = rest.strip_prefix(']').ok_or_else(|| {
        "a message is written `[topic] payload`, with `+retain` or `+name=value` behind the topic: `]` is missing".to_owned()
    })?;
    sent.payload = read_to_end(payload.strip_prefix(' ').unwrap_or(payload))?;
    check(&sent)?;
    Ok(sent)
}

fn read_mark<'a>(text: &'a str, sent: &mut WrittenMessage) -> Result<&'a str, CaseLineError> {
    let ends = |rest: &str| rest.starts_with(" +") || rest.starts_with(']');
    let (name, rest) = read_word(text, |rest| rest.starts_with('=') || ends(rest))?;
    let name =
        String::from_utf8(name).map_err(|_| "the name of a header is not text".to_owned())?;
    if let Some(value) = rest.strip_prefix('=') {
        let (value, rest) = read_word(value, ends)?;
        sent.headers.push((name, value));
        return Ok(rest);
    }
    match name.as_str() {
        "retain" => sent.retain = true,
        "duplicate" => sent.duplicate = true,
        "qos0" => sent.qos = QosLevel(0),
        "qos1" => sent.qos = QosLevel(1),
        "qos2" => sent.qos = QosLevel(2),
        other => {
            return Err(CaseLineError(format!(
                "`+{other}` is no mark: there are {}, the last for a header",
                MARKS.join(", ")
            )));
        }
    }
    Ok(rest)
}

/// What could never come in is no input.
fn check(sent: &WrittenMessage) -> Result<(), CaseLineError> {
    check_topic(sent.topic.as_bytes()).map_err(|why| format!("the topic {why}"))?;
    check_headers(&headers(sent)?).map_err(|why| CaseLineError(why.to_string()))
}

/// Its headers in the form that messages have them.
pub(super) fn headers(sent: &WrittenMessage) -> Result<Vec<u8>, CaseLineError> {
    let mut block = Vec::new();
    for (name, value) in &sent.headers {
        push_header(&mut block, name, value).map_err(|why| CaseLineError(why.to_string()))?;
    }
    Ok(block)
}

/// Reads what other programs write, too: `topic payload` as `mosquitto_sub -v` does, and objects of JSON with `topic` and
/// `payload`. `None` where there is no message in it: a blank line, a comment, or what came of another message.
///
/// # Errors
/// It is none of these.
pub fn read_loose(text: &str) -> Result<Option<WrittenMessage>, CaseLineError> {
    let text = text.trim_end_matches(['\n', '\r']);
    match text.as_bytes().first() {
        None | Some(b'#') => Ok(None),
        Some(b'[') => read_message(text).map(Some),
        Some(b'{') => read_json(text),
        Some(_) => {
            // What left through a side port says so in front.
            if let Some((port, message)) = text.split_once(" [")
                && !port.contains([' ', '/'])
            {
                return read_message(&format!("[{message}")).map(Some);
            }
            let (topic, payload) = text.split_once(' ').unwrap_or((text, ""));
            let sent = WrittenMessage {
                topic: topic.to_owned(),
                payload: read_to_end(payload)?,
                ..WrittenMessage::default()
            };
            check(&sent).map(|()| Some(sent))
        }
    }
}

fn read_json(text: &str) -> Result<Option<WrittenMessage>, CaseLineError> {
    let object: Value =
        serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    if object.get("came").is_some_and(|came| came != "message") {
        return Ok(None);
    }
    let topic = object["topic"]
        .as_str()
        .ok_or_else(|| "it has no `topic`".to_owned())?;
    let payload = match (&object["payload"], object["payload_bytes"].as_str()) {
        // An export of a queue, or of dead letters.
        (payload, _) if object["received"].is_string() => exported(&object["text"], payload)?,
        (Value::Null, Some(quoted)) => read_to_end(quoted)?,
        (Value::Null, None) => Vec::new(),
        (Value::String(text), _) => text.clone().into_bytes(),
        (other, _) => other.to_string().into_bytes(),
    };
    let mut sent = WrittenMessage {
        topic: topic.to_owned(),
        payload,
        retain: object["retain"] == true,
        ..WrittenMessage::default()
    };
    for pair in object["headers"].as_array().into_iter().flatten() {
        if let (Some(name), Some(value)) = (pair[0].as_str(), pair[1].as_str()) {
            sent.headers
                .push((name.to_owned(), value.as_bytes().to_vec()));
        }
    }
    for (name, value) in object["headers"].as_object().into_iter().flatten() {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        sent.headers.push((name.clone(), read_to_end(&text)?));
    }
    check(&sent).map(|()| Some(sent))
}

/// The payload of an export: its text, or else its bytes in base64.
fn exported(text: &Value, payload: &Value) -> Result<Vec<u8>, CaseLineError> {
    match (text.as_str(), payload.as_str()) {
        (Some(text), _) => Ok(text.as_bytes().to_vec()),
        (None, Some(payload)) => STANDARD
            .decode(payload)
            .map_err(|error| CaseLineError(format!("its `payload` is no base64: {error}"))),
        (None, None) => Ok(Vec::new()),
    }
}

/// A message in the form that [`read_message`] takes.
pub fn show_message(sent: &WrittenMessage) -> String {
    let is_plain =
        |text: &str| !text.contains([']']) && !text.contains(" +") && text.trim() == text;
    let mut shown = format!("[{}", show(sent.topic.as_bytes(), is_plain));
    for (is_set, mark) in [(sent.retain, "retain"), (sent.duplicate, "duplicate")] {
        if is_set {
            shown.push_str(&format!(" +{mark}"));
        }
    }
    if sent.qos != QosLevel::default() {
        shown.push_str(&format!(" +qos{}", sent.qos.0));
    }
    for (name, value) in &sent.headers {
        let name = show(name.as_bytes(), |name| {
            is_plain(name) && !name.contains('=')
        });
        shown.push_str(&format!(" +{name}={}", show(value, is_plain)));
    }
    shown.push(']');
    if !sent.payload.is_empty() {
        shown.push(' ');
        shown.push_str(&show_payload(&sent.payload));
    }
    shown
}

pub(super) fn show_payload(payload: &[u8]) -> String {
    show(payload, |text| text.trim() == text)
}

impl Outcome {
    /// Reads what stands behind `>`.
    pub(super) fn read(text: &str) -> Result<Self, CaseLineError> {
        let text = text.trim_start();
        if text.starts_with('[') {
            return Ok(Self::Message {
                port: "out".to_owned(),
                sent: read_message(text)?,
            });
        }
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim();
        let alone = |outcome: Self| match rest {
            "" => Ok(outcome),
            rest => Err(CaseLineError(format!(
                "behind `{word}` stands nothing, not `{rest}`"
            ))),
        };
        match word {
            _ if rest.starts_with('[') => Ok(Self::Message {
                port: word.to_owned(),
                sent: read_message(rest)?,
            }),
            "pass" => alone(Self::Pass),
            "nothing" => alone(Self::Nothing),
            "filtered" => alone(Self::Filtered),
            "absorbed" => alone(Self::Absorbed),
            "dropped" => alone(Self::Dropped),
            "rejected" => Ok(Self::Rejected(rest.to_owned())),
            "failed" => Ok(Self::Failed(rest.to_owned())),
            "refused" => Ok(Self::Refused(rest.to_owned())),
            _ => Err(CaseLineError(format!(
                "behind `>` stands `[topic] payload`, `PORT [topic] payload`, or one of: {}",
                OUTCOMES.join(", ")
            ))),
        }
    }

    /// In the form that is read back, without the `>`; of a reason the first line.
    pub fn show(&self) -> String {
        let with = |word: &str, reason: &str| {
            let first = reason.lines().next().unwrap_or_default();
            format!("{word} {}", crate::words::line(first, crate::words::REASON))
                .trim_end()
                .to_owned()
        };
        match self {
            Self::Message { port, sent } if port == "out" => show_message(sent),
            Self::Message { port, sent } => format!("{port} {}", show_message(sent)),
            Self::Pass => "pass".to_owned(),
            Self::Nothing => "nothing".to_owned(),
            Self::Filtered => "filtered".to_owned(),
            Self::Absorbed => "absorbed".to_owned(),
            Self::Dropped => "dropped".to_owned(),
            Self::Rejected(reason) => with("rejected", reason),
            Self::Failed(reason) => with("failed", reason),
            Self::Refused(reason) => with("refused", reason),
        }
    }
}
