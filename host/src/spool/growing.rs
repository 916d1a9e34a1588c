//! A list that others read while it grows: what is in it stays where it is, so that nobody waits, and a place once given
//! holds for good.

use std::ops::Index;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Parts of it, each of which has twice the places of the one before: together all that a `QueueId` can number.
const PARTS: usize = 16;

type GrowingPart<T> = Box<[OnceLock<T>]>;

pub(crate) struct Growing<T> {
    parts: [OnceLock<GrowingPart<T>>; PARTS],
    length: AtomicUsize,
}

impl<T> Growing<T> {
    /// Puts it behind all others; answers its place, or gives it back where there is none left. One caller at a time.
    pub(crate) fn push(&self, item: T) -> Result<usize, T> {
        let index = self.len();
        let (part, offset) = place(index);
        let Some(part) = self.parts.get(part) else {
            return Err(item);
        };
        // This is the first place of its part, or the part is there.
        let places = part.get_or_init(|| (0..=index).map(|_| OnceLock::new()).collect());
        places[offset].set(item)?;
        self.length.store(index + 1, Ordering::Release);
        Ok(index)
    }

    /// Whether there is no place left.
    pub(crate) fn is_full(&self) -> bool {
        place(self.len()).0 >= PARTS
    }

    pub(crate) fn len(&self) -> usize {
        self.length.load(Ordering::Acquire)
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        let (part, offset) = place(index);
        self.parts.get(part)?.get()?.get(offset)?.get()
    }

    /// All that are there, by their places.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

/// The part that a place lies in, and which of that part's it is: part `n` begins with place `2^n - 1`.
fn place(index: usize) -> (usize, usize) {
    let part = (index + 1).ilog2();
    (part as usize, index + 1 - (1 << part))
}

impl<T> Default for Growing<T> {
    fn default() -> Self {
        Self {
            parts: Default::default(),
            length: AtomicUsize::new(0),
        }
    }
}

impl<T> FromIterator<T> for Growing<T> {
    /// As many as there are places for.
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let list = Self::default();
        let mut items = items.into_iter();
        while items.next().is_some_and(|item| list.push(item).is_ok()) {}
        list
    }
}

impl<T> Index<usize> for Growing<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        self.get(index).expect("whoever names a place was given it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_it_stays_where_it_is_until_all_places_are_taken() {
        let list: Growing<usize> = (0..3).collect();
        let first: *const usize = &raw const list[0];
        for index in 3..65_535 {
            assert_eq!(list.push(index), Ok(index));
        }
        assert!(list.is_full());
        assert_eq!(list.push(9), Err(9), "there is no place left");
        assert!(std::ptr::eq(first, &raw const list[0]));
        assert!(list.iter().copied().eq(0..65_535));
        assert_eq!(
            (list.len(), list.get(65_535), list.get(usize::MAX - 1)),
            (65_535, None, None)
        );
    }

    #[test]
    fn whoever_reads_meanwhile_finds_all_up_to_the_length_that_it_saw() {
        let list = Growing::default();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..5_000).for_each(|index| assert_eq!(list.push(index), Ok(index))));
            while list.len() < 5_000 {
                let length = list.len();
                assert!(list.iter().count() >= length);
                assert!((0..length).all(|index| list[index] == index));
            }
        });
    }
}
