//! One connection's life: subscribe, take, acknowledge, leave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Config;
use super::copies::Copies;
use super::grants::needed;
use super::pressure::Pressure;
use super::subscriptions::Subscriptions;
use crate::clock::{Now, Uptime, sleep_until};
use crate::link::level as gauge_level;
use crate::link::{self, Stop, TokenLife};
use crate::message::{LossReason, Qos, Reason, Wait};
use crate::mqtt::{
    self, AckToken, BrokerRedial, Connection, ConnectionEnded, Established, Event, Protocol,
    Publish, Unreleased,
};
use crate::source::metrics::SourceMeters;
use crate::source::taker::{Arrival, Borders, Judged, Taker};
use crate::source::unsettled::AckOrder;

/// How many unacknowledged messages a broker is assumed to send over 3.1.1, which has no word for it: mosquitto's
/// default.
const ASSUMED_WINDOW: u16 = 20;

/// Acknowledgements that leave at once; of a bulk so many more with each [`BREATH`] that has passed. A commit settles thousands,
/// and a broker that is told so at once sends as many at once: it then works for tens of milliseconds, and so do we, while an
/// alarm waits for the processor. Where that is busy with something else and we wake late, what has been missed leaves together:
/// a bulk takes no longer there, and a kill finds no more of it unsaid.
const SLICE: usize = 64;

/// Shorter than the runtime's timers, which come once a millisecond: what the broker sends for the last slice wakes us first.
const BREATH: Duration = Duration::from_micros(250);

/// A session of before that is silent for so long holds nothing any more: longer than a broker takes between two messages.
const EMPTY: Duration = Duration::from_secs(10);

/// A source, over all its connections.
pub(super) struct MqttSource {
    taker: Taker<AckToken>,
    copies: Copies,
    subscriptions: Subscriptions,
    meters: Arc<SourceMeters>,
    /// The subscriptions of this connection are answered.
    is_granted: bool,
    receive_maximum: u16,
    grant_deadline: Duration,
    /// Of QoS 2, for the next connection.
    unreleased: Option<Unreleased>,
    /// Messages the broker may have unacknowledged on this connection.
    window: usize,
    reading: bool,
    /// Whether the broker waits for us.
    pressure: Pressure,
    waits: Option<Wait>,
    /// When the next slice of a bulk of acknowledgements may leave.
    breathes_until: Option<Instant>,
    /// When something last came, of a session of before, which is left once nothing comes any more.
    left_since: Option<Instant>,
}

impl MqttSource {
    pub(super) fn new(config: &crate::source::Config, own: &Config, borders: Borders) -> Self {
        let meters = Arc::clone(&borders.meters);
        let copies = Copies::new(needed(&config.routes, config.status()).into_iter());
        Self {
            subscriptions: Subscriptions::new(config, own, &copies, &meters),
            taker: Taker::new(config, AckOrder::Arrival, borders),
            copies,
            meters,
            is_granted: false,
            receive_maximum: own.connection.receive_maximum,
            grant_deadline: own.connection.deadlines.handshake,
            unreleased: None,
            window: 0,
            reading: true,
            pressure: Pressure::new(Instant::now()),
            waits: None,
            breathes_until: None,
            left_since: own.is_left.then(Instant::now),
        }
    }

