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

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

pub(super) use self::dial::reach;
pub use self::error::Error;
pub use self::line::{DEVICE, InfluxFormat, Tag};
pub use self::path::RequestPath;
pub use self::settings::{BodyFormat, Config, HeaderText, Method};

use self::dial::ShownHeaders;
use self::request::{Element, content_type, element, request, secrets};
use self::verdict::Verdict;
use super::batch::{BatchCarrier, BatchMemory, BatchMessage, RequestBatch};
use super::carrier::{Answer, OutgoingPacket, PacketOrigin, Unsendable};
use super::web::{Dialling, HttpClient, HttpConnection, Reply};
use crate::link::{Backoff, SecretFiles, Tls, TokenLife};

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
    memory: BatchMemory,
}

impl HttpCarrier {
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
        let patience = self.memory.left(config.deadlines.answer);
        let request = request(config, &self.shown.map, messages);
        self.client.ask(request, patience);
        Poll::Ready(Ok(()))
    }

    /// Where others were taken, what is said of the request may be meant for one message: whatever stands before the server has
    /// looked into it, or the server fails over it. Several are sent in halves, and one waits by itself; `false` where it is not so.
    fn is_of_one(&mut self, verdict: Verdict, reply: &Reply, answers: &mut Vec<Answer>) -> bool {
        let is_of_all = matches!(verdict, Verdict::Held | Verdict::Passing);
        let may_be_of_one = verdict::may_be_of_one(reply.status.as_u16());
        if !is_of_all || reply.asks_for_a_pause() || !may_be_of_one {
            return false;
        }
        let words = reply.in_words(secrets(&self.shown.map));
        self.memory.is_of_one(&mut self.batch, &words, answers)
    }

    /// What the answer says about what was sent.
    fn conclude(&mut self, reply: &Reply, answers: &mut Vec<Answer>) -> Result<(), Error> {
        let status = reply.status.as_u16();
        let verdict = Verdict::of(status, self.config.path.is_by_message());
        if self.has_taken && self.is_of_one(verdict, reply, answers) {
            return Ok(());
        }
        let is_of_all = matches!(verdict, Verdict::Held | Verdict::Passing);
        let was_unproven = self.memory.set_unproven(is_of_all);
        let topics = self.batch.topics();
        match verdict {
            Verdict::Accepted => self.memory.took(reply.took, topics),
            _ => self.memory.told(topics),
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
                let pause = self.config.pause.asked_by(reply);
                return Err(Error::Busy { answer, pause });
            }
        }
        Ok(())
    }
}

impl BatchCarrier for HttpCarrier {
    type Settings = Config;
    type Known = ();
    type Fault = Error;
    type What = Element;

    const HAS_HEADERS: bool = true;
    const COMPLAINT: &'static str = "no connection to the server";

    fn id(config: &Config) -> &str {
        &config.id
    }

    fn backoff(config: &Config) -> Backoff {
        config.backoff
    }

    fn files(config: &Config) -> SecretFiles {
        SecretFiles::of(config.secrets(), config.tls.iter().flat_map(Tls::paths))
    }

    async fn open(config: &Arc<Config>, (): &(), memory: &BatchMemory) -> Result<Self, Error> {
        // An interface that came up cuts a back-off short, but not what the server asked for.
        if let Some(left) = config.pause.left(Instant::now()) {
            return Err(Error::Asked(left));
        }
        let shown = ShownHeaders::of_today(config).await?;
        let wire = HttpConnection::open(config.target()).await?;
        let most = match config.pack {
            BodyFormat::Raw => 1,
            _ => usize::from(config.batch_messages),
        };
        Ok(Self {
            batch: RequestBatch::new(most, config.batch_bytes),
            config: Arc::clone(config),
            shown,
            client: HttpClient::new(wire),
            has_taken: false,
            memory: memory.clone(),
        })
    }

    fn announce(&self, (stage, name): (&str, &str), failures_before: u32) {
        let Config { host, port, .. } = &*self.config;
        tracing::info!(stage, %name, server = %format_args!("{host}:{port}"), failures_before, "online");
    }

    fn memory(&self) -> &BatchMemory {
        &self.memory
    }

    fn places(&self) -> usize {
        self.batch.room()
    }

    fn stand_in(
        &mut self,
        packet: OutgoingPacket,
        about: PacketOrigin<'_>,
    ) -> Result<(usize, Element), Unsendable> {
        let filling = about.filling(&packet.topic);
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
        let PacketOrigin { prefix, stored, .. } = about;
        let mut id = format!("{prefix}{}/{}", stored.seq.boot(), stored.seq.number());
        if about.is_asked_anew {
            id.push_str(&format!("+again-{:08x}", fastrand::u32(..)));
        }
        let element = Element {
            id,
            path,
            bytes: element,
            content_type,
            trace,
        };
        Ok((element.bytes.len(), element))
    }

    fn add(
        &mut self,
        message: BatchMessage<Element>,
        _: PacketOrigin<'_>,
    ) -> Result<(), Unsendable> {
        self.batch
            .offer(message, |first, own| first.path == own.path)
    }

    /// Sends what is in hand, and takes the answer.
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        answers: &mut Vec<Answer>,
    ) -> Poll<Result<(), Error>> {
        match ready!(self.client.poll_reply(cx)) {
            Ok(Some(reply)) => Poll::Ready(self.conclude(&reply, answers)),
            Ok(None) => self.poll_send(cx),
            Err(error) => {
                self.memory.ended(&error, self.batch.topics());
                Poll::Ready(Err(error.into()))
            }
        }
    }

    fn token_life(&self) -> Option<TokenLife> {
        self.shown.life()
    }

    async fn leave(self) {
        self.client.close().await;
    }
}

#[cfg(test)]
mod tests;
