//! The connections of a source: what each is to be answered, in the order in which its messages came. No sockets; time is an
//! argument.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::connection::{WireOrder, WireOrders, WirePieces};
use super::desk::{FrameDesk, TakenPiece};
use super::frame::{FrameFault, FramePiece};
use crate::message::Settled;
use crate::source::taker::Borders;

/// A message of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameClaim {
    wire: u64,
    number: u64,
}

/// What became of a message that is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplyState {
    Open,
    Settled,
    /// Its time is over: nothing is said of it.
    Late,
}

struct OpenWire {
    orders: watch::Sender<WireOrders>,
    is_serial: bool,
    /// Messages that are not answered, and the number of the first.
    waiting: VecDeque<ReplyState>,
    first: u64,
    has_ended: bool,
    /// It was told to leave over a message that can get no reply: nothing that is settled now is answered any more.
    is_given_up: bool,
}

impl OpenWire {
    fn order(&self, order: WireOrder) {
        self.orders.send_if_modified(|orders| {
            // Who is to leave stays told.
            let is_news = orders.order != order && orders.order != WireOrder::Leave;
            if is_news {
                orders.order = order;
            }
            is_news
        });
    }

    fn set(&mut self, number: u64, state: ReplyState) {
        if self.is_given_up {
            return;
        }
        let place = number.checked_sub(self.first);
        let place = place.and_then(|place| usize::try_from(place).ok());
        if let Some(own) = place.and_then(|place| self.waiting.get_mut(place))
            && *own == ReplyState::Open
        {
            *own = state;
        }
        let mut due = 0;
        while let Some(state) = self
            .waiting
            .pop_front_if(|state| *state != ReplyState::Open)
        {
            self.first += 1;
            due += u64::from(state == ReplyState::Settled);
        }
        if due > 0 {
            self.orders.send_modify(|orders| orders.replies += due);
        }
        if self.has_ended && self.waiting.is_empty() {
            self.order(WireOrder::Leave);
        }
    }

    /// A message can get no reply any more: over a connection its sender is told by a hang-up.
    fn give_up(&mut self, number: u64) {
        if self.is_serial {
            self.set(number, ReplyState::Late);
        } else {
            self.is_given_up = true;
            self.waiting.clear();
            self.order(WireOrder::Leave);
        }
    }
}

pub(super) struct OpenWires {
    desk: FrameDesk<FrameClaim>,
    wires: BTreeMap<u64, OpenWire>,
    /// Until when the messages of a connection below a number are to be settled, the oldest first.
    due: VecDeque<(Instant, FrameClaim)>,
    next: u64,
    replies: bool,
    settle_within: Duration,
}

impl OpenWires {
    pub(super) fn new(
        config: &crate::source::Config,
        own: &super::Config,
        borders: Borders,
        metrics: &crate::source::Metrics,
    ) -> Self {
        Self {
            desk: FrameDesk::new(config, borders, metrics),
            wires: BTreeMap::new(),
            due: VecDeque::new(),
            next: 0,
            replies: own.reply.is_some(),
            settle_within: own.settle_within,
        }
    }

    /// From now on nothing is taken.
    pub(super) fn cease(&mut self) {
        self.desk.cease();
    }

    /// A new connection: its number, and where it reads its orders.
    pub(super) fn enter(&mut self, is_serial: bool) -> (u64, watch::Receiver<WireOrders>) {
        let (orders, heard) = watch::channel(WireOrders::default());
        let number = self.next;
        self.next += 1;
        let wire = OpenWire {
            orders,
            is_serial,
            waiting: VecDeque::new(),
            first: 0,
            has_ended: false,
            is_given_up: false,
        };
        self.wires.insert(number, wire);
        (number, heard)
    }

    /// A connection is gone.
    pub(super) fn left(&mut self, wire: u64) {
        self.wires.remove(&wire);
    }

