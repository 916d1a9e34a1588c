//! Datagrams: each is a message. Who sends them cannot be told to wait, so what there is no room for is counted.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::Config;
use super::desk::{FrameDesk, TakenPiece};
use super::dialler::{Opened, RawDialler};
use super::drops::DropCount;
use super::frame::{FrameFault, FramePiece};
use super::wire::Error;
use crate::clock::sleep_until;
use crate::link::{Redial, Stop};
use crate::message::HEAD_BYTES;
use crate::source::taker::Borders;

/// No datagram is longer.
const DATAGRAM_BYTES: usize = 64 << 10;
/// Taken together, at most.
const BURST: usize = 64;
const BURST_BYTES: usize = 256 << 10;
/// How often the system is asked what it has dropped.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Who is to be answered, and until when.
type DatagramClaim = (SocketAddr, Instant);

pub(super) struct DatagramSource<'a> {
    config: &'a crate::source::Config,
    own: &'a Config,
    desk: FrameDesk<DatagramClaim>,
    room: Vec<u8>,
}

impl<'a> DatagramSource<'a> {
    pub(super) fn new(
        config: &'a crate::source::Config,
        own: &'a Config,
        borders: Borders,
        metrics: &crate::source::Metrics,
    ) -> Self {
        Self {
            config,
            own,
            desk: FrameDesk::new(config, borders, metrics),
            room: vec![0; DATAGRAM_BYTES],
        }
    }

    /// Takes until `stop` says otherwise.
    pub(super) async fn run(
        &mut self,
        redial: &mut Redial<RawDialler>,
        stop: &mut watch::Receiver<Stop>,
    ) {
        while let Some(Opened::Datagrams(socket)) = redial.connect(stop).await {
            let failures_before = redial.stands();
            let address = &self.own.address;
            tracing::info!(source = %self.config.name, %address, failures_before, "it stands");
            let is_v6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
            let mut drops = DropCount::of(&*socket, is_v6);
            let ended = self.serve(&socket, &mut drops, stop).await;
            self.ask(&mut drops);
            match ended {
                Some(error) => {
                    let address = self.own.address.to_string();
                    let why = error.to_string();
                    redial.lost(&Error::Ended { address, why });
                }
                None => return self.leave(&socket, stop).await,
            }
        }
    }

    async fn serve(
        &mut self,
        socket: &UdpSocket,
        drops: &mut Option<DropCount>,
        stop: &mut watch::Receiver<Stop>,
    ) -> Option<io::Error> {
        let settled = self.desk.settled();
        let mut ask_at = Instant::now() + ASK_EVERY;
        loop {
            if *stop.borrow_and_update() != Stop::Run {
                return None;
            }
            if ask_at <= Instant::now() {
                self.ask(drops);
                ask_at = Instant::now() + ASK_EVERY;
            }
            tokio::select! {
                changed = stop.changed() => if changed.is_err() {
                    return None;
                },
                ready = socket.readable() => {
                    match ready.and_then(|()| self.burst(socket)) {
                        Ok(false) => {}
                        // To wait for a socket that has more costs no turn: it would hold up everybody as long as that is so.
                        Ok(true) => tokio::task::yield_now().await,
                        Err(error) => return Some(error),
                    }
                }
                () = settled.changed() => self.settle(socket, false),
                () = sleep_until(self.desk.look_at()) => self.settle(socket, false),
                () = sleep_until(Some(ask_at)) => {}
            }
        }
    }

