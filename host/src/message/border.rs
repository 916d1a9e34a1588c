//! The borders between the stages: what crosses them, and the small traits `gateway` hands out so that a
//! stage needs to know no other.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Marks, Message, Receipt, Span};
use crate::clock::{Now, WallTime};

/// A message on its way from a source into a flow.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What arrived, as the flow takes it.
    pub message: Message,
    /// Its claim on an acknowledgement; with QoS 0, and in a flow that acknowledges at once, on the room it takes.
    pub receipt: Option<Receipt>,
}

impl Delivery {
    /// Bytes it holds in RAM, as [`Message::weight`] counts them.
    pub fn weight(&self) -> usize {
        self.message.weight()
    }
}

/// Index of a queue of the spool: one (uplink, class).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub u16);

/// Where one of the ports of a flow leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Into a queue: it is owed to an uplink.
    Queue(QueueId),
    /// Into another flow, by its name.
    Flow(Arc<str>),
}

/// Place of a message in its queue; rises by one with every append and is never used twice, over restarts too.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// Places of one boot, as a power of two: a year at 35,000 messages a second, and room for 16 million boots.
    pub const BOOT_SHIFT: u32 = 40;

    /// The first place that there can be.
    pub const FIRST: Self = Self(0);

    /// Behind all places that there can be.
    pub const END: Self = Self(u64::MAX);

    /// The first place of a boot; the first of all for one that there is no room for.
    pub fn base_of(boot: u32) -> Self {
        u64::from(boot)
            .checked_mul(1 << Self::BOOT_SHIFT)
            .map_or(Self::FIRST, Self)
    }

    /// The boot in which it was taken.
    pub fn boot(self) -> u64 {
        self.0 >> Self::BOOT_SHIFT
    }

    /// Its number within that boot, from 0 on without a gap.
    pub fn number(self) -> u64 {
        self.0 & ((1 << Self::BOOT_SHIFT) - 1)
    }

    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The place so many places behind this one.
    #[must_use]
    pub const fn plus(self, places: u64) -> Self {
        Self(self.0 + places)
    }

    /// The same; `None` where there is none.
    pub fn checked_plus(self, places: u64) -> Option<Self> {
        self.0.checked_add(places).map(Self)
    }

    /// The place before this one; the first stays where it is.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// How many places there are from `earlier` up to this one; 0 when it is not earlier.
    pub const fn places_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The same; `None` when it is earlier.
    pub fn checked_places_since(self, earlier: Self) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }

    /// All places from this one up to `end`, which is not one of them.
    pub fn up_to(self, end: Self) -> impl Iterator<Item = Self> + Clone {
        (self.0..end.0).map(Self)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A message on its way from a chain into a queue.
#[derive(Clone, Debug)]
pub struct Append {
    /// Where it is owed.
    pub queue: QueueId,
    /// What is owed, as it left the chain.
    pub message: Message,
    /// Released when upstream has accepted the message or it is safe on disk.
    pub receipt: Option<Receipt>,
}

/// A message of a queue with its place.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its place in the queue, which no other message gets.
    pub seq: Seq,
    /// The message, as it was appended.
    pub message: Message,
}

/// So many bytes are kept of what is too long, or no message, to be a dead letter whole: enough to see what it was.
pub const HEAD_BYTES: usize = 4_096;

/// Why a message went to the dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A plugin rejected it, in its own words.
    Rejected,
    /// A plugin trapped, ran out of time or broke the contract on it.
    Poison,
    /// Topic, headers or payload are over the limit; only the head was kept.
    TooLong,
    /// Upstream refused it for good, or would drop it without a word.
    Refused,
    /// Its device is in quarantine: what it sent before was bad too, so no plugin was asked.
    Quarantined,
    /// It came in with a field that MQTT forbids; what could not stay as it was is replaced or left out.
    Malformed,
    /// It came back again and again: what a flow sends is taken in by the same gateway.
    Circled,
    /// Bytes in which there was no whole message: cut off, or out of step; only their head was kept.
    Unframed,
}

