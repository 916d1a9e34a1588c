//! One connection's life: pull, take, acknowledge, leave. What is under way stays so over connections: an acknowledgement counts
//! wherever it comes from.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::watch;

use super::Config;
use super::consumer::ConsumerTerms;
use super::delivery::{DeliveredPlace, PullStatus, status};
use super::heard::{HeardAcks, say};
use super::in_hand::{MessagesInHand, PlaceKind};
use super::pulls::{OpenPulls, PullPortion};
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
/// What a server counts of a message beside headers and payload, at most: the lines that name it.
const NAMES_BYTES: usize = 8 << 10;
/// Bytes that may wait to be written before nothing more is said of what comes again: it comes once more.
const UNSENT_BYTES: usize = 1 << 20;
/// Bytes of headers that become properties, at most.
const MOST_HEADERS: usize = 8 << 10;

/// A source, over all its connections.
pub(super) struct ConsumerSource {
    own: Config,
    taker: Taker<u64>,
    hand: MessagesInHand,
    /// What was asked for on this connection and has not come.
    pulls: OpenPulls,
    /// The next message is larger than what may be asked for: it alone is, whatever it takes.
    alone: bool,
    /// Number of the subscription that messages come for.
    sid: u64,
    /// Where is to be said once more what was said of a message before.
    again: Vec<Bytes>,
    /// By what the server knows that we are given all, where that is so.
    pin: Option<String>,
    /// When the connection before ended.
    left: Option<Instant>,
    heard: HeardAcks,
    max_payload_bytes: usize,
    max_unsettled_bytes: usize,
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
            pulls: OpenPulls::default(),
            alone: false,
            sid: 0,
            again: Vec::new(),
            pin: None,
            left: None,
            heard: HeardAcks::default(),
            max_payload_bytes: config.max_payload_bytes,
            max_unsettled_bytes: config.max_unsettled_bytes,
        }
    }

    /// Uses a connection until it is lost (the error) or the source may leave.
    pub(super) async fn serve(
        &mut self,
        mut connection: NatsConnection,
        terms: ConsumerTerms,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<(), Error> {
        self.pulls.all_over();
        let place = inbox(&self.own.server.inbox);
        self.sid = connection.subscribe(&format!("{place}*"));
        let ended = self.exchange(&mut connection, terms, &place, stop).await;
        self.left = Some(Instant::now());
        if ended.is_ok() {
            self.taker.left(connection.close().await);
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
        let mut begins = self.begins(&terms);
        let waits = Instant::now() < begins;
        self.heard.begin(&mut self.hand, connection, waits);
        let mut heard = Instant::now();
        let mut leaves = None;
        loop {
            let mode = *stop.borrow_and_update();
            if mode == Stop::Now {
                return Ok(());
            }
            self.settle(connection, &terms, mode);
            self.heard.ask(&mut self.hand, connection);
            if mode == Stop::Drain && self.may_leave(connection, &mut leaves) {
                return Ok(());
            }
            let now = Instant::now();
            if now < begins && self.has_all(connection, &terms, place) {
                begins = now;
            }
            if mode == Stop::Run && now >= begins {
                if self.pulls.asked().messages == 0 {
                    heard = now;
                }
                self.pull(connection, &terms, place);
            }
            if self.pulls.asked().messages > 0 && now.saturating_duration_since(heard) >= SILENT {
                return Err(Error::Silent(SILENT));
            }
            tokio::select! {
                biased;
                turned = connection.turn(&mut events) => {
                    if events.iter().any(|event| matches!(event, NatsEvent::Message(_))) {
                        heard = Instant::now();
                    }
                    self.take(&mut events, place)?;
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

    /// Takes what is on its way, since one who is to leave first asked for nothing more (`leaves`); whether all that was taken is settled.
    fn may_leave(&mut self, connection: &mut NatsConnection, leaves: &mut Option<Instant>) -> bool {
        let asked = *leaves.get_or_insert_with(|| {
            // What was asked for and is on its way is taken: left unsaid, it would come again only when its time is over,
            // and all behind it would wait for that.
            connection.unsubscribe(self.sid);
            connection.ask();
            Instant::now()
        });
        let has_come = connection.answered().is_some_and(|at| at >= asked);
        if has_come {
            self.taker.cease();
        }
        has_come && self.taker.unsettled().is_empty()
    }

    /// From when on messages are asked for: what was given out and never came in, to an earlier process or over a connection that
    /// was lost, comes again first.
    fn begins(&self, terms: &ConsumerTerms) -> Instant {
        let now = Instant::now();
        let in_hand = u64::try_from(self.hand.count()).unwrap_or(u64::MAX);
        let count = terms.unacknowledged.saturating_sub(in_hand);
        if count == 0 {
            return now;
        }
        let wait = terms.ack_wait + SLACK;
        tracing::info!(source = %self.own, count, ?wait, "messages are under way that did not come in, or were not acknowledged as far as the server knows: nothing is taken until it gives them out again, so that they come first");
        self.left.unwrap_or(now) + wait
    }

    /// Whether it is seen that nothing but acknowledgements was lost.
    fn has_all(
        &mut self,
        connection: &mut NatsConnection,
        terms: &ConsumerTerms,
        place: &str,
    ) -> bool {
        // Pulls of other members are open all the time.
        let is_alone = terms.group.is_none();
        let own = (&self.own, place);
        let has_all = is_alone && self.heard.is_all(self.hand.count(), connection, own);
        if has_all {
            tracing::info!(source = %self.own, "nothing but acknowledgements was lost, and they are said again: it goes on");
        }
        has_all
    }

    /// Asks for as many messages as there is room for, in portions that are worth it.
    fn pull(&mut self, connection: &mut NatsConnection, terms: &ConsumerTerms, place: &str) {
        let waits = terms.pulls.is_some_and(|most| self.pulls.count() >= most);
        if waits || self.taker.is_full() {
            return;
        }
        let most = PullPortion {
            messages: usize::from(self.own.batch).min(terms.most.unwrap_or(usize::MAX)),
            bytes: self.max_unsettled_bytes,
        };
        let asked = self.pulls.asked();
        let under_way = PullPortion {
            messages: asked.messages + self.hand.count(),
            bytes: asked.bytes + self.taker.unsettled().bytes(),
        };
        let payload = usize::try_from(connection.info().max_payload).unwrap_or(usize::MAX);
        let Some(portion) = most.next(under_way, payload.saturating_add(NAMES_BYTES)) else {
            return;
        };
        if self.alone && under_way.messages > 0 {
            return;
        }
        let portion = PullPortion {
            messages: portion.messages.min(terms.at_once.unwrap_or(usize::MAX)),
            ..portion
        };
        let Config {
            stream, consumer, ..
        } = &self.own;
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (expires, beat) = match &terms.group {
            // Whoever is pinned has to ask again in time.
            Some((_, within)) => ((*within / 2).min(PULL), (*within / 8).min(BEAT)),
            None => (PULL, BEAT),
        };
        let expires = terms.asks_for.map_or(expires, |most| expires.min(most));
        // A beat is half of that at most: the server says so.
        let beat = beat.min(expires / 2);
        let mut body = json!({ "batch": portion.messages, "max_bytes": portion.bytes, "expires": nanos(expires), "idle_heartbeat": nanos(beat) });
        if self.alone {
            body = json!({ "batch": 1, "expires": nanos(expires), "idle_heartbeat": nanos(beat) });
        }
        if let Some((group, _)) = &terms.group {
            body["group"] = json!(group);
            if let Some(pin) = &self.pin {
                body["id"] = json!(pin);
            }
        }
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        let reply = format!("{place}{}", self.pulls.begin(portion));
        connection.publish(&subject, &reply, b"", body.to_string().as_bytes());
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
    fn take(&mut self, events: &mut Vec<NatsEvent>, place: &str) -> Result<(), Error> {
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
                NatsEvent::Message(message) if self.heard.take(&message, place) => {}
                NatsEvent::Message(message) => match status(&message) {
                    Some(PullStatus::Alive) => {}
                    Some(PullStatus::Over) => self.over(&message, place),
                    Some(PullStatus::TooLarge) => {
                        self.over(&message, place);
                        self.alone = self.pulls.asked().messages + self.hand.count() == 0;
                    }
                    Some(PullStatus::Unpinned) => {
                        self.pulls.all_over();
                        self.pin = None;
                    }
                    Some(PullStatus::Ended(why)) => ended = Some(why),
                    None => {
                        self.pulls.came(message.size());
                        self.alone = false;
                        // What comes unasked for is not taken: it comes again. Of what was asked for twice, as behind the loss of a
                        // pin, there are two portions at most.
                        if self.hand.count() < 2 * usize::from(self.own.batch) {
                            arrivals.extend(self.arrival(message));
                        }
                    }
                },
            }
        }
        if !arrivals.is_empty() {
            let now = Now::read();
            self.taker.take(arrivals.len(), now, arrivals.into_iter());
        }
        ended.map_or(Ok(()), Err)
    }

    /// The pull whose number stands behind `place` is over.
    fn over(&mut self, message: &ServerMessage, place: &str) {
        let subject = std::str::from_utf8(&message.subject);
        let number = subject.ok().and_then(|text| text.strip_prefix(place));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            self.pulls.over(number);
        }
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
        let is_text = std::str::from_utf8(&message.subject).is_ok();
        let odd = (!is_text).then_some("its subject is not UTF-8");
        if let Some(why) = odd.or(message.odd) {
            let topic = legal::mend_topic(&topic).into();
            return (topic, Judged::Unfit(Reason::Malformed, why.to_owned()));
        }
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
