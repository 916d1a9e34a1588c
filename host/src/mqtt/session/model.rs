//! The session against a small model of a broker: both protocols, every level, lost connections, windows, refusals,
//! acknowledgements in any order, bytes cut anywhere.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::mqtt::BrokerRefusal;
use crate::mqtt::settings::tests::config;
use crate::mqtt::wire::broker::{AckKind, Announce, BrokerWire, ClientPacket};

/// A message the broker has sent and the client has not finished.
#[derive(Debug)]
struct ModelPublish {
    id: u16,
    number: u64,
    qos: Qos,
    released: bool,
}

/// A broker with one client, whose session it keeps.
#[derive(Debug)]
struct ModelBroker {
    wire: BrokerWire,
    /// What it announces, and the client's window: the smaller of both.
    receive_maximum: u16,
    window: usize,
    waiting: VecDeque<(u64, Qos)>,
    sent: Vec<ModelPublish>,
    next_id: u16,
    /// Ids of QoS 1 in the order they were sent on this connection: the order their PUBACKs must have.
    acks_wanted: VecDeque<u16>,
    known: bool,
    got: Vec<u64>,
    open: HashSet<u16>,
    received: HashMap<u16, u64>,
    due: Vec<(AckKind, u16, u8)>,
}

fn message(number: u64, qos: Qos, duplicate: bool) -> Publish {
    Publish {
        topic: Bytes::from_static(b"t"),
        payload: Bytes::copy_from_slice(&number.to_be_bytes()),
        qos,
        duplicate,
        ..Publish::default()
    }
}

fn number(publish: &Publish) -> u64 {
    u64::from_be_bytes(publish.payload[..].try_into().unwrap())
}

impl ModelBroker {
    fn requests(&mut self, input: &mut BytesMut, out: &mut BytesMut, refuse: impl Fn() -> bool) {
        while let Some(request) = self.wire.read(input) {
            match request {
                ClientPacket::Connect(_) => self.welcome(out),
                ClientPacket::Publish { publish, packet_id } => {
                    self.take(&publish, packet_id, &refuse)
                }
                ClientPacket::PubAck(id) => {
                    assert_eq!(
                        self.acks_wanted.pop_front(),
                        Some(id),
                        "PUBACK out of order"
                    );
                    self.sent.retain(|sent| sent.id != id);
                }
                ClientPacket::PubRec(id) => {
                    let sent = self
                        .sent
                        .iter_mut()
                        .find(|sent| sent.id == id && sent.qos == Qos::ExactlyOnce)
                        .unwrap();
                    sent.released = true;
                    self.wire.acknowledge(AckKind::Rel, id, 0, out);
                }
                ClientPacket::PubComp(id) => self.sent.retain(|sent| sent.id != id),
                ClientPacket::PubRel(id) => {
                    assert!(self.received.remove(&id).is_some(), "PUBREL without PUBREC");
                    self.due.push((AckKind::Comp, id, 0));
                }
                ClientPacket::Ping => self.wire.pong(out),
                other => panic!("{other:?}"),
            }
        }
    }

    fn welcome(&mut self, out: &mut BytesMut) {
        let announce = Announce {
            session_present: self.known,
            receive_maximum: Some(self.receive_maximum),
            ..Announce::default()
        };
        self.wire.connack(0, &announce, out);
        self.known = true;
        for sent in &self.sent {
            if sent.released {
                self.wire.acknowledge(AckKind::Rel, sent.id, 0, out);
                continue;
            }
            self.wire
                .publish(&message(sent.number, sent.qos, true), sent.id, out);
            if sent.qos == Qos::AtLeastOnce {
                self.acks_wanted.push_back(sent.id);
            }
        }
    }

    fn take(&mut self, publish: &Publish, id: u16, refuse: &impl Fn() -> bool) {
        let number = number(publish);
        if publish.qos == Qos::AtMostOnce {
            self.got.push(number);
            return;
        }
        assert!(self.open.insert(id), "packet id {id} is in use twice");
        assert!(
            self.open.len() <= self.window,
            "more in flight than the window"
        );
        let ack = if publish.qos == Qos::ExactlyOnce {
            AckKind::Rec
        } else {
            AckKind::Ack
        };
        let code = if self.wire.version() == ProtocolVersion::V5 && refuse() {
            0x97
        } else {
            0
        };
        if code == 0 {
            self.got.push(number);
            if publish.qos == Qos::ExactlyOnce {
                self.received.insert(id, number);
            }
        }
        self.due.push((ack, id, code));
    }

    /// Sends one acknowledgement that is due, whichever, and one message if there is room.
    fn act(&mut self, pick: usize, out: &mut BytesMut) {
        if !self.due.is_empty() {
            let (ack, id, code) = self.due.remove(pick % self.due.len());
            if ack != AckKind::Rec || code != 0 {
                self.open.remove(&id);
            }
            self.wire.acknowledge(ack, id, code, out);
        }
        let next = if self.sent.len() < 5 {
            self.waiting.pop_front()
        } else {
            None
        };
        let Some((number, qos)) = next else { return };
        let id = if qos == Qos::AtMostOnce {
            0
        } else {
            self.free_id()
        };
        self.wire.publish(&message(number, qos, false), id, out);
        if qos != Qos::AtMostOnce {
            self.sent.push(ModelPublish {
                id,
                number,
                qos,
                released: false,
            });
        }
        if qos == Qos::AtLeastOnce {
            self.acks_wanted.push_back(id);
        }
    }

