//! Into a bucket of an object store that speaks S3: lines gather for a while, since each object costs something, and go as one object,
//! one at a time.
//!
//! - `object`: what stands in an object, and its name. `lots`: what gathers, and in which order that goes. `verdict`: what an answer
//!   says. None of them knows sockets or clocks.
//! - `sign`: signed requests, and the clock that they are signed by. The library that signs is named there alone.
//! - `dial`: how a way into a bucket begins, and how it is tried.
//!
//! Upstream has a message when the object with it was answered by 2xx. After 412 it says that one of that name is there, and the name is
//! made of what stands in it: it is asked how long that one is, and has the messages where it is as long as what was sent; else they go
//! under another name. Nothing is put together beforehand, and nothing in several parts: what has no answer is owed again, and may be
//! cut in another way then, so that objects overlap; the ids in their lines tell.

mod dial;
mod error;
mod lots;
mod object;
mod settings;
mod sign;
mod verdict;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, IF_NONE_MATCH};
use hyper::{HeaderMap, Request};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

pub(super) use self::dial::reach;
pub use self::error::Error;
pub use self::settings::Config;
pub use self::sign::BucketPlace;

use self::dial::SharedFacts;
use self::lots::{ObjectLimits, ObjectLots};
use self::object::{ObjectLine, ObjectPlace, PackedObject, pack};
use self::sign::SignedBucket;
use self::verdict::{StoreVerdict, StoreWords};
use super::batch::{BatchCarrier, BatchMemory, BatchMessage, RequestBatch};
use super::carrier::{Answer, OutgoingPacket, PacketOrigin, Unsendable};
use super::web::{Dialling, HttpClient, HttpConnection, Reply, Whole};
use crate::clock::Now;
use crate::link::{Backoff, SecretFiles, Tls};
use crate::message::key_hash;

/// Clocks that differ by less are no reason why a signature is not taken.
const SKEW: Duration = Duration::from_secs(60);

/// A way into a bucket.
pub(super) struct S3Carrier {
    config: Arc<Config>,
    keys: SignedBucket,
    lots: ObjectLots,
    /// What is being sent.
    batch: RequestBatch<ObjectLine>,
    /// Messages in it without an answer.
    sending: usize,
    /// The next object is put together, on a thread that may take its time.
    packing: Option<JoinHandle<PackedObject>>,
    packed: Option<PackedObject>,
    client: HttpClient,
    /// What gathers is due.
    alarm: Pin<Box<Sleep>>,
    /// It was signed a second time, by the server's clock.
    is_resigned: bool,
    /// It is said to be there already, and what is asked is whether it is.
    is_comparing: bool,
    /// It has a name that no object has.
    is_renamed: bool,
    /// Something was taken over this way, so that what is turned away next may be meant alone.
    has_taken: bool,
    memory: BatchMemory,
    /// What else is known of the server over all connections of this way.
    facts: SharedFacts,
    /// What ids begin with: one for each class.
    prefixes: Vec<Arc<str>>,
}

impl S3Carrier {
    fn limits_now(&self) -> ObjectLimits {
        ObjectLimits {
            messages: usize::from(self.config.batch_messages),
            bytes: self.batch.limit(),
        }
    }

