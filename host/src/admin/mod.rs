//! The loopback port: `/metrics`, `/livez`, `/readyz` (`/healthz` is the same).
//!
//! Bound before anything else starts; served once the gateway runs. A port that somebody else has is said, and tried again:
//! data goes on without. An unreachable upstream is not unready: to store and forward is the job. It shows as
//! `degraded`, with cause, since when, and the next try.
//!
//! Beside it the control socket ([`Socket`], and [`Client`] for its other end): what only the operator may see and do.

mod attend;
mod client;
mod rendering;
mod socket;

pub use client::{Client, ClientError};
pub use socket::{Peer, Socket, user_name};

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{RawQuery, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::Registry;
use tokio::sync::watch;

use attend::{Bounds, attend, until};
use rendering::Rendering;

/// Scrapers and probes: each asks something small and goes.
const BOUNDS: Bounds = Bounds {
    most: 16,
    head: Duration::from_secs(5),
    whole: Duration::from_secs(30),
    body_bytes: 64 << 10,
};
/// How often a port that is taken is tried.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// How one part of the gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Good,
    /// Does its job in part: ready, and said.
    Fair(String),
    /// Cannot do its job: not ready.
    Bad(String),
}

/// Looks at all parts now, each with its name (`flow climate`, `spool`): the lines of `/readyz?verbose`. Memory work only.
pub type Look = Box<dyn Fn() -> Vec<(String, Health)> + Send + Sync>;

/// Why the port is not served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// In use, or not ours to use.
    #[error(
        "cannot listen on `{address}` for metrics and health; choose another with `[admin] listen` or `--set admin.listen='\"127.0.0.1:0\"'`"
    )]
    Bind {
        /// As the config says.
        address: SocketAddr,
        source: std::io::Error,
    },
    /// The control socket cannot be made in the data folder.
    #[error("cannot make the control socket `{}`", path.display())]
    Socket {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
    /// The port or the socket failed later.
    #[error("the admin port or the control socket failed")]
    Serve(#[source] std::io::Error),
}

/// A request at the control socket that is not granted; whoever asked gets the words as they are.
#[derive(Debug)]
pub struct Refused(pub String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (
            StatusCode::CONFLICT,
            json(&client::Refusal { error: self.0 }),
        )
            .into_response()
    }
}

/// An answer at the control socket.
pub fn json(answer: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(answer) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The loopback port, bound or to be bound.
#[derive(Debug)]
pub struct Admin {
    listener: Option<TcpListener>,
    address: SocketAddr,
}

struct Shared {
    rendering: Rendering,
    look: Look,
}

impl Admin {
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

    /// Serves until `stop` is true.
    pub async fn serve(
        self,
        registry: Registry,
        look: Look,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Error> {
        let shared = Arc::new(Shared {
            rendering: Rendering::of(registry),
            look,
        });
        let routes = Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/healthz", get(ready))
            .layer(middleware::from_fn(for_this_machine))
            .with_state(shared);
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

async fn for_this_machine(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(header::HOST);
    if hosts.iter().all(|host| host.to_str().is_ok_and(is_local)) {
        return next.run(request).await;
    }
    let words = "this port is for this machine: ask it as localhost, 127.0.0.1 or [::1]\n";
    (StatusCode::MISDIRECTED_REQUEST, words).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    match shared.rendering.text().await {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error).into_response(),
    }
}

async fn ready(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let verbose = query.is_some_and(|query| query.split('&').any(|part| part == "verbose"));
    let (status, text) = verdict(&(shared.look)(), verbose);
    (status, text).into_response()
}

fn verdict(found: &[(String, Health)], verbose: bool) -> (StatusCode, String) {
    let bad = found
        .iter()
        .any(|(_, health)| matches!(health, Health::Bad(_)));
    let mut text = String::new();
    for (name, health) in found {
        match health {
            Health::Good if verbose => text.push_str(&format!("[+] {name} ok\n")),
            Health::Fair(why) => text.push_str(&format!("[~] {name} {why}\n")),
            Health::Bad(why) => text.push_str(&format!("[-] {name} failed: {why}\n")),
            Health::Good => {}
        }
    }
    let is_degraded = found
        .iter()
        .any(|(_, health)| matches!(health, Health::Fair(_)));
    text.push_str(match (bad, is_degraded) {
        (true, _) => "not ready\n",
        (false, true) => "ready, degraded\n",
        (false, false) => "ready\n",
    });
    (
        if bad {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::OK
        },
        text,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_work_are_told_when_asked() {
        let checks = [("spool".to_owned(), Health::Good)];
        assert_eq!(verdict(&checks, false), (StatusCode::OK, "ready\n".into()));
        assert_eq!(
            verdict(&checks, true),
            (StatusCode::OK, "[+] spool ok\nready\n".into())
        );
    }

    #[test]
    fn what_works_in_part_is_ready_and_degraded() {
        let checks = [(
            "uplink cloud".to_owned(),
            Health::Fair("degraded for 5s: no route".into()),
        )];
        for verbose in [false, true] {
            let expected = "[~] uplink cloud degraded for 5s: no route\nready, degraded\n";
            assert_eq!(verdict(&checks, verbose), (StatusCode::OK, expected.into()));
        }
    }

    #[test]
    fn a_failed_part_is_named_without_being_asked() {
        let checks = [("spool".to_owned(), Health::Bad("disk full".into()))];
        assert_eq!(
            verdict(&checks, false),
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "[-] spool failed: disk full\nnot ready\n".into()
            )
        );
    }

    #[tokio::test]
    async fn a_taken_port_is_served_as_soon_as_it_is_free() {
        let first = Admin::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.address().unwrap();
        let second = Admin::bind(address).unwrap();
        assert_eq!(second.address(), None);
        drop(first);
        assert_eq!(
            second.listening().await.unwrap().local_addr().unwrap(),
            address
        );
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