impl Reason {
    /// The name used in metrics, logs and on the CLI.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Poison => "poison",
            Self::TooLong => "too-long",
            Self::Refused => "refused",
            Self::Quarantined => "quarantined",
            Self::Malformed => "malformed",
            Self::Circled => "circled",
            Self::Unframed => "unframed",
        }
    }
}

/// Which plugin, in which version.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PluginRef {
    /// Its name in the config.
    pub name: Arc<str>,
    /// SHA-256 of the component, in hexadecimal.
    pub digest: Arc<str>,
}

/// The digits of a plugin's digest that are shown to people: enough to tell its versions apart.
pub fn short_digest(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// Bytes as hexadecimal digits.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A message that could not be processed, with what is needed to mend it and try again.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// The message as it came into the failing stage (of an over-long one, its head).
    pub message: Message,
    /// Name of the flow; empty when no flow had it yet.
    pub flow: Arc<str>,
    /// The plugin at fault, if one is.
    pub plugin: Option<PluginRef>,
    /// The kind of failure.
    pub reason: Reason,
    /// In words: the plugin's own, the trap with its back-trace and the guest's last lines, or upstream's code.
    pub detail: String,
    /// A plugin had named its topic by then, so the flow's `topic` leaves it alone.
    pub own_topic: bool,
    /// Released when the letter is committed.
    pub receipt: Option<Receipt>,
}

/// Takes down what the lanes of a flow are told, each lane's in its order. Never waits, and never fails: what it cannot
/// take it leaves out, and says so.
pub trait Tape: Send + Sync {
    /// `lane` is about to run this batch, by the clocks `now`.
    fn batch(&self, lane: usize, now: Now, batch: &[Delivery]);

    /// `lane` has told plugin number `plugin` the time.
    fn tick(&self, lane: usize, plugin: usize, now: Now);
}

/// Why messages were given up: neither delivered nor owed any more, nor in a dead letter. The ledger counts them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum LossReason {
    /// The oldest of a class made room for newer ones.
    QuotaOldest,
    /// There was no room for what came.
    QuotaNewest,
    /// A newer message of the same topic took its place.
    Superseded,
    /// It was owed for longer than its class allows, or than its own expiry interval.
    Expired,
    /// The disk lost it.
    Damaged,
    /// The store could not write, and memory was full.
    SpoolFull,
    /// The same, of dead letters.
    LettersFull,
    /// Dead letters that made room for newer ones.
    DeadLettersEvicted,
    /// A source had no room for a message of level 0.
    Qos0Pressed,
    /// A source had no room for it, and nobody whom it could tell to wait.
    SourcePressed,
    /// The system had no room for it before a source could take it.
    SocketFull,
    /// It stood in a followed file that was deleted or cut before it was taken; how many is not always known.
    FileGone,
    /// Bytes in which there was no whole message, more often than dead letters are kept of them.
    Unframed,
    /// A broker sent it for a subscription that no flow has any more.
    Unrouted,
    /// A broker forgot our session with what it held for us; how many is not known.
    BrokerSessionLost,
    /// An operator gave it up.
    ByHand,
    /// A plugin failed on it, or was not asked since it keeps failing, and its `on_error` is to drop.
    PluginFailed,
    /// Memory was full, and nobody waits for it: what a plugin's timer made.
    MemoryFull,
}

impl LossReason {
    /// Every reason there is, for metrics and lists.
    pub const ALL: [Self; 18] = [
        Self::QuotaOldest,
        Self::QuotaNewest,
        Self::Superseded,
        Self::Expired,
        Self::Damaged,
        Self::SpoolFull,
        Self::LettersFull,
        Self::DeadLettersEvicted,
        Self::Qos0Pressed,
        Self::SourcePressed,
        Self::SocketFull,
        Self::FileGone,
        Self::Unframed,
        Self::Unrouted,
        Self::BrokerSessionLost,
        Self::ByHand,
        Self::PluginFailed,
        Self::MemoryFull,
    ];

