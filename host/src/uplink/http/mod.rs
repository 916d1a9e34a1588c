//! Over HTTP: batches of messages in requests, one at a time, each with a verdict by its status.
//!
//! - `request`: what goes out for what is in hand. `verdict`: what a status says. `path`: the path of a request. None of them
//!   knows sockets or clocks.
//! - One connection, one request on it (`web`).
//! - `dial`: how a way to a server begins; secrets in files are read then.
//!
//! Upstream has a message when an answer of 2xx was read to its end, or to a mebibyte where it goes on. One that says nothing
//! about a message (a right, a path, a pause) ends the way instead, so that everything waits, is owed again, and the back-off
//! holds.

mod dial;
mod error;
mod line;
mod path;
mod request;
mod settings;
mod verdict;

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use hyper::header::RETRY_AFTER;

pub(super) use self::dial::reach;
pub use self::error::Error;
pub use self::line::{DEVICE, InfluxFormat, Tag};
pub use self::path::RequestPath;
pub use self::settings::{BodyFormat, Config, HeaderText, Method};

use self::dial::{ServerDialler, ShownHeaders};
use self::request::{Element, content_type, element, request, secrets};
use self::verdict::Verdict;
use super::batch::{BatchMessage, Patience, RequestBatch, Unproven};
use super::carrier::{
    Answer, Carrier, CarrierFault, Manner, OutgoingPacket, PacketOrigin, Unsendable, UpstreamLimits,
};
use super::form::template::Filling;
use super::web::{self, Dialling, HttpClient, HttpConnection, Reply};
use crate::clock::Now;
use crate::link::{LinkMetrics, Redial, TokenLife};
use crate::message::key_hash;

/// Longest path, bytes: what servers take.
const PATH_BYTES: usize = 8_000;

/// A way to a server.
pub(super) struct HttpCarrier {
    config: Arc<Config>,
    shown: ShownHeaders,
    batch: RequestBatch<Element>,
    client: HttpClient,
    /// Something was taken over this way, so that what is turned away next may be meant alone.
    has_taken: bool,
    unproven: Unproven,
    /// What is known of the server over all connections of this way.
    patience: Arc<Mutex<Patience>>,
}

/// Ready to dial for the uplink `name`.
pub(super) fn redial(
    config: Config,
    name: Arc<str>,
    metrics: &LinkMetrics,
) -> Redial<<HttpCarrier as Carrier>::Dial> {
    Redial::new(ServerDialler::new(config), "uplink", name, metrics)
}

impl HttpCarrier {
    fn new(
        config: Arc<Config>,
        shown: ShownHeaders,
        wire: HttpConnection,
        (unproven, patience): (Unproven, Arc<Mutex<Patience>>),
    ) -> Self {
        let most = match config.pack {
            BodyFormat::Raw => 1,
            _ => usize::from(config.batch_messages),
        };
        Self {
            batch: RequestBatch::new(most, config.batch_bytes),
            config,
            shown,
            client: HttpClient::new(wire),
            has_taken: false,
            unproven,
            patience,
        }
    }

