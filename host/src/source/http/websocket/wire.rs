//! The frames of a WebSocket: reads what is there, writes what is said, and says good-bye.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::counted::CountedStream;
use super::end::SocketEnd;
use super::pace::SocketPace;
use crate::link::{ReadTurn, leave};

/// Bytes that are read at once, and of whole messages that are taken together.
pub(super) const READ_BYTES: usize = 16 << 10;
/// Messages that are taken together.
const TOGETHER: usize = 64;
/// What a frame costs beside its bytes, in bytes that are read.
const FRAME_COST: usize = 256;
/// Bytes of what is said that wait to be written: the answers to what is taken together, with words for each.
const WRITE_BYTES: usize = 256 << 10;
/// For the last words, and as long again for the other end to close as well.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// What happened on it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WireNews {
    /// Something came; whole messages are in [`SocketWire::take`].
    Came,
    /// All that was said is written.
    Written,
    Ended(SocketEnd),
}

pub(super) struct SocketWire<S> {
    socket: WebSocketStream<CountedStream<S>>,
    max_message_bytes: usize,
    messages: Vec<Bytes>,
    bytes: usize,
    /// Something was said that is not known to be written.
    is_writing: bool,
    turn: ReadTurn,
}

impl<S: AsyncRead + AsyncWrite + Unpin> SocketWire<S> {
    /// One that a request has opened.
    pub(super) async fn new(stream: S, max_message_bytes: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(4 << 10)
            .max_write_buffer_size(WRITE_BYTES)
            .max_message_size(Some(max_message_bytes))
            .max_frame_size(Some(max_message_bytes));
        let stream = CountedStream::new(stream);
        Self {
            socket: WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await,
            max_message_bytes,
            messages: Vec::new(),
            bytes: 0,
            is_writing: false,
            turn: ReadTurn::default(),
        }
    }

    pub(super) fn is_writing(&self) -> bool {
        self.is_writing
    }

    /// The messages that are there.
    pub(super) fn take(&mut self) -> Vec<Bytes> {
        self.bytes = 0;
        std::mem::take(&mut self.messages)
    }

    /// Says something; it is written by [`Self::poll`].
    pub(super) fn say(&mut self, message: Message) -> Result<(), SocketEnd> {
        self.is_writing = true;
        let said = Pin::new(&mut self.socket).start_send(message);
        said.map_err(|error| SocketEnd::of(error, self.max_message_bytes))
    }

    /// Writes what was said, and reads if `reads`.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        pace: &mut SocketPace,
        reads: bool,
    ) -> Poll<WireNews> {
        if self.is_writing {
            match Pin::new(&mut self.socket).poll_flush(cx) {
                Poll::Ready(Ok(())) => {
                    self.is_writing = false;
                    return Poll::Ready(WireNews::Written);
                }
                Poll::Ready(Err(error)) => {
                    let end = SocketEnd::of(error, self.max_message_bytes);
                    return Poll::Ready(WireNews::Ended(end));
                }
                Poll::Pending => {}
            }
        }
        if !reads {
            return Poll::Pending;
        }
        ready!(self.turn.poll(cx));
        let before = self.came();
        loop {
            let next = Pin::new(&mut self.socket).poll_next(cx);
            let came = self.came();
            match next {
                Poll::Ready(Some(Ok(message))) => {
                    self.turn.read(FRAME_COST + message.len());
                    if let Some(end) = self.keep(message, pace, came) {
                        return Poll::Ready(WireNews::Ended(end));
                    }
                    let is_enough = self.messages.len() == TOGETHER || self.bytes >= READ_BYTES;
                    if is_enough || self.turn.is_over() {
                        return Poll::Ready(WireNews::Came);
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    let end = SocketEnd::of(error, self.max_message_bytes);
                    return Poll::Ready(WireNews::Ended(end));
                }
                Poll::Ready(None) => {
                    let end = SocketEnd::Gone("the other end hung up".to_owned());
                    return Poll::Ready(WireNews::Ended(end));
                }
                Poll::Pending if came > before => return Poll::Ready(WireNews::Came),
                Poll::Pending => {
                    self.turn.found_nothing();
                    return Poll::Pending;
                }
            }
        }
    }

    fn keep(&mut self, message: Message, pace: &mut SocketPace, came: u64) -> Option<SocketEnd> {
        let payload = match message {
            Message::Text(text) => Bytes::from(text),
            Message::Binary(payload) => payload,
            Message::Ping(payload) => {
                // The library has its answer ready.
                self.is_writing = true;
                pace.control(payload.len());
                return None;
            }
            Message::Pong(payload) => {
                pace.control(payload.len());
                return None;
            }
            Message::Close(_) => {
                return Some(SocketEnd::Gone("the other end closed it".to_owned()));
            }
            Message::Frame(_) => return None,
        };
        pace.message(came);
        self.bytes += payload.len();
        self.messages.push(payload);
        None
    }

    /// Bytes that came since the beginning.
    pub(super) fn came(&self) -> u64 {
        self.socket.get_ref().read()
    }

    /// Says why, and waits a little for the other end to close as well.
    pub(super) async fn close(mut self, end: &SocketEnd) {
        let said = async {
            match end.close_frame() {
                Some(frame) => self.socket.send(Message::Close(Some(frame))).await,
                // An answer to its own good-bye may be on its way out.
                None => poll_fn(|cx| Pin::new(&mut self.socket).poll_flush(cx)).await,
            }
        };
        if !matches!(timeout(CLOSE_WITHIN, said).await, Ok(Ok(()))) {
            return;
        }
        leave(self.socket.get_mut(), &[], CLOSE_WITHIN, |_| 0).await;
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;
    use std::time::Instant;

    use super::*;

    /// As much of it as is asked for, again and again.
    struct Endless(&'static [u8], usize);

    impl AsyncRead for Endless {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            room: &mut tokio::io::ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            while room.remaining() > 0 {
                let rest = &self.0[self.1 % self.0.len()..];
                let count = rest.len().min(room.remaining());
                room.put_slice(&rest[..count]);
                self.1 += count;
            }
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Endless {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn others_get_their_turn_while_frames_come_without_an_end() {
        // Pongs that nobody asked for, pings, and texts, each with a mask of zeros.
        for frames in [
            &[0x8a, 0x80, 0, 0, 0, 0][..],
            &[0x89, 0x80, 0, 0, 0, 0],
            &[0x81, 0x81, 0, 0, 0, 0, b'x'],
        ] {
            let mut wire = SocketWire::new(Endless(frames, 0), 1 << 10).await;
            let mut pace = SocketPace::new(Duration::from_secs(60), Instant::now());
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..2 {
                let begin = wire.came();
                while wire.poll(&mut cx, &mut pace, true).is_ready() {
                    assert!(wire.came() - begin < 1 << 20, "{frames:x?}");
                    wire.take();
                }
            }
        }
    }
}
