//! By what something is known again without being kept.

use std::hash::{BuildHasher, Hash, RandomState};

/// Makes numbers of 128 bits of things; nobody outside can say of which two it will be the same one.
#[derive(Debug, Default)]
pub(super) struct Fingerprints([RandomState; 2]);

impl Fingerprints {
    pub(super) fn of(&self, thing: impl Hash) -> u128 {
        let [high, low] = self.0.each_ref().map(|key| key.hash_one(&thing));
        u128::from(high) << 64 | u128::from(low)
    }
}
