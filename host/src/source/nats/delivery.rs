//! What a consumer says beside a message: which one it is, for the how manieth time, and whether something else is meant. No sockets,
//! no clock.

use crate::nats::{Error, ServerMessage};
use crate::words;

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
        let text = std::str::from_utf8(reply).ok()?;
        let parts: Vec<&str> = text.strip_prefix("$JS.ACK.")?.split('.').collect();
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
    /// A pull is over, with so many messages left to come.
    Over(usize),
    /// Another member of our group is given all from now on.
    Unpinned,
    /// The consumer is to be looked for anew.
    Ended(Error),
}

/// What a status says.
pub(super) fn status(message: &ServerMessage) -> Option<PullStatus> {
    let (code, said) = message.status.as_ref()?;
    let left = || {
        let header = message.header("Nats-Pending-Messages");
        let header = header.and_then(|count| std::str::from_utf8(count).ok()?.parse().ok());
        header.unwrap_or(usize::MAX)
    };
    let words = words::line(&format!("{code} {said}"), 100);
    let is_of_pull = *code == 409 && said.to_ascii_lowercase().contains("exceed");
    Some(match code {
        100 => PullStatus::Alive,
        404 | 408 => PullStatus::Over(left()),
        423 => PullStatus::Unpinned,
        409 if is_of_pull => PullStatus::Over(left()),
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
                headers: "Nats-Pending-Messages: 7\r\n".into(),
                ..ServerMessage::default()
            })
        };
        assert!(status(&ServerMessage::default()).is_none());
        assert!(matches!(
            said(100, "Idle Heartbeat"),
            Some(PullStatus::Alive)
        ));
        assert!(matches!(
            said(408, "Request Timeout"),
            Some(PullStatus::Over(7))
        ));
        assert!(matches!(
            said(409, "Exceeded MaxWaiting"),
            Some(PullStatus::Over(7))
        ));
        assert!(matches!(
            said(423, "Nats-Wrong-Pin-Id"),
            Some(PullStatus::Unpinned)
        ));
        for (code, words) in [
            (409, "Consumer Deleted"),
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