    /// Takes what came on a connection, which may be gone.
    pub(super) fn take(&mut self, came: WirePieces, now: Instant) {
        let WirePieces {
            wire: number,
            topic,
            pieces,
            is_last,
        } = came;
        let mut wire = self.wires.get_mut(&number);
        let replies = self.replies;
        let claim = |piece: &FramePiece| {
            let wire = wire.as_mut().filter(|wire| replies && !wire.is_given_up)?;
            let is_answered = matches!(
                piece,
                FramePiece::Frame(_) | FramePiece::Unfit(FrameFault::TooLong, _)
            );
            is_answered.then(|| {
                wire.waiting.push_back(ReplyState::Open);
                FrameClaim {
                    wire: number,
                    number: wire.first + wire.waiting.len() as u64 - 1,
                }
            })
        };
        let claims: Vec<_> = pieces.iter().map(claim).collect();
        if let Some(last) = claims.iter().flatten().next_back() {
            self.due.push_back((now + self.settle_within, *last));
        }
        let taken = pieces.into_iter().zip(claims);
        let taken = taken.map(|(piece, claim)| TakenPiece {
            topic: topic.clone(),
            piece,
            claim,
        });
        let left_out = self.desk.take(taken.collect(), now);
        for claim in left_out {
            if let Some(wire) = self.wires.get_mut(&claim.wire) {
                wire.set(claim.number, ReplyState::Late);
            }
        }
        if is_last && let Some(wire) = self.wires.get_mut(&number) {
            wire.has_ended = true;
            if wire.waiting.is_empty() {
                wire.order(WireOrder::Leave);
            }
        }
    }

    /// Has what is settled answered, gives up what is late, and tells the inside how pressed we are.
    pub(super) fn settle(&mut self, now: Instant, draining: bool) {
        let wires = &mut self.wires;
        let has_fallen = self.desk.settle(draining, |claim| {
            if let Some(wire) = wires.get_mut(&claim.wire) {
                wire.set(claim.number, ReplyState::Settled);
            }
        });
        if has_fallen {
            self.let_fallen_go();
        }
        while let Some((at, last)) = self.due.front().copied() {
            let open = self.wires.get_mut(&last.wire);
            let open = open.filter(|wire| wire.first <= last.number && !wire.is_given_up);
            if open.is_some() && at > now {
                break;
            }
            self.due.pop_front();
            let Some(wire) = open else {
                continue;
            };
            for number in wire.first..=last.number {
                wire.give_up(number);
            }
        }
    }

    /// Messages whose receipts were lost inside can never settle.
    fn let_fallen_go(&mut self) {
        let alive: BTreeSet<(u64, u64)> = self
            .desk
            .claims()
            .map(|claim| (claim.wire, claim.number))
            .collect();
        for (number, wire) in &mut self.wires {
            let open = (wire.first..).zip(&wire.waiting);
            let open = open.filter(|(_, state)| **state == ReplyState::Open);
            let fallen: Vec<u64> = open
                .map(|(message, _)| message)
                .filter(|message| !alive.contains(&(*number, *message)))
                .collect();
            for message in fallen {
                wire.give_up(message);
            }
        }
    }

    /// What a run of a program came to: all went well, or why not; and when it runs next.
    pub(super) fn came_round(&mut self, failure: Option<String>, next: Instant) {
        self.desk.came_round(failure, Instant::now(), next);
    }

    /// When to [`Self::settle`] next, though nothing wakes: the time of something is over then, or something was taken.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = self.due.front().map(|(at, _)| *at);
        due.into_iter().chain(self.desk.look_at()).min()
    }

    /// Tells one connection, or all of them.
    pub(super) fn order(&self, wire: Option<u64>, order: WireOrder) {
        let told = self.wires.iter();
        let told = told.filter(|(number, _)| wire.is_none_or(|wire| wire == **number));
        told.for_each(|(_, own)| own.order(order));
    }

    /// What wakes when something settles.
    pub(super) fn settled(&self) -> Arc<Settled> {
        self.desk.settled()
    }

    /// Whether nothing is taken until something settles.
    pub(super) fn is_full(&self) -> bool {
        self.desk.is_full()
    }

    /// Whether all that was taken is settled.
    pub(super) fn is_empty(&self) -> bool {
        self.desk.is_empty()
    }
}
