//! What a stream's answer to a message means. No sockets.

use super::super::carrier::Refusal;
use crate::nats::StreamAnswer;

/// It is larger than the stream takes; its headers are.
const TOO_LARGE: [u32; 2] = [10_054, 10_097];
/// So many that the server turns some away.
const TOO_MANY: u16 = 429;

/// How a message was not taken, and in which words; `None` where the stream has it.
pub(super) fn verdict(answer: StreamAnswer, subject: &str) -> Option<(Refusal, String)> {
    let told = match answer {
        StreamAnswer::Stored => return None,
        StreamAnswer::Error { number, words, .. } if TOO_LARGE.contains(&number) => {
            (Refusal::Final, words)
        }
        StreamAnswer::Error {
            code: TOO_MANY,
            words,
            ..
        } => (Refusal::Quota, words),
        // A stream that is full, sealed, without a leader or out of space: what it says of one message it says of all.
        StreamAnswer::Error { words, .. } => (Refusal::Busy, words),
        StreamAnswer::Nobody => (
            Refusal::Busy,
            format!("503 no stream takes `{subject}`: make one there, or look at `nats.subject`"),
        ),
        StreamAnswer::Stranger => (
            Refusal::Busy,
            format!("whoever answers on `{subject}` is no stream: only a stream's word counts"),
        ),
    };
    Some(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_about_the_message_is_refused_for_good() {
        let error = |number, code| StreamAnswer::Error {
            number,
            code,
            words: "words".to_owned(),
        };
        let kind = |answer| verdict(answer, "a.b").map(|(kind, _)| kind);
        assert_eq!(kind(StreamAnswer::Stored), None);
        assert_eq!(kind(error(10_054, 400)), Some(Refusal::Final));
        assert_eq!(kind(error(10_167, 429)), Some(Refusal::Quota));
        for answer in [
            error(10_077, 503),
            error(10_109, 400),
            error(10_023, 503),
            error(0, 500),
            StreamAnswer::Nobody,
            StreamAnswer::Stranger,
        ] {
            assert_eq!(kind(answer.clone()), Some(Refusal::Busy), "{answer:?}");
        }
    }
}
