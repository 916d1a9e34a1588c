//! One question and its answer over a connection that nothing else is under way on.

use serde_json::Value;
use tokio::time::timeout;

use super::{Config, Error, NatsConnection, NatsEvent};
use crate::link;

/// What came of a question.
#[derive(Clone, Debug, PartialEq)]
pub enum RequestReply {
    /// The answer, which is JSON.
    Said(Value),
    /// We may not ask that.
    Forbidden,
}

/// Where answers come to: nobody else listens there, and a number or a word follows.
pub fn inbox(begin: &str) -> String {
    format!(
        "{begin}.{:016x}{:016x}.",
        fastrand::u64(..),
        fastrand::u64(..)
    )
}

/// Asks, and waits for the answer as long as any may take.
///
/// # Errors
/// The connection ended, or nobody answered in time.
pub async fn request(
    connection: &mut NatsConnection,
    config: &Config,
    subject: &str,
    body: &str,
) -> Result<RequestReply, Error> {
    let place = format!("{}1", inbox(&config.inbox));
    let sid = connection.subscribe(&place);
    connection.publish(subject, &place, b"", body.as_bytes());
    let answer = config.deadlines.answer;
    let asked = async {
        let mut events = Vec::new();
        loop {
            connection.turn(&mut events).await?;
            for event in events.drain(..) {
                match event {
                    NatsEvent::MayNotPublish(denied) if denied == subject => {
                        return Ok(RequestReply::Forbidden);
                    }
                    NatsEvent::Message(message) if message.sid == sid => {
                        if let Some((code, words)) = &message.status {
                            let words = crate::words::line(&format!("{code} {words}"), 100);
                            return Err(Error::Busy(words));
                        }
                        let said = serde_json::from_slice(&message.payload);
                        return Ok(RequestReply::Said(said.unwrap_or_default()));
                    }
                    NatsEvent::MayNotPublish(_) | NatsEvent::Message(_) => {}
                }
            }
        }
    };
    timeout(answer, asked)
        .await
        .map_err(|_| link::Error::late("JetStream's answer", answer))?
}
