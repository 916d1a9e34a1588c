//! Bytes over WebSockets: some networks let nothing else through. What is spoken within knows nothing of frames.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{Response, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::link::{Carriage, Error, FailureKind, Target};

/// Bytes that are read at once, and of a frame that is written.
const FRAME_BYTES: usize = 16 << 10;
/// What a frame costs beside its bytes, in bytes that are read; and so many with nothing for us are taken together.
const FRAME_COST: usize = 256;
const EMPTY_FRAMES: usize = 256;
/// The library holds a frame as a whole before we see it, so that there has to be an end.
const LARGEST_FRAME: usize = 16 << 20;

/// A stream within frames.
#[derive(Debug)]
pub(super) struct CarriedStream<S> {
    socket: WebSocketStream<S>,
    /// Of the frame that came last, what is not read.
    unread: Bytes,
    /// Bytes that were given to it and are not known to be given on.
    held: usize,
    /// What frames cost beside their bytes, in bytes that are read.
    cost: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> CarriedStream<S> {
    /// Shakes hands over a connection that stands.
    pub(super) async fn open(
        stream: S,
        carriage: Carriage<'_>,
        target: Target<'_>,
    ) -> Result<Self, Error> {
        let failed = |problem: String, failure| Error::WebSocket {
            server: target.host.to_owned(),
            problem,
            failure,
        };
        let request = request(carriage, target)
            .map_err(|error| failed(format!("check the path ({error})"), FailureKind::Refused))?;
        let most = (carriage.max_packet_bytes as usize).saturating_mul(2);
        let most = most.max(LARGEST_FRAME);
        let config = WebSocketConfig::default()
            .read_buffer_size(FRAME_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(4 * FRAME_BYTES)
            .max_message_size(Some(most))
            .max_frame_size(Some(most));
        let shaken = client_async_with_config(request, stream, Some(config));
        let deadline = target.deadlines.handshake;
        match timeout(deadline, Box::pin(shaken)).await {
            Ok(Ok((socket, _))) => Ok(Self {
                socket,
                unread: Bytes::new(),
                held: 0,
                cost: 0,
            }),
            Ok(Err(error)) => {
                let (problem, failure) = explained(&error, carriage.protocol, target.peer.noun);
                Err(failed(problem, failure))
            }
            Err(_) => Err(Error::late("the handshake of the WebSocket", deadline)),
        }
    }

    pub(super) fn carrier(&self) -> &S {
        self.socket.get_ref()
    }

    /// What the frames since the last call cost beside their bytes, in bytes that are read.
    pub(super) fn take_cost(&mut self) -> usize {
        std::mem::take(&mut self.cost)
    }

    /// Bytes that it was given and holds back, perhaps.
    pub(super) fn held(&self) -> usize {
        self.held
    }
}

fn request(carriage: Carriage<'_>, target: Target<'_>) -> Result<Request, SocketError> {
    let scheme = if target.tls.is_some() { "wss" } else { "ws" };
    let standard = if target.tls.is_some() { 443 } else { 80 };
    // A zone means something on this machine only.
    let host = match target.host.split('%').next() {
        Some(address) if address.contains(':') => format!("[{address}]"),
        _ => target.host.to_owned(),
    };
    let authority = if target.port == standard {
        host
    } else {
        format!("{host}:{}", target.port)
    };
    let mut request = format!("{scheme}://{authority}{}", carriage.path).into_client_request()?;
    let protocol = HeaderValue::from_static(carriage.protocol);
    request
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    Ok(request)
}

/// Why no WebSocket was opened, and how that is to be met.
fn explained(error: &SocketError, protocol: &str, noun: &str) -> (String, FailureKind) {
    match error {
        SocketError::Http(response) => refused(response, noun),
        SocketError::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => (
            format!("the {noun} does not say that it speaks `{protocol}` there: check the path"),
            FailureKind::Refused,
        ),
        SocketError::Io(_) | SocketError::Protocol(ProtocolError::HandshakeIncomplete) => (
            format!("the {noun} broke off ({error}): check that the port takes WebSockets"),
            FailureKind::Passing,
        ),
        error => (
            format!("what is said there is no WebSocket ({error}): check the port"),
            FailureKind::Passing,
        ),
    }
}

fn refused(response: &Response<Option<Vec<u8>>>, noun: &str) -> (String, FailureKind) {
    let status = response.status();
    let (hint, failure) = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
            "it wants another login, or other rights",
            FailureKind::Refused,
        ),
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            ("check the path in the URL", FailureKind::Refused)
        }
        status if status.is_redirection() => (
            "that leads elsewhere: write where in the URL",
            FailureKind::Refused,
        ),
        status if status.is_success() => (
            "a server answers there that knows no WebSockets: check port and path",
            FailureKind::Refused,
        ),
        _ => ("it may pass", FailureKind::Passing),
    };
    let code = status.as_u16();
    (format!("the {noun} answers {code}: {hint}"), failure)
}

