//! One connection's life: pull, take, acknowledge, leave. What is under way stays so over connections: an acknowledgement counts
//! wherever it comes from.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::watch;

use super::Config;
use super::consumer::ConsumerTerms;
use super::delivery::{DeliveredPlace, PullStatus, status};
use super::in_hand::{MessagesInHand, PlaceKind};
use crate::clock::Now;
use crate::link::Stop;
use crate::message::{Qos, Reason, legal, push_header};
use crate::nats::{Error, NatsConnection, NatsEvent, ServerMessage, inbox};
use crate::source::taker::{Arrival, Borders, Judged, Taker};
use crate::source::unsettled::AckOrder;

/// How long a pull waits for messages, how often the server says meanwhile that it is there, and after how long a silence it is not.
const PULL: Duration = Duration::from_secs(30);
const BEAT: Duration = Duration::from_secs(5);
const SILENT: Duration = Duration::from_secs(15);
/// How often to look what has settled though nothing wakes, and what waits for long.
const LOOK: Duration = Duration::from_millis(500);
/// What a server takes for its own work until something comes again.
const SLACK: Duration = Duration::from_secs(1);
/// Bytes that may wait to be written before nothing more is said of what comes again: it comes once more.
const UNSENT_BYTES: usize = 1 << 20;
/// Bytes of headers that become properties, at most.
const MOST_HEADERS: usize = 8 << 10;

/// A source, over all its connections.
pub(super) struct ConsumerSource {
    own: Config,
    taker: Taker<u64>,
    hand: MessagesInHand,
    /// Messages that were asked for and have not come, on this connection.
    asked: usize,
    pulls: u64,
    /// Number of the subscription that messages come for.
    sid: u64,
    /// Where is to be said once more what was said of a message before.
    again: Vec<Bytes>,
    /// By what the server knows that we are given all, where that is so.
    pin: Option<String>,
    /// Messages came in this process: what is without an acknowledgement is in hand.
    has_taken: bool,
    max_payload_bytes: usize,
}

impl ConsumerSource {
    pub(super) fn new(config: &crate::source::Config, own: &Config, borders: Borders) -> Self {
        let meters = std::sync::Arc::clone(&borders.meters);
        meters
            .messages_capacity
            .set(crate::link::level(usize::from(own.batch)));
        Self {
            own: own.clone(),
            taker: Taker::new(config, AckOrder::Any, borders),
            hand: MessagesInHand::default(),
            asked: 0,
            pulls: 0,
            sid: 0,
            again: Vec::new(),
            pin: None,
            has_taken: false,
            max_payload_bytes: config.max_payload_bytes,
        }
    }

