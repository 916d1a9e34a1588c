//! The stream that keeps the page up to date: server-sent events, one account a second, made once for all who listen. They are
//! few, each is let go after a while and comes back by itself, and one that does not read gets what is newest once it does.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as Stream, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::view::Views;

/// Listeners at a time: connections are left for those who ask for health and metrics.
const MOST: usize = 6;
const EVERY: Duration = Duration::from_secs(1);
/// How long one is told; less than a connection may last. Browsers come back at once.
const LASTS: Duration = Duration::from_secs(25);

/// What is told, and to how many.
pub(super) struct PageEvents {
    views: Arc<Views>,
    seats: Arc<Semaphore>,
    /// The newest event, as long as somebody listens.
    newest: Arc<Mutex<Option<watch::Receiver<Bytes>>>>,
}

impl PageEvents {
    pub(super) fn of(views: &Arc<Views>) -> Self {
        Self {
            views: Arc::clone(views),
            seats: Arc::new(Semaphore::new(MOST)),
            newest: Arc::default(),
        }
    }

    /// A stream of them, if there is a seat.
    pub(super) fn listen(&self) -> Response {
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            let words = format!("{MOST} listen already\n");
            return (StatusCode::SERVICE_UNAVAILABLE, words).into_response();
        };
        let told = ToldListener {
            next: Box::pin(newer(self.subscribe())),
            until: Instant::now() + LASTS,
            _seat: seat,
        };
        let kind = (header::CONTENT_TYPE, "text/event-stream");
        ([kind], Body::new(told)).into_response()
    }

    /// The newest event, from whoever makes them; begins to where nobody does.
    fn subscribe(&self) -> watch::Receiver<Bytes> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(events) = &*newest
            && events.has_changed().is_ok()
        {
            let mut events = events.clone();
            events.mark_changed();
            return events;
        }
        let (tell, events) = watch::channel(Bytes::new());
        tokio::spawn(make(
            Arc::clone(&self.views),
            tell,
            Arc::clone(&self.newest),
        ));
        // The one that is kept here is not one who listens.
        *newest = Some(events.clone());
        events
    }
}

/// Makes events until nobody listens.
async fn make(
    views: Arc<Views>,
    tell: watch::Sender<Bytes>,
    newest: Arc<Mutex<Option<watch::Receiver<Bytes>>>>,
) {
    loop {
        let views = Arc::clone(&views);
        let made = tokio::task::spawn_blocking(move || event(&views)).await;
        // A panic there has said so, and whoever listens comes back.
        let Ok(event) = made else { break };
        tell.send_replace(event);
        tokio::time::sleep(EVERY).await;
        let mut newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
        if tell.receiver_count() <= 1 {
            *newest = None;
            return;
        }
    }
}

fn event(views: &Views) -> Bytes {
    // JSON of ours has no line ends.
    let view = serde_json::to_string(&views.now()).unwrap_or_default();
    format!("retry: 1000\ndata: {view}\n\n").into()
}

type Next = Pin<Box<dyn Future<Output = Option<(watch::Receiver<Bytes>, Bytes)>> + Send>>;

/// Waits for one that has not been seen; none comes once whoever makes them has ended.
async fn newer(mut events: watch::Receiver<Bytes>) -> Option<(watch::Receiver<Bytes>, Bytes)> {
    loop {
        if !events.borrow_and_update().is_empty() {
            let event = events.borrow().clone();
            return Some((events, event));
        }
        events.changed().await.ok()?;
    }
}

/// What one listener is told.
struct ToldListener {
    next: Next,
    until: Instant,
    _seat: OwnedSemaphorePermit,
}

impl Stream for ToldListener {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if Instant::now() >= self.until {
            return Poll::Ready(None);
        }
        let Some((mut events, event)) = ready!(self.next.as_mut().poll(cx)) else {
            return Poll::Ready(None);
        };
        self.next = Box::pin(async move {
            events.changed().await.ok()?;
            newer(events).await
        });
        Poll::Ready(Some(Ok(Frame::data(event))))
    }
}
