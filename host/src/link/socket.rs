//! The socket: dials TCP or TLS with deadlines, then reads and writes without waiting.

mod leave;
mod turn;
mod websocket;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsConnector, rustls};
use tokio_util::either::Either;

use self::websocket::CarriedStream;
use super::{Error, FailureKind, Peer, Target, Tls, Upgrade, tls};
use crate::clock::Now;

pub use self::leave::leave;
pub use self::turn::ReadTurn;

/// A quiet link is probed after 15 s, then every 30 s: below the 30 to 60 s after which mobile networks forget it.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBE_EVERY: Duration = Duration::from_secs(30);

/// Bytes of a line that a peer says before TLS, at most.
const MOST_GREETING: usize = 64 << 10;

/// A connection as it is dialled: in the clear, or over TLS.
type Dialled = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// That, or what is carried within frames over it.
type SocketStream = Either<Dialled, Box<CarriedStream<Dialled>>>;

#[derive(Debug)]
pub struct Socket {
    stream: SocketStream,
    /// Name and word for errors.
    server: String,
    peer: &'static Peer,
    /// Bytes given to the socket since [`Socket::acknowledged`] was last asked.
    written: usize,
    /// What lay in the socket then, not acknowledged by the peer.
    queued: usize,
    /// Bytes given to the socket in all.
    total: u64,
    /// The line that the peer said before TLS.
    greeting: Vec<u8>,
}

impl Socket {
    /// Looks up, connects and shakes hands, over TLS and for a WebSocket where there are such, each within its deadline.
    ///
    /// # Errors
    /// Whatever went wrong, in words for the operator.
    pub async fn dial(target: Target<'_>) -> Result<Self, Error> {
        let socket = connect(target).await?;
        let mut greeting = Vec::new();
        let dialled = match target.tls {
            None => Dialled::Left(socket),
            Some(tls) => {
                let secured = Box::pin(secure(socket, tls, target, &mut greeting));
                Dialled::Right(secured.await?)
            }
        };
        let stream = match target.carriage {
            None => SocketStream::Left(dialled),
            Some(carriage) => {
                let carried = Box::pin(CarriedStream::open(dialled, carriage, target));
                SocketStream::Right(Box::new(carried.await?))
            }
        };
        Ok(Self {
            stream,
            server: target.host.to_owned(),
            peer: target.peer,
            written: 0,
            queued: 0,
            total: 0,
            greeting,
        })
    }

    /// The line that the peer said before TLS, with its end; empty where it says none, or there is no TLS.
    pub fn take_greeting(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.greeting)
    }

    /// Reads what fits the spare room of `input`; 0 is the end.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        input: &mut BytesMut,
    ) -> Poll<io::Result<usize>> {
        // `read_buf` keeps nothing between polls, and fills spare room without zeroing it first.
        pin!(self.stream.read_buf(input)).poll(cx)
    }

    /// The same into room of the caller's; nothing read is the end.
    pub fn poll_read_into(
        &mut self,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, room)
    }

    /// What carrying it has cost since the last call beside the bytes that were read, in bytes that are read.
    pub fn take_cost(&mut self) -> usize {
        match &mut self.stream {
            Either::Left(_) => 0,
            Either::Right(carried) => carried.take_cost(),
        }
    }

    /// Writes what the socket takes.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, output: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, output);
        if let Poll::Ready(Ok(count)) = written {
            self.written = self.written.saturating_add(count);
            self.total += count as u64;
        }
        written
    }

    /// How many bytes of ours the peer's TCP has acknowledged since the last call; where the system does not say, none. What
    /// TLS adds to our bytes is left out, so few may look like none.
    pub fn acknowledged(&mut self) -> usize {
        let before = self
            .queued
            .saturating_add(std::mem::take(&mut self.written));
        self.queued = self.unacknowledged().unwrap_or(before);
        before.saturating_sub(self.queued)
    }

    /// How many bytes were given to the socket in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// How many of them the peer's TCP has acknowledged at least; where the system does not say, all.
    pub fn taken(&self) -> u64 {
        self.total
            .saturating_sub(self.unacknowledged().unwrap_or(0) as u64)
    }

    /// With what has not come as far as the socket.
    fn unacknowledged(&self) -> Option<usize> {
        unacknowledged_of(&self.stream)
    }

    /// Bytes in the socket that were not acknowledged when [`Self::acknowledged`] was last asked.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Writes what TLS or frames hold back.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    pub async fn shutdown(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// As [`leave`] does, as long as the peer's TCP takes something.
    pub async fn leave(&mut self, output: &[u8], at_most: Duration) -> bool {
        let queued = |stream: &SocketStream| unacknowledged_of(stream).unwrap_or(0);
        leave(&mut self.stream, output, at_most, queued).await
    }

    /// What a failed read or write means.
    pub fn explain(&self, error: io::Error) -> Error {
        tls::explain(&self.server, self.peer, &error, Now::read()).unwrap_or(Error::Broken(error))
    }
}

/// Bytes that the peer has not acknowledged, with what has not come as far as the socket.
fn unacknowledged_of(stream: &SocketStream) -> Option<usize> {
    let (dialled, held) = match stream {
        Either::Left(dialled) => (dialled, 0),
        Either::Right(carried) => (carried.carrier(), carried.held()),
    };
    let socket = match dialled {
        Either::Left(socket) => socket,
        Either::Right(stream) => stream.get_ref().0,
    };
    Some(unacknowledged(socket)? + held)
}

