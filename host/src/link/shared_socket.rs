//! A socket that a library speaks over, and that is looked at meanwhile: how far its bytes have got, and why it ended. A library
//! reads as long as something comes, and keeps some of it: so there is an end to what an answer may have, and pauses within it.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Error, ReadTurn, Socket};

#[derive(Debug)]
struct SharedLine {
    socket: Socket,
    /// Bytes that an answer may have, and what is left of them.
    most: usize,
    left: usize,
    turn: ReadTurn,
    /// Why it ended, in words for the operator.
    fault: Option<Error>,
}

impl SharedLine {
    fn failed(&mut self, error: io::Error) -> io::Error {
        let kind = error.kind();
        self.fault = Some(self.socket.explain(error));
        kind.into()
    }

    /// Reads a part, as long as an answer may have one.
    fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        ready!(self.turn.poll(cx));
        let before = room.filled().len();
        let Poll::Ready(read) = self.socket.poll_read_into(cx, room) else {
            self.turn.found_nothing();
            return Poll::Pending;
        };
        let count = room.filled().len() - before;
        self.turn.read(count);
        let Some(left) = self.left.checked_sub(count) else {
            // What fails fills nothing.
            room.set_filled(before);
            let why = format!("more than {} bytes came as an answer", self.most);
            let why = io::Error::new(io::ErrorKind::InvalidData, why);
            return Poll::Ready(Err(self.failed(why)));
        };
        self.left = left;
        Poll::Ready(read.map_err(|error| self.failed(error)))
    }
}

/// One end of it is the library's, the other one whoever looks.
#[derive(Clone, Debug)]
pub struct SharedSocket(Arc<Mutex<SharedLine>>);

impl SharedSocket {
    /// An answer may have `most` bytes.
    pub fn new(socket: Socket, most: usize) -> Self {
        let line = SharedLine {
            socket,
            most,
            left: most,
            turn: ReadTurn::default(),
            fault: None,
        };
        Self(Arc::new(Mutex::new(line)))
    }

    fn line(&self) -> MutexGuard<'_, SharedLine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is asked: what comes from now on is its answer.
    pub fn asked(&self) {
        let mut line = self.line();
        line.left = line.most;
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
        self.line().poll_read(cx, room)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::link::{Deadlines, Peer, Target};

    const PEER: Peer = Peer {
        noun: "server",
        plain: "http://",
        upgrade: None,
    };

    async fn flooded(most: usize) -> SharedSocket {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target {
            host: "127.0.0.1",
            port: listener.local_addr().unwrap().port(),
            tls: None,
            deadlines: Deadlines::default(),
            peer: &PEER,
            carriage: None,
        };
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            while stream.write_all(&[7; 64 << 10]).await.is_ok() {}
        });
        SharedSocket::new(Socket::dial(target).await.unwrap(), most)
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_none() {
        let mut socket = flooded(3 << 20).await;
        let mut got = Vec::new();
        (&mut socket)
            .take(2 << 20)
            .read_to_end(&mut got)
            .await
            .unwrap();
        socket.asked();
        assert!(socket.read_to_end(&mut got).await.is_err());
        assert!((4 << 20..=5 << 20).contains(&got.len()), "{}", got.len());
        let told = socket.take_fault().unwrap();
        assert!(
            crate::link::Causes(&told)
                .to_string()
                .contains("3145728 bytes")
        );
    }

    #[tokio::test]
    async fn others_get_their_turn_while_much_comes() {
        const ROW: usize = 256 << 10;
        let mut socket = flooded(64 << 20).await;
        let mut room = vec![0; 16 << 10];
        let mut row = 0;
        // A read that always finds something still waits now and then.
        while row <= 2 * ROW {
            let mut room = ReadBuf::new(&mut room);
            let read = std::future::poll_fn(|cx| {
                Poll::Ready(Pin::new(&mut socket).poll_read(cx, &mut room).is_ready())
            });
            if read.await {
                row += room.filled().len();
            } else if row > 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert!(row <= ROW + (16 << 10), "{row}");
    }
}
