//! Dead letters: their form on disk, and those that wait for a commit.
//!
//! ```text
//! key    [b'l', boot u32, number u64]   big endian, so that the oldest comes first
//! value  [version u8, reason u8, crc u32 of all else, MessagePack of the rest]
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::message::{
    DeadLetter, FlowId, Marks, Message, MessageId, PluginRef, QueueId, Reason, Receipt, Seq, Span,
};
use crate::spool::memory::ram::{Ram, Share};
use crate::spool::settings::QueueConfig;

/// The layout above. Version 1 lacked the last two fields, which then read as unknown.
const VERSION: u8 = 2;
/// Bytes before the MessagePack.
const HEADER: usize = 6;

/// All reasons, in the order of their number on disk; new ones go to the end.
pub(super) const REASONS: [Reason; 7] = [
    Reason::Rejected,
    Reason::Poison,
    Reason::TooLong,
    Reason::Refused,
    Reason::Quarantined,
    Reason::Malformed,
    Reason::Circled,
];

/// The number of a reason on disk.
pub(super) fn reason_number(reason: Reason) -> usize {
    match reason {
        Reason::Rejected => 0,
        Reason::Poison => 1,
        Reason::TooLong => 2,
        Reason::Refused => 3,
        Reason::Quarantined => 4,
        Reason::Malformed => 5,
        Reason::Circled => 6,
    }
}

/// Which letter: the boot it was parked in, and its number in that boot.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct LetterId {
    /// Boot of the store.
    pub boot: u32,
    /// Rises within the boot.
    pub number: u64,
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.boot, self.number)
    }
}

impl FromStr for LetterId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('-')
            .and_then(|(boot, number)| Some((boot.parse().ok()?, number.parse().ok()?)));
        let (boot, number) =
            parts.ok_or_else(|| format!("`{text}` is no dead letter: they are named like 3-17"))?;
        Ok(Self { boot, number })
    }
}

/// What the store holds of dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptLetters {
    /// Letters, by the number of their reason.
    #[serde(deserialize_with = "counts")]
    pub counts: [u64; REASONS.len()],
    /// Bytes of their values.
    pub bytes: u64,
}

/// Whoever wrote them may have known fewer reasons, or more.
fn counts<'de, D: serde::Deserializer<'de>>(input: D) -> Result<[u64; REASONS.len()], D::Error> {
    let (found, mut counts) = (Vec::<u64>::deserialize(input)?, [0; REASONS.len()]);
    counts
        .iter_mut()
        .zip(found)
        .for_each(|(count, found)| *count = found);
    Ok(counts)
}

impl KeptLetters {
    /// One more, or the first time that a damaged one is met.
    pub(super) fn add(&mut self, reason: Option<Reason>, bytes: u64) {
        if let Some(reason) = reason {
            self.counts[reason_number(reason)] += 1;
        }
        self.bytes += bytes;
    }

