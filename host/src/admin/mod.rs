//! The loopback port: `/metrics`, `/livez`, `/readyz` (`/healthz` is the same).
//!
//! Bound before anything else starts, so that a port in use is an error at start and not an hour later; served
//! once the gateway runs. An unreachable upstream is not unready: to store and forward is the job. It shows as
//! `degraded`, with cause, since when, and the next try.
//!
//! Beside it the control socket ([`Socket`], and [`Client`] for its other end): what only the operator may see and do.

mod client;
mod socket;

pub use client::{Client, ClientError};
pub use socket::{Peer, Socket, user_name};

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TextEncoder};
use tokio::sync::watch;

/// How one part of the gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// Works.
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
        /// The system's words.
        source: std::io::Error,
    },
    /// The control socket cannot be made in the data folder.
    #[error("cannot make the control socket `{}`", path.display())]
    Socket {
        /// Where it belongs.
        path: std::path::PathBuf,
        /// The system's words.
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
        (StatusCode::CONFLICT, json(&client::Refusal { error: self.0 })).into_response()
    }
}

/// An answer at the control socket.
pub fn json(answer: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(answer) {
        Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A bound port that is not served yet.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

struct Shared {
    registry: Registry,
    look: Look,
}

impl Admin {
    /// Binds `address`; port 0 takes a free one.
    pub fn bind(address: SocketAddr) -> Result<Self, Error> {
        let bind = || {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bind().map_err(|source| Error::Bind { address, source })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is true.
    pub async fn serve(self, registry: Registry, look: Look, mut stop: watch::Receiver<bool>) -> Result<(), Error> {
        let shared = Arc::new(Shared { registry, look });
        let routes = Router::new()
            .route("/metrics", get(metrics))
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/healthz", get(ready))
            .with_state(shared);
        let listener = tokio::net::TcpListener::from_std(self.listener).map_err(Error::Serve)?;
        let stopped = async move {
            // An error means that the sender is gone, which is a stop as well.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        axum::serve(listener, routes).with_graceful_shutdown(stopped).await.map_err(Error::Serve)
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    match TextEncoder::new().encode_to_string(&shared.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn ready(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Response {
    let verbose = query.is_some_and(|query| query.split('&').any(|part| part == "verbose"));
    let (status, text) = verdict(&(shared.look)(), verbose);
    (status, text).into_response()
}

fn verdict(found: &[(String, Health)], verbose: bool) -> (StatusCode, String) {
    let bad = found.iter().any(|(_, health)| matches!(health, Health::Bad(_)));
    let mut text = String::new();
    for (name, health) in found {
        match health {
            Health::Good if verbose => text.push_str(&format!("[+] {name} ok\n")),
            Health::Fair(why) => text.push_str(&format!("[~] {name} {why}\n")),
            Health::Bad(why) => text.push_str(&format!("[-] {name} failed: {why}\n")),
            Health::Good => {}
        }
    }
    let is_degraded = found.iter().any(|(_, health)| matches!(health, Health::Fair(_)));
    text.push_str(match (bad, is_degraded) {
        (true, _) => "not ready\n",
        (false, true) => "ready, degraded\n",
        (false, false) => "ready\n",
    });
    (if bad { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_work_are_told_when_asked() {
        let checks = [("spool".to_owned(), Health::Good)];
        assert_eq!(verdict(&checks, false), (StatusCode::OK, "ready\n".into()));
        assert_eq!(verdict(&checks, true), (StatusCode::OK, "[+] spool ok\nready\n".into()));
    }

    #[test]
    fn what_works_in_part_is_ready_and_degraded() {
        let checks = [("uplink cloud".to_owned(), Health::Fair("degraded for 5s: no route".into()))];
        for verbose in [false, true] {
            let expected = "[~] uplink cloud degraded for 5s: no route\nready, degraded\n";
            assert_eq!(verdict(&checks, verbose), (StatusCode::OK, expected.into()));
        }
    }

    #[test]
    fn a_failed_part_is_named_without_being_asked() {
        let checks = [("spool".to_owned(), Health::Bad("disk full".into()))];
        assert_eq!(verdict(&checks, false), (StatusCode::SERVICE_UNAVAILABLE, "[-] spool failed: disk full\nnot ready\n".into()));
    }

    #[test]
    fn a_port_in_use_is_an_error_that_names_it() {
        let first = Admin::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = Admin::bind(first.address()).unwrap_err();
        assert!(error.to_string().contains(&first.address().to_string()), "{error}");
    }
}