    /// Uses a connection until it is lost (the error) or the source may leave.
    pub(super) async fn serve(
        &mut self,
        mut connection: NatsConnection,
        terms: ConsumerTerms,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<(), Error> {
        self.asked = 0;
        let place = inbox(&self.own.server.inbox);
        self.sid = connection.subscribe(&format!("{place}*"));
        let ended = self.exchange(&mut connection, terms, &place, stop).await;
        if ended.is_ok() {
            connection.close().await;
        }
        ended
    }

    async fn exchange(
        &mut self,
        connection: &mut NatsConnection,
        terms: ConsumerTerms,
        place: &str,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<(), Error> {
        let settled = self.taker.settled();
        let mut events = Vec::new();
        self.pin = None;
        let begins = self.begins(&terms);
        let mut heard = Instant::now();
        loop {
            let mode = *stop.borrow_and_update();
            if mode == Stop::Now {
                return Ok(());
            }
            self.settle(connection, &terms, mode);
            if mode == Stop::Drain && self.taker.unsettled().is_empty() {
                return Ok(());
            }
            let now = Instant::now();
            if mode == Stop::Run && now >= begins {
                if self.asked == 0 {
                    heard = now;
                }
                self.pull(connection, &terms, place);
            }
            if self.asked > 0 && now.saturating_duration_since(heard) >= SILENT {
                return Err(Error::Silent(SILENT));
            }
            tokio::select! {
                biased;
                turned = connection.turn(&mut events) => {
                    if events.iter().any(|event| matches!(event, NatsEvent::Message(_))) {
                        heard = Instant::now();
                    }
                    self.take(&mut events, mode)?;
                    turned?;
                }
                () = settled.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
                changed = stop.changed() => if changed.is_err() {
                    return Ok(());
                },
            }
        }
    }

    /// From when on messages are asked for: what was under way when an earlier process ended comes again first.
    fn begins(&self, terms: &ConsumerTerms) -> Instant {
        let now = Instant::now();
        if self.has_taken || terms.unacknowledged == 0 {
            return now;
        }
        let wait = terms.ack_wait + SLACK;
        let count = terms.unacknowledged;
        tracing::info!(source = %self.own, count, ?wait, "messages were under way when this began: nothing is taken until the server gives them out again, so that they come first");
        now + wait
    }

    /// Asks for as many messages as there is room for, in portions that are worth it.
    fn pull(&mut self, connection: &mut NatsConnection, terms: &ConsumerTerms, place: &str) {
        let most = usize::from(self.own.batch).min(terms.most.unwrap_or(usize::MAX));
        let room = most.saturating_sub(self.asked + self.hand.count());
        if room < most.div_ceil(2) || self.taker.is_full() {
            return;
        }
        let Config {
            stream, consumer, ..
        } = &self.own;
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (expires, beat) = match &terms.group {
            // Whoever is pinned has to ask again in time.
            Some((_, within)) => ((*within / 2).min(PULL), (*within / 8).min(BEAT)),
            None => (PULL, BEAT),
        };
        let mut body =
            json!({ "batch": room, "expires": nanos(expires), "idle_heartbeat": nanos(beat) });
        if let Some((group, _)) = &terms.group {
            body["group"] = json!(group);
            if let Some(pin) = &self.pin {
                body["id"] = json!(pin);
            }
        }
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        let reply = format!("{place}{}", self.pulls);
        connection.publish(&subject, &reply, b"", body.to_string().as_bytes());
        self.pulls += 1;
        self.asked += room;
    }

    /// Acknowledges what has settled, and tells the server of what waits.
    fn settle(&mut self, connection: &mut NatsConnection, terms: &ConsumerTerms, mode: Stop) {
        for reply in self.again.drain(..) {
            if connection.unsent() < UNSENT_BYTES {
                say(connection, &reply, b"+ACK");
            }
        }
        self.taker.settle_repeats();
        let hand = &mut self.hand;
        let found = self.taker.settle(usize::MAX, |sequence| {
            if let Some(reply) = hand.settled(sequence) {
                say(connection, &reply, b"+ACK");
            }
        });
        if self.taker.fell() > 0 || found.has_fallen {
            // What can never settle comes again once the server gives it up.
            let waiting: std::collections::BTreeSet<u64> =
                self.taker.claims().map(|(sequence, _)| sequence).collect();
            let lost: Vec<u64> = self
                .hand
                .places()
                .filter(|place| !waiting.contains(place))
                .collect();
            self.hand.forget(lost.into_iter());
        }
        for reply in self.hand.overdue(terms.ack_wait / 2, Instant::now()) {
            say(connection, &reply, b"+WPI");
        }
        let is_crowded = self.hand.count() * 5 >= usize::from(self.own.batch) * 4;
        self.taker
            .press(mode != Stop::Run || is_crowded || self.taker.is_pressed());
        self.taker.show();
    }

    /// Hands on what came.
    fn take(&mut self, events: &mut Vec<NatsEvent>, mode: Stop) -> Result<(), Error> {
        let mut arrivals = Vec::new();
        let mut ended = None;
        for event in events.drain(..) {
            match event {
                NatsEvent::MayNotPublish(subject) => {
                    ended = Some(Error::Forbidden(format!(
                        "publish to `{}`",
                        crate::words::line(&subject, 200)
                    )));
                }
                NatsEvent::Message(message) if message.sid != self.sid => {}
                NatsEvent::Message(message) => match status(&message) {
                    Some(PullStatus::Alive) => {}
                    Some(PullStatus::Over(left)) => self.asked = self.asked.saturating_sub(left),
                    Some(PullStatus::Unpinned) => (self.asked, self.pin) = (0, None),
                    Some(PullStatus::Ended(why)) => ended = Some(why),
                    None => {
                        self.asked = self.asked.saturating_sub(1);
                        // What comes while we leave, or unasked for, is not taken: it comes again. Of what was asked for twice,
                        // as behind the loss of a pin, there are two portions at most.
                        let most = 2 * usize::from(self.own.batch);
                        if mode == Stop::Run && self.hand.count() < most {
                            arrivals.extend(self.arrival(message));
                        }
                    }
                },
            }
        }
        if !arrivals.is_empty() {
            self.has_taken = true;
            let now = Now::read();
            self.taker.take(arrivals.len(), now, arrivals.into_iter());
        }
        ended.map_or(Ok(()), Err)
    }

    /// A message, unless it is in hand already.
    fn arrival(&mut self, message: ServerMessage) -> Option<Arrival<u64>> {
        let place = DeliveredPlace::of(&message.reply)?;
        let kind = self
            .hand
            .came(place.sequence, &message.reply, Instant::now());
        match kind {
            PlaceKind::InHand => return None,
            // Its acknowledgement was lost on its way.
            PlaceKind::Settled => {
                self.again.push(Bytes::copy_from_slice(&message.reply));
                return None;
            }
            PlaceKind::New => {}
        }
        if let Some(pin) = message.header("Nats-Pin-Id") {
            self.pin = Some(String::from_utf8_lossy(pin).into_owned());
        }
        let (topic, judged) = self.judged(&message);
        Some(Arrival {
            topic,
            headers: properties(&message),
            payload: message.payload,
            qos: Qos::AtLeastOnce,
            retain: false,
            duplicate: place.times > 1,
            rounds: 0,
            ack: Some(place.sequence),
            judged,
        })
    }

    /// Its topic, and whether it is sound.
    fn judged(&self, message: &ServerMessage) -> (Bytes, Judged) {
        let topic = self.own.topic.of(&message.subject);
        if let Err(problem) = legal::check_topic(&topic) {
            let why = format!("its subject makes no topic: it {problem}");
            let topic = legal::mend_topic(&topic).into();
            return (topic, Judged::Unfit(Reason::Malformed, why));
        }
        if message.left_out > 0 {
            let bytes = message.payload.len() + message.left_out;
            let most = self.max_payload_bytes;
            let why =
                format!("payload of {bytes} bytes is over the limit of {most} (`max_payload`)");
            return (topic, Judged::Unfit(Reason::TooLong, why));
        }
        (topic, Judged::Sound)
    }
}

/// Says something of a message to whoever gave it out; no answer is waited for.
fn say(connection: &mut NatsConnection, reply: &Bytes, word: &[u8]) {
    if let Ok(subject) = std::str::from_utf8(reply) {
        connection.publish(subject, "", b"", word);
    }
}

/// Its headers, as far as they are properties.
fn properties(message: &ServerMessage) -> Bytes {
    let mut block = Vec::new();
    for (name, value) in message.all_headers() {
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        let is_text = std::str::from_utf8(value).is_ok();
        if !is_text
            || legal::is_reserved(name)
            || block.len() + name.len() + value.len() > MOST_HEADERS
        {
            continue;
        }
        let before = block.len();
        if push_header(&mut block, name, value).is_err() || legal::check_headers(&block).is_err() {
            block.truncate(before);
        }
    }
    block.into()
}
