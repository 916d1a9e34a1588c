//! Ports of this machine that are listened on. Whoever started the gateway may keep them open while it is started again: who asks
//! meanwhile waits for the next gateway, and is not turned away.
//!
//! The table of them is the process's, as descriptors are.

use std::fmt;
use std::io;
use std::net::{self, SocketAddr};
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use socket2::SockRef;
use tokio::net::{TcpListener, UdpSocket, lookup_host};

use crate::link::Error;

/// What a socket of datagrams should have room for; the system grants what it allows (`net.core.rmem_max`).
const ROOM_BYTES: usize = 4 << 20;

static TABLE: Mutex<PortTable> = Mutex::new(PortTable {
    keeper: None,
    handed_over: Vec::new(),
});

/// Keeps ports open between two processes, each under a name of its own.
pub trait PortKeeper: Send + Sync {
    fn keep(&self, socket: BorrowedFd<'_>, name: &str);

    /// Nobody listens there any more.
    fn forget(&self, name: &str);
}

struct PortTable {
    keeper: Option<Arc<dyn PortKeeper>>,
    handed_over: Vec<HandedOver>,
}

/// A port of the gateway before, or of whoever started us.
#[derive(Debug)]
pub enum HandedOver {
    Listener(net::TcpListener),
    Datagrams(net::UdpSocket),
}

impl HandedOver {
    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Listener(listener) => listener.local_addr(),
            Self::Datagrams(socket) => socket.local_addr(),
        }
        .ok()
    }

    fn kind(&self) -> PortKind {
        match self {
            Self::Listener(_) => PortKind::Tcp,
            Self::Datagrams(_) => PortKind::Udp,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PortKind {
    Tcp,
    Udp,
}

impl fmt::Display for PortKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// From now on `keeper` keeps what is listened on, and these were handed over by it.
pub fn keep_by(keeper: Arc<dyn PortKeeper>, handed_over: Vec<HandedOver>) {
    let mut table = table();
    (table.keeper, table.handed_over) = (Some(keeper), handed_over);
}

/// These are there to be claimed; nobody keeps them.
pub fn hand_over(ports: Vec<HandedOver>) {
    table().handed_over = ports;
}

/// What is given up from now on is for the next gateway.
pub fn leave_to_next() {
    table().keeper = None;
}

/// Closes what was handed over and nobody has asked for: it would keep others waiting for good.
pub fn close_unclaimed() {
    let (left, keeper) = {
        let mut table = table();
        (std::mem::take(&mut table.handed_over), table.keeper.clone())
    };
    for port in left {
        let Some(address) = port.address() else {
            continue;
        };
        tracing::info!(%address, "a port was kept over the restart, and nothing in the config listens there: it is closed");
        if let Some(keeper) = &keeper {
            keeper.forget(&name(port.kind(), address));
        }
    }
}

/// A port that is listened on.
#[derive(Debug)]
pub struct Port<S> {
    socket: S,
    name: String,
}

impl<S> Deref for Port<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.socket
    }
}

impl<S> Drop for Port<S> {
    fn drop(&mut self) {
        let keeper = table().keeper.clone();
        if let Some(keeper) = keeper {
            keeper.forget(&self.name);
        }
    }
}

impl Port<TcpListener> {
    /// Listens for connections; a name may have several addresses, of which the first that can be had counts.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn listen(host: &str, port: u16) -> Result<Self, Error> {
        let listening = async {
            let socket = match claim(PortKind::Tcp, host, port).await? {
                Some(HandedOver::Listener(listener)) => {
                    listener.set_nonblocking(true)?;
                    TcpListener::from_std(listener)?
                }
                _ => TcpListener::bind((bare(host), port)).await?,
            };
            let address = socket.local_addr()?;
            Ok(Self::kept(socket, PortKind::Tcp, address))
        };
        listening.await.map_err(|error| cannot(host, port, error))
    }
}

impl Port<UdpSocket> {
    /// Takes datagrams.
    ///
    /// # Errors
    /// [`Error::Listen`].
    pub async fn datagrams(host: &str, port: u16) -> Result<Self, Error> {
        let listening = async {
            let socket = match claim(PortKind::Udp, host, port).await? {
                Some(HandedOver::Datagrams(socket)) => {
                    socket.set_nonblocking(true)?;
                    UdpSocket::from_std(socket)?
                }
                _ => UdpSocket::bind((bare(host), port)).await?,
            };
            // What the system allows is enough to go on with.
            let _ = SockRef::from(&socket).set_recv_buffer_size(ROOM_BYTES);
            let address = socket.local_addr()?;
            Ok(Self::kept(socket, PortKind::Udp, address))
        };
        listening.await.map_err(|error| cannot(host, port, error))
    }
}

impl<S: AsFd> Port<S> {
    fn kept(socket: S, kind: PortKind, address: SocketAddr) -> Self {
        let name = name(kind, address);
        let keeper = table().keeper.clone();
        if let Some(keeper) = keeper {
            keeper.keep(socket.as_fd(), &name);
        }
        Self { socket, name }
    }
}

/// The one that was handed over, if it is there.
async fn claim(kind: PortKind, host: &str, port: u16) -> io::Result<Option<HandedOver>> {
    if table().handed_over.is_empty() {
        return Ok(None);
    }
    let wanted: Vec<SocketAddr> = lookup_host((bare(host), port)).await?.collect();
    let is_it = |own: &HandedOver| {
        own.kind() == kind && own.address().is_some_and(|own| wanted.contains(&own))
    };
    let handed_over = &mut table().handed_over;
    let place = handed_over.iter().position(is_it);
    Ok(place.map(|place| handed_over.swap_remove(place)))
}

/// Without the brackets of an address of IPv6.
fn bare(host: &str) -> &str {
    host.trim_matches(['[', ']'])
}

fn cannot(host: &str, port: u16, source: io::Error) -> Error {
    let problem = match source.kind() {
        io::ErrorKind::AddrInUse => "another program has the port: end it, or take another port",
        io::ErrorKind::PermissionDenied => {
            "the gateway's user may not: take a port above 1023, or grant CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address (yet)",
        _ => "check address and port",
    };
    Error::Listen {
        address: format!("{host}:{port}"),
        problem,
        source,
    }
}

/// By what a keeper knows it, which takes no colons.
fn name(kind: PortKind, address: SocketAddr) -> String {
    format!("{kind}-{address}").replace(':', "-")
}

fn table() -> std::sync::MutexGuard<'static, PortTable> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}
