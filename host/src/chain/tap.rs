//! Looking on: what a flow's messages are before and after each plugin, and where they leave for, for whoever asks. Nobody
//! waits for who looks on: what there is no room for is missed, and counted. It is by the name of the flow, so that it goes
//! on across swaps and across a chain that takes the place of another.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::clock::{Now, Uptime};
use crate::message::{Destination, Message, Pattern, Reason};

/// So many look on at a time, over all flows.
const MOST_TAPS: usize = 8;
/// What one has not fetched yet: messages, and bytes of them.
const MOST_MESSAGES: usize = 1_000;
const MOST_BYTES: usize = 1 << 20;
/// Of a payload that much is kept.
const PAYLOAD_BYTES: usize = 4 << 10;
/// One that fetches nothing for so long is gone.
const PATIENCE_US: u64 = 30_000_000;

/// What somebody wants to see of a flow.
#[derive(Clone, Debug, Default)]
pub struct TapFilter {
    /// Around this plugin only.
    pub plugin: Option<Arc<str>>,
    /// Of messages with this key only.
    pub device: Option<Box<[u8]>>,
    /// Of topics that match only.
    pub topic: Option<Pattern>,
}

/// Where a message was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TapPoint {
    /// On its way into this plugin.
    Into(Arc<str>),
    /// It came out of this plugin, for the next one.
    OutOf(Arc<str>),
    /// It leaves the flow.
    Leaves(Destination),
    /// It becomes a dead letter: why, and in words.
    Parked(Reason, String),
}

/// A message as it was seen.
#[derive(Clone, Debug)]
pub struct TappedMessage {
    pub point: TapPoint,
    /// Wall clock, microseconds since 1970.
    pub at_us: u64,
    /// The message, its payload cut after 4 KiB.
    pub message: Message,
    /// Bytes that its payload has.
    pub payload_bytes: usize,
}

/// What one who looks on is given.
#[derive(Debug, Default)]
pub struct TapPage {
    pub messages: Vec<TappedMessage>,
    /// Messages since the page before that there was no room for.
    pub missed: u64,
}

/// One who looks on.
#[derive(Debug)]
struct Tap {
    filter: TapFilter,
    seen: Mutex<Unfetched>,
    /// Rings when there is something to fetch.
    news: Arc<Notify>,
    /// Uptime at the last fetch, microseconds.
    fetched_us: AtomicU64,
}

#[derive(Debug, Default)]
struct Unfetched {
    messages: VecDeque<TappedMessage>,
    bytes: usize,
    missed: u64,
}

/// Those who look on at one flow.
#[derive(Debug, Default)]
pub(crate) struct FlowTaps {
    /// Whether there is one: all that a flow pays for while there is none is to look here.
    is_open: AtomicBool,
    taps: Mutex<Vec<(u64, Arc<Tap>)>>,
}

/// Those who look on, of all flows. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Taps(Arc<Mutex<AllTaps>>);

#[derive(Debug, Default)]
struct AllTaps {
    flows: HashMap<Arc<str>, Arc<FlowTaps>>,
    next: u64,
}

impl Taps {
    /// Those of the flow of this name, which need not be there yet.
    pub(crate) fn of(&self, flow: &str) -> Arc<FlowTaps> {
        let mut all = lock(&self.0);
        Arc::clone(all.flows.entry(flow.into()).or_default())
    }

    /// One more looks on at `flow`; its number, or `None` where as many do as may.
    pub fn open(&self, flow: &str, filter: TapFilter, now: Now) -> Option<u64> {
        let taps = self.of(flow);
        let mut all = lock(&self.0);
        let count: usize = all.flows.values().map(|flow| flow.living(now)).sum();
        if count >= MOST_TAPS {
            return None;
        }
        all.next += 1;
        let tap = Tap {
            filter,
            seen: Mutex::default(),
            news: Arc::default(),
            fetched_us: AtomicU64::new(now.uptime.0),
        };
        lock(&taps.taps).push((all.next, Arc::new(tap)));
        taps.is_open.store(true, Ordering::Relaxed);
        Some(all.next)
    }

