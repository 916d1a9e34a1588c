//! The frames of a WebSocket: reads what is there, writes what is said, and says good-bye.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::counted::CountedStream;
use super::end::SocketEnd;
use super::pace::SocketPace;

/// Bytes that are read at once, and of whole messages that are taken together.
pub(super) const READ_BYTES: usize = 16 << 10;
/// Messages that are taken together.
const TOGETHER: usize = 64;
/// Bytes of what is said that wait to be written: the answers to what is taken together, with words for each.
const WRITE_BYTES: usize = 256 << 10;
/// For the last words, and for the other end to close as well.
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
        let before = self.came();
        loop {
            let next = Pin::new(&mut self.socket).poll_next(cx);
            let came = self.came();
            match next {
                Poll::Ready(Some(Ok(message))) => {
                    if let Some(end) = self.keep(message, pace, came) {
                        return Poll::Ready(WireNews::Ended(end));
                    }
                    if self.messages.len() == TOGETHER || self.bytes >= READ_BYTES {
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
                Poll::Pending => return Poll::Pending,
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

    /// Says why, and waits a little for the other end: closing over what was not read would take the words with it.
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
        let stream = self.socket.get_mut();
        let drained = async {
            if stream.shutdown().await.is_ok() {
                let mut unread = [0; 1 << 10];
                while matches!(stream.read(&mut unread).await, Ok(1..)) {}
            }
        };
        // An error means that it took too long, which is the same.
        let _ = timeout(CLOSE_WITHIN, drained).await;
    }
}
