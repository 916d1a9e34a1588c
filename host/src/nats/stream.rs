//! What JetStream is asked and answers, and how a text becomes a part of a subject. No sockets, no clock.

use serde::Deserialize;
use serde_json::json;

use super::wire::ServerMessage;
use crate::words;

/// Characters of a server's words that are kept.
const WORDS: usize = 300;

/// What a stream says of what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamAnswer {
    /// It has the message; it may have had it before.
    Stored,
    /// It does not: JetStream's own number, the one that HTTP has for such, and words fit to be shown.
    Error {
        number: u32,
        code: u16,
        words: String,
    },
    /// Nobody takes what is sent there.
    Nobody,
    /// Somebody answered, and it was no stream.
    Stranger,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Said {
    stream: String,
    seq: u64,
    error: Option<SaidError>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SaidError {
    code: u16,
    err_code: u32,
    description: String,
}

/// What the answer to a message says.
pub fn stream_answer(message: &ServerMessage) -> StreamAnswer {
    if let Some((code, said)) = &message.status {
        return match code {
            503 => StreamAnswer::Nobody,
            code => StreamAnswer::Error {
                number: 0,
                code: *code,
                words: words::line(&format!("{code} {said}"), WORDS),
            },
        };
    }
    let Ok(said) = serde_json::from_slice::<Said>(&message.payload) else {
        return StreamAnswer::Stranger;
    };
    match said.error {
        Some(SaidError {
            code,
            err_code,
            description,
        }) => StreamAnswer::Error {
            number: err_code,
            code,
            words: format!("{code}/{err_code} {}", words::line(&description, WORDS)),
        },
        None if said.stream.is_empty() || said.seq == 0 => StreamAnswer::Stranger,
        None => StreamAnswer::Stored,
    }
}

/// The subject and body of the question which streams take messages of `filter`.
pub fn streams_question(filter: &str) -> (&'static str, String) {
    (
        "$JS.API.STREAM.NAMES",
        json!({ "subject": filter }).to_string(),
    )
}

/// Writes a value as one part of a subject: what would end it, part it or match others stands as `%` and two digits.
pub fn put_token(value: &[u8], subject: &mut String) {
    for byte in value {
        let is_plain = byte.is_ascii_graphic() && !b".*>%$\"'`\\".contains(byte);
        if is_plain {
            subject.push(char::from(*byte));
        } else {
            subject.push_str(&format!("%{byte:02X}"));
        }
    }
}

/// Whether a text can stand in a subject as it is, dots between its parts.
pub fn is_subject_token(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_graphic() && !b"*>\"'`\\".contains(&byte);
    text.bytes().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(payload: &str) -> StreamAnswer {
        stream_answer(&ServerMessage {
            payload: payload.to_owned().into(),
            ..ServerMessage::default()
        })
    }

    #[test]
    fn only_a_stream_s_word_counts() {
        assert_eq!(
            answer(r#"{"stream":"TELE","seq":7,"duplicate":true}"#),
            StreamAnswer::Stored
        );
        for other in [
            "",
            "ok",
            "{}",
            "[]",
            r#"{"stream":"","seq":7}"#,
            r#"{"stream":"TELE"}"#,
        ] {
            assert_eq!(answer(other), StreamAnswer::Stranger, "{other}");
        }
        let full = answer(
            r#"{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded\u001b[31m"},"stream":"TELE","seq":0}"#,
        );
        let StreamAnswer::Error {
            number: 10_077,
            code: 503,
            words,
        } = full
        else {
            panic!("{full:?}");
        };
        assert!(words.contains("maximum messages") && !words.contains('\u{1b}'));
        let nobody = ServerMessage {
            status: Some((503, String::new())),
            ..ServerMessage::default()
        };
        assert_eq!(stream_answer(&nobody), StreamAnswer::Nobody);
    }

    #[test]
    fn nothing_that_a_device_says_parts_a_subject_or_matches_others() {
        let token = |value: &str| {
            let mut subject = String::new();
            put_token(value.as_bytes(), &mut subject);
            subject
        };
        assert_eq!(token("pump-7_a"), "pump-7_a");
        assert_eq!(token("a.b"), "a%2Eb");
        for value in [
            "a.b",
            "*",
            ">",
            "a b",
            "a\r\nPUB x 0",
            "ü",
            "$JS",
            "\t",
            "%2E",
            "a\0",
        ] {
            let token = token(value);
            assert!(is_subject_token(&token) && !token.contains('.'), "{token}");
            assert!(token != value || value.is_empty());
        }
    }
}
