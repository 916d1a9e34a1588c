//! A port of this machine, listened on again and again until it is ours.

use std::io;

use tokio::net::TcpListener;

use super::Config;
use super::gate::Gate;
use crate::link::{Backoff, Dial, Error};

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
    match TcpListener::bind((config.host.as_str(), config.port)).await {
        Ok(_) => Ok("the port is free".to_owned()),
        Err(cause) => Err(format!("the port cannot be had: {cause}")),
    }
}

impl Dial for Listener {
    type Up = (TcpListener, Gate);
    type Error = Error;

    async fn dial(&self, _: u32) -> Result<Self::Up, Error> {
        let gate = Gate::read(&self.config).await?;
        let host = self.config.host.trim_matches(['[', ']']);
        let listener = TcpListener::bind((host, self.config.port))
            .await
            .map_err(|source| Error::Listen {
                address: self.id.clone(),
                problem: problem(&source),
                source,
            })?;
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

fn problem(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program has the port: end it, or take another port",
        io::ErrorKind::PermissionDenied => {
            "the gateway's user may not: take a port above 1023, or grant CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address (yet)",
        _ => "check address and port",
    }
}
