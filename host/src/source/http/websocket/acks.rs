//! What a WebSocket is owed: an answer for each of its messages, in their order. No sockets.

use std::collections::VecDeque;
use std::ops::Range;

use tokio::sync::oneshot;

use super::super::answer::RequestOutcome;
use super::rules::UNANSWERED;

/// Characters of the words for one that is refused.
const WHY: usize = 200;

/// What is to be said next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SocketAnswer {
    /// These messages are settled, by their numbers.
    Safe(Range<u64>),
    /// This one is not taken, and why.
    Refused(u64, String),
    /// The next one cannot get an answer any more.
    Never,
}

impl SocketAnswer {
    /// The frames that say so.
    pub(super) fn frames(&self) -> Vec<String> {
        match self {
            Self::Safe(numbers) => {
                let frame = |number| format!("{{\"ack\":{number}}}");
                numbers.clone().map(frame).collect()
            }
            Self::Refused(number, why) => {
                let why = crate::words::line(why, WHY);
                vec![serde_json::json!({ "refused": number, "why": why }).to_string()]
            }
            Self::Never => Vec::new(),
        }
    }
}

enum OwedAnswer {
    /// To so many messages, once they are settled.
    Taken(u64, oneshot::Receiver<RequestOutcome>),
    Refused(String),
}

#[derive(Default)]
pub(super) struct SocketAcks {
    owed: VecDeque<OwedAnswer>,
    /// How many messages wait in them.
    open: u64,
    /// The number of the message that was answered last; they count from 1.
    answered: u64,
}

impl SocketAcks {
    /// The next `count` messages were handed on; what becomes of them is heard there.
    pub(super) fn taken(&mut self, count: u64, answer: oneshot::Receiver<RequestOutcome>) {
        self.open += count;
        self.owed.push_back(OwedAnswer::Taken(count, answer));
    }

    /// The next message is not taken.
    pub(super) fn refused(&mut self, why: String) {
        self.open += 1;
        self.owed.push_back(OwedAnswer::Refused(why));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// Whether more may come.
    pub(super) fn has_room(&self) -> bool {
        self.open < UNANSWERED
    }

    /// Waits for the next answer; where nothing is owed, for ever. Cancel safe.
    pub(super) async fn next(&mut self) -> SocketAnswer {
        let count = match self.owed.front_mut() {
            None => std::future::pending().await,
            Some(OwedAnswer::Refused(_)) => 1,
            Some(OwedAnswer::Taken(count, answer)) => match answer.await {
                Ok(RequestOutcome::Settled) => *count,
                _ => return SocketAnswer::Never,
            },
        };
        let first = self.answered + 1;
        self.answered += count;
        self.open -= count;
        match self.owed.pop_front() {
            Some(OwedAnswer::Refused(why)) => SocketAnswer::Refused(first, why),
            _ => SocketAnswer::Safe(first..first + count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_message_is_answered_once_and_in_order() {
        let mut acks = SocketAcks::default();
        let (first, answer) = oneshot::channel();
        acks.taken(2, answer);
        acks.refused("line 2 of the body is no JSON".to_owned());
        let (second, answer) = oneshot::channel();
        acks.taken(1, answer);
        second.send(RequestOutcome::Settled).unwrap();
        let early = tokio::time::timeout(std::time::Duration::ZERO, acks.next()).await;
        assert!(early.is_err(), "{early:?}");
        first.send(RequestOutcome::Settled).unwrap();
        let mut said = Vec::new();
        while !acks.is_empty() {
            said.extend(acks.next().await.frames());
        }
        assert_eq!(
            said,
            [
                "{\"ack\":1}",
                "{\"ack\":2}",
                "{\"refused\":3,\"why\":\"line 2 of the body is no JSON\"}",
                "{\"ack\":4}"
            ]
        );
    }

    #[tokio::test]
    async fn one_that_is_late_or_lost_ends_it_and_no_more_come_than_may() {
        let mut acks = SocketAcks::default();
        for _ in 0..UNANSWERED {
            assert!(acks.has_room());
            acks.taken(1, oneshot::channel().1);
        }
        assert!(!acks.has_room());
        assert_eq!(acks.next().await, SocketAnswer::Never);
    }
}
