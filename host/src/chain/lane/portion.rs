//! How many messages a lane takes in a turn: no more than lead to so many bytes, since room is asked for once a turn, and what
//! one of them leads to may be a thousand times as large.

/// Bytes that a turn may bring, about; a single message may lead to more.
const MOST_BYTES: usize = 16 << 20;
/// Messages of the first turn, when nothing is known.
const FIRST: usize = 64;
/// What the heaviest led to is forgotten by this part each turn.
const FADING: usize = 16;

/// What is known of a lane's messages.
#[derive(Debug)]
pub(crate) struct Portion {
    count: usize,
    most: usize,
    /// Bytes that one message led to lately, on average over the heaviest turn.
    heaviest: usize,
}

impl Portion {
    /// Of `most` messages at most.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            count: FIRST.min(most),
            most,
            heaviest: 0,
        }
    }

    /// Messages of the next turn.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// So many messages have led to so many bytes.
    pub(super) fn brought(&mut self, messages: usize, bytes: usize) {
        let Some(each) = bytes.checked_div(messages) else {
            return;
        };
        self.heaviest = each.max(self.heaviest - self.heaviest.div_ceil(FADING));
        let fitting = MOST_BYTES / self.heaviest.max(1);
        self.count = fitting
            .min(self.count.saturating_mul(2))
            .clamp(1, self.most.max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_turn_brings_is_bounded_and_light_messages_are_soon_taken_by_the_batch_again() {
        let mut portion = Portion::new(256);
        portion.brought(64, 64 * 300);
        portion.brought(128, 128 * 300);
        assert_eq!(portion.count(), 256);
        portion.brought(1, 4 << 20);
        assert_eq!(portion.count(), 4);
        // Light ones in between do not make it forget at once.
        for _ in 0..8 {
            portion.brought(4, 4 * 300);
        }
        assert!(portion.count() <= 8, "{}", portion.count());
        for _ in 0..100 {
            portion.brought(portion.count(), portion.count() * 300);
        }
        assert_eq!(portion.count(), 256);
        portion.brought(1, 64 << 20);
        assert_eq!(portion.count(), 1);
        portion.brought(0, 0);
        assert_eq!((portion.count(), Portion::new(8).count()), (1, 8));
    }
}