    /// One less.
    pub(super) fn remove(&mut self, reason: Option<Reason>, bytes: u64) {
        if let Some(reason) = reason {
            let count = &mut self.counts[reason_number(reason)];
            *count = count.saturating_sub(1);
        }
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Letters of all reasons.
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Letters on their way into the store at which no more are let in: it cannot write, or not as fast.
const ON_THE_WAY: u64 = 4_096;

/// Whether `more` letters of what upstream refused, and so many bytes, have room beside those in the store and those
/// `on_the_way` there, of at most `most` letters and `most_bytes`. They take the place of letters with another reason, up to
/// half of all places, never that of another refused one. An empty store takes whatever one publish brings.
pub(super) fn has_room_for_refused(
    more: (u64, u64),
    kept: &KeptLetters,
    on_the_way: (u64, u64),
    most: u64,
    most_bytes: u64,
) -> bool {
    let (count, bytes) = (kept.total() + on_the_way.0, kept.bytes + on_the_way.1);
    let has_free_place = count == 0 || (count + more.0 <= most && bytes + more.1 <= most_bytes);
    let refused = kept.counts[reason_number(Reason::Refused)] + on_the_way.0;
    on_the_way.0 < ON_THE_WAY && (has_free_place || (refused + more.0) * 2 <= count)
}

/// A dead letter as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterRecord {
    /// Which.
    pub id: LetterId,
    /// The message as it came into the failing stage; its flow goes by name only.
    pub message: Message,
    /// Name of the flow; empty when no flow had it yet.
    pub flow: Arc<str>,
    /// The plugin at fault, if one is.
    pub plugin: Option<PluginRef>,
    /// Uplink and class of the queue it was refused from; such a letter goes back there.
    pub queue: Option<(Arc<str>, Arc<str>)>,
    /// The kind of failure.
    pub reason: Reason,
    /// In words.
    pub detail: String,
    /// A plugin had named its topic by then.
    pub own_topic: bool,
    /// Wall clock when it was parked, microseconds since 1970.
    pub parked_us: u64,
}

/// Why a letter cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// Too short, or of another version.
    #[error("it is not a dead letter of a version up to {VERSION}")]
    Form,
    /// Bytes have changed.
    #[error("its checksum does not match")]
    Checksum,
    /// The rest does not decode.
    #[error("it does not decode")]
    Content,
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    boot: u32,
    number: u64,
    #[serde(with = "serde_bytes", borrow)]
    topic: &'a [u8],
    key_offset: u16,
    key_len: u16,
    #[serde(with = "serde_bytes", borrow)]
    headers: &'a [u8],
    #[serde(with = "serde_bytes", borrow)]
    payload: &'a [u8],
    marks: u32,
    received_us: u64,
    uptime_us: u64,
    flow: &'a str,
    plugin: Option<(&'a str, &'a str)>,
    detail: &'a str,
    parked_us: u64,
    #[serde(default)]
    own_topic: bool,
    #[serde(default, borrow)]
    queue: Option<(&'a str, &'a str)>,
    /// The key, where the topic does not hold it.
    #[serde(with = "serde_bytes", borrow, default)]
    device: &'a [u8],
}

/// What happens when the letter is committed.
#[derive(Debug)]
pub(super) enum Then {
    /// Its receipt is released, if it has one.
    Release(Option<Receipt>),
    /// Its place counts as accepted: upstream refused it.
    Accept(QueueId, Seq),
}

/// A letter that waits for a commit. Its number is fixed, so that a repeated commit writes it to the same place.
#[derive(Debug)]
pub(super) struct Waiting {
    pub id: LetterId,
    pub letter: DeadLetter,
    pub parked_us: u64,
    pub then: Then,
}

/// The letters that wait, oldest first.
#[derive(Debug)]
pub(super) struct WaitingLetters {
    boot: u32,
    next: u64,
    waiting: VecDeque<Waiting>,
    ram: Share,
    /// Letters of the commit under way, and their bytes.
    writing: (usize, usize),
    forgotten: Vec<LetterId>,
    /// Requests to forget, and how many of them are through.
    asked: u64,
    done: u64,
}

/// Letters that the operator has taken out, on their way out of the store.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    pub ids: Vec<LetterId>,
    ticket: u64,
}

impl WaitingLetters {
    /// An empty one of this boot, on this account.
    pub(super) fn new(boot: u32, ram: &Arc<Ram>) -> Self {
        let (waiting, forgotten) = (VecDeque::new(), Vec::new());
        Self {
            boot,
            next: 1,
            waiting,
            ram: Share::new(ram),
            writing: (0, 0),
            forgotten,
            asked: 0,
            done: 0,
        }
    }

    /// Takes letters out of the store with the next commit; [`WaitingLetters::has_forgotten`] the ticket when they are gone.
    pub(super) fn forget(&mut self, ids: &[LetterId]) -> u64 {
        self.forgotten.extend(ids);
        self.asked += 1;
        self.asked
    }