    /// Sends the next object, once it is due.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.client.poll_idle(cx);
        let object = ready!(self.poll_packed(cx))?;
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
        let request = self.request(object);
        self.client.ask(request, patience);
        Poll::Ready(Ok(()))
    }

    /// The object that is to be sent, once there is one.
    fn poll_packed(&mut self, cx: &mut Context<'_>) -> Poll<Result<PackedObject, Error>> {
        loop {
            if let Some(packed) = &self.packed {
                return Poll::Ready(Ok(packed.clone()));
            }
            if let Some(packing) = &mut self.packing {
                let packed = ready!(Pin::new(packing).poll(cx));
                self.packing = None;
                self.packed = Some(packed.map_err(|_| Error::Stopped)?);
            } else if let Some(messages) = self.batch.next() {
                let lines: Vec<_> = messages.iter().map(|held| held.what.clone()).collect();
                let config = Arc::clone(&self.config);
                self.packing = Some(tokio::task::spawn_blocking(move || pack(&config, &lines)));
            } else {
                ready!(self.poll_due(cx));
                let messages = self.lots.take();
                self.sending = messages.len();
                messages.into_iter().for_each(|held| self.batch.add(held));
            }
        }
    }

    /// Ready once what gathers is due.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.lots.due_at(self.config.batch_wait) else {
            return Poll::Pending;
        };
        if at > Instant::now() {
            self.alarm.as_mut().reset(at.into());
            ready!(self.alarm.as_mut().poll(cx));
        }
        Poll::Ready(())
    }

    fn request(&self, object: PackedObject) -> Request<Whole> {
        if self.is_comparing {
            let at = self.facts.lock().clock.now(Now::read());
            return self.keys.head(&object.name, at);
        }
        let mut headers = HeaderMap::new();
        let content_type = HeaderValue::from_static(object.content_type);
        headers.insert(CONTENT_TYPE, content_type);
        let facts = self.facts.lock();
        if !facts.is_unconditional {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let at = facts.clock.now(Now::read());
        let body = Whole::new(object.body);
        self.keys.put(&object.name, at, headers, body)
    }

    /// What was sent was not taken for a reason that is none of its messages': it is sent once more.
    fn is_sent_again(&mut self, reply: &Reply, verdict: StoreVerdict) -> bool {
        let mut facts = self.facts.lock();
        let differs = facts.clock.hear(&reply.headers, Now::read());
        if let Some(differs) = differs.filter(|differs| *differs >= SKEW)
            && !std::mem::replace(&mut facts.has_said_clock, true)
        {
            let (id, seconds) = (&self.config.id, differs.as_secs());
            tracing::warn!(%id, seconds, "the object store's clock is another one than ours: requests are signed by its own");
        }
        match verdict {
            StoreVerdict::There if !self.is_renamed => {
                self.is_comparing = true;
                return true;
            }
            // There is none of this name, so what it says of conditions is worth nothing.
            StoreVerdict::Unconditional | StoreVerdict::There => {
                return !std::mem::replace(&mut facts.is_unconditional, true);
            }
            StoreVerdict::Another => {
                self.packed.iter_mut().for_each(PackedObject::rename);
                self.is_renamed = true;
                return true;
            }
            _ => {}
        }
        let is_clock = matches!(reply.status.as_u16(), 400 | 403)
            && differs.is_some_and(|differs| differs >= SKEW);
        is_clock && !std::mem::replace(&mut self.is_resigned, true)
    }

    /// Where others were taken, what is said of the object may be meant for one message in it. Several are sent in halves, and one waits
    /// by itself; `false` where it is not so.
    fn is_of_one(&mut self, reply: &Reply, said: &StoreWords, answers: &mut Vec<Answer>) -> bool {
        let may_be_of_one = verdict::may_be_of_one(reply.status.as_u16(), &said.code);
        if !self.has_taken || reply.asks_for_a_pause() || !may_be_of_one {
            return false;
        }
        self.memory.is_of_one(&mut self.batch, &said.text, answers)
    }

    /// What is made of the answer to what was sent, or to the question whether that is there already.
    fn verdict(&mut self, reply: &Reply, said: &StoreWords) -> StoreVerdict {
        let status = reply.status.as_u16();
        if std::mem::take(&mut self.is_comparing) {
            let length = reply.headers.get(CONTENT_LENGTH);
            let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
            let sent = self.packed.as_ref().map_or(0, |packed| packed.body.len());
            return StoreVerdict::of_what_is_there(status, length, sent);
        }
        let is_conditional = !self.facts.lock().is_unconditional;
        StoreVerdict::of(status, &said.code, is_conditional)
    }

    /// What the answer says about what was sent.
    fn conclude(&mut self, reply: &Reply, answers: &mut Vec<Answer>) -> Result<(), Error> {
        let status = reply.status.as_u16();
        let said = StoreWords::of(reply, self.keys.secrets());
        let verdict = self.verdict(reply, &said);
        if self.is_sent_again(reply, verdict) {
            return Ok(());
        }
        (self.packed, self.is_renamed) = (None, false);
        let is_turned_away = matches!(verdict, StoreVerdict::Held | StoreVerdict::Passing);
        if is_turned_away && self.is_of_one(reply, &said, answers) {
            return Ok(());
        }
        self.memory.set_unproven(is_turned_away);
        let topics = self.batch.topics();
        match verdict {
            StoreVerdict::Accepted => self.memory.took(reply.took, topics),
            _ => self.memory.told(topics),
        }
        match verdict {
            StoreVerdict::Accepted => {
                (self.has_taken, self.is_resigned) = (true, false);
                self.batch.pace(reply.sending);
                self.batch.accepted(answers);
            }
            StoreVerdict::TooLarge => {
                self.batch.shrink();
                self.batch.refused(&said.text, answers);
            }
            StoreVerdict::Held => {
                let hint = verdict::hint(status, &said.code);
                return Err(Error::Held {
                    answer: said.text,
                    hint,
                });
            }
            StoreVerdict::Passing => {
                return Err(Error::Busy {
                    answer: said.text,
                    pause: self.config.pause.asked_by(reply),
                });
            }
            _ if self.batch.halve() => {}
            _ => return Err(Error::Failed(said.text)),
        }
        Ok(())
    }

    /// What ids begin with, for a class.
    fn prefix(&mut self, prefix: &str) -> Arc<str> {
        if let Some(known) = self.prefixes.iter().find(|known| ***known == *prefix) {
            return Arc::clone(known);
        }
        let prefix: Arc<str> = prefix.into();
        self.prefixes.push(Arc::clone(&prefix));
        prefix
    }
}