    /// Takes what is there, some of it at a time; whether there may be more.
    fn burst(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        let now = Instant::now();
        let is_full = self.desk.is_full();
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        let mut left_out = BTreeMap::<Bytes, u64>::new();
        let mut has_more = true;
        for _ in 0..BURST {
            let (length, from) = match socket.try_recv_from(&mut self.room) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    has_more = false;
                    break;
                }
                Err(error) => return Err(error),
            };
            let topic = self.own.topic.of_address(from);
            if is_full {
                *left_out.entry(topic).or_default() += 1;
                continue;
            }
            bytes += length;
            // One without a byte is none.
            let Some(piece) = self.piece(&self.room[..length]) else {
                continue;
            };
            let claim = (from, now + self.own.settle_within);
            pieces.push(TakenPiece {
                topic,
                piece,
                claim: self.own.reply.as_ref().map(|_| claim),
            });
            if bytes >= BURST_BYTES {
                break;
            }
        }
        self.desk.leave_out(left_out, now);
        self.desk.take(pieces, now);
        Ok(has_more)
    }

    fn piece(&self, datagram: &[u8]) -> Option<FramePiece> {
        if datagram.len() > self.config.max_payload_bytes {
            let head = &datagram[..datagram.len().min(HEAD_BYTES)];
            let head = Bytes::copy_from_slice(head);
            return Some(FramePiece::Unfit(FrameFault::TooLong, head));
        }
        (!datagram.is_empty()).then(|| FramePiece::Frame(Bytes::copy_from_slice(datagram)))
    }

    /// Answers what is settled in time. An answer for which there is no room is lost, as any datagram may be.
    fn settle(&mut self, socket: &UdpSocket, draining: bool) {
        let now = Instant::now();
        let reply = &self.own.reply;
        self.desk.settle(draining, |(from, until)| {
            if let Some(reply) = reply
                && now <= until
            {
                let _ = socket.try_send_to(reply, from);
            }
        });
    }

    fn ask(&self, drops: &mut Option<DropCount>) {
        let more = drops.as_mut().map_or(0, DropCount::more);
        if more > 0 {
            self.desk.dropped_outside(more);
        }
    }

    /// Waits until all that was taken is settled and answered, or for the end.
    async fn leave(&mut self, socket: &UdpSocket, stop: &mut watch::Receiver<Stop>) {
        self.desk.cease();
        let settled = self.desk.settled();
        loop {
            self.settle(socket, true);
            if self.desk.is_empty() || *stop.borrow_and_update() == Stop::Now {
                return;
            }
            tokio::select! {
                changed = stop.changed() => if changed.is_err() {
                    return;
                },
                () = settled.changed() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use prometheus::Registry;

    use super::super::{PeerTopic, RawAddress, RawFraming};
    use super::*;
    use crate::link::Backoff;
    use crate::message::{
        Append, DeadLetter, Delivery, FlowId, Intake, Loss, Mint, Outlet, Pattern,
    };
    use crate::source::{Ack, FlowRoute, Metrics, SourceKind};

    #[derive(Default)]
    struct KeptDatagrams(Mutex<Vec<Delivery>>);

    impl Intake for KeptDatagrams {
        fn deliver(&self, batch: Vec<Delivery>) {
            self.0.lock().unwrap().extend(batch);
        }

        fn has_room(&self) -> bool {
            true
        }
    }

    impl Outlet for KeptDatagrams {
        fn append(&self, _: Vec<Append>) {}
        fn park(&self, _: Vec<DeadLetter>) {}
        fn lose(&self, _: Vec<Loss>) {}
    }

    fn config(own: &Config, kept: &Arc<KeptDatagrams>) -> crate::source::Config {
        crate::source::Config {
            name: "lines".into(),
            kind: SourceKind::Raw(Box::new(own.clone())),
            routes: vec![FlowRoute {
                flow: FlowId::FIRST,
                name: "all".into(),
                pattern: Pattern::parse("{device}").unwrap(),
                intake: Arc::clone(kept) as _,
                ack: Ack::Safe,
                expires: None,
                dedup: None,
            }],
            late: Vec::new(),
            max_unsettled_bytes: 1 << 20,
            max_topic_bytes: 1 << 10,
            max_payload_bytes: 1 << 10,
            devices: None,
        }
    }

    #[tokio::test]
    async fn others_get_their_turn_while_many_wait() {
        const MANY: usize = 4 * BURST;
        let kept = Arc::new(KeptDatagrams::default());
        let own = Config {
            address: RawAddress::Datagrams {
                host: "127.0.0.1".to_owned(),
                port: 0,
            },
            framing: RawFraming::Line,
            topic: PeerTopic::any(),
            reply: None,
            settle_within: Duration::from_secs(1),
            kept: None,
            left: crate::source::raw::TailHandover::default(),
            backoff: Backoff::default(),
        };
        let config = config(&own, &kept);
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let borders = Borders {
            outlet: Arc::clone(&kept) as _,
            mint: Arc::new(Mint::new(1)),
            settled: Arc::default(),
            meters: Arc::new(metrics.of("lines")),
            taking: tokio_util::task::TaskTracker::new().token(),
            trace: crate::source::trace::SourceTrace::new(&"s".into(), "test", Default::default()),
        };
        let mut source = DatagramSource::new(&config, &own, borders, &metrics);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let from = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..MANY {
            let to = socket.local_addr().unwrap();
            from.send_to(b"x", to).unwrap();
        }
        let (stop, mut stopped) = watch::channel(Stop::Run);
        let other = tokio::spawn(async move {
            let mut seen = Vec::new();
            while kept.0.lock().unwrap().len() < MANY {
                seen.push(kept.0.lock().unwrap().len());
                tokio::task::yield_now().await;
            }
            stop.send_replace(Stop::Drain);
            seen
        });
        let ended = source.serve(&socket, &mut None, &mut stopped).await;
        assert!(ended.is_none(), "{ended:?}");
        let seen = other.await.unwrap();
        for burst in 1..4 {
            assert!(seen.contains(&(burst * BURST)), "{seen:?}");
        }
    }
}