    /// Whether the letters of this ticket are gone for good.
    pub(super) fn has_forgotten(&self, ticket: u64) -> bool {
        self.done >= ticket
    }

    /// What the next commit takes out.
    pub(super) fn take_forgotten(&mut self) -> Forgotten {
        Forgotten {
            ids: std::mem::take(&mut self.forgotten),
            ticket: self.asked,
        }
    }

    /// The commit is through.
    pub(super) fn forgot(&mut self, forgotten: &Forgotten) {
        self.done = self.done.max(forgotten.ticket);
    }

    /// The commit failed.
    pub(super) fn keep(&mut self, forgotten: Forgotten) {
        self.forgotten.extend(forgotten.ids);
    }

    /// The letter that was named last; number 0 when there is none of this boot.
    pub(super) fn newest(&self) -> LetterId {
        LetterId {
            boot: self.boot,
            number: self.next - 1,
        }
    }

    /// Whether there is something to commit.
    pub(super) fn is_due(&self) -> bool {
        !self.waiting.is_empty() || self.done < self.asked
    }

    /// Adds a letter.
    pub(super) fn push(&mut self, letter: DeadLetter, parked_us: u64, then: Then) {
        let id = LetterId {
            boot: self.boot,
            number: self.next,
        };
        self.next += 1;
        self.ram.add(weight(&letter));
        self.waiting.push_back(Waiting {
            id,
            letter,
            parked_us,
            then,
        });
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The oldest of them, up to about `max_bytes`, one at least.
    pub(super) fn take(&mut self, max_bytes: usize) -> Vec<Waiting> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(first) = self.waiting.front() {
            let size = weight(&first.letter);
            if bytes > 0 && bytes + size > max_bytes {
                break;
            }
            bytes += size;
            taken.extend(self.waiting.pop_front());
        }
        self.ram.sub(bytes);
        self.writing = (taken.len(), bytes);
        taken
    }

    /// The commit with what was taken is through.
    pub(super) fn wrote(&mut self) {
        self.writing = (0, 0);
    }

    /// Letters that are not in the store yet, and their bytes.
    pub(super) fn on_the_way(&self) -> (u64, u64) {
        (
            (self.waiting.len() + self.writing.0) as u64,
            (self.ram.bytes() + self.writing.1) as u64,
        )
    }

    /// A commit failed: they wait again, in front.
    pub(super) fn give_back(&mut self, taken: Vec<Waiting>) {
        self.writing = (0, 0);
        for waiting in taken.into_iter().rev() {
            self.ram.add(weight(&waiting.letter));
            self.waiting.push_front(waiting);
        }
    }

    /// The store cannot write: drops the oldest letters nobody waits for until `most` bytes are left.
    pub(super) fn shed(&mut self, most: usize) -> u64 {
        if self.ram.bytes() <= most {
            return 0;
        }
        let (before, mut dropped) = (self.ram.bytes(), 0);
        let mut bytes = before;
        self.waiting.retain(|waiting| {
            let drop = bytes > most && matches!(waiting.then, Then::Release(None));
            if drop {
                bytes -= weight(&waiting.letter);
                dropped += 1;
            }
            !drop
        });
        self.ram.sub(before - bytes);
        dropped
    }
}

fn weight(letter: &DeadLetter) -> usize {
    letter.message.weight() + letter.detail.len()
}

/// The key of a letter.
pub(super) fn key(id: LetterId) -> [u8; 13] {
    let mut key = [b'l'; 13];
    key[1..5].copy_from_slice(&id.boot.to_be_bytes());
    key[5..].copy_from_slice(&id.number.to_be_bytes());
    key
}

