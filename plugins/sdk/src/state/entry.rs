//! A value that is looked at and perhaps written to.

use std::cell::Cell;
use std::fmt;
use std::ops::{Deref, DerefMut};

use super::Slot;

/// A value in a [`State`](super::State); writing to it marks it to be saved. Once it is let go, what it weighs by then counts.
pub struct Entry<'s, T> {
    value: &'s mut T,
    changed: &'s mut u64,
    weight: &'s mut usize,
    revision: u64,
    bytes: &'s Cell<usize>,
    weigh: Option<fn(&T) -> usize>,
    is_written: bool,
}

impl<'s, T> Entry<'s, T> {
    /// Key and value of a slot; `None` where it has no value.
    pub(super) fn of(
        slot: &'s mut Slot<T>,
        revision: u64,
        bytes: &'s Cell<usize>,
        weigh: Option<fn(&T) -> usize>,
    ) -> Option<(&'s str, Self)> {
        let entry = Self {
            value: slot.value.as_mut()?,
            changed: &mut slot.changed,
            weight: &mut slot.weight,
            revision,
            bytes,
            weigh,
            is_written: false,
        };
        Some((&*slot.key, entry))
    }
}

impl<T: fmt::Debug> fmt::Debug for Entry<'_, T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(formatter)
    }
}

impl<T> Deref for Entry<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> DerefMut for Entry<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        *self.changed = self.revision;
        self.is_written = true;
        self.value
    }
}

impl<T> Drop for Entry<'_, T> {
    fn drop(&mut self) {
        if let Some(weigh) = self.weigh.filter(|_| self.is_written) {
            let weight = weigh(self.value);
            self.bytes.set(self.bytes.get() - *self.weight + weight);
            *self.weight = weight;
        }
    }
}