impl BatchCarrier for S3Carrier {
    type Settings = Config;
    type Known = SharedFacts;
    type Fault = Error;
    type What = ObjectLine;

    const HAS_HEADERS: bool = false;
    const COMPLAINT: &'static str = "no way into the bucket";

    fn id(config: &Config) -> &str {
        &config.id
    }

    fn backoff(config: &Config) -> Backoff {
        config.backoff
    }

    fn files(config: &Config) -> SecretFiles {
        SecretFiles::of(config.secrets(), config.tls.iter().flat_map(Tls::paths))
    }

    async fn open(
        config: &Arc<Config>,
        facts: &SharedFacts,
        memory: &BatchMemory,
    ) -> Result<Self, Error> {
        // An interface that came up cuts a back-off short, but not what the server asked for.
        if let Some(left) = config.pause.left(Instant::now()) {
            return Err(Error::Asked(left));
        }
        let keys = SignedBucket::of_today(&config.place, config.secrets()).await?;
        let wire = HttpConnection::open(config.target()).await?;
        Ok(Self {
            batch: RequestBatch::new(usize::from(config.batch_messages), config.batch_bytes),
            config: Arc::clone(config),
            keys,
            lots: ObjectLots::default(),
            sending: 0,
            packing: None,
            packed: None,
            client: HttpClient::new(wire),
            alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
            is_resigned: false,
            is_comparing: false,
            is_renamed: false,
            has_taken: false,
            memory: memory.clone(),
            facts: facts.clone(),
            prefixes: Vec::new(),
        })
    }

    fn announce(&self, (stage, name): (&str, &str), failures_before: u32) {
        let Config { host, port, .. } = &*self.config;
        let bucket = &self.config.place.name;
        tracing::info!(stage, %name, server = %format_args!("{host}:{port}"), bucket, failures_before, "online");
    }

    fn memory(&self) -> &BatchMemory {
        &self.memory
    }

    fn places(&self) -> usize {
        let most = usize::from(self.config.batch_messages);
        most.saturating_sub(self.lots.len() + self.sending)
    }

    fn stand_in(
        &mut self,
        packet: OutgoingPacket,
        about: PacketOrigin<'_>,
    ) -> Result<(usize, ObjectLine), Unsendable> {
        let entry = about.line_input(&packet);
        let bytes = self.config.form.line(entry, self.config.has_envelope);
        let prefix = self.prefix(about.prefix);
        let seq = about.stored.seq;
        let line = ObjectLine {
            place: ObjectPlace::of(&prefix, seq, about.arrived),
            seq,
            bytes,
            is_asked_anew: about.is_asked_anew,
        };
        Ok((line.bytes.len(), line))
    }

    fn add(
        &mut self,
        message: BatchMessage<ObjectLine>,
        about: PacketOrigin<'_>,
    ) -> Result<(), Unsendable> {
        // While one is under way that may be the one which is never answered, nothing counts as sent that waits behind it.
        if message.is_alone && self.sending > 0 {
            return Err(Unsendable::Full);
        }
        let device = key_hash(about.stored.message.key());
        let limits = (self.limits_now(), Instant::now());
        let added = self.lots.add(message, device, about.is_beside, limits);
        added.map_err(|_| Unsendable::Full)
    }

    /// Sends what is due, and takes the answer.
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        answers: &mut Vec<Answer>,
    ) -> Poll<Result<(), Error>> {
        match ready!(self.client.poll_reply(cx)) {
            Ok(Some(reply)) => {
                self.conclude(&reply, answers)?;
                self.sending = self.sending.saturating_sub(answers.len());
                Poll::Ready(Ok(()))
            }
            Ok(None) => self.poll_send(cx),
            Err(error) => {
                self.memory.ended(&error, self.batch.topics());
                Poll::Ready(Err(error.into()))
            }
        }
    }

    fn send_now(&mut self) {
        self.lots.press();
    }

    async fn leave(self) {
        self.client.close().await;
    }
}

#[cfg(test)]
mod tests;