/// The letter a key belongs to.
pub(super) fn id(key: &[u8]) -> Option<LetterId> {
    let (prefix, rest) = key.split_first()?;
    let (boot, rest) = rest.split_first_chunk::<4>()?;
    let number = <[u8; 8]>::try_from(rest).ok()?;
    (*prefix == b'l').then(|| LetterId {
        boot: u32::from_be_bytes(*boot),
        number: u64::from_be_bytes(number),
    })
}

/// The value of a letter. A refused one goes with the name of its queue, since numbers change with the config.
pub(super) fn encode(waiting: &Waiting, queues: &[QueueConfig]) -> Vec<u8> {
    let DeadLetter {
        message,
        flow,
        plugin,
        reason,
        detail,
        own_topic,
        ..
    } = &waiting.letter;
    let queue = match waiting.then {
        Then::Accept(queue, _) => queues.get(usize::from(queue.0)),
        Then::Release(_) => None,
    };
    let number = u8::try_from(reason_number(*reason)).unwrap_or(u8::MAX);
    let body = Body {
        boot: message.id.boot,
        number: message.id.seq,
        topic: &message.topic,
        key_offset: message.key.offset,
        key_len: message.key.len,
        headers: &message.headers,
        payload: &message.payload,
        marks: message.marks.0,
        received_us: message.received_us,
        uptime_us: message.uptime_us,
        flow,
        plugin: plugin
            .as_ref()
            .map(|plugin| (&*plugin.name, &*plugin.digest)),
        detail,
        parked_us: waiting.parked_us,
        own_topic: *own_topic,
        queue: queue.map(|queue| (&*queue.uplink, &*queue.class)),
        device: message.device.as_deref().unwrap_or_default(),
    };
    let mut value = vec![VERSION, number, 0, 0, 0, 0];
    rmp_serde::encode::write(&mut value, &body)
        .expect("fields of known length always go into a Vec");
    let sum = checksum(&value);
    value[2..HEADER].copy_from_slice(&sum.to_le_bytes());
    value
}

fn checksum(value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&value[..2]);
    hasher.update(&value[HEADER..]);
    hasher.finalize()
}

/// The reason of a letter, without decoding it.
pub(super) fn reason(value: &[u8]) -> Option<Reason> {
    REASONS.get(usize::from(*value.get(1)?)).copied()
}