    /// Uses a connection until it is lost (the error) or the source may leave. What was taken and not acknowledged
    /// is then disowned: the broker sends it again.
    pub(super) async fn serve(
        &mut self,
        mut connection: Connection,
        established: &Established,
        redial: &mut BrokerRedial,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<(), ConnectionEnded> {
        self.begin(&mut connection, established, redial.stood_before());
        self.left_since = self.left_since.map(|_| Instant::now());
        let asked = self.subscriptions.asks_for(established);
        self.is_granted = asked.is_empty();
        if self.is_granted {
            redial.online(established);
        } else {
            connection.subscribe(&asked);
        }
        // Behind what is wanted, which may cover it: nothing is missed in between.
        self.end_subscriptions(&mut connection);
        let ended = self
            .exchange(&mut connection, established, redial, stop)
            .await;
        self.part(&connection, matches!(ended, Err(ConnectionEnded::Fault)));
        match ended {
            Ok(Stop::Now) => Ok(()),
            Ok(Stop::Run | Stop::Drain) => {
                self.taker.left(connection.close().await);
                Ok(())
            }
            Err(ConnectionEnded::Link(error)) => Err(ConnectionEnded::Link(error)),
            Err(ConnectionEnded::Renewal) => {
                self.taker.left(connection.leave().await);
                Err(ConnectionEnded::Renewal)
            }
            Err(ended) => {
                connection.close().await;
                Err(ended)
            }
        }
    }

    /// Takes back what is to be taken back now, unless that is under way.
    fn end_subscriptions(&mut self, connection: &mut Connection) {
        let is_asked = self.subscriptions.is_ending();
        let ending = self.subscriptions.end_due();
        if !is_asked && !ending.is_empty() {
            connection.unsubscribe(ending);
        }
    }

    fn begin(
        &mut self,
        connection: &mut Connection,
        established: &Established,
        stood_before: bool,
    ) {
        match self.unreleased.take() {
            Some(unreleased) if established.session_present => connection.recall(unreleased),
            _ => self.taker.disown(|_| false),
        }
        self.copies.reconnected();
        self.taker.reconnected();
        self.window = usize::from(if established.protocol == Protocol::V311 {
            ASSUMED_WINDOW
        } else {
            self.receive_maximum
        });
        self.meters.messages_capacity.set(gauge_level(self.window));
        (self.reading, self.breathes_until) = (true, None);
        self.pressure = Pressure::new(Instant::now());
        if self.subscriptions.begin(established, stood_before) {
            self.taker.missed(LossReason::BrokerSessionLost);
        }
    }

    /// What was taken and not acknowledged comes again. QoS 2 is recognised then and not given out twice, unless it
    /// was lost inside.
    fn part(&mut self, connection: &Connection, fault: bool) {
        self.unreleased = (!fault).then(|| connection.unreleased());
        self.taker
            .disown(|token| !fault && token.qos() == Qos::ExactlyOnce);
        self.subscriptions.set_mark();
        self.taker.show();
    }

    /// Turns until something ends it; [`Stop::Drain`] when all that was taken is acknowledged.
    async fn exchange(
        &mut self,
        connection: &mut Connection,
        established: &Established,
        redial: &mut BrokerRedial,
        stop: &mut watch::Receiver<Stop>,
    ) -> Result<Stop, ConnectionEnded> {
        let settled = self.taker.settled();
        let mut events = Vec::new();
        let mut grant_deadline = std::pin::pin!(tokio::time::sleep(self.grant_deadline));
        loop {
            let told = *stop.borrow_and_update();
            if told == Stop::Now {
                return Ok(told);
            }
            if told == Stop::Drain {
                self.taker.cease();
            }
            let (mode, renews_at) = renewal(connection.life(), told, Instant::now())?;
            self.settle(connection, mode)?;
            if mode == Stop::Drain && self.taker.unsettled().is_empty() {
                return match told {
                    Stop::Run => Err(ConnectionEnded::Renewal),
                    told => Ok(told),
                };
            }
            tokio::select! {
                biased;
                turned = connection.turn(&mut events) => {
                    if self.take(turned, &mut events, mode)? && !std::mem::replace(&mut self.is_granted, true) {
                        redial.online(established);
                    }
                    if let Some(topic) = self.taker.unrouted() {
                        self.subscriptions.came_unasked(&String::from_utf8_lossy(&topic));
                        self.end_subscriptions(connection);
                    }
                }
                () = settled.changed(), if self.breathes_until.is_none() => {}
                () = sleep_until(self.breathes_until) => {}
                () = sleep_until(self.empty_at()) => return Ok(Stop::Run),
                () = sleep_until(renews_at) => {}
                () = sleep_until(self.pressure.due(self.taker.unsettled().messages())), if self.waits.is_none() => {}
                () = sleep_until(self.subscriptions.looks_again) => self.end_subscriptions(connection),
                () = sleep_until(self.subscriptions.asks_again) => {
                    connection.subscribe(self.subscriptions.asks_again_for());
                }
                changed = stop.changed() => if changed.is_err() {
                    return Ok(Stop::Now);
                },
                // While nothing is read the answer cannot come; once reading goes on, it is read before this is looked at.
                () = &mut grant_deadline, if !self.is_granted && self.reading => {
                    let deadline = self.grant_deadline;
                    return Err(mqtt::Error::from(link::Error::late("the answer to SUBSCRIBE", deadline)).into());
                }
            }
        }
    }

    /// Hands on what a turn brought; tells whether the subscriptions were granted.
    fn take(
        &mut self,
        turned: Result<(), mqtt::Error>,
        events: &mut Vec<Event>,
        mode: Stop,
    ) -> Result<bool, ConnectionEnded> {
        if turned.is_err() {
            // QoS 1 comes again; QoS 0 does not, and QoS 2 is not given out again.
            events.retain(|event| match event {
                Event::Publish { token, .. }
                | Event::Oversize { token, .. }
                | Event::Unfit { token, .. } => {
                    token.is_none_or(|token| token.qos() == Qos::ExactlyOnce)
                }
                Event::Accepted { .. }
                | Event::Refused { .. }
                | Event::Subscribed { .. }
                | Event::Unsubscribed => false,
            });
        }
        // While draining nothing is read; should something be left of an earlier read, it comes again.
        if mode == Stop::Run {
            self.left_since = self.left_since.map(|_| Instant::now());
            let before = self.taker.unsettled().messages();
            self.hand_on(events);
            let in_flight = self.taker.unsettled().messages();
            if in_flight > before {
                self.pressure.took(in_flight, Instant::now());
                // The next look raises it anew, with what has come.
                self.waits = None;
            }
        }
        turned?;
        let mut granted = false;
        for event in events.drain(..) {
            match event {
                Event::Subscribed { refused, lowered } => {
                    self.subscriptions.subscribed(&refused, &lowered)?;
                    granted = true;
                }
                Event::Unsubscribed => self.subscriptions.unsubscribed(),
                Event::Publish { .. }
                | Event::Oversize { .. }
                | Event::Unfit { .. }
                | Event::Accepted { .. }
                | Event::Refused { .. } => {}
            }
        }
        Ok(granted)
    }

    /// When a session of before counts as empty, if nothing comes until then.
    fn empty_at(&self) -> Option<Instant> {
        let is_over = self.subscriptions.obsolete.is_empty() && self.taker.unsettled().is_empty();
        self.left_since
            .filter(|_| is_over)
            .map(|since| since + EMPTY)
    }

    /// Hands on the messages among `events` and leaves the other events.
    fn hand_on(&mut self, events: &mut Vec<Event>) {
        let is_message = |event: &Event| {
            matches!(
                event,
                Event::Publish { .. } | Event::Oversize { .. } | Event::Unfit { .. }
            )
        };
        let count = events.iter().filter(|event| is_message(event)).count();
        let now = Now::read();
        let copies = &mut self.copies;
        let arrivals = events
            .extract_if(.., |event| is_message(event))
            .filter_map(|event| arrival(event, copies, now.uptime));
        self.taker.take(count, now, arrivals);
    }

    /// Acknowledges what has settled and tells the inside how pressed we are.
    fn settle(&mut self, connection: &mut Connection, mode: Stop) -> Result<(), ConnectionEnded> {
        self.taker.settle_repeats();
        let draining = mode != Stop::Run;
        self.acknowledge(connection, draining);
        self.press(draining);
        let reading = !draining && !self.taker.is_full();
        if std::mem::replace(&mut self.reading, reading) != reading {
            connection.pause_reading(!reading);
        }
        self.taker.show();
        if self.taker.fell() > 0 && self.taker.unsettled().has_fallen() {
            return Err(ConnectionEnded::Fault);
        }
        Ok(())
    }

    /// Tells the inside whether it shall write instead of waiting for upstream; what is written already by then is hurried.
    fn press(&mut self, draining: bool) {
        let messages = self.taker.unsettled().messages();
        let is_full = messages * 5 >= self.window * 4 || self.taker.is_pressed();
        let waits = self.pressure.waits(messages, Instant::now());
        self.taker
            .press(draining || is_full || waits == Some(Wait::Sure));
        let before = std::mem::replace(&mut self.waits, waits);
        if let Some(wait) = waits.filter(|_| waits > before) {
            self.taker.hurry(wait);
        }
    }

    /// Acknowledges what has settled, a bulk in slices unless there is a hurry.
    fn acknowledge(&mut self, connection: &mut Connection, hurry: bool) {
        let now = Instant::now();
        let late = self
            .breathes_until
            .map(|until| now.checked_duration_since(until));
        let most = match late {
            _ if hurry => usize::MAX,
            None => SLICE,
            // It breathes.
            Some(None) => return,
            Some(Some(late)) => slice(late),
        };
        let before = self.taker.unsettled().messages();
        let found = self
            .taker
            .settle(most, |token| connection.acknowledge(token));
        if self.taker.unsettled().messages() < before {
            self.pressure.acknowledged(before, now);
        }
        self.breathes_until = (!found.is_all).then(|| now + BREATH);
    }
}

/// How many leave so long after they might have.
fn slice(late: Duration) -> usize {
    let missed = usize::try_from(late.as_micros() / BREATH.as_micros());
    SLICE.saturating_mul(missed.unwrap_or(usize::MAX).saturating_add(1))
}

/// How a connection is used that was opened with a token: as long as it should be, as told; then nothing more is taken, until all is
/// acknowledged or the token has ended. And when that changes.
fn renewal(
    life: Option<TokenLife>,
    told: Stop,
    now: Instant,
) -> Result<(Stop, Option<Instant>), ConnectionEnded> {
    match life.filter(|_| told == Stop::Run) {
        None => Ok((told, None)),
        Some(life) if now < life.renews_at => Ok((told, Some(life.renews_at))),
        Some(life) if now < life.ends_at => Ok((Stop::Drain, Some(life.ends_at))),
        Some(_) => Err(ConnectionEnded::Renewal),
    }
}

/// What a message among the events is to the taker; a copy of one that came for another subscription is a repeat.
fn arrival(event: Event, copies: &mut Copies, now: Uptime) -> Option<Arrival<AckToken>> {
    match event {
        Event::Publish { publish, token } => {
            let is_copy = copies.is_copy(&publish, token.map(AckToken::packet_id), now);
            let judged = if is_copy {
                Judged::Repeat
            } else {
                Judged::Sound
            };
            Some(as_arrival(publish, token, judged))
        }
        Event::Oversize { head, bytes, token } => {
            copies.interrupted();
            let detail = format!("packet of {bytes} bytes is over the limit (`max_packet`)");
            let judged = Judged::Unfit(Reason::TooLong, detail);
            Some(as_arrival(head, token, judged))
        }
        Event::Unfit {
            publish,
            why,
            token,
        } => {
            copies.interrupted();
            let judged = Judged::Unfit(Reason::Malformed, why);
            Some(as_arrival(publish, token, judged))
        }
        Event::Accepted { .. }
        | Event::Refused { .. }
        | Event::Subscribed { .. }
        | Event::Unsubscribed => None,
    }
}

fn as_arrival(publish: Publish, ack: Option<AckToken>, judged: Judged) -> Arrival<AckToken> {
    let Publish {
        topic,
        payload,
        headers,
        qos,
        retain,
        duplicate,
        subscription: _,
        rounds,
    } = publish;
    Arrival {
        topic,
        payload,
        headers,
        qos,
        retain,
        duplicate,
        rounds,
        ack,
        judged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_takes_no_longer_where_we_wake_late() {
        assert_eq!(slice(Duration::ZERO), SLICE);
        assert_eq!(slice(BREATH - Duration::from_micros(1)), SLICE);
        assert_eq!(slice(BREATH * 9), SLICE * 10);
        assert_eq!(slice(Duration::MAX), usize::MAX);
    }
}