    /// What the one of this number has not fetched yet; `None` for one that is gone.
    pub fn fetch(&self, number: u64, now: Now) -> Option<TapPage> {
        let tap = self.find(number)?;
        tap.fetched_us.store(now.uptime.0, Ordering::Relaxed);
        let Unfetched {
            messages, missed, ..
        } = std::mem::take(&mut *lock(&tap.seen));
        Some(TapPage {
            messages: messages.into(),
            missed,
        })
    }

    /// Rings when there is something to fetch for the one of this number.
    pub fn news(&self, number: u64) -> Option<Arc<Notify>> {
        self.find(number).map(|tap| Arc::clone(&tap.news))
    }

    /// The one of this number looks on no more.
    pub fn close(&self, number: u64) {
        let all = lock(&self.0);
        all.flows
            .values()
            .for_each(|flow| flow.close(|(own, _)| *own == number));
    }

    fn find(&self, number: u64) -> Option<Arc<Tap>> {
        let all = lock(&self.0);
        let tap = |flow: &Arc<FlowTaps>| {
            let taps = lock(&flow.taps);
            let found = taps.iter().find(|(own, _)| *own == number);
            found.map(|(_, tap)| Arc::clone(tap))
        };
        all.flows.values().find_map(tap)
    }
}

impl FlowTaps {
    /// Whether somebody looks on.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Shows these messages at `point` to those who want to see them.
    pub(crate) fn show<'a>(
        &self,
        point: impl Fn() -> TapPoint,
        messages: impl IntoIterator<Item = &'a Message>,
        now: Now,
    ) {
        let taps = lock(&self.taps);
        for message in messages {
            taps.iter()
                .for_each(|(_, tap)| tap.show(&point, message, now));
        }
    }

    /// How many look on, without those that are gone.
    fn living(&self, now: Now) -> usize {
        let gone = |tap: &Tap| {
            let idle = now
                .uptime
                .us_since(Uptime(tap.fetched_us.load(Ordering::Relaxed)));
            idle > PATIENCE_US
        };
        self.close(|(_, tap)| gone(tap));
        lock(&self.taps).len()
    }

    /// Nobody is shown anything who has not asked for long; called while somebody is shown something.
    pub(crate) fn forget_gone(&self, now: Now) {
        self.living(now);
    }

    fn close(&self, is_it: impl Fn(&(u64, Arc<Tap>)) -> bool) {
        let mut taps = lock(&self.taps);
        taps.retain(|tap| !is_it(tap));
        self.is_open.store(!taps.is_empty(), Ordering::Relaxed);
    }
}

impl Tap {
    fn show(&self, point: &impl Fn() -> TapPoint, message: &Message, now: Now) {
        let TapFilter { device, topic, .. } = &self.filter;
        let is_other = |wanted: &[u8]| wanted != message.key();
        if device.as_deref().is_some_and(is_other)
            || topic
                .as_ref()
                .is_some_and(|topic| topic.matches(message.topic_str()).is_none())
        {
            return;
        }
        let point = point();
        if !self.filter.takes(&point) {
            return;
        }
        let mut seen = lock(&self.seen);
        if seen.messages.len() >= MOST_MESSAGES || seen.bytes >= MOST_BYTES {
            seen.missed += 1;
            return;
        }
        let tapped = TappedMessage {
            point,
            at_us: now.wall.0,
            payload_bytes: message.payload.len(),
            message: head(message),
        };
        seen.bytes += tapped.message.weight();
        seen.messages.push_back(tapped);
        drop(seen);
        self.news.notify_one();
    }
}

impl TapFilter {
    fn takes(&self, point: &TapPoint) -> bool {
        match (&self.plugin, point) {
            (None, _) => true,
            (Some(wanted), TapPoint::Into(plugin) | TapPoint::OutOf(plugin)) => wanted == plugin,
            (Some(_), TapPoint::Leaves(_) | TapPoint::Parked(..)) => false,
        }
    }
}

