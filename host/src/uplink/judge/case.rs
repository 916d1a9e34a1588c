//! What waits apart, and what is known of it.

use std::time::{Duration, Instant};

use crate::message::Seq;
use crate::uplink::carrier::Refusal;

/// A publish: index of its queue, and place of its first message.
pub(in crate::uplink) type PublishId = (usize, Seq);

/// Publishes that wait apart, at most: they are kept in memory.
pub(in crate::uplink) const MOST: usize = 256;
/// The same of those without an answer: whoever swallows them may swallow a whole window.
pub(super) const MOST_MUTE: usize = 1_024;
/// Refusals in a row, with nothing accepted between them, that put upstream as a whole in doubt.
pub(super) const DOUBT: u32 = 16;
/// Accepted probes that end a hold.
pub(super) const PROOFS: u32 = 3;
/// Refused probes, one after the other, before there is a pause: what is good among a few that are not is found in one round.
pub(super) const ROUND: usize = 8;
/// That pause: doubles from the first to the second.
pub(super) const PROBE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// Pause before what is refused for now is sent again, in the same way.
pub(super) const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(2));
/// How long it is tried while others are accepted. With the last pause those of its key have waited for less than ten seconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(7);
/// Topics and keys that are remembered.
pub(super) const REMEMBERED: usize = 64;
/// Answers over which the share of refusals is taken; both counts are halved at twice that.
pub(super) const ANSWERS: u32 = 100;
/// One in so many is worth an alarm: 5 %.
pub(super) const ONE_IN: u32 = 20;

/// What is known of a publish before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::uplink) struct Face {
    pub(in crate::uplink) place: PublishId,
    /// Messages of one key keep their order.
    pub(in crate::uplink) key: u64,
    pub(in crate::uplink) topic: u64,
    /// Tidegate made it itself: it is worth less than what devices sent.
    pub(in crate::uplink) is_own: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DeferredState {
    /// Refused for good; a dead letter once another one is accepted, or at once where it is sure.
    Refused {
        detail: String,
        since: Instant,
        is_sure: bool,
        kind: Refusal,
    },
    Busy {
        since: Instant,
        next: Instant,
        pause: Duration,
        is_quota: bool,
    },
    /// Upstream ended a connection over it, perhaps.
    /// So often when it was tried after others, and so often with no others there; or nobody waits for it.
    Suspect {
        strikes: u32,
        lone: u32,
        is_slow: bool,
    },
    /// There was no answer, so often and for so long in all.
    Mute { times: u32, waited: Duration },
    /// Waits for one of its key.
    Behind,
    /// To be sent again in its turn.
    Again,
}

/// A publish that waits apart from the others.
#[derive(Clone, Debug)]
pub(super) struct Deferred {
    pub(super) face: Face,
    pub(super) state: DeferredState,
    /// The connection in use has it laid aside: it can be sent.
    pub(super) is_here: bool,
    /// It is under way.
    pub(super) is_out: bool,
    /// How often it was a probe, and refused.
    pub(super) probes: u32,
}

/// Upstream takes nothing: one message at a time, until it takes some again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    pub(super) since: Instant,
    pub(super) pause: Duration,
    pub(super) next: Option<Instant>,
    pub(super) proofs: u32,
    /// Probes refused since the last pause.
    pub(super) tried: usize,
    /// Probes take turns between what was refused and what comes next.
    pub(super) is_next: bool,
    /// The connection ended over the last one; it began with that.
    pub(super) is_hung_up: bool,
    pub(super) is_by_hang_ups: bool,
}

/// The first pause before one is sent again with which connections end and nothing else is there, and the last.
pub(super) const LONE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// A suspect was sent alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct SoloTest {
    pub(super) place: PublishId,
    pub(super) since: Instant,
    /// The others wait for it no longer; what happens is charged to it until it is answered.
    pub(super) is_slow: bool,
    /// They did not from the start: it was slow before.
    pub(super) began_slow: bool,
    /// One that went after it was accepted.
    pub(super) is_passed: bool,
}
