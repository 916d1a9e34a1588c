//! How a way to a consumer begins, and whether there is one.

use super::Config;
use super::consumer::{self, ConsumerTerms};
use crate::link::{Backoff, Causes, Dial, SecretFiles, Tls};
use crate::nats::{Error, NatsConnection};

/// Dials one server, always in the same way.
#[derive(Debug)]
pub(super) struct ConsumerDialler {
    config: Config,
}

impl ConsumerDialler {
    pub(super) fn new(config: Config) -> Self {
        Self { config }
    }
}

impl Dial for ConsumerDialler {
    type Up = (NatsConnection, ConsumerTerms);
    type Error = Error;

    async fn dial(&self, _: u32) -> Result<Self::Up, Error> {
        let mut connection = Box::pin(NatsConnection::open(&self.config.server)).await?;
        let terms = Box::pin(consumer::find(&mut connection, &self.config)).await?;
        Ok((connection, terms))
    }

    fn id(&self) -> &str {
        &self.config.server.name
    }

    fn backoff(&self) -> Backoff {
        self.config.server.backoff
    }

    fn files(&self) -> SecretFiles {
        let server = &self.config.server;
        SecretFiles::of(
            server.login.secret(),
            server.tls.iter().flat_map(Tls::paths),
        )
    }

    fn complaint(&self) -> &'static str {
        "no way to the consumer"
    }
}

/// Whether the consumer is there, in words; nothing is taken.
///
/// # Errors
/// Why not, in words.
pub(in crate::source) async fn reach(config: &Config) -> Result<String, String> {
    let dialled = Box::pin(ConsumerDialler::new(config.clone()).dial(0)).await;
    let (connection, terms) = dialled.map_err(|error| Causes(&error).to_string())?;
    connection.close().await;
    let ConsumerTerms {
        ack_wait,
        left,
        unacknowledged,
        ..
    } = terms;
    Ok(format!(
        "the consumer is there, with {left} messages to come and {unacknowledged} without an acknowledgement (again after {ack_wait:?})"
    ))
}