/// Bytes in the socket that the peer has not acknowledged.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "no crate of ours wraps this request; it writes one number and nothing else"
)]
fn unacknowledged(socket: &TcpStream) -> Option<usize> {
    use rustix::ioctl::{Getter, ioctl};
    /// SIOCOUTQ, by the name it has for terminals.
    const REQUEST: rustix::ioctl::Opcode = 0x5411;
    // SAFETY: on a TCP socket the request gives the size of its send queue as a C int (tcp(7)).
    let queued = unsafe { ioctl(socket, Getter::<REQUEST, std::ffi::c_int>::new()) };
    queued.ok().and_then(|bytes| usize::try_from(bytes).ok())
}

#[cfg(not(target_os = "linux"))]
fn unacknowledged(_: &TcpStream) -> Option<usize> {
    None
}

async fn connect(target: Target<'_>) -> Result<TcpStream, Error> {
    let Target { host, port, .. } = target;
    let noun = target.peer.noun;
    let deadline = target.deadlines.dial;
    let end = Instant::now() + deadline;
    let lookup = lookup_host((host, port));
    let addresses: Vec<SocketAddr> = timeout(deadline, lookup)
        .await
        .map_err(|_| Error::late(format!("looking up the {noun}'s name"), deadline))?
        .map_err(|source| Error::Lookup {
            host: host.to_owned(),
            source,
        })?
        .collect();
    let failed = |source| Error::Dial {
        address: format!("{host}:{port}"),
        noun,
        source,
    };
    let mut last = failed(io::Error::other("the name has no address"));
    for (tried, candidate) in addresses.iter().enumerate() {
        // What is left is shared among those left, so that a first address that swallows packets leaves time.
        let share = end.saturating_duration_since(Instant::now())
            / u32::try_from(addresses.len() - tried).unwrap_or(1);
        match timeout(share, TcpStream::connect(candidate)).await {
            Ok(Ok(socket)) => return prepare(socket).map_err(failed),
            Ok(Err(source)) => last = failed(source),
            Err(_) => last = Error::late(format!("connecting to the {noun}"), deadline),
        }
    }
    Err(last)
}

/// Small writes leave at once, and a silent end that is gone is found out.
///
/// # Errors
/// The system's: the connection is over already.
pub fn prepare(socket: TcpStream) -> io::Result<TcpStream> {
    socket.set_nodelay(true)?;
    SockRef::from(&socket).set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(PROBE_AFTER)
            .with_interval(PROBE_EVERY),
    )?;
    Ok(socket)
}

async fn secure(
    mut socket: TcpStream,
    tls: &Tls,
    target: Target<'_>,
    greeting: &mut Vec<u8>,
) -> Result<Box<TlsStream<TcpStream>>, Error> {
    let server = target.host;
    let peer = target.peer;
    let name = tls::server_name(tls.server_name.as_deref().unwrap_or(server))?;
    let settings = load(tls.clone(), server.to_owned()).await?;
    let deadline = target.deadlines.handshake;
    if let Some(upgrade) = &peer.upgrade {
        *greeting = timeout(deadline, agree(&mut socket, upgrade, target))
            .await
            .map_err(|_| Error::late("what comes before TLS", deadline))??;
    }
    let shaken = timeout(
        deadline,
        TlsConnector::from(Arc::new(settings)).connect(name, socket),
    )
    .await;
    match shaken {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(tls::explain(server, peer, &error, Now::read()).unwrap_or_else(|| {
            let Peer { noun, plain, .. } = peer;
            Error::Tls {
                server: server.to_owned(),
                problem: format!(
                    "the {noun} broke off the handshake ({error}): check that the port speaks TLS; if it does not, write {plain} in the URL"
                ),
                failure: FailureKind::Passing,
            }
        })),
        Err(_) => Err(Error::late("the TLS handshake", deadline)),
    }
}

/// Does in the clear what comes before TLS; what the peer said first. No byte is read behind that: it belongs to the handshake.
async fn agree(
    socket: &mut TcpStream,
    upgrade: &Upgrade,
    target: Target<'_>,
) -> Result<Vec<u8>, Error> {
    let Peer { noun, plain, .. } = target.peer;
    let problem = match upgrade {
        Upgrade::Asked { ask, yes } => {
            socket.write_all(ask).await.map_err(Error::Broken)?;
            if socket.read_u8().await.map_err(Error::Broken)? == *yes {
                return Ok(Vec::new());
            }
            format!("the {noun} has no TLS: set it up there, or write {plain} in the URL")
        }
        Upgrade::Greeted => {
            let mut line = Vec::new();
            while line.len() < MOST_GREETING {
                line.push(socket.read_u8().await.map_err(Error::Broken)?);
                if line.ends_with(b"\n") {
                    return Ok(line);
                }
            }
            format!("what answers there is no {noun}: check host and port")
        }
    };
    Err(Error::Tls {
        server: target.host.to_owned(),
        problem,
        failure: FailureKind::Refused,
    })
}

/// The files are read on a thread that may wait for the disk.
async fn load(tls: Tls, server: String) -> Result<rustls::ClientConfig, Error> {
    match tokio::task::spawn_blocking(move || tls::build(&tls, &server)).await {
        Ok(built) => built,
        Err(stopped) => Err(Error::Broken(io::Error::other(stopped))),
    }
}