    fn free_id(&mut self) -> u16 {
        loop {
            self.next_id = self.next_id % 9 + 1;
            if self.sent.iter().all(|sent| sent.id != self.next_id) {
                return self.next_id;
            }
        }
    }

    fn lose(&mut self) {
        self.wire = BrokerWire::new();
        self.acks_wanted.clear();
        self.open.clear();
        self.received.clear();
        self.due.clear();
    }
}

/// A client and its caller.
struct ModelClient {
    config: Config,
    version: ProtocolVersion,
    session: Session,
    online: bool,
    /// What the caller owes upstream, oldest first; those in flight by token.
    owed: VecDeque<(u64, Qos)>,
    flying: VecDeque<(u64, Qos)>,
    accepted: Vec<u64>,
    got: Vec<(u64, Qos)>,
    to_acknowledge: VecDeque<AckToken>,
}

impl ModelClient {
    fn events(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Publish { publish, token } => {
                    assert_eq!(
                        token.map(AckToken::qos).unwrap_or(Qos::AtMostOnce),
                        publish.qos
                    );
                    self.got.push((number(&publish), publish.qos));
                    self.to_acknowledge.extend(token);
                }
                Event::Accepted { token } => {
                    let place = self
                        .flying
                        .iter()
                        .position(|(number, _)| *number == token)
                        .expect("accepted twice");
                    self.flying.remove(place);
                    self.accepted.push(token);
                }
                Event::Refused {
                    token, code, kind, ..
                } => {
                    assert!(code == 0x97 && kind == BrokerRefusal::Quota);
                    let place = self
                        .flying
                        .iter()
                        .position(|(number, _)| *number == token)
                        .expect("refused twice");
                    let again = self.flying.remove(place).unwrap();
                    self.owed.push_front(again);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn publish(&mut self) {
        let Some((number, qos)) = self.owed.pop_front() else {
            return;
        };
        match self.session.publish(&message(number, qos, false), number) {
            Ok(()) if qos == Qos::AtMostOnce => self.accepted.push(number),
            Ok(()) => self.flying.push_back((number, qos)),
            Err(UnsendablePublish::WindowFull) => {
                assert_eq!(self.session.room(), 0);
                self.owed.push_front((number, qos));
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn reconnect(&mut self, now: Instant) -> Unreleased {
        let carried = self.session.unreleased();
        self.session = Session::new(&self.config, self.version, now).unwrap();
        self.online = false;
        // At most once is gone with the connection; the rest is owed again, in order.
        while let Some(again) = self.flying.pop_back() {
            self.owed.push_front(again);
        }
        self.to_acknowledge
            .retain(|token| token.qos() == Qos::ExactlyOnce);
        carried
    }
}

fn level(number: u64) -> Qos {
    Qos::from_level((number % 3) as u8).unwrap()
}

const MESSAGES: u64 = 60;

/// Broker, client, and the bytes between them.
struct World {
    random: fastrand::Rng,
    now: Instant,
    broker: ModelBroker,
    client: ModelClient,
    losses: bool,
    /// On their way to the broker, read by it, on their way to the client, read by it.
    up: BytesMut,
    seen: BytesMut,
    down: BytesMut,
    input: BytesMut,
    carried: Option<Unreleased>,
}

impl World {
    fn new(seed: u64, version: ProtocolVersion, losses: bool) -> Self {
        let (mut random, now, mut settings) =
            (fastrand::Rng::with_seed(seed), Instant::now(), config());
        let (inflight, receive_maximum) = (random.u16(1..8), random.u16(1..8));
        (settings.inflight, settings.clean_start) = (inflight, false);
        let work = || {
            (0..MESSAGES)
                .map(|number| (number, level(number)))
                .collect()
        };
        let broker = ModelBroker {
            wire: BrokerWire::new(),
            receive_maximum,
            window: usize::from(if version == ProtocolVersion::V5 {
                inflight.min(receive_maximum)
            } else {
                inflight
            }),
            waiting: work(),
            sent: Vec::new(),
            next_id: 1,
            acks_wanted: VecDeque::new(),
            known: false,
            got: Vec::new(),
            open: HashSet::new(),
            received: HashMap::new(),
            due: Vec::new(),
        };
        let client = ModelClient {
            session: Session::new(&settings, version, now).unwrap(),
            config: settings,
            version,
            online: false,
            owed: work(),
            flying: VecDeque::new(),
            accepted: Vec::new(),
            got: Vec::new(),
            to_acknowledge: VecDeque::new(),
        };
        let [up, seen, down, input] = std::array::from_fn(|_| BytesMut::new());
        Self {
            random,
            now,
            broker,
            client,
            losses,
            up,
            seen,
            down,
            input,
            carried: None,
        }
    }

    /// Bytes move in pieces of any size.
    fn carry(&mut self) {
        let random = &mut self.random;
        let count = random.usize(0..=self.client.session.output().len().min(40));
        self.up
            .extend_from_slice(&self.client.session.output()[..count]);
        self.client.session.sent(count, self.now);
        self.seen
            .extend_from_slice(&self.up.split_to(random.usize(0..=self.up.len())));
        let refuse = self.losses && random.u8(..) < 20;
        self.broker
            .requests(&mut self.seen, &mut self.down, || refuse);
        let count = random.usize(0..=self.down.len().min(60));
        self.input.extend_from_slice(&self.down.split_to(count));
    }

    fn step(&mut self) {
        self.carry();
        if !self.client.online
            && self
                .client
                .session
                .greet(&mut self.input, self.now)
                .unwrap()
                .is_some()
        {
            self.client.online = true;
            self.client
                .session
                .recall(self.carried.take().unwrap_or_default());
        }
        if self.client.online {
            let mut events = Vec::new();
            self.client
                .session
                .receive(&mut self.input, self.now, &mut events)
                .unwrap();
            self.client.events(events);
            self.broker.act(self.random.usize(..), &mut self.down);
            if self.random.bool() {
                self.client.publish();
            }
            let ready = if self.random.u8(..) < 100 {
                self.client.to_acknowledge.pop_front()
            } else {
                None
            };
            ready
                .into_iter()
                .for_each(|token| self.client.session.acknowledge(token));
        }
        if self.losses && self.random.u16(..) < 800 {
            self.lose();
        }
    }

    fn lose(&mut self) {
        for pipe in [
            &mut self.up,
            &mut self.seen,
            &mut self.down,
            &mut self.input,
        ] {
            pipe.clear();
        }
        let unreleased = self.client.reconnect(self.now);
        // Still in hand when the connection never came to a CONNACK.
        self.carried = self.carried.take().or(Some(unreleased));
        self.broker.lose();
    }

    fn is_done(&self) -> bool {
        let Self { broker, client, .. } = self;
        let lists = [&client.owed, &client.flying, &broker.waiting];
        let pipes = [&self.up, &self.seen, &self.down, &self.input];
        lists.iter().all(|list| list.is_empty())
            && pipes.iter().all(|pipe| pipe.is_empty())
            && client.to_acknowledge.is_empty()
            && client.session.output().is_empty()
            && broker.sent.is_empty()
            && broker.due.is_empty()
    }
}

/// Runs until nothing is left to do; gives back what the broker and the client got.
fn run(seed: u64, version: ProtocolVersion, losses: bool) -> (ModelBroker, ModelClient) {
    let mut world = World::new(seed, version, losses);
    for _ in 0..200_000 {
        world.step();
        if world.client.online && world.is_done() {
            return (world.broker, world.client);
        }
    }
    panic!("seed {seed}: not done: {:?}", world.broker);
}

fn sorted(numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut numbers: Vec<_> = numbers.into_iter().collect();
    numbers.sort_unstable();
    numbers
}

/// The first occurrence of each.
fn first(numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut known = HashSet::new();
    numbers
        .into_iter()
        .filter(|number| known.insert(*number))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn without_loss_everything_arrives_once_and_in_order(seed: u64, v5: bool) {
        let (broker, client) = run(seed, if v5 { ProtocolVersion::V5 } else { ProtocolVersion::V311 }, false);
        let all: Vec<u64> = (0..60).collect();
        prop_assert_eq!(&broker.got, &all);
        prop_assert_eq!(sorted(client.accepted), all.clone());
        prop_assert_eq!(client.got.iter().map(|(number, _)| *number).collect::<Vec<_>>(), all);
    }

    #[test]
    fn over_lost_connections_levels_1_and_2_keep_their_promise(seed: u64, v5: bool) {
        let (broker, client) = run(seed, if v5 { ProtocolVersion::V5 } else { ProtocolVersion::V311 }, true);
        let of = |wanted: Qos| client.got.iter().filter(|(_, qos)| *qos == wanted).map(|(number, _)| *number).collect::<Vec<_>>();
        let expected = |wanted: Qos| (0..60).filter(|number| level(*number) == wanted).collect::<Vec<_>>();
        prop_assert_eq!(first(of(Qos::AtLeastOnce)), expected(Qos::AtLeastOnce));
        prop_assert_eq!(of(Qos::ExactlyOnce), expected(Qos::ExactlyOnce));
        let kept: Vec<_> = sorted(first(broker.got)).into_iter().filter(|number| level(*number) != Qos::AtMostOnce).collect();
        prop_assert_eq!(kept, (0..60).filter(|number| level(*number) != Qos::AtMostOnce).collect::<Vec<_>>());
        prop_assert_eq!(sorted(client.accepted), (0..60).collect::<Vec<_>>());
    }
}
