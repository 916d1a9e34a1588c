//! What the store holds of dead letters, and whether there is room for more.

use serde::{Deserialize, Serialize};

use crate::message::Reason;

/// All reasons, in the order of their number on disk; new ones go to the end.
pub(crate) const REASONS: [Reason; 8] = [
    Reason::Rejected,
    Reason::Poison,
    Reason::TooLong,
    Reason::Refused,
    Reason::Quarantined,
    Reason::Malformed,
    Reason::Circled,
    Reason::Unframed,
];

/// The number of a reason on disk.
pub(crate) fn reason_number(reason: Reason) -> usize {
    match reason {
        Reason::Rejected => 0,
        Reason::Poison => 1,
        Reason::TooLong => 2,
        Reason::Refused => 3,
        Reason::Quarantined => 4,
        Reason::Malformed => 5,
        Reason::Circled => 6,
        Reason::Unframed => 7,
    }
}

/// What the store holds of dead letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptLetters {
    /// Letters, by the number of their reason.
    #[serde(deserialize_with = "counts")]
    pub counts: [u64; REASONS.len()],
    /// Bytes of their values.
    pub bytes: u64,
}

/// Whoever wrote them may have known fewer reasons, or more.
fn counts<'de, D: serde::Deserializer<'de>>(input: D) -> Result<[u64; REASONS.len()], D::Error> {
    let found = Vec::<u64>::deserialize(input)?;
    let mut counts = [0; REASONS.len()];
    counts
        .iter_mut()
        .zip(found)
        .for_each(|(count, found)| *count = found);
    Ok(counts)
}

impl KeptLetters {
    /// One more, or the first time that a damaged one is met.
    pub(crate) fn add(&mut self, reason: Option<Reason>, bytes: u64) {
        if let Some(reason) = reason {
            self.counts[reason_number(reason)] += 1;
        }
        self.bytes += bytes;
    }

    pub(crate) fn remove(&mut self, reason: Option<Reason>, bytes: u64) {
        if let Some(reason) = reason {
            let count = &mut self.counts[reason_number(reason)];
            *count = count.saturating_sub(1);
        }
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Letters of all reasons.
    pub(crate) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Letters on their way into the store at which no more are let in: it cannot write, or not as fast.
pub(super) const ON_THE_WAY: u64 = 4_096;

/// Whether `more` letters of what upstream refused, and so many bytes, have room beside those in the store and those
/// `on_the_way` there, of at most `most` letters and `most_bytes`. They take the place of letters with another reason, up to
/// half of all places, never that of another refused one. An empty store takes whatever one publish brings.
pub(crate) fn has_room_for_refused(
    more: (u64, u64),
    kept: &KeptLetters,
    on_the_way: (u64, u64),
    most: u64,
    most_bytes: u64,
) -> bool {
    let count = kept.total() + on_the_way.0;
    let bytes = kept.bytes + on_the_way.1;
    let is_sole = count == 0 && more.0 == 1;
    let has_free_place = is_sole || (count + more.0 <= most && bytes + more.1 <= most_bytes);
    let refused = kept.counts[reason_number(Reason::Refused)] + on_the_way.0;
    on_the_way.0 < ON_THE_WAY && (has_free_place || (refused + more.0) * 2 <= count)
}
