//! Requests to one server, one at a time. A connection that the server closes between two of them is dialled again here, and nobody
//! hears of it: some servers close after each answer.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::Request;

use super::Error;
use super::wire::{Dialling, HttpConnection, Reply, Whole};

/// One connection to a server after the other.
pub(in crate::uplink) struct HttpClient {
    wire: Option<HttpConnection>,
    dialling: Option<Dialling>,
    /// What is under way went out over a connection that the server had closed, and is sent a second time.
    is_again: bool,
}

impl HttpClient {
    pub(in crate::uplink) fn new(wire: HttpConnection) -> Self {
        Self {
            wire: Some(wire),
            dialling: None,
            is_again: false,
        }
    }

    /// The answer to what is under way; `None` where nothing is, or where it has to be sent once more.
    pub(in crate::uplink) fn poll_reply(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Reply>, Error>> {
        let Some(wire) = self.wire.as_mut().filter(|wire| wire.is_busy()) else {
            return Poll::Ready(Ok(None));
        };
        match ready!(wire.poll_reply(cx)) {
            Ok(reply) => {
                self.is_again = false;
                Poll::Ready(Ok(Some(reply)))
            }
            Err(error) if wire.is_used && !self.is_again && error.is_hang_up() => {
                (self.is_again, self.wire) = (true, None);
                Poll::Ready(Ok(None))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Ready once a request may be sent, over a connection that is dialled where there is none.
    pub(in crate::uplink) fn poll_ready(
        &mut self,
        cx: &mut Context<'_>,
        dial: impl Fn() -> Dialling,
    ) -> Poll<Result<(), Error>> {
        loop {
            if let Some(dialling) = &mut self.dialling {
                let dialled = ready!(dialling.as_mut().poll(cx));
                self.dialling = None;
                self.wire = Some(dialled?);
            }
            if let Some(wire) = &mut self.wire {
                ready!(wire.poll_ready(cx));
                if !wire.is_over() {
                    return Poll::Ready(Ok(()));
                }
            }
            self.wire = None;
            self.dialling = Some(dial());
        }
    }

    /// Lets the connection work while nothing is asked: it is only seen when the server closes it.
    pub(in crate::uplink) fn poll_idle(&mut self, cx: &mut Context<'_>) {
        if let Some(wire) = &mut self.wire {
            wire.poll_idle(cx);
        }
        self.wire.take_if(|wire| wire.is_over());
    }

    /// Sends it, once that may be; the answer is waited for as long as any, and no longer than `patience`.
    pub(in crate::uplink) fn ask(&mut self, request: Request<Whole>, patience: Duration) {
        if let Some(wire) = &mut self.wire {
            wire.ask(request, patience);
        }
    }

    /// Waits a moment for the server to learn that no more comes.
    pub(in crate::uplink) async fn close(self) {
        if let Some(wire) = self.wire {
            wire.close().await;
        }
    }
}
