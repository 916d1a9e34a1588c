//! A set of small numbers, one bit each: a million messages of a device cost 125 kB.

/// Grows with the largest number in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits(Vec<u64>);

impl Bits {
    /// Adds `number`; whether it was new.
    pub fn insert(&mut self, number: u64) -> bool {
        let (word, bit) = place(number);
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    /// How many are in it.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// How many of these are not in `other`.
    pub fn missing_from(&self, other: &Self) -> u64 {
        let others = other.0.iter().copied().chain(std::iter::repeat(0));
        self.0
            .iter()
            .zip(others)
            .map(|(mine, theirs)| u64::from((mine & !theirs).count_ones()))
            .sum()
    }

    /// What is in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self(
            self.0
                .iter()
                .zip(&other.0)
                .map(|(mine, theirs)| mine & theirs)
                .collect(),
        )
    }
}

/// Numbers are sequence numbers counted up from 0, so the word index fits any machine this runs on.
fn place(number: u64) -> (usize, u64) {
    (
        usize::try_from(number / 64).unwrap_or(usize::MAX),
        1 << (number % 64),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_behave_as_a_set(mine in proptest::collection::vec(0_u64..500, 0..80), theirs in proptest::collection::vec(0_u64..500, 0..80)) {
            let (mut a, mut b) = (Bits::default(), Bits::default());
            let (mut model_a, mut model_b) = (BTreeSet::new(), BTreeSet::new());
            for number in mine {
                prop_assert_eq!(a.insert(number), model_a.insert(number));
            }
            for number in theirs {
                prop_assert_eq!(b.insert(number), model_b.insert(number));
            }
            prop_assert_eq!(a.count(), model_a.len() as u64);
            prop_assert_eq!(a.missing_from(&b), model_a.difference(&model_b).count() as u64);
            prop_assert_eq!(a.and(&b).count(), model_a.intersection(&model_b).count() as u64);
        }
    }
}
