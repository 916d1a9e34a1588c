//! The connections of a listener, each a task of its own: TLS, heads and idle time within bounds.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::visit::Room;
use super::websocket::OpenedSlot;

/// Bytes of a request's head, which is also what is read at once; the parser takes no less than 8 KiB.
const HEAD_BYTES: usize = 16 << 10;
/// Lines of a head.
const HEAD_LINES: usize = 64;
/// For a head, and so for the silence between two requests; for the TLS handshake, too.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// The connections under way; dropped, they end.
pub(super) struct ClientConnections {
    room: Arc<Room>,
    tasks: JoinSet<()>,
    leaving: watch::Sender<bool>,
}

impl ClientConnections {
    pub(super) fn new(room: Arc<Room>) -> Self {
        Self {
            room,
            tasks: JoinSet::new(),
            leaving: watch::Sender::new(false),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(super) fn admit(&mut self, stream: TcpStream) {
        let room = Arc::clone(&self.room);
        let leaving = self.leaving.subscribe();
        self.tasks.spawn(async move {
            // A small answer goes out at once.
            let _ = stream.set_nodelay(true);
            match room.tls() {
                None => serve(stream, room, leaving).await,
                Some(tls) => {
                    let shaken = tokio::time::timeout(HEAD_WITHIN, tls.accept(stream)).await;
                    match shaken {
                        Ok(Ok(stream)) => serve(stream, room, leaving).await,
                        Ok(Err(error)) => room.handshake_failed(&error),
                        Err(_) => room.handshake_failed(&"it took too long"),
                    }
                }
            }
        });
    }

    /// Waits until one has left. Cancel safe.
    pub(super) async fn one_left(&mut self) {
        self.tasks.join_next().await;
    }

    /// Each ends behind the request that is under way.
    pub(super) fn leave(&self) {
        self.leaving.send_replace(true);
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    room: Arc<Room>,
    mut leaving: watch::Receiver<bool>,
) {
    let opened = OpenedSlot::default();
    let answer = service_fn(|request| {
        let (room, opened) = (Arc::clone(&room), opened.clone());
        async move { Ok::<_, Infallible>(room.answer(request, &opened).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_LINES);
    let connection = http.serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection.with_upgrades());
    // A client who is late, who says something else than HTTP or who leaves is no trouble of ours.
    let is_over = tokio::select! {
        _ = connection.as_mut() => true,
        // An error means that the source ends, which is the same.
        _ = leaving.wait_for(|leaving| *leaving) => false,
    };
    if !is_over {
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    }
    // In the same task, so that it counts as the connection that it is.
    if let Some(opened) = opened.take() {
        Box::pin(room.serve_socket(opened, leaving)).await;
    }
}
