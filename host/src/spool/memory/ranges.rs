//! A set of places, kept as disjoint ranges: what upstream accepted ahead of the first it has not.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::message::Seq;

/// Disjoint, non-touching half-open ranges.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    ends: BTreeMap<Seq, Seq>,
}

impl Ranges {
    /// Adds `from..to` and tells how many of them are new.
    pub(crate) fn insert(&mut self, from: Seq, to: Seq) -> u64 {
        if from >= to {
            return 0;
        }
        let mut start = from;
        let mut end = to;
        let mut known = 0;
        let touching: Vec<(Seq, Seq)> = self
            .ends
            .range(..=to)
            .rev()
            .take_while(|(_, end)| **end >= from)
            .map(|(start, end)| (*start, *end))
            .collect();
        for (old_start, old_end) in touching {
            self.ends.remove(&old_start);
            known += old_end.min(to).places_since(old_start.max(from));
            start = start.min(old_start);
            end = end.max(old_end);
        }
        self.ends.insert(start, end);
        to.places_since(from) - known
    }

    /// The first place at or after `place` that is not in the set.
    pub(crate) fn skip(&self, place: Seq) -> Seq {
        match self.ends.range(..=place).next_back() {
            Some((_, end)) => place.max(*end),
            None => place,
        }
    }

    /// Whether `place` is in the set.
    pub(crate) fn has(&self, place: Seq) -> bool {
        self.skip(place) != place
    }

    /// What of `from..to` is not in the set, rising.
    pub(crate) fn gaps(&self, from: Seq, to: Seq) -> Vec<Range<Seq>> {
        let mut gaps = Vec::new();
        let mut place = self.skip(from);
        while place < to {
            let end = self
                .ends
                .range(place..)
                .next()
                .map_or(to, |(start, _)| to.min(*start));
            gaps.push(place..end);
            place = self.skip(end);
        }
        gaps
    }

    /// Removes everything before `place`.
    pub(crate) fn forget_before(&mut self, place: Seq) {
        while let Some(entry) = self.ends.first_entry() {
            let start = *entry.key();
            let end = *entry.get();
            if start >= place {
                return;
            }
            entry.remove();
            if end > place {
                self.ends.insert(place, end);
            }
        }
    }

    /// Removes everything from `place` on.
    pub(crate) fn forget_from(&mut self, place: Seq) {
        self.ends.split_off(&place);
        if let Some(mut last) = self.ends.last_entry()
            && *last.get() > place
        {
            last.insert(place);
        }
    }

    /// The place behind the last one; the first for none.
    pub(crate) fn end(&self) -> Seq {
        self.ends
            .last_key_value()
            .map_or(Seq::FIRST, |(_, end)| *end)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Seq, Seq)> {
        self.ends.iter().map(|(start, end)| (*start, *end))
    }

    /// How many places of `from..to` are in the set.
    pub(crate) fn covered(&self, from: Seq, to: Seq) -> u64 {
        let before = self.ends.range(..from).next_back();
        let within = self.ends.range(from..to.max(from));
        before
            .into_iter()
            .chain(within)
            .map(|(start, end)| (*end).min(to).places_since((*start).max(from)))
            .sum()
    }

    /// Whether nothing is in the set.
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_behave_like_a_set_of_places(steps in proptest::collection::vec((0_u64..60, 0_u64..12, 0_u64..5), 0..40)) {
            let mut ranges = Ranges::default();
            let mut model = BTreeSet::new();
            for (from, length, forget) in steps {
                let part = Seq(from + 7);
                let before = Seq(from / 2);
                let from = Seq(from);
                let fresh = from.up_to(from.plus(length)).filter(|place| model.insert(*place)).count() as u64;
                prop_assert_eq!(ranges.insert(from, from.plus(length)), fresh);
                prop_assert_eq!(ranges.covered(before, part), model.range(before..part).count() as u64);
                let gaps = ranges.gaps(before, part).into_iter().flat_map(|gap| gap.start.up_to(gap.end));
                prop_assert!(gaps.eq(before.up_to(part).filter(|place| !model.contains(place))));
                prop_assert_eq!(ranges.has(from), model.contains(&from));
                prop_assert_eq!(ranges.skip(from), from.up_to(Seq::END).find(|place| !model.contains(place)).unwrap());
                match forget {
                    0 => {
                        ranges.forget_before(from);
                        model = model.split_off(&from);
                    }
                    1 => {
                        ranges.forget_from(from);
                        model.split_off(&from);
                    }
                    _ => {}
                }
                prop_assert!(ranges.iter().flat_map(|(start, end)| start.up_to(end)).eq(model.iter().copied()));
                prop_assert_eq!(ranges.is_empty(), model.is_empty());
            }
        }
    }
}
