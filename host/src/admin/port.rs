//! The admin port: for whoever on this machine may read, and for whoever shows a token.
//!
//! Bound before anything else starts; served once the gateway runs. A port that somebody else has is said, and tried again:
//! data goes on without.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::attend::{ConnectionBounds, Entering, Listening, attend, until};
use super::caller::{Caller, CallerOrigin, Scope};
use super::gate::{self, AccessGate};
use super::routes::Routes;
use super::{Config, Error};

/// Scrapers and probes: each asks something small and goes. Where nobody is let in to do more, nothing larger comes in.
const BOUNDS: ConnectionBounds = ConnectionBounds {
    most: 16,
    head: Duration::from_secs(5),
    whole: Duration::from_secs(30),
    vouched: Duration::from_secs(30),
    body_bytes: 64 << 10,
    body_still: Duration::from_secs(5),
};
/// The same with whoever shows a token, who may do what is done at the control socket.
const WITH_TOKENS: ConnectionBounds = ConnectionBounds {
    vouched: Duration::from_secs(150),
    body_bytes: 64 << 20,
    ..BOUNDS
};
/// How often a port that is taken is tried.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The admin port, bound or to be bound.
#[derive(Debug)]
pub struct AdminPort {
    listener: Option<TcpListener>,
    address: SocketAddr,
    config: Config,
}

impl AdminPort {
    /// Binds the address; port 0 takes a free one. One that is taken is no reason not to run: it is tried again.
    ///
    /// # Errors
    /// It is not this machine's, or not ours to use.
    pub fn bind(config: &Config) -> Result<Self, Error> {
        let address = config.listen;
        match listen(address) {
            Ok(listener) => Ok(Self {
                address: listener.local_addr().unwrap_or(address),
                listener: Some(listener),
                config: config.clone(),
            }),
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                let error = Error::Bind {
                    address,
                    source: error,
                };
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "no metrics and no health until the port is free"
                );
                Ok(Self {
                    listener: None,
                    address,
                    config: config.clone(),
                })
            }
            Err(source) => Err(Error::Bind { address, source }),
        }
    }

    /// Where it is asked, as a URL; `None` while somebody else has the port.
    pub fn url(&self) -> Option<String> {
        let scheme = if self.config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let url = || format!("{scheme}://{}", self.address);
        self.listener.as_ref().map(|_| url())
    }

    /// Serves what each caller may call until `stop` is true.
    pub async fn serve(self, routes: Routes, mut stop: watch::Receiver<bool>) -> Result<(), Error> {
        let gate = Arc::new(AccessGate::new(&self.config));
        gate.read().await;
        let listener = tokio::select! {
            listener = self.listening() => listener.and_then(tokio::net::TcpListener::from_std),
            () = until(&mut stop) => return Ok(()),
        };
        let most = gate.most();
        let bounds = if most == Scope::Open {
            BOUNDS
        } else {
            WITH_TOKENS
        };
        let mut entrance = PortEntrance {
            listener: listener.map_err(Error::Serve)?,
            gate: Arc::clone(&gate),
        };
        let guests = tokio::select! {
            guests = attend(&mut entrance, routes.within(most), bounds, stop) => guests,
            () = gate.read_again() => return Ok(()),
        };
        guests.leave().await;
        Ok(())
    }

    /// The listener, as soon as the port is free.
    async fn listening(self) -> std::io::Result<TcpListener> {
        if let Some(listener) = self.listener {
            return Ok(listener);
        }
        loop {
            tokio::time::sleep(TRY_AGAIN).await;
            match listen(self.address) {
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                found => {
                    tracing::info!(address = %self.address, "metrics and health are served now");
                    return found;
                }
            }
        }
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Lets in anybody, and has each request looked at.
struct PortEntrance {
    listener: tokio::net::TcpListener,
    gate: Arc<AccessGate>,
}

impl Listening for PortEntrance {
    type Stream = PortStream;

    async fn next(&mut self) -> io::Result<(Entering<PortStream>, Caller)> {
        let (stream, peer) = self.listener.accept().await?;
        let origin = CallerOrigin::Port { peer, token: None };
        let gate = Arc::clone(&self.gate);
        let entering = Box::pin(async move {
            if !gate.wants_tls() {
                return Ok(PortStream::Left(stream));
            }
            let acceptor = gate.acceptor().ok_or(ErrorKind::NotConnected)?;
            let shaken = acceptor.accept(stream).await?;
            Ok(PortStream::Right(Box::new(shaken)))
        });
        let scope = Scope::Open;
        Ok((entering, Caller { origin, scope }))
    }

    fn guarded(&self, routes: Router) -> Router {
        let gate = Arc::clone(&self.gate);
        routes.layer(middleware::from_fn_with_state(gate, gate::pass))
    }
}

/// A connection as requests come over it: in the clear, or over TLS.
type PortStream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Config {
        Config {
            listen: address.parse().unwrap(),
            tls: None,
            hosts: Vec::new(),
            tokens: Vec::new(),
            reads_openly: true,
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_served_as_soon_as_it_is_free() {
        let first = AdminPort::bind(&at("127.0.0.1:0")).unwrap();
        let address = first.address;
        let second = AdminPort::bind(&at(&address.to_string())).unwrap();
        assert_eq!(second.url(), None);
        drop(first);
        assert_eq!(
            second.listening().await.unwrap().local_addr().unwrap(),
            address
        );
    }
}
