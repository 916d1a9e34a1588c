//! What carries the bytes: a connection that was dialled or taken, or a serial line; and why there is none.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::program::{ProgramEnd, ProgramRun};
use crate::link::{self, ConnectionLoss, FailureKind, SerialPort, Socket, leave, serial_problem};

/// What the other end gets to read the last replies and to hang up as well.
pub(super) const LAST: Duration = Duration::from_secs(3);

/// Why there is nothing to take from.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Link(#[from] link::Error),
    #[error("cannot open `{path}`: {}", serial_problem(source))]
    Open { path: String, source: io::Error },
    #[error("cannot start `{path}`: {source}")]
    Start { path: String, source: io::Error },
    /// It was there, and is no more.
    #[error("`{address}`: {why}")]
    Ended { address: String, why: String },
}

impl ConnectionLoss for Error {
    fn kind(&self) -> FailureKind {
        match self {
            Self::Link(error) => error.kind(),
            Self::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                FailureKind::Refused
            }
            Self::Open { .. } | Self::Start { .. } | Self::Ended { .. } => FailureKind::Passing,
        }
    }
}

#[derive(Debug)]
pub(super) enum RawWire {
    Dialled(Box<Socket>),
    Taken(TcpStream),
    Line(SerialPort),
    Program(Box<ProgramRun>),
}

/// What a look at a wire came to.
#[derive(Debug)]
pub(super) enum WireEvent {
    /// 0 is the end.
    Read(usize),
    Written(usize),
    Broken(io::Error),
}

impl RawWire {
    /// Writes of `output`, if there is any; else reads into `input`, if there is one.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        output: &[u8],
        input: Option<&mut [u8]>,
    ) -> Poll<WireEvent> {
        if !output.is_empty()
            && let Poll::Ready(written) = self.poll_write(cx, output)
        {
            return Poll::Ready(match written {
                Ok(0) => WireEvent::Broken(io::ErrorKind::WriteZero.into()),
                Ok(written) => WireEvent::Written(written),
                Err(error) => WireEvent::Broken(error),
            });
        }
        let Some(input) = input else {
            return Poll::Pending;
        };
        let read = ready!(self.poll_read(cx, input));
        Poll::Ready(read.map_or_else(WireEvent::Broken, WireEvent::Read))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut [u8]) -> Poll<io::Result<usize>> {
        if let Self::Line(port) = self {
            return port.poll_read(cx, input);
        }
        let mut room = ReadBuf::new(input);
        let read = match self {
            Self::Dialled(socket) => socket.poll_read_into(cx, &mut room),
            Self::Taken(stream) => Pin::new(stream).poll_read(cx, &mut room),
            Self::Program(run) => run.poll_read(cx, &mut room),
            Self::Line(_) => return Poll::Pending,
        };
        read.map_ok(|()| room.filled().len())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, output: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Dialled(socket) => socket.poll_write(cx, output),
            Self::Taken(stream) => Pin::new(stream).poll_write(cx, output),
            Self::Line(port) => port.poll_write(cx, output),
            // Nothing is said to a program.
            Self::Program(_) => Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Says that nothing more comes, where that can be said, and lets whoever was replied to read that; of a program, what it came
    /// to.
    pub(super) async fn leave(&mut self, has_replied: bool) -> Option<ProgramEnd> {
        let at_most = if has_replied { LAST } else { Duration::ZERO };
        // Whoever is gone need not be told.
        let _ = match self {
            Self::Dialled(socket) => socket.leave(&[], at_most).await,
            Self::Taken(stream) => leave(stream, &[], at_most, |_| 0).await,
            Self::Line(_) => true,
            Self::Program(run) => return Some(run.end().await),
        };
        None
    }

    pub(super) fn is_serial(&self) -> bool {
        matches!(self, Self::Line(_))
    }
}