/// Reads a letter; never panics, whatever the bytes.
pub(super) fn decode(id: LetterId, value: &[u8]) -> Result<LetterRecord, Unreadable> {
    if value.len() < HEADER || !(1..=VERSION).contains(&value[0]) {
        return Err(Unreadable::Form);
    }
    if checksum(value).to_le_bytes() != value[2..HEADER] {
        return Err(Unreadable::Checksum);
    }
    let reason = reason(value).ok_or(Unreadable::Form)?;
    let value = Bytes::copy_from_slice(&value[HEADER..]);
    let body: Body<'_> = rmp_serde::from_slice(&value).map_err(|_| Unreadable::Content)?;
    let message = Message {
        id: MessageId {
            boot: body.boot,
            seq: body.number,
        },
        flow: FlowId(u16::MAX),
        topic: value.slice_ref(body.topic),
        key: Span {
            offset: body.key_offset,
            len: body.key_len,
        },
        headers: value.slice_ref(body.headers),
        payload: value.slice_ref(body.payload),
        marks: Marks(body.marks),
        received_us: body.received_us,
        uptime_us: body.uptime_us,
        device: (!body.device.is_empty()).then(|| body.device.into()),
    };
    let plugin = body.plugin.map(|(name, digest)| PluginRef {
        name: name.into(),
        digest: digest.into(),
    });
    let queue = body
        .queue
        .map(|(uplink, class)| (uplink.into(), class.into()));
    let (flow, detail, own_topic) = (body.flow.into(), body.detail.to_owned(), body.own_topic);
    Ok(LetterRecord {
        id,
        message,
        flow,
        plugin,
        queue,
        reason,
        detail,
        own_topic,
        parked_us: body.parked_us,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Burst, Settled};
    use crate::spool::disk::chunk::tests::any_message;
    use proptest::prelude::*;

    fn waiting(message: Message, reason: Reason, plugin: bool, detail: String) -> Waiting {
        let plugin = plugin.then(|| PluginRef {
            name: "filter".into(),
            digest: "0123456789ab".into(),
        });
        let letter = DeadLetter {
            message,
            flow: "climate".into(),
            plugin,
            reason,
            detail,
            own_topic: true,
            receipt: None,
        };
        Waiting {
            id: LetterId { boot: 3, number: 9 },
            letter,
            parked_us: 11,
            then: Then::Release(None),
        }
    }

    #[test]
    fn refused_letters_never_push_each_other_out() {
        let mut kept = KeptLetters::default();
        let mut on_the_way = 0;
        while has_room_for_refused(
            (1, 100),
            &kept,
            (on_the_way, on_the_way * 100),
            1_000,
            1 << 20,
        ) {
            on_the_way += 1;
            if on_the_way == 64 {
                (0..64).for_each(|_| kept.add(Some(Reason::Refused), 100));
                on_the_way = 0;
            }
        }
        assert_eq!(kept.total() + on_the_way, 1_000);
        // Where others have filled the place, they have a half of it, and no more.
        let mut kept = KeptLetters::default();
        (0..1_000).for_each(|_| kept.add(Some(Reason::Rejected), 100));
        while has_room_for_refused((1, 100), &kept, (0, 0), 1_000, 1 << 20) {
            kept.remove(Some(Reason::Rejected), 100);
            kept.add(Some(Reason::Refused), 100);
        }
        assert_eq!(kept.counts[reason_number(Reason::Refused)], 500);
        // A store that cannot write lets no more in; one letter always has room.
        assert!(!has_room_for_refused(
            (1, 0),
            &KeptLetters::default(),
            (ON_THE_WAY, 0),
            u64::MAX,
            u64::MAX
        ));
        assert!(has_room_for_refused(
            (1, 9),
            &KeptLetters::default(),
            (0, 0),
            1,
            0
        ));
        // Those of one publish count together, by number and by bytes.
        let kept = KeptLetters {
            counts: kept.counts.map(|_| 1),
            bytes: 400,
        };
        let most = kept.total() + 50;
        let has_room =
            |more, bytes| has_room_for_refused((more, bytes), &kept, (10, 1_000), most, 2_000);
        assert_eq!(
            [has_room(40, 600), has_room(41, 600), has_room(40, 601)],
            [true, false, false]
        );
    }

    proptest! {
        #[test]
        fn a_letter_is_read_back_as_it_was_and_a_changed_bit_is_seen(
            message in any_message(), reason in 0_usize..4, plugin in any::<bool>(), detail in ".{0,40}",
            at in any::<prop::sample::Index>(), bit in 0_u32..8,
        ) {
            let mut kept = waiting(message, REASONS[reason], plugin, detail);
            if reason == 3 {
                kept.then = Then::Accept(QueueId(0), Seq(5));
            }
            let queues = [QueueConfig::new("cloud", "alarm".into(), crate::spool::Policy::default())];
            let mut value = encode(&kept, &queues);
            let record = decode(kept.id, &value).unwrap();
            let expected = Message { flow: FlowId(u16::MAX), ..kept.letter.message };
            prop_assert_eq!(record.message, expected);
            prop_assert_eq!(record.queue, (reason == 3).then(|| ("cloud".into(), "alarm".into())));
            prop_assert!(record.own_topic);
            prop_assert_eq!((record.reason, record.detail, record.plugin), (kept.letter.reason, kept.letter.detail, kept.letter.plugin));
            prop_assert_eq!((id(&key(record.id)), &*record.flow, record.parked_us), (Some(kept.id), "climate", 11));
            let at = at.index(value.len());
            value[at] ^= 1 << bit;
            prop_assert!(decode(kept.id, &value).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(mut value in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(decode(LetterId::default(), &value).is_err());
            if value.len() > HEADER {
                (value[0], value[1]) = (VERSION, 1);
                let sum = checksum(&value);
                value[2..HEADER].copy_from_slice(&sum.to_le_bytes());
                let _ = decode(LetterId::default(), &value);
            }
            let _ = id(&value);
        }
    }

    #[test]
    fn a_letter_of_the_first_version_is_still_read() {
        #[derive(Serialize)]
        struct First<'a>(
            u32,
            u64,
            &'a serde_bytes::Bytes,
            u16,
            u16,
            &'a serde_bytes::Bytes,
            &'a serde_bytes::Bytes,
            u32,
            u64,
            u64,
            &'a str,
            Option<(&'a str, &'a str)>,
            &'a str,
            u64,
        );
        let bytes = serde_bytes::Bytes::new;
        let mut value = vec![1, 0, 0, 0, 0, 0];
        let body = First(
            1,
            2,
            bytes(b"a/b"),
            0,
            1,
            bytes(b""),
            bytes(b"x"),
            0,
            3,
            4,
            "climate",
            None,
            "no",
            5,
        );
        rmp_serde::encode::write(&mut value, &body).unwrap();
        let sum = checksum(&value);
        value[2..HEADER].copy_from_slice(&sum.to_le_bytes());
        let record = decode(LetterId::default(), &value).unwrap();
        assert_eq!(
            (
                &*record.message.topic,
                record.queue,
                record.own_topic,
                record.parked_us
            ),
            (&b"a/b"[..], None, false, 5)
        );
    }

    #[test]
    fn a_name_is_read_back_and_nonsense_is_not() {
        let id = LetterId {
            boot: 3,
            number: 17,
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("3".parse::<LetterId>().is_err() && "3-x".parse::<LetterId>().is_err());
    }

    #[test]
    fn what_is_forgotten_stays_due_until_its_commit_is_through() {
        let mut waiting_letters = WaitingLetters::new(3, &Arc::new(Ram::new(usize::MAX)));
        let ticket = waiting_letters.forget(&[LetterId { boot: 1, number: 1 }]);
        let taken = waiting_letters.take_forgotten();
        assert!(waiting_letters.is_due() && !waiting_letters.has_forgotten(ticket));
        waiting_letters.keep(taken);
        let taken = waiting_letters.take_forgotten();
        assert_eq!(taken.ids.len(), 1);
        waiting_letters.forgot(&taken);
        assert!(waiting_letters.has_forgotten(ticket) && !waiting_letters.is_due());
    }

    #[test]
    fn the_pile_keeps_its_order_over_a_failed_commit_and_sheds_only_what_nobody_waits_for() {
        let burst = Burst::new(std::sync::Arc::new(Settled::default()), [1]);
        let letter = || waiting(Message::default(), Reason::Poison, false, String::new()).letter;
        let mut waiting_letters = WaitingLetters::new(3, &Arc::new(Ram::new(usize::MAX)));
        waiting_letters.push(letter(), 1, Then::Release(Some(burst.receipt(0))));
        for _ in 0..3 {
            waiting_letters.push(letter(), 1, Then::Release(None));
        }
        let taken = waiting_letters.take(2 * weight(&letter()));
        assert_eq!(
            taken
                .iter()
                .map(|waiting| waiting.id.number)
                .collect::<Vec<_>>(),
            [1, 2]
        );
        waiting_letters.give_back(taken);
        assert_eq!(waiting_letters.shed(2 * weight(&letter())), 2);
        let left = waiting_letters.take(usize::MAX);
        assert_eq!(
            left.iter()
                .map(|waiting| waiting.id.number)
                .collect::<Vec<_>>(),
            [1, 4]
        );
        assert_eq!(waiting_letters.len(), 0);
        for waiting in left {
            if let Then::Release(Some(receipt)) = waiting.then {
                receipt.release();
            }
        }
    }
}
