//! A port of this machine for datagrams, had again and again until it is ours.

use tokio::net::UdpSocket;

use super::Config;
use crate::link::{Backoff, Causes, Dial, Error, Port};

/// One address, always the same.
#[derive(Debug)]
pub(super) struct CoapPort {
    host: String,
    port: u16,
    backoff: Backoff,
    id: String,
}

impl CoapPort {
    pub(super) fn new(own: &Config) -> Self {
        Self {
            host: own.host.clone(),
            port: own.port,
            backoff: own.backoff,
            id: format!("{}:{}", own.host, own.port),
        }
    }
}

/// Whether the port can be had.
///
/// # Errors
/// Why not, in words.
pub(in crate::source) async fn reach(own: &Config) -> Result<String, String> {
    match Port::datagrams(&own.host, own.port).await {
        Ok(_) => Ok("the port is free".to_owned()),
        Err(error) => Err(format!(
            "the port cannot be had: {}; a gateway that runs holds it rightly",
            Causes(&error)
        )),
    }
}

impl Dial for CoapPort {
    type Up = Port<UdpSocket>;
    type Error = Error;

    async fn dial(&self, _: u32) -> Result<Self::Up, Error> {
        Port::datagrams(&self.host, self.port).await
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn backoff(&self) -> Backoff {
        self.backoff
    }

    fn complaint(&self) -> &'static str {
        "nothing can be posted here"
    }
}
