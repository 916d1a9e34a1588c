//! Over MQTT: publishes, each answered by its PUBACK or PUBCOMP.

use std::sync::Arc;
use std::time::Instant;

use super::carrier::Refusal;
use super::carrier::{
    Answer, Carrier, CarrierFault, Manner, OutgoingPacket, PacketOrigin, Unsendable, UpstreamLimits,
};
use crate::link::{Causes, LinkMetrics, Redial, TokenLife};
use crate::mqtt::{
    BrokerDialler, BrokerRefusal as Refused, Config, Connection, Error, Established, Event,
    Protocol, Publish, UnsendablePublish as Unpublishable,
};

/// A connection to a broker.
pub(super) struct MqttCarrier {
    connection: Connection,
    established: Established,
    events: Vec<Event>,
}

/// Ready to dial for the uplink `name`.
pub(super) fn redial(
    config: Config,
    name: Arc<str>,
    metrics: &LinkMetrics,
) -> Redial<<MqttCarrier as Carrier>::Dial> {
    Redial::to(config, "uplink", name, metrics)
}

impl From<(Connection, Established)> for MqttCarrier {
    fn from((connection, established): (Connection, Established)) -> Self {
        Self {
            connection,
            established,
            events: Vec::new(),
        }
    }
}

impl Carrier for MqttCarrier {
    type Dial = BrokerDialler;

    fn online(&self, redial: &mut Redial<BrokerDialler>) {
        redial.online(&self.established);
    }

    fn limits(&self) -> UpstreamLimits {
        let is_old = self.established.protocol == Protocol::V311;
        UpstreamLimits {
            window: self.established.receive_maximum,
            says_window: !is_old,
            packet_bytes: self.established.maximum_packet_bytes,
            retains: self.established.retain_available,
            highest: self.established.maximum_qos,
            has_headers: !is_old,
        }
    }

    fn room(&self) -> usize {
        self.connection.room()
    }

    fn unsent(&self) -> usize {
        self.connection.unsent()
    }

    fn offer(
        &mut self,
        packet: OutgoingPacket,
        _: PacketOrigin<'_>,
        token: u64,
    ) -> Result<(), Unsendable> {
        let OutgoingPacket {
            topic,
            payload,
            headers,
            qos,
            retain,
        } = packet;
        let publish = Publish {
            topic,
            payload,
            headers,
            qos,
            retain,
            ..Publish::default()
        };
        match self.connection.publish(&publish, token) {
            Ok(()) => Ok(()),
            Err(Unpublishable::WindowFull) => Err(Unsendable::Full),
            Err(problem) => {
                let words = Causes(&problem).to_string();
                Err(match problem {
                    Unpublishable::Topic(_) | Unpublishable::Header(_) => Unsendable::Never(words),
                    _ => Unsendable::Over(words),
                })
            }
        }
    }

    async fn turn(&mut self, answers: &mut Vec<Answer>) -> Result<(), Error> {
        let turned = self.connection.turn(&mut self.events).await;
        answers.extend(self.events.drain(..).filter_map(answer));
        turned
    }

    fn end(&self) -> u64 {
        self.connection.end()
    }

    fn has_taken(&mut self, end: u64) -> bool {
        self.connection.has_taken(end)
    }

    fn taken_at(&self, end: u64) -> Option<Instant> {
        self.connection.taken_at(end)
    }

    fn last_heard(&self) -> Instant {
        self.connection.last_heard()
    }

    fn ask(&mut self) {
        self.connection.ask();
    }

    fn answered(&self) -> Option<Instant> {
        self.connection.answered()
    }

    async fn close(self) {
        self.connection.close().await;
    }

    fn life(&self) -> Option<TokenLife> {
        self.connection.life()
    }

    async fn make_way(self) {
        self.connection.leave().await;
    }
}

/// What an uplink makes of an event: it subscribes to nothing, so others do not come.
fn answer(event: Event) -> Option<Answer> {
    match event {
        Event::Accepted { token } => Some(Answer::Accepted { token }),
        Event::Refused {
            token,
            reason,
            kind,
            ..
        } => Some(Answer::Refused {
            token,
            kind: match kind {
                Refused::Final => Refusal::Final,
                Refused::Busy => Refusal::Busy,
                Refused::Quota => Refusal::Quota,
            },
            reason,
        }),
        Event::Publish { .. }
        | Event::Oversize { .. }
        | Event::Unfit { .. }
        | Event::Subscribed { .. }
        | Event::Unsubscribed => None,
    }
}

impl CarrierFault for Error {
    fn manner(&self) -> Manner {
        match self {
            error if error.is_hang_up() => Manner::HungUp,
            error if error.is_too_much() => Manner::TooMuch,
            Self::Disconnected { .. } => Manner::Told,
            Self::Silent { .. } => Manner::StoodStill,
            _ => Manner::Astray,
        }
    }
}
