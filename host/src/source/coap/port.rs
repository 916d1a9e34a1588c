//! A port of this machine for datagrams, had again and again until it is ours.

use tokio::net::UdpSocket;

use super::Config;
use crate::link::{Backoff, Dial, Error};
use crate::source::raw::{bind_datagrams, port_problem};

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
    match bind_datagrams(&own.host, own.port).await {
        Ok(_) => Ok("the port is free".to_owned()),
        Err(cause) => Err(format!(
            "the port cannot be had: {cause}; a gateway that runs holds it rightly"
        )),
    }
}

impl Dial for CoapPort {
    type Up = UdpSocket;
    type Error = Error;

    async fn dial(&self, _: u32) -> Result<UdpSocket, Error> {
        let bound = bind_datagrams(&self.host, self.port).await;
        bound.map_err(|source| Error::Listen {
            address: self.id.clone(),
            problem: port_problem(&source),
            source,
        })
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
