//! A port of this machine, listened on again and again until it is ours.

use tokio::net::TcpListener;

use super::Config;
use super::gate::Gate;
use crate::link::{Backoff, Causes, Dial, Error, Port};

/// Listens at one address, always the same.
#[derive(Debug)]
pub(super) struct Listener {
    config: Config,
    id: String,
}

impl Listener {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            id: format!("{}:{}", config.host, config.port),
            config: config.clone(),
        }
    }
}

/// Whether the port can be had.
///
/// # Errors
/// Why not, in words.
pub(in crate::source) async fn reach(config: &Config) -> Result<String, String> {
    match Port::listen(&config.host, config.port).await {
        Ok(_) => Ok("the port is free".to_owned()),
        Err(error) => Err(format!("the port cannot be had: {}", Causes(&error))),
    }
}

impl Dial for Listener {
    type Up = (Port<TcpListener>, Gate);
    type Error = Error;

    async fn dial(&self, _: u32) -> Result<Self::Up, Error> {
        let gate = Gate::read(&self.config).await?;
        let listener = Port::listen(&self.config.host, self.config.port).await?;
        Ok((listener, gate))
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn backoff(&self) -> Backoff {
        self.config.backoff
    }

    fn complaint(&self) -> &'static str {
        "nothing can be posted here"
    }
}
