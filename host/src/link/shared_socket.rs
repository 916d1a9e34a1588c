//! A socket that a library speaks over, and that is looked at meanwhile: how far its bytes have got, and why it ended.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Error, Socket};

#[derive(Debug)]
struct SharedLine {
    socket: Socket,
    /// Why it ended, in words for the operator.
    fault: Option<Error>,
}

impl SharedLine {
    fn failed(&mut self, error: io::Error) -> io::Error {
        let kind = error.kind();
        self.fault = Some(self.socket.explain(error));
        kind.into()
    }
}

/// One end of it is the library's, the other one whoever looks.
#[derive(Clone, Debug)]
pub struct SharedSocket(Arc<Mutex<SharedLine>>);

impl SharedSocket {
    pub fn new(socket: Socket) -> Self {
        let line = SharedLine {
            socket,
            fault: None,
        };
        Self(Arc::new(Mutex::new(line)))
    }

    fn line(&self) -> MutexGuard<'_, SharedLine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it ended, once.
    pub fn take_fault(&self) -> Option<Error> {
        self.line().fault.take()
    }

    /// How many bytes the peer's TCP has acknowledged at least, and how many were given to the socket.
    pub fn taken_of(&self) -> (u64, u64) {
        let line = self.line();
        (line.socket.taken(), line.socket.total())
    }
}

impl AsyncRead for SharedSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let line = &mut *self.line();
        let read = ready!(line.socket.poll_read_into(cx, room));
        Poll::Ready(read.map_err(|error| line.failed(error)))
    }
}

impl AsyncWrite for SharedSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        output: &[u8],
    ) -> Poll<io::Result<usize>> {
        let line = &mut *self.line();
        let written = ready!(line.socket.poll_write(cx, output));
        Poll::Ready(written.map_err(|error| line.failed(error)))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = &mut *self.line();
        let flushed = ready!(line.socket.poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| line.failed(error)))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(self.line().socket.shutdown()).poll(cx)
    }
}
