//! Serves the connections of a listener within bounds: few at a time, each for one request, small heads, deadlines for all.
//! Whoever connects and says nothing makes way for the next, and descriptors stay for the gateway's own connections.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::caller::Caller;
use super::uploads::{Uploads, body_bytes, in_its_place};

/// Bytes of a request's head; the parser takes no less.
const HEAD_BYTES: usize = 8 << 10;
/// Lines of a head.
const HEAD_LINES: usize = 32;
/// Pause after a failed accept: the usual reason is that all descriptors are in use.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// What a request under way gets at the end.
const LAST: Duration = Duration::from_millis(500);

/// What one listener gives to its guests.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionBounds {
    /// Connections at a time.
    pub most: usize,
    /// For a request's head.
    pub head: Duration,
    /// For everything: request, work and answer.
    pub whole: Duration,
    /// The same for whoever has shown who it is.
    pub vouched: Duration,
    /// Bytes of bodies that may be on their way in, together.
    pub body_bytes: usize,
    /// How long nothing of a body may come.
    pub body_still: Duration,
}

/// Where connections come in.
pub(super) trait Listening {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one, and who is at its other end. Cancel safe.
    fn next(&mut self)
    -> impl Future<Output = io::Result<(Entering<Self::Stream>, Caller)>> + Send;

    /// The routes behind whatever looks at a request first: nothing of a body is read or waited for before.
    fn guarded(&self, routes: Router) -> Router {
        routes
    }
}

/// A connection that is still to be made fit for requests, by a handshake.
pub(super) type Entering<S> = Pin<Box<dyn Future<Output = io::Result<S>> + Send>>;

/// Put into each request: whoever finds out who asks may give it more time.
#[derive(Clone, Debug, Default)]
pub(super) struct Vouched(Arc<AtomicBool>);