    /// The name used in metrics, in the ledger and on the CLI.
    pub fn name(self) -> &'static str {
        match self {
            Self::QuotaOldest => "quota-oldest",
            Self::QuotaNewest => "quota-newest",
            Self::Superseded => "superseded",
            Self::Expired => "expired",
            Self::Damaged => "damaged",
            Self::SpoolFull => "spool-full",
            Self::LettersFull => "letters-full",
            Self::DeadLettersEvicted => "dead-letters-evicted",
            Self::Qos0Pressed => "qos0-pressed",
            Self::SourcePressed => "source-pressed",
            Self::SocketFull => "socket-full",
            Self::FileGone => "file-gone",
            Self::Unframed => "unframed",
            Self::Unrouted => "unrouted",
            Self::BrokerSessionLost => "broker-session-lost",
            Self::ByHand => "by-hand",
            Self::PluginFailed => "plugin-failed",
            Self::MemoryFull => "memory-full",
        }
    }
}

/// Messages that were given up before they came into a queue.
#[derive(Clone, Debug)]
pub struct Loss {
    /// Why they were given up.
    pub reason: LossReason,
    /// Topic, if they had one in common; else empty.
    pub topic: Bytes,
    /// The device's place in the topic.
    pub key: Span,
    /// The device, where the topic does not hold it.
    pub device: Option<Arc<[u8]>>,
    /// Name of the flow, where one had them.
    pub flow: Option<Arc<str>>,
    /// How many; 0 when that cannot be known.
    pub count: u64,
    /// Wall clock when the first came.
    pub received: WallTime,
    /// Whether that clock had been set.
    pub is_clock_set: bool,
    /// Released when the ledger has it on disk.
    pub receipt: Option<Receipt>,
}

impl Loss {
    /// Of one message, which is settled once the ledger has it.
    pub fn of(delivery: Delivery, reason: LossReason) -> Self {
        let message = delivery.message;
        Self {
            reason,
            key: message.key,
            device: message.device.clone(),
            flow: None,
            count: 1,
            received: message.received,
            is_clock_set: !message.marks.has(Marks::CLOCK_UNSET),
            receipt: delivery.receipt,
            topic: message.topic,
        }
    }
}

/// What a plugin remembers under one key, as it saved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The key: that of messages of one lane.
    pub key: Bytes,
    /// Version of the state's form, by which a later version of the plugin knows how to read it.
    pub version: u32,
    /// The value; `None` when the key is gone.
    pub value: Option<Bytes>,
}

/// What has changed of a plugin's state since its last checkpoint.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Name of the flow.
    pub flow: Arc<str>,
    /// Name of the plugin in it.
    pub plugin: Arc<str>,
    /// The changes; of several for one key the last counts.
    pub changes: Vec<Remembered>,
}

/// Where a source, or another flow, delivers: one flow's lanes. Never blocks: a source bounds what is under way by its
/// own byte limit, and a flow asks before it takes more itself.
pub trait Intake: Send + Sync {
    /// Takes messages in arrival order; each goes to the lane of its key. All of a batch come from one place: a source that
    /// has named this flow in them, or another flow, whose number they still have.
    fn deliver(&self, batch: Vec<Delivery>);

    /// Whether a flow may bring more now.
    fn has_room(&self) -> bool;
}

/// The flows of the gateway, for those that lead to others.
pub trait Flows: Send + Sync {
    /// The way into the flow of this name, whatever chain it has today. What is brought before it has any waits.
    fn flow(&self, name: &str) -> Arc<dyn Intake>;
}

/// How it is known that a broker waits for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// It is silent, as one would be that waits: what it waits for is written where there is room.
    Likely,
    /// Its window is known and full: room is made, if need be.
    Sure,
}

/// Where a chain (and a source, for what is over-long) hands over. Memory work only: never waits for the disk.
pub trait Outlet: Send + Sync {
    /// Appends to the queues, in order. The receipts settle when the message is accepted or safe.
    fn append(&self, batch: Vec<Append>);

    /// Whether more may be brought now; whoever can wait waits else. What he brings all the same is taken.
    fn has_room(&self) -> bool {
        true
    }

    /// Writes dead letters; their receipts settle when they are committed.
    fn park(&self, letters: Vec<DeadLetter>);

    /// Enters in the ledger what was given up before it came into a queue.
    fn lose(&self, losses: Vec<Loss>);

    /// A broker sends nothing more before what was taken is acknowledged: what is in RAM with a receipt is written now. An
    /// outlet that writes nothing has nothing to hurry.
    fn hurry(&self, wait: Wait) {
        let _ = wait;
    }
}

