//! Who asks, and what it may ask for: what a transport knows of the other end, put into each request as
//! `Extension<Caller>`.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use crate::file;

/// What a caller may call; each scope has those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// What anybody on this machine may read: metrics, health, the page.
    Open,
    /// What only the operator may see, and nothing that changes or takes out.
    Read,
    /// What keeps a gateway going: dead letters, the spool, the log's level, a reload.
    Operate,
    /// What decides which plugins run.
    Deploy,
}

impl Scope {
    /// As a token's scope is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Deploy => "deploy",
        }
    }
}

/// Where a request came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallerOrigin {
    /// Over the network, at the admin port.
    Port {
        peer: SocketAddr,
        /// Name of the token that was shown, if one was.
        token: Option<Arc<str>>,
    },
    /// The control socket; the other end as the kernel says.
    Socket { uid: u32, pid: Option<i32> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub origin: CallerOrigin,
    pub scope: Scope,
}

impl Caller {
    /// Number and name of the user, as far as the transport and this machine's own list know them. The list is on the disk.
    pub fn user(&self) -> Option<(u32, Option<String>)> {
        match self.origin {
            CallerOrigin::Port { .. } => None,
            CallerOrigin::Socket { uid, .. } => Some((uid, user_name(uid))),
        }
    }

    /// Name of the token that was shown, and where from.
    pub fn token(&self) -> Option<(&str, IpAddr)> {
        match &self.origin {
            CallerOrigin::Port { peer, token } => Some((token.as_deref()?, peer.ip())),
            CallerOrigin::Socket { .. } => None,
        }
    }

    /// For the log. Reads the list of users, too.
    pub fn words(&self) -> String {
        match &self.origin {
            CallerOrigin::Port { peer, token: None } => {
                format!("somebody at the admin port, from {}", peer.ip())
            }
            CallerOrigin::Port {
                peer,
                token: Some(token),
            } => format!("token {token}, from {}", peer.ip()),
            CallerOrigin::Socket { uid, pid } => {
                let user = user_name(*uid).unwrap_or_else(|| format!("user {uid}"));
                pid.map_or(user.clone(), |pid| format!("{user}, process {pid}"))
            }
        }
    }
}

fn user_name(uid: u32) -> Option<String> {
    let list = file::read_text(Path::new("/etc/passwd"), file::BY_HAND).ok()?;
    let uid = uid.to_string();
    list.lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2) == Some(&&*uid))
        .map(|fields| fields[0].to_owned())
}
