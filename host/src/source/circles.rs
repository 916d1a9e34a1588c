//! Messages that go in a circle: what a flow sends is taken in again, by itself or by others. Each says how often it went out to a
//! broker that messages are taken from (`tidegate-rounds`), and the circle ends where that is too often.

use std::sync::Arc;

use crate::clock::Uptime;
use crate::message::{Message, Reason};

/// How often a message may come back that went out to a broker it is taken from: as many flows may stand in a row there.
const MOST_ROUNDS: u8 = 8;

/// How often it is said, microseconds.
const SAY_AGAIN_US: u64 = 60_000_000;

/// What a source has seen of them.
#[derive(Debug, Default)]
pub(super) struct Circles {
    said: Option<Uptime>,
}

impl Circles {
    /// Why a message goes no further that has come back `rounds` times, if that is too often; said now and then.
    pub(super) fn fault(
        &mut self,
        message: &Message,
        rounds: u8,
        flow: impl FnOnce() -> Option<Arc<str>>,
    ) -> Option<(Reason, String)> {
        if rounds < MOST_ROUNDS {
            return None;
        }
        if self
            .said
            .is_none_or(|at| message.uptime >= at.plus_us(SAY_AGAIN_US))
        {
            self.said = Some(message.uptime);
            let flow = flow();
            let topic = message.topic_str().escape_debug().to_string();
            tracing::error!(
                flow = flow.as_deref(),
                topic,
                rounds,
                "messages go in a circle: what a flow sends is taken in again; they are parked"
            );
        }
        let detail = format!(
            "it went out and came back {rounds} times: what a flow sends is taken in again; send to topics that no flow's `topics` match"
        );
        Some((Reason::Circled, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_too_often_goes_no_further() {
        let (mut circles, message) = (Circles::default(), Message::default());
        assert_eq!(circles.fault(&message, MOST_ROUNDS - 1, || None), None);
        let (reason, detail) = circles.fault(&message, MOST_ROUNDS, || None).unwrap();
        assert!(
            reason == Reason::Circled && detail.contains("came back 8 times"),
            "{detail}"
        );
    }
}
