//! What a consumer says beside a message: which one it is, for the how manieth time, and whether something else is meant. No sockets,
//! no clock.

use crate::nats::{Error, ServerMessage};
use crate::words;

/// What the place for an acknowledgement begins with.
const ACKNOWLEDGED_AT: &[u8] = b"$JS.ACK.";

/// A message's place in its stream, and for the how manieth time it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeliveredPlace {
    pub(super) sequence: u64,
    pub(super) times: u64,
}

impl DeliveredPlace {
    /// Reads it from where the acknowledgement goes: `$JS.ACK.<stream>.<consumer>.<times>.<sequence>.<…>.<time>.<left>`, with two more
    /// parts behind `ACK` and perhaps some at the end in the newer form.
    pub(super) fn of(reply: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(reply.strip_prefix(ACKNOWLEDGED_AT)?).ok()?;
        let parts: Vec<&str> = text.split('.').collect();
        let at = match parts.len() {
            7 => 2,
            9.. => 4,
            _ => return None,
        };
        Some(Self {
            times: parts[at].parse().ok()?,
            sequence: parts[at + 1].parse().ok()?,
        })
    }
}

/// What the server says in place of a message.
#[derive(Debug)]
pub(super) enum PullStatus {
    /// It is there, and has nothing.
    Alive,
    /// A pull is over.
    Over,
    /// A pull is over: the next message is larger than what was asked for.
    TooLarge,
    /// Another member of our group is given all from now on.
    Unpinned,
    /// The consumer is to be looked for anew.
    Ended(Error),
}

/// What a status says. A message may have one that its publisher gave it, which means nothing.
pub(super) fn status(message: &ServerMessage) -> Option<PullStatus> {
    if message.reply.starts_with(ACKNOWLEDGED_AT) {
        return None;
    }
    let (code, said) = message.status.as_ref()?;
    let words = words::line(&format!("{code} {said}"), 100);
    let is = |words: &str| said.eq_ignore_ascii_case(words);
    Some(match code {
        100 => PullStatus::Alive,
        404 | 408 => PullStatus::Over,
        423 => PullStatus::Unpinned,
        409 if is("batch completed") => PullStatus::Over,
        409 if is("message size exceeds maxbytes") => PullStatus::TooLarge,
        503 => PullStatus::Ended(Error::Busy(format!(
            "{words}: no such stream or consumer, or no leader"
        ))),
        _ => PullStatus::Ended(Error::Busy(words)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_in_both_forms() {
        let place = |reply: &str| DeliveredPlace::of(reply.as_bytes());
        let expected = Some(DeliveredPlace {
            sequence: 42,
            times: 3,
        });
        assert_eq!(
            place("$JS.ACK.TELE.gw.3.42.7.1700000000000000000.5"),
            expected
        );
        assert_eq!(
            place("$JS.ACK.hub.ABCDEF.TELE.gw.3.42.7.1700000000000000000.5.x"),
            expected
        );
        for bad in [
            "",
            "$JS.ACK",
            "$JS.ACK.a.b",
            "in.1",
            "$JS.ACK.TELE.gw.x.42.7.1.5",
        ] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_pull_that_is_over_is_told_from_a_consumer_that_is() {
        let said = |code: u16, words: &str| {
            status(&ServerMessage {
                status: Some((code, words.to_owned())),
                ..ServerMessage::default()
            })
        };
        assert!(status(&ServerMessage::default()).is_none());
        let stored = ServerMessage {
            reply: "$JS.ACK.TELE.gw.1.42.7.1700000000000000000.5".into(),
            status: Some((409, "Consumer Deleted".to_owned())),
            ..ServerMessage::default()
        };
        assert!(status(&stored).is_none());
        assert!(matches!(
            said(100, "Idle Heartbeat"),
            Some(PullStatus::Alive)
        ));
        assert!(matches!(
            said(408, "Request Timeout"),
            Some(PullStatus::Over)
        ));
        assert!(matches!(
            said(409, "Batch Completed"),
            Some(PullStatus::Over)
        ));
        assert!(matches!(
            said(409, "Message Size Exceeds MaxBytes"),
            Some(PullStatus::TooLarge)
        ));
        assert!(matches!(
            said(423, "Nats-Wrong-Pin-Id"),
            Some(PullStatus::Unpinned)
        ));
        for (code, words) in [
            (409, "Consumer Deleted"),
            // Asked again at once it would say so again at once.
            (409, "Exceeded MaxWaiting"),
            (409, "Leadership Change"),
            (503, ""),
            (400, "Bad Request"),
        ] {
            assert!(
                matches!(said(code, words), Some(PullStatus::Ended(_))),
                "{words}"
            );
        }
    }
}