    fn patience(&self) -> MutexGuard<'_, Patience> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is in hand, and takes the answer.
    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        answers: &mut Vec<Answer>,
    ) -> Poll<Result<(), Error>> {
        loop {
            match ready!(self.client.poll_reply(cx)) {
                Ok(Some(reply)) => {
                    self.conclude(&reply, answers)?;
                    if !answers.is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Ok(None) => ready!(self.poll_send(cx))?,
                Err(error) => {
                    if error.manner() == Manner::StoodStill {
                        let topics = self.batch.topics();
                        self.patience().had_none(topics.into_iter());
                    }
                    return Poll::Ready(Err(error.into()));
                }
            }
        }
    }

    /// Sends the next request, if there is one.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.client.poll_idle(cx);
        let Some(messages) = self.batch.next() else {
            return Poll::Pending;
        };
        let config = &self.config;
        if let Some(left) = config.pause.left(Instant::now()) {
            return Poll::Ready(Err(Error::Asked(left)));
        }
        let dial = || -> Dialling {
            let config = Arc::clone(config);
            Box::pin(async move { HttpConnection::open(config.target()).await })
        };
        ready!(self.client.poll_ready(cx, dial))?;
        let patience = self
            .patience
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .left(config.deadlines.answer);
        let request = request(config, &self.shown.map, messages);
        self.client.ask(request, patience);
        Poll::Ready(Ok(()))
    }

    /// Where others were taken, what is said of the request may be meant for one message: whatever stands before the server has
    /// looked into it, or the server fails over it. Several are sent in halves, and one waits by itself; `false` where it is not so.
    fn is_of_one(&mut self, verdict: Verdict, reply: &Reply, answers: &mut Vec<Answer>) -> bool {
        let is_of_all = matches!(verdict, Verdict::Held | Verdict::Passing);
        let is_asked = reply.headers.contains_key(RETRY_AFTER);
        if !is_of_all || is_asked || !verdict::may_be_of_one(reply.status.as_u16()) {
            return false;
        }
        let (sent, is_alone) = (self.batch.topics(), self.batch.is_one());
        if !self
            .batch
            .busy(&reply.in_words(secrets(&self.shown.map)), answers)
        {
            return false;
        }
        self.unproven.set(false);
        if is_alone {
            self.patience().had_none(sent.into_iter());
        }
        true
    }

    /// What the answer says about what was sent.
    fn conclude(&mut self, reply: &Reply, answers: &mut Vec<Answer>) -> Result<(), Error> {
        let status = reply.status.as_u16();
        let verdict = Verdict::of(status, self.config.path.is_by_message());
        if self.has_taken && self.is_of_one(verdict, reply, answers) {
            return Ok(());
        }
        let was_unproven = self
            .unproven
            .set(matches!(verdict, Verdict::Held | Verdict::Passing));
        let topics = self.batch.topics().into_iter();
        match verdict {
            Verdict::Accepted => self.patience().took(reply.took, topics),
            _ => self.patience().told(topics),
        }
        let mut answer = reply.in_words(secrets(&self.shown.map));
        if status == 401
            && let Some(doubt) = self.shown.refused()
        {
            answer = format!("{answer}; {doubt}");
        }
        match verdict {
            Verdict::Accepted => {
                self.has_taken = true;
                self.batch.pace(reply.sending);
                self.batch.accepted(answers);
            }
            Verdict::Refused => self.batch.refused(&answer, answers),
            Verdict::TooLarge => {
                self.batch.shrink();
                self.batch.refused(&answer, answers);
            }
            Verdict::Failed if self.batch.halve() => {}
            Verdict::Failed if verdict::is_of_the_request(status) => {
                let hint = verdict::hint(status);
                return Err(Error::Unwanted { answer, hint });
            }
            Verdict::Failed => return Err(Error::Failed(answer)),
            // A token may have run out, and be renewed already: it is read at the next dial.
            Verdict::Held if status != 401 || was_unproven => {
                let hint = verdict::hint(status);
                return Err(Error::Held { answer, hint });
            }
            Verdict::Held | Verdict::Passing => {
                let asked = reply.headers.get(RETRY_AFTER);
                let pause = asked
                    .and_then(|asked| web::asked_for(asked.to_str().ok()?, Now::read()))
                    .filter(|pause| !pause.is_zero());
                if let Some(pause) = pause {
                    self.config.pause.ask(pause, Instant::now());
                }
                return Err(Error::Busy { answer, pause });
            }
        }
        Ok(())
    }
}

impl Carrier for HttpCarrier {
    type Dial = ServerDialler;

    const KEEPS_TIME: bool = true;

    fn online(&self, redial: &mut Redial<ServerDialler>) {
        let failures_before = redial.stands();
        let (stage, name) = redial.owner();
        let Config { host, port, .. } = redial.dialled().config();
        tracing::info!(stage, %name, server = %format_args!("{host}:{port}"), failures_before, "online");
    }

    fn limits(&self) -> UpstreamLimits {
        UpstreamLimits::of_batches(true)
    }

    fn life(&self) -> Option<TokenLife> {
        self.shown.life()
    }

    fn room(&self) -> usize {
        self.batch.room()
    }

    fn unsent(&self) -> usize {
        0
    }

    fn offer(
        &mut self,
        packet: OutgoingPacket,
        about: PacketOrigin<'_>,
        token: u64,
    ) -> Result<(), Unsendable> {
        if self.batch.room() == 0 {
            return Err(Unsendable::Full);
        }
        let filling = Filling {
            prefix: about.prefix,
            topic: &packet.topic,
            device: about.stored.message.key(),
        };
        let path = self.config.path.of(filling).map_err(Unsendable::Never)?;
        if path.len() > PATH_BYTES {
            let why = format!("its path would have {} bytes", path.len());
            return Err(Unsendable::Never(why));
        }
        let content_type = content_type(&self.config, &packet);
        let trace = packet.kept_trace().map(Box::new);
        let element = match &self.config.line {
            Some(line) => line.of(about, filling).map_err(Unsendable::Never)?,
            None => element(&self.config, packet.payload),
        };
        let topic = key_hash(&packet.topic);
        let is_alone = self.patience().is_doubted(topic);
        let (bytes, is_of_path) = (element.len(), |first: &Element| first.path == path);
        if !self.batch.takes(bytes, is_alone, is_of_path) {
            return Err(Unsendable::Full);
        }
        let prefix = about.prefix;
        let seq = about.stored.seq;
        let mut id = format!("{prefix}{}/{}", seq.boot(), seq.number());
        if about.is_asked_anew {
            id.push_str(&format!("+again-{:08x}", fastrand::u32(..)));
        }
        self.batch.add(BatchMessage {
            token,
            topic,
            is_alone,
            bytes,
            what: Element {
                id,
                path,
                bytes: element,
                content_type,
                trace,
            },
        });
        Ok(())
    }

    async fn turn(&mut self, answers: &mut Vec<Answer>) -> Result<(), Error> {
        let turned = poll_fn(|cx| self.poll_turn(cx, answers)).await;
        if turned
            .as_ref()
            .is_err_and(|error| error.manner() != Manner::Elsewhere)
        {
            self.unproven.set(false);
        }
        turned
    }

    fn is_unproven(&self) -> bool {
        self.unproven.get()
    }

    async fn close(self) {
        self.client.close().await;
    }
}

#[cfg(test)]
mod tests;
