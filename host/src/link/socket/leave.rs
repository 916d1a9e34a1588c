//! How a connection is left, so that what was said last is read.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, timeout};

/// A peer of whom nothing moves for so long says nothing more.
const QUIET: Duration = Duration::from_secs(2);

/// Bytes that are read at once, to be dropped.
const DROPPED_BYTES: usize = 16 << 10;

/// Writes `output`, says that nothing more comes, and waits for the peer to say so as well: as long as something moves, and
/// `at_most`. Whether it did, with all written.
///
/// What comes meanwhile is read and dropped. A peer that wants to be read may not read before, and closing with unread bytes resets
/// the connection, with what was written last unread over there. `queued` tells how many bytes its TCP has yet to take.
pub async fn leave<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    output: &[u8],
    at_most: Duration,
    queued: impl Fn(&S) -> usize + Unpin,
) -> bool {
    let mut leaving = Leaving::new(output, queued(stream), QUIET);
    let left = poll_fn(|cx| leaving.poll(cx, stream, &queued));
    matches!(timeout(at_most, left).await, Ok(Ok(true)))
}

struct Leaving<'a> {
    /// Of what is to be written.
    left: &'a [u8],
    /// It was said that nothing more comes.
    is_shut: bool,
    /// The peer said so.
    has_ended: bool,
    /// What its TCP had yet to take at the last look.
    waits_for: usize,
    quiet: Duration,
    over: Pin<Box<Sleep>>,
}

impl<'a> Leaving<'a> {
    fn new(output: &'a [u8], queued: usize, quiet: Duration) -> Self {
        Self {
            left: output,
            is_shut: false,
            has_ended: false,
            waits_for: queued,
            quiet,
            over: Box::pin(sleep(quiet)),
        }
    }

    fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        queued: impl Fn(&S) -> usize,
    ) -> Poll<io::Result<bool>> {
        loop {
            // Both, whether the other one moved or not.
            let came = self.drop_what_comes(cx, stream)?;
            let written = self.write(cx, stream)?;
            if self.is_shut && self.has_ended {
                return Poll::Ready(Ok(true));
            }
            if came || written {
                self.over.as_mut().reset(Instant::now() + self.quiet);
            }
            ready!(self.over.as_mut().poll(cx));
            let before = std::mem::replace(&mut self.waits_for, queued(stream));
            if self.waits_for >= before {
                return Poll::Ready(Ok(false));
            }
            self.over.as_mut().reset(Instant::now() + self.quiet);
        }
    }

    /// One read; whether something came.
    fn drop_what_comes<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> io::Result<bool> {
        if self.has_ended {
            return Ok(false);
        }
        let mut dropped = [0; DROPPED_BYTES];
        let mut room = ReadBuf::new(&mut dropped);
        let Poll::Ready(read) = Pin::new(stream).poll_read(cx, &mut room) else {
            return Ok(false);
        };
        read?;
        self.has_ended = room.filled().is_empty();
        // The next one is another turn's: others have theirs in between.
        cx.waker().wake_by_ref();
        Ok(true)
    }

    /// Whether something was written, or the end was said.
    fn write<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> io::Result<bool> {
        let before = self.left.len();
        while !self.left.is_empty() {
            match Pin::new(&mut *stream).poll_write(cx, self.left)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => self.left = &self.left[count..],
                Poll::Pending => return Ok(self.left.len() < before),
            }
        }
        if !self.is_shut && Pin::new(stream).poll_shutdown(cx)?.is_ready() {
            self.is_shut = true;
            return Ok(true);
        }
        Ok(self.left.len() < before)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const AT_MOST: Duration = Duration::from_secs(3_600);

    /// A peer that reads nothing before all of its own is written, and only then what we said.
    #[tokio::test]
    async fn what_was_said_last_is_read_by_one_who_speaks_first() {
        const THEIRS: usize = 32 << 20;
        const OURS: usize = 8 << 20;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut ours = TcpStream::connect(address).await.unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let said = vec![7; OURS];
        let (is_read, heard) = tokio::join!(leave(&mut ours, &said, AT_MOST, |_| 0), async {
            peer.write_all(&vec![1; THEIRS]).await.unwrap();
            let mut heard = Vec::new();
            peer.read_to_end(&mut heard).await.unwrap();
            // It goes once all is read.
            drop(peer);
            heard.len()
        });
        assert!(is_read);
        assert_eq!(heard, OURS);
    }

    #[tokio::test]
    async fn one_who_has_gone_has_not_read_it() {
        let (mut ours, peer) = duplex(4);
        drop(peer);
        assert!(!leave(&mut ours, b"the last words", AT_MOST, |_| 0).await);
    }

    #[tokio::test]
    async fn one_who_does_not_move_is_waited_for_as_long_as_its_tcp_takes_something() {
        let (mut ours, _peer) = duplex(1 << 10);
        let queued = Cell::new(6);
        let takes_one = |_: &DuplexStream| {
            queued.set(queued.get() - 1);
            // The last byte is never taken.
            usize::max(queued.get(), 1)
        };
        let quiet = Duration::from_millis(1);
        let mut leaving = Leaving::new(b"last", 6, quiet);
        let left = poll_fn(|cx| leaving.poll(cx, &mut ours, takes_one)).await;
        assert!(!left.unwrap());
        assert_eq!(queued.get(), 0);
    }
}