impl Vouched {
    pub(super) fn vouch(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Serves `routes` until `stop` is true, and what is under way then for a moment longer.
pub(super) async fn attend<D: Listening>(
    entrance: &mut D,
    routes: Router,
    bounds: ConnectionBounds,
    mut stop: watch::Receiver<bool>,
) -> AdminConnections {
    let bodies = BodyRoom {
        room: Arc::new(Semaphore::new(kib(bounds.body_bytes))),
        bytes: bounds.body_bytes,
    };
    let with_room = routes
        .layer(middleware::from_fn_with_state(bodies, when_there_is_room))
        .layer(middleware::from_fn_with_state(
            Uploads::beside(bounds.most, bounds.body_still),
            in_its_place,
        ));
    let mut guests = AdminConnections {
        routes: entrance.guarded(with_room),
        bounds,
        tasks: JoinSet::new(),
        idle: VecDeque::new(),
    };
    loop {
        tokio::select! {
            () = until(&mut stop) => return guests,
            Some(_) = guests.tasks.join_next(), if !guests.tasks.is_empty() => {}
            came = entrance.next() => match came {
                Ok((entering, caller)) => guests.admit(entering, caller).await,
                Err(error) => {
                    tracing::warn!(%error, "a connection to the admin port or the control socket cannot be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// Waits until it is true. An error means that the sender is gone, which is a stop as well.
pub(super) async fn until(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// A connection whose request has not come yet.
struct Idle {
    has_asked: Arc<AtomicBool>,
    task: AbortHandle,
}

/// The connections under way.
pub(super) struct AdminConnections {
    routes: Router,
    bounds: ConnectionBounds,
    tasks: JoinSet<()>,
    idle: VecDeque<Idle>,
}

impl AdminConnections {
    async fn admit<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &mut self,
        entering: Entering<S>,
        caller: Caller,
    ) {
        self.idle
            .retain(|guest| !guest.has_asked.load(Ordering::Relaxed) && !guest.task.is_finished());
        if self.tasks.len() >= self.bounds.most {
            // All of them at work: whoever comes now tries again.
            let Some(oldest) = self.idle.pop_front() else {
                return;
            };
            oldest.task.abort();
            let _ = self.tasks.join_next().await;
        }
        let has_asked = Arc::<AtomicBool>::default();
        let visit = Visit {
            caller,
            routes: self.routes.clone(),
            bounds: self.bounds,
        };
        let served = visit.serve(entering, Arc::clone(&has_asked));
        let task = self.tasks.spawn(served);
        self.idle.push_back(Idle { has_asked, task });
    }

    /// Lets those end who are being served, for a moment; the others have nothing coming.
    pub(super) async fn leave(mut self) {
        self.idle
            .iter()
            .filter(|guest| !guest.has_asked.load(Ordering::Relaxed))
            .for_each(|guest| guest.task.abort());
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST, ended).await;
        self.tasks.shutdown().await;
    }
}

/// One request and its answer.
struct Visit {
    caller: Caller,
    routes: Router,
    bounds: ConnectionBounds,
}

impl Visit {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self,
        entering: Entering<S>,
        has_asked: Arc<AtomicBool>,
    ) {
        let Self {
            caller,
            routes,
            bounds,
        } = self;
        // Whoever does not get through a handshake is no trouble of ours.
        let Ok(Ok(stream)) = tokio::time::timeout(bounds.head, entering).await else {
            return;
        };
        let routes = TowerToHyperService::new(routes);
        let vouched = Vouched::default();
        let flag = vouched.clone();
        let answer = service_fn(move |mut request: Request<Incoming>| {
            has_asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(caller.clone());
            request.extensions_mut().insert(flag.clone());
            routes.call(request)
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(bounds.head)
            .keep_alive(false);
        http.max_buf_size(HEAD_BYTES).max_headers(HEAD_LINES);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), answer));
        // A guest who is late, or who leaves, is no trouble of ours.
        let ended = tokio::time::timeout(bounds.whole, connection.as_mut()).await;
        if ended.is_err() && vouched.0.load(Ordering::Relaxed) {
            let more = bounds.vouched.saturating_sub(bounds.whole);
            let _ = tokio::time::timeout(more, connection).await;
        }
    }
}

/// Room for bodies on their way in, together.
#[derive(Clone)]
struct BodyRoom {
    /// A permit is a KiB.
    room: Arc<Semaphore>,
    bytes: usize,
}

async fn when_there_is_room(
    State(bodies): State<BodyRoom>,
    request: axum::extract::Request,
    next: Next,
) -> Response {
    let wanted = kib(body_bytes(&request).min(bodies.bytes));
    // It is never closed.
    let _room = bodies
        .room
        .acquire_many(u32::try_from(wanted).unwrap_or(u32::MAX))
        .await;
    next.run(request).await
}

fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1 << 10)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::admin::{CallerOrigin, Scope};

    /// Lets in whoever comes.
    struct Anybody(TcpListener);

    impl Listening for Anybody {
        type Stream = TcpStream;

        async fn next(&mut self) -> io::Result<(Entering<TcpStream>, Caller)> {
            let (stream, peer) = self.0.accept().await?;
            let origin = CallerOrigin::Port { peer, token: None };
            let scope = Scope::Open;
            let entering = Box::pin(std::future::ready(Ok(stream)));
            Ok((entering, Caller { origin, scope }))
        }
    }

    const BOUNDS: ConnectionBounds = ConnectionBounds {
        most: 4,
        head: Duration::from_secs(300),
        whole: Duration::from_secs(300),
        vouched: Duration::from_secs(300),
        body_bytes: 1 << 20,
        body_still: Duration::from_millis(50),
    };

    async fn start(
        bounds: ConnectionBounds,
    ) -> (SocketAddr, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = Anybody(listener);
        let (stop, stopped) = watch::channel(false);
        let routes = Router::new()
            .route("/", get(async || "here"))
            .route("/put", post(async |body: String| body));
        let serving = tokio::spawn(async move {
            attend(&mut listener, routes, bounds, stopped)
                .await
                .leave()
                .await
        });
        (address, stop, serving)
    }

    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn whoever_says_nothing_makes_way() {
        let (address, _stop, _serving) = start(BOUNDS).await;
        let mut silent = Vec::new();
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HT").await.unwrap();
            silent.push(stream);
        }
        assert!(ask(address).await.ends_with("here"));
        // The first of them are gone.
        assert_eq!(silent[0].read(&mut [0; 8]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn half_sent_bodies_leave_room_for_whoever_reads_and_are_cut_off() {
        let (address, _stop, _serving) = start(ConnectionBounds { most: 16, ..BOUNDS }).await;
        let mut halves = Vec::new();
        for _ in 0..40 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let half = b"POST /put HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nhalf";
            stream.write_all(half).await.unwrap();
            halves.push(stream);
            assert!(ask(address).await.ends_with("here"));
        }
        let mut told = [0; 2];
        for mut stream in halves {
            let mut answer = String::new();
            // One that finds no connection is closed without a word.
            let _ = stream.read_to_string(&mut answer).await;
            told[0] += usize::from(answer.starts_with("HTTP/1.1 408"));
            told[1] += usize::from(answer.starts_with("HTTP/1.1 429"));
        }
        assert!(told[0] >= 2 && told[1] >= 2, "{told:?}");
    }

    #[tokio::test]
    async fn half_a_request_holds_up_no_end() {
        let (address, stop, serving) = start(BOUNDS).await;
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(b"GET / HT").await.unwrap();
        assert!(ask(address).await.ends_with("here"));
        stop.send_replace(true);
        serving.await.unwrap();
        assert_eq!(silent.read(&mut [0; 8]).await.unwrap_or(0), 0);
    }

    #[tokio::test]
    async fn a_head_has_its_deadline_and_its_bound() {
        let (address, _stop, _serving) = start(ConnectionBounds {
            head: Duration::from_millis(20),
            ..BOUNDS
        })
        .await;
        let mut late = TcpStream::connect(address).await.unwrap();
        late.write_all(b"GET / HT").await.unwrap();
        let mut answer = Vec::new();
        // It is closed, with or without words.
        let _ = late.read_to_end(&mut answer).await;
        let (address, _stop, _serving) = start(BOUNDS).await;
        let mut long = TcpStream::connect(address).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(64 << 10));
        // It may be closed before all of it is written.
        let _ = long.write_all(head.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = long.read_to_end(&mut answer).await;
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    }
}
