//! Requests that bring a body: they have places of their own, fewer than the listener has, and a caller has few of these, so that
//! whoever only reads always finds one. A body that does not come on is cut off.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::answer::{RefusalBody, json};
use super::caller::{Caller, CallerOrigin};

/// A body has so long to come, and the longer the more of it has come: a thin link is slow, and a slow one is no attack.
const WITHIN: Duration = Duration::from_secs(15);
/// Bytes a second that are slow enough.
const SLOW: u64 = 128;
/// How long a place is waited for, by as many as there are places.
const WAIT: Duration = Duration::from_secs(3);

/// The places of one listener.
#[derive(Clone, Debug)]
pub(super) struct Uploads {
    most: usize,
    each: usize,
    /// How long nothing of a body may come.
    still: Duration,
    state: Arc<Mutex<UploadSlots>>,
    freed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct UploadSlots {
    /// How many bodies are on their way, by whose they are; and how many wait to be.
    taken: BTreeMap<String, usize>,
    waiting: BTreeMap<String, usize>,
}

/// A place, or a place among those that wait for one.
struct UploadSlot {
    of: Uploads,
    whose: String,
    waits: bool,
}

impl Uploads {
    /// Of a listener that takes `connections` at a time.
    pub(super) fn beside(connections: usize, still: Duration) -> Self {
        let most = (connections / 4).max(1);
        Self {
            most,
            each: (most / 2).max(1),
            still,
            state: Arc::default(),
            freed: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, UploadSlots> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place at once, if there is one.
    fn take(&self, whose: &str, waits: bool) -> Option<UploadSlot> {
        let mut state = self.state();
        let list = state.list(waits);
        let own = list.get(whose).copied().unwrap_or_default();
        if own >= self.each || list.values().sum::<usize>() >= self.most {
            return None;
        }
        list.insert(whose.to_owned(), own + 1);
        Some(UploadSlot {
            of: self.clone(),
            whose: whose.to_owned(),
            waits,
        })
    }

    /// A place, as soon as one is free; few wait, and not for long.
    async fn place(&self, whose: &str) -> Option<UploadSlot> {
        if let Some(place) = self.take(whose, false) {
            return Some(place);
        }
        let _waiting = self.take(whose, true)?;
        let until = Instant::now() + WAIT;
        loop {
            let freed = self.freed.notified();
            if let Some(place) = self.take(whose, false) {
                return Some(place);
            }
            timeout_at(until, freed).await.ok()?;
        }
    }
}

impl UploadSlots {
    fn list(&mut self, waits: bool) -> &mut BTreeMap<String, usize> {
        if waits {
            &mut self.waiting
        } else {
            &mut self.taken
        }
    }
}

impl Drop for UploadSlot {
    fn drop(&mut self) {
        let mut state = self.of.state();
        let list = state.list(self.waits);
        if let Some(own) = list.get_mut(&self.whose) {
            *own -= 1;
            if *own == 0 {
                list.remove(&self.whose);
            }
        }
        drop(state);
        self.of.freed.notify_waiters();
    }
}

/// Runs a request that brings a body while it has a place, and lets go of one whose body does not come on.
pub(super) async fn in_its_place(
    State(uploads): State<Uploads>,
    request: Request,
    next: Next,
) -> Response {
    if body_bytes(&request) == 0 {
        return next.run(request).await;
    }
    let whose = whose(&request);
    let Some(place) = uploads.place(&whose).await else {
        let words = format!(
            "{} requests with a body are on their way here, or {} of this caller: try again in a moment",
            uploads.most, uploads.each
        );
        return refused(StatusCode::TOO_MANY_REQUESTS, words);
    };
    let is_late = Arc::<AtomicBool>::default();
    let flag = Arc::clone(&is_late);
    let (now, still) = (Instant::now(), uploads.still);
    let answer = next
        .run(request.map(|body| {
            Body::new(UploadBody {
                body,
                came: 0,
                begun: now,
                still,
                timer: Box::pin(sleep_until(now + still)),
                is_late: flag,
                place: Some(place),
            })
        }))
        .await;
    if is_late.load(Ordering::Relaxed) {
        let words = format!(
            "nothing more of the body came within {still:?}, or less than {SLOW} bytes a second: nothing was done; send it again"
        );
        return refused(StatusCode::REQUEST_TIMEOUT, words);
    }
    answer
}

fn refused(status: StatusCode, error: String) -> Response {
    let answer = json(&RefusalBody { error });
    (status, [(header::RETRY_AFTER, "1")], answer).into_response()
}

/// Whose places it takes: the token's, the user's, or the address's.
fn whose(request: &Request) -> String {
    match request
        .extensions()
        .get::<Caller>()
        .map(|caller| &caller.origin)
    {
        Some(CallerOrigin::Port {
            token: Some(token), ..
        }) => format!("token {token}"),
        Some(CallerOrigin::Port { peer, token: None }) => peer.ip().to_string(),
        Some(CallerOrigin::Socket { uid, .. }) => format!("user {uid}"),
        None => String::new(),
    }
}

/// A body on its way, in its place until it is there.
struct UploadBody {
    body: Body,
    /// Bytes of it so far.
    came: u64,
    begun: Instant,
    still: Duration,
    timer: Pin<Box<Sleep>>,
    is_late: Arc<AtomicBool>,
    place: Option<UploadSlot>,
}

impl hyper::body::Body for UploadBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            ready!(self.timer.as_mut().poll(cx));
            self.is_late.store(true, Ordering::Relaxed);
            self.place = None;
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            return Poll::Ready(Some(Err(late.into())));
        };
        match &frame {
            Some(Ok(data)) => {
                let bytes = data.data_ref().map_or(0, Bytes::len);
                self.came = self.came.saturating_add(bytes as u64);
                let slowest = self.begun + WITHIN + Duration::from_secs(self.came / SLOW);
                let until = slowest.min(Instant::now() + self.still);
                self.timer.as_mut().reset(until);
            }
            Some(Err(_)) | None => self.place = None,
        }
        if self.body.is_end_stream() {
            self.place = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How much a request says it brings; one that does not say may bring anything.
pub(super) fn body_bytes(request: &Request) -> usize {
    let headers = request.headers();
    match headers
        .get(header::CONTENT_LENGTH)
        .map(|length| length.to_str().ok().and_then(|length| length.parse().ok()))
    {
        Some(length) => length.unwrap_or(usize::MAX),
        None if headers.contains_key(header::TRANSFER_ENCODING) => usize::MAX,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_half_of_the_places_and_reading_has_most_of_the_connections() {
        let uploads = Uploads::beside(16, Duration::from_secs(5));
        let own: Vec<_> = (0..3).map(|_| uploads.take("ci", false)).collect();
        assert_eq!(own.iter().flatten().count(), 2);
        let others: Vec<_> = (0..9)
            .map(|number| uploads.take(&format!("other {number}"), false))
            .collect();
        assert_eq!(others.iter().flatten().count(), 2);
        // Those that wait are as few.
        let waiting: Vec<_> = (0..9)
            .map(|number| uploads.take(&format!("other {number}"), true))
            .collect();
        assert_eq!(waiting.iter().flatten().count(), 4);
        drop(own);
        assert!(uploads.take("ci", false).is_some());
        drop((others, waiting));
        let state = uploads.state();
        assert!(state.taken.is_empty() && state.waiting.is_empty());
    }
}
