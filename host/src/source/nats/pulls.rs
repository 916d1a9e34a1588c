//! What was asked for and has not come, by pull. Pulls are served in their order. No sockets, no clock.

use std::collections::BTreeMap;

/// What one pull asks for at most, or what is in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PullPortion {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl PullPortion {
    /// What is worth a pull where this may be under way and `taken` is, and a message has `largest` bytes at most; a second pull
    /// fits beside the first. Where nothing is under way one message is asked for whatever it takes.
    pub(super) fn next(self, taken: Self, largest: usize) -> Option<Self> {
        let messages = self.messages.saturating_sub(taken.messages);
        let bytes = self.bytes.saturating_sub(taken.bytes);
        let share = largest.max(self.bytes / 2);
        if taken.messages == 0 {
            return Some(Self {
                messages,
                bytes: share,
            });
        }
        let is_worth_it = messages >= self.messages.div_ceil(2) && bytes >= share;
        is_worth_it.then_some(Self {
            messages,
            bytes: share,
        })
    }
}

/// The pulls that are not over.
#[derive(Debug, Default)]
pub(super) struct OpenPulls {
    open: BTreeMap<u64, PullPortion>,
    next: u64,
}

impl OpenPulls {
    /// The number of another one.
    pub(super) fn begin(&mut self, portion: PullPortion) -> u64 {
        let number = self.next;
        self.next += 1;
        self.open.insert(number, portion);
        number
    }

    /// A message of so many bytes came for the first of them.
    pub(super) fn came(&mut self, bytes: usize) {
        if let Some(mut first) = self.open.first_entry() {
            let portion = first.get_mut();
            portion.messages = portion.messages.saturating_sub(1);
            portion.bytes = portion.bytes.saturating_sub(bytes);
            if portion.messages == 0 {
                first.remove();
            }
        }
    }

    /// Nothing more comes for this one.
    pub(super) fn over(&mut self, number: u64) {
        self.open.remove(&number);
    }

    /// Nothing more comes for any.
    pub(super) fn all_over(&mut self) {
        self.open.clear();
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.open.len()
    }

    /// What may still come for them.
    pub(super) fn asked(&self) -> PullPortion {
        self.open
            .values()
            .fold(PullPortion::default(), |sum, portion| PullPortion {
                messages: sum.messages + portion.messages,
                bytes: sum.bytes + portion.bytes,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn portion(messages: usize, bytes: usize) -> PullPortion {
        PullPortion { messages, bytes }
    }

    #[test]
    fn what_is_asked_for_fits_beside_what_is_under_way() {
        let most = portion(100, 1_000);
        assert_eq!(most.next(portion(0, 0), 10), Some(portion(100, 500)));
        assert_eq!(most.next(portion(50, 500), 10), Some(portion(50, 500)));
        assert_eq!(most.next(portion(51, 500), 10), None, "not worth it");
        assert_eq!(most.next(portion(50, 501), 10), None, "no room");
        assert_eq!(most.next(portion(1, 300), 800), None, "one may not fit");
        assert_eq!(
            most.next(portion(0, 0), 5_000),
            Some(portion(100, 5_000)),
            "one at a time"
        );
    }

    #[test]
    fn what_comes_is_of_the_first_pull_and_one_that_is_over_takes_its_rest_along() {
        let mut pulls = OpenPulls::default();
        let (first, second) = (pulls.begin(portion(2, 500)), pulls.begin(portion(5, 500)));
        pulls.came(100);
        assert_eq!((pulls.asked(), pulls.count()), (portion(6, 900), 2));
        pulls.came(100);
        assert_eq!(pulls.asked(), portion(5, 500));
        pulls.over(first);
        pulls.came(700);
        assert_eq!(pulls.asked(), portion(4, 0));
        pulls.over(second);
        pulls.came(1);
        assert_eq!(pulls.asked(), portion(0, 0));
        pulls.begin(portion(1, 1));
        pulls.all_over();
        assert_eq!(pulls.asked(), portion(0, 0));
    }
}