/// A copy: a slice would keep the whole buffer that the message lies in.
fn head(message: &Message) -> Message {
    let payload = &message.payload[..message.payload.len().min(PAYLOAD_BYTES)];
    Message {
        topic: Bytes::copy_from_slice(&message.topic),
        headers: Bytes::copy_from_slice(&message.headers),
        payload: Bytes::copy_from_slice(payload),
        ..message.clone()
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;

    fn message(topic: &'static str, key: (u16, u16), payload: Vec<u8>) -> Message {
        Message {
            topic: Bytes::from_static(topic.as_bytes()),
            key: crate::message::Span {
                offset: key.0,
                len: key.1,
            },
            payload: payload.into(),
            ..Message::default()
        }
    }

    fn at(seconds: u64) -> Now {
        Now {
            wall: WallTime(seconds * 1_000_000),
            uptime: Uptime(seconds * 1_000_000),
        }
    }

    #[test]
    fn one_is_shown_what_was_asked_for_and_no_more() {
        let taps = Taps::default();
        let flow = taps.of("climate");
        assert!(!flow.is_open());
        let filter = TapFilter {
            plugin: Some("hot".into()),
            device: Some((*b"d1").into()),
            topic: Some(Pattern::parse("devices/+/t").unwrap()),
        };
        let number = taps.open("climate", filter, at(1)).unwrap();
        assert!(flow.is_open());
        let wanted = message("devices/d1/t", (8, 2), vec![b'x'; 5_000]);
        let into = |plugin: &'static str| move || TapPoint::Into(plugin.into());
        flow.show(into("hot"), [&wanted], at(2));
        flow.show(into("other"), [&wanted], at(2));
        flow.show(
            into("hot"),
            [&message("devices/d2/t", (8, 2), Vec::new())],
            at(2),
        );
        flow.show(
            into("hot"),
            [&message("devices/d1/u", (8, 2), Vec::new())],
            at(2),
        );
        flow.show(
            || TapPoint::Parked(Reason::Rejected, String::new()),
            [&wanted],
            at(2),
        );
        let page = taps.fetch(number, at(3)).unwrap();
        let [seen] = &page.messages[..] else {
            panic!("{page:?}")
        };
        assert_eq!(seen.point, TapPoint::Into("hot".into()));
        assert_eq!(
            (seen.payload_bytes, seen.message.payload.len()),
            (5_000, PAYLOAD_BYTES)
        );
        taps.close(number);
        assert!(!flow.is_open());
        assert!(taps.fetch(number, at(3)).is_none());
    }

    #[test]
    fn what_there_is_no_room_for_is_counted_and_one_that_does_not_ask_is_gone() {
        let taps = Taps::default();
        let flow = taps.of("climate");
        let number = taps.open("climate", TapFilter::default(), at(1)).unwrap();
        let one = message("devices/d1/t", (8, 2), Vec::new());
        let into = || TapPoint::Into("hot".into());
        (0..MOST_MESSAGES + 7).for_each(|_| flow.show(into, [&one], at(1)));
        let page = taps.fetch(number, at(2)).unwrap();
        assert_eq!((page.messages.len(), page.missed), (MOST_MESSAGES, 7));
        assert_eq!(taps.fetch(number, at(3)).unwrap().missed, 0);
        flow.forget_gone(at(33));
        assert!(flow.is_open());
        flow.forget_gone(at(34));
        assert!(!flow.is_open(), "it has not asked for 31 seconds");
    }

    #[test]
    fn only_so_many_look_on() {
        let taps = Taps::default();
        for index in 0..MOST_TAPS {
            let flow = format!("f{index}");
            assert!(taps.open(&flow, TapFilter::default(), at(1)).is_some());
        }
        assert_eq!(taps.open("one-more", TapFilter::default(), at(1)), None);
        assert!(
            taps.open("one-more", TapFilter::default(), at(40))
                .is_some(),
            "those are gone"
        );
    }
}