fn broken(error: SocketError) -> io::Error {
    match error {
        SocketError::Io(error) => error,
        SocketError::ConnectionClosed | SocketError::AlreadyClosed => {
            io::ErrorKind::BrokenPipe.into()
        }
        error => io::Error::new(io::ErrorKind::InvalidData, error),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for CarriedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        for _ in 0..EMPTY_FRAMES {
            if !self.unread.is_empty() {
                let count = self.unread.len().min(room.remaining());
                room.put_slice(&self.unread[..count]);
                self.unread.advance(count);
                return Poll::Ready(Ok(()));
            }
            let next = ready!(Pin::new(&mut self.socket).poll_next(cx));
            self.cost += FRAME_COST;
            match next {
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                Some(Ok(Message::Text(_))) => {
                    let why = "a text frame came where only binary ones belong";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, why)));
                }
                // The library answers pings; its answer leaves with what is written or read next.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                // What comes behind a good-bye would be an error.
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                Some(Err(SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(broken(error))),
            }
        }
        // Much came, and nothing of it is for us: others have their turn.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for CarriedStream<S> {
    /// Takes a frame's worth; no more while the last one is not given on.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(broken)?;
        let count = bytes.len().min(FRAME_BYTES);
        let frame = Message::Binary(Bytes::copy_from_slice(&bytes[..count]));
        Pin::new(&mut self.socket)
            .start_send(frame)
            .map_err(broken)?;
        self.held += count;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_flush(cx)).map_err(broken)?;
        self.held = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(broken)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

    use super::*;
    use crate::link::{Deadlines, Peer};

    const PEER: Peer = Peer {
        noun: "broker",
        plain: "mqtt+ws://",
        upgrade: None,
    };

    fn target() -> Target<'static> {
        Target {
            host: "::1",
            port: 80,
            tls: None,
            deadlines: Deadlines::default(),
            peer: &PEER,
            carriage: None,
        }
    }

    const CARRIAGE: Carriage<'static> = Carriage {
        path: "/mqtt?a=b",
        protocol: "mqtt",
        max_packet_bytes: 1 << 20,
    };

    #[expect(clippy::result_large_err, reason = "the library's own callback")]
    async fn server(stream: DuplexStream, speaks: bool) -> WebSocketStream<DuplexStream> {
        let answer = |request: &Request, mut response: Response| {
            assert_eq!(request.uri().to_string(), "/mqtt?a=b");
            assert_eq!(request.headers()["host"], "[::1]");
            assert_eq!(request.headers()[SEC_WEBSOCKET_PROTOCOL], "mqtt");
            if speaks {
                let protocol = HeaderValue::from_static("mqtt");
                response
                    .headers_mut()
                    .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
            }
            Ok(response)
        };
        tokio_tungstenite::accept_hdr_async(stream, answer)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn others_get_their_turn_while_pings_come() {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (client, server) = tokio::join!(
            CarriedStream::open(ours, CARRIAGE, target()),
            server(theirs, true)
        );
        let (mut client, mut server) = (client.unwrap(), server);
        for _ in 0..4 * EMPTY_FRAMES {
            server.feed(Message::Ping(Bytes::new())).await.unwrap();
        }
        server.send(Message::binary(&b"x"[..])).await.unwrap();
        let (mut room, mut waits) = ([0; 8], 0);
        let mut room = ReadBuf::new(&mut room);
        loop {
            let read =
                poll_fn(|cx| Poll::Ready(Pin::new(&mut client).poll_read(cx, &mut room))).await;
            match read {
                Poll::Ready(read) => break read.unwrap(),
                Poll::Pending => waits += 1,
            }
        }
        assert!(room.filled() == b"x" && waits >= 4, "{waits}");
        assert!(client.take_cost() > 4 * EMPTY_FRAMES * FRAME_COST);
    }

    #[tokio::test]
    async fn what_is_cut_into_frames_in_any_way_is_one_stream() {
        let (ours, theirs) = tokio::io::duplex(1 << 10);
        let (client, server) = tokio::join!(
            CarriedStream::open(ours, CARRIAGE, target()),
            server(theirs, true)
        );
        let (mut client, mut server) = (client.unwrap(), server);
        let sent: Vec<u8> = (0..100_000_u32).map(|number| number as u8).collect();
        let (mut to, mut from) = {
            let echoed = tokio::spawn(async move {
                let mut got = Vec::new();
                while let Some(Ok(message)) = server.next().await {
                    let Message::Binary(bytes) = message else {
                        break;
                    };
                    got.extend_from_slice(&bytes);
                    if got.len() == 100_000 {
                        break;
                    }
                }
                for piece in [&got[..1], &[], &got[1..2], &got[2..70_000], &got[70_000..]] {
                    let frame = Message::binary(piece.to_vec());
                    server.send(frame).await.unwrap();
                    server.send(Message::Ping(Bytes::new())).await.unwrap();
                }
                server.close(None).await.unwrap();
                while server.next().await.is_some() {}
            });
            (echoed, Vec::new())
        };
        client.write_all(&sent).await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(client.held(), 0);
        client.read_to_end(&mut from).await.unwrap();
        assert!(from == sent, "{} bytes came", from.len());
        client.shutdown().await.unwrap();
        drop(client);
        (&mut to).await.unwrap();
    }

    #[tokio::test]
    async fn who_takes_nothing_is_given_no_more_than_a_frame() {
        let (ours, theirs) = tokio::io::duplex(1 << 10);
        let (client, _server) = tokio::join!(
            CarriedStream::open(ours, CARRIAGE, target()),
            server(theirs, true)
        );
        let mut client = client.unwrap();
        let all = vec![0; 1 << 20];
        let first = client.write(&all).await.unwrap();
        let next = poll_fn(|cx| Poll::Ready(Pin::new(&mut client).poll_write(cx, &all))).await;
        assert!(next.is_pending() && first == FRAME_BYTES && client.held() == first);
    }

    #[tokio::test]
    async fn an_answer_that_is_no_websocket_says_what_to_do() {
        for (answer, words, failure) in [
            ("404 Not Found", "check the path", FailureKind::Refused),
            ("401 Unauthorized", "another login", FailureKind::Refused),
            ("302 Found", "leads elsewhere", FailureKind::Refused),
            ("200 OK", "knows no WebSockets", FailureKind::Refused),
            ("503 Service Unavailable", "may pass", FailureKind::Passing),
        ] {
            let (ours, mut theirs) = tokio::io::duplex(1 << 10);
            let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
            theirs.write_all(answer.as_bytes()).await.unwrap();
            let opened = CarriedStream::open(ours, CARRIAGE, target()).await;
            let Err(Error::WebSocket {
                problem,
                failure: met,
                ..
            }) = opened
            else {
                panic!("{answer}: it is another error, or none");
            };
            assert!(problem.contains(words) && met == failure, "{problem}");
        }
        let (ours, mut theirs) = tokio::io::duplex(1 << 10);
        theirs
            .write_all(b"\x20\x02\0\0\0\0\0\0\r\n\r\n")
            .await
            .unwrap();
        let opened = CarriedStream::open(ours, CARRIAGE, target()).await;
        assert!(matches!(opened, Err(Error::WebSocket { .. })));
    }

    #[tokio::test]
    async fn a_server_that_does_not_say_what_it_speaks_is_none() {
        let (ours, theirs) = tokio::io::duplex(1 << 10);
        let (client, _server) = tokio::join!(
            CarriedStream::open(ours, CARRIAGE, target()),
            server(theirs, false)
        );
        let words = client.unwrap_err().to_string();
        assert!(words.contains("speaks `mqtt` there"), "{words}");
    }
}
