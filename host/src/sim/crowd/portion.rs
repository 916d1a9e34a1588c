//! What falls to one of several connections when things are dealt out in turn. Pure.

/// The `index`-th connection (from 0) of `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimPortion {
    pub index: u32,
    /// How many connections there are, at least 1.
    pub of: u32,
}

impl SimPortion {
    /// The only connection there is: everything falls to it.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// How many of `count` things fall to it.
    pub fn of_count(self, count: u64) -> u64 {
        count
            .saturating_sub(u64::from(self.index))
            .div_ceil(u64::from(self.of))
    }

    /// Which number (from 0) its `nth` (from 0) has among all.
    pub fn number(self, nth: u64) -> u64 {
        nth * u64::from(self.of) + u64::from(self.index)
    }

    /// Which of the numbers below `count` fall to it.
    pub fn members(self, count: u32) -> impl Iterator<Item = u32> {
        (self.index..count).step_by(self.of as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn all_portions_together_have_each_once(count in 0_u32..2_000, of in 1_u32..300) {
            let portions = (0..of).map(|index| SimPortion { index, of });
            let mut all = Vec::new();
            for portion in portions {
                let members: Vec<_> = portion.members(count).collect();
                prop_assert_eq!(members.len() as u64, portion.of_count(u64::from(count)));
                for (nth, member) in members.iter().enumerate() {
                    prop_assert_eq!(portion.number(nth as u64), u64::from(*member));
                }
                all.extend(members);
            }
            all.sort_unstable();
            prop_assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }
}