/// Where a chain keeps what its plugins remember, over restarts.
pub trait StateStore: Send + Sync {
    /// Writes changes of plugins' state with the next commit. One that keeps nothing over restarts forgets them.
    fn checkpoint(&self, batch: Vec<Checkpoint>) {
        drop(batch);
    }

    /// What checkpoints have kept of a plugin's state. Blocks on the disk: for the start.
    ///
    /// # Errors
    /// The store cannot be read; in words.
    fn recall(&self, flow: &str, plugin: &str) -> Result<Vec<Remembered>, String> {
        let _ = (flow, plugin);
        Ok(Vec::new())
    }

    /// Moves what is kept of a plugin's state out of the way, since the plugin cannot read it. Blocks on the disk: for
    /// the start.
    fn set_aside(&self, flow: &str, plugin: &str) {
        let _ = (flow, plugin);
    }
}

/// What a fetch found.
#[derive(Debug)]
pub enum Fetch {
    /// Messages from `after` on, rising without a gap in what is owed; never empty.
    Ready(Vec<Stored>),
    /// The next messages lie on disk: call [`Backlog::read`] on a thread that may wait.
    Spilled,
    /// Nothing is owed from there on; [`BacklogLink::ready`] tells when that changes.
    Empty,
}

/// What an uplink drains: the queues of one uplink.
pub trait Backlog: Send + Sync {
    /// First message that upstream has not accepted; the cursor goes back to it after a failure.
    fn low(&self, queue: QueueId) -> Seq;

    /// Up to `max` messages (at least one, else up to `max_bytes`) at or after `from`. Memory work only.
    fn fetch(&self, queue: QueueId, from: Seq, max: usize, max_bytes: usize) -> Fetch;

    /// The same of what has not been spilled, for a class in which fresh data goes ahead: [`Backlog::fetch`] and
    /// [`Backlog::read`] then answer for the rest. Nothing is handed out on both ways of one connection.
    fn fetch_fresh(&self, queue: QueueId, from: Seq, max: usize, max_bytes: usize) -> Fetch;

    /// Reads the chunk that holds the first owed message at or after `from`. Blocks on the disk. An empty list
    /// means that nothing from there on is left on disk: fetch again.
    fn read(&self, queue: QueueId, from: Seq) -> Vec<Stored>;

    /// Upstream has everything of `queue` in `from..to`; the spool may forget it and releases the receipts.
    fn accept(&self, queue: QueueId, from: Seq, to: Seq);

    /// The time of these messages of `queue`, rising, was over before upstream had them: they are given up, and count as
    /// settled once the ledger has them.
    fn expire(&self, queue: QueueId, messages: &[Stored]);

    /// Number of this run, as in [`super::MessageId`].
    fn boot(&self) -> u32;

    /// What makes a message's id unlike those of every other store: `<gateway>/<store>`.
    fn origin(&self) -> String;

    /// Whether the dead letters can keep so many more that upstream refused, of so many bytes: such letters never push each
    /// other out. Ask before [`Backlog::refuse`], for all that follow together.
    fn has_room_for_refused(&self, letters: u64, bytes: u64) -> bool;

    /// Upstream refused this message for good: it goes to the dead letters and counts as accepted once the
    /// letter is committed.
    fn refuse(&self, queue: QueueId, stored: Stored, detail: String);
}

/// Whether what leads upstream carries messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkTurn {
    /// It carries none: the queues of the uplink spill.
    Down,
    /// It carries messages: what is appended goes upstream.
    Up,
}

/// What an uplink and its queues tell each other beside the messages.
pub trait BacklogLink: Send + Sync {
    /// The link is in this state from now on.
    fn turn(&self, state: LinkTurn);

    /// Rings when one of the queues has something new to fetch.
    fn ready(&self) -> Arc<Notify>;
}

/// What an uplink drains.
#[derive(Clone)]
pub struct OwedQueues {
    /// Its queues, as they are drained.
    pub backlog: Arc<dyn Backlog>,
    /// What they are told of the link, and by what they call.
    pub link: Arc<dyn BacklogLink>,
}
