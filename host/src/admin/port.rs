//! The loopback port, for whoever on this machine may read.
//!
//! Bound before anything else starts; served once the gateway runs. A port that somebody else has is said, and tried again:
//! data goes on without.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Error;
use super::attend::{ConnectionBounds, Listening, attend, until};
use super::caller::{Caller, CallerOrigin, Scope};
use super::routes::Routes;

/// There is no password.
const SCOPE: Scope = Scope::Read;
/// Scrapers and probes: each asks something small and goes.
const BOUNDS: ConnectionBounds = ConnectionBounds {
    most: 16,
    head: Duration::from_secs(5),
    whole: Duration::from_secs(30),
    body_bytes: 64 << 10,
};
/// How often a port that is taken is tried.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// The loopback port, bound or to be bound.
#[derive(Debug)]
pub struct LoopbackPort {
    listener: Option<TcpListener>,
    address: SocketAddr,
}

impl LoopbackPort {
    /// Binds `address`; port 0 takes a free one. One that is taken is no reason not to run: it is tried again.
    ///
    /// # Errors
    /// It is not this machine's, or not ours to use.
    pub fn bind(address: SocketAddr) -> Result<Self, Error> {
        match listen(address) {
            Ok(listener) => Ok(Self {
                address: listener.local_addr().unwrap_or(address),
                listener: Some(listener),
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
                })
            }
            Err(source) => Err(Error::Bind { address, source }),
        }
    }

    /// Where it listens; `None` while somebody else has the port.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().map(|_| self.address)
    }

    /// Serves what is for reading until `stop` is true.
    pub async fn serve(self, routes: Routes, mut stop: watch::Receiver<bool>) -> Result<(), Error> {
        let routes = routes
            .within(SCOPE)
            .layer(middleware::from_fn(for_this_machine));
        let listener = tokio::select! {
            listener = self.listening() => listener.and_then(tokio::net::TcpListener::from_std),
            () = until(&mut stop) => return Ok(()),
        };
        let mut listener = listener.map_err(Error::Serve)?;
        attend(&mut listener, routes, BOUNDS, stop)
            .await
            .leave()
            .await;
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

impl Listening for tokio::net::TcpListener {
    type Stream = TcpStream;

    async fn next(&mut self) -> io::Result<(TcpStream, Caller)> {
        let (stream, _) = self.accept().await?;
        let caller = Caller {
            origin: CallerOrigin::Port,
            scope: SCOPE,
        };
        Ok((stream, caller))
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Whether a `Host` header names this machine's loopback. A page in a browser that has a name of its own lead here does not.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Whether an `Origin` header names a page of this machine's own; one that has none to name says `null`.
fn is_own(origin: &str) -> bool {
    origin
        .split_once("://")
        .is_some_and(|(_, host)| is_local(host))
}

/// Whether every header of this name is as it has to be.
fn all(request: &Request, name: header::HeaderName, fits: fn(&str) -> bool) -> bool {
    let mut values = request.headers().get_all(name).iter();
    values.all(|value| value.to_str().is_ok_and(fits))
}

async fn for_this_machine(request: Request, next: Next) -> Response {
    if !all(&request, header::ORIGIN, is_own) {
        let words = "no page from elsewhere may ask here\n";
        return (StatusCode::FORBIDDEN, words).into_response();
    }
    if all(&request, header::HOST, is_local) {
        return next.run(request).await;
    }
    let words = "this port is for this machine: ask it as localhost, 127.0.0.1 or [::1]\n";
    (StatusCode::MISDIRECTED_REQUEST, words).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_served_as_soon_as_it_is_free() {
        let first = LoopbackPort::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.address().unwrap();
        let second = LoopbackPort::bind(address).unwrap();
        assert_eq!(second.address(), None);
        drop(first);
        assert_eq!(
            second.listening().await.unwrap().local_addr().unwrap(),
            address
        );
    }

    #[test]
    fn only_pages_of_this_machine_may_ask() {
        for own in [
            "http://localhost:9646",
            "http://127.0.0.1",
            "http://[::1]:1",
        ] {
            assert!(is_own(own), "{own}");
        }
        for foreign in [
            "null",
            "",
            "http://evil.example",
            "https://localhost.evil.example:9646",
            "localhost",
        ] {
            assert!(!is_own(foreign), "{foreign}");
        }
    }

    #[test]
    fn only_names_of_the_loopback_are_answered() {
        for host in [
            "localhost",
            "LocalHost:9646",
            "127.0.0.1:9646",
            "127.1.2.3",
            "[::1]:9646",
            "[::1]",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9646",
            "localhost.evil.example",
            "192.168.0.7",
            "[2001:db8::1]:80",
            "::1:x",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
