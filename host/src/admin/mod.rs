//! How one talks to the gateway: the admin port and the control socket, and the other end of that.
//!
//! Transport only: who may connect, how many at a time, how long, how much; which of the gateway's routes a caller may call
//! ([`Scope`]), and who it is ([`Caller`]). What the routes are, and what they answer, is the gateway's.

mod answer;
mod attend;
mod caller;
mod client;
mod gate;
mod hosts;
mod port;
mod routes;
mod socket;
mod tokens;
mod tries;
mod uploads;

pub use answer::{ApiRefusal, ApiResult, json};
pub use caller::{Caller, CallerOrigin, Scope};
pub use client::{Client, ClientError, NetworkGateway, SshTarget};
pub use hosts::is_host_name;
pub use port::AdminPort;
pub use routes::{Route, Routes};
pub use socket::ControlSocket;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::link::{Secret, ServerTls};

/// What there is to know of the admin port; already checked (`config` does that).
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Port 0 takes a free one.
    pub listen: SocketAddr,
    pub tls: Option<ServerTls>,
    /// Names and addresses under which it is asked, beside its own address and those of the loopback.
    pub hosts: Vec<String>,
    pub tokens: Vec<AccessToken>,
    /// Whether metrics, health and the page are for anybody who reaches it.
    pub reads_openly: bool,
}

/// Who shows this may call what its scope has.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessToken {
    pub name: Arc<str>,
    pub scope: Scope,
    pub secret: Secret,
}

/// Why the port or the socket is not served.
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
        path: PathBuf,
        source: std::io::Error,
    },
    /// The port or the socket failed later.
    #[error("the admin port or the control socket failed")]
    Serve(#[source] std::io::Error),
}
