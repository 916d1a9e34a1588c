//! What a plugin remembers per key, and its packed form.

mod bounds;
mod entry;
mod fnv;

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasherDefault;
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host;
use crate::layout::GONE;
use crate::plugin::Result;
pub use bounds::check_most;
use bounds::{Bounds, EACH};
pub use entry::Entry;
use fnv::Fnv;

/// Bytes of a page of saved state; a single larger entry has a page of its own.
const PAGE_BYTES: usize = 64 << 10;

/// Some saved entries; see `page` in the contract.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The cursor of the page that follows.
    pub next: Option<u64>,
    /// Key length and value length of each entry.
    pub words: Vec<u32>,
    /// Keys and values, back to back.
    pub data: Vec<u8>,
}

/// No slot.
const NONE: usize = usize::MAX;

/// A value per key (device), saved and restored by the SDK. Keys come back in the order they were first seen.
pub struct State<T> {
    index: HashMap<Rc<str>, usize, BuildHasherDefault<Fnv>>,
    slots: Vec<Slot<T>>,
    free: Vec<usize>,
    /// Changes are stamped with this; it rises when a save begins.
    revision: u64,
    /// What is stamped up to here was in the last complete save.
    saved: u64,
    /// Slots with a value.
    len: usize,
    /// Bytes of their keys and values.
    bytes: Cell<usize>,
    /// Most of both; beyond, the one that was quiet for longest goes.
    most: Bounds<T>,
    /// Those that went so.
    forgotten: u64,
    /// The slots with a value from the one that was quiet for longest to the last one written or read by its key.
    quietest: usize,
    latest: usize,
}

/// What a value weighs that is not worth a sum of its own: it is written as a save would write it, and counted. For values that
/// seldom change.
pub fn weight<T: Serialize>(value: &T) -> usize {
    let mut written = Vec::new();
    let mut serializer = rmp_serde::Serializer::new(&mut written).with_struct_map();
    // What cannot be written is not saved.
    value
        .serialize(&mut serializer)
        .map_or(0, |()| written.len())
}

struct Slot<T> {
    key: Rc<str>,
    /// Neighbours in the order of their last use.
    before: usize,
    after: usize,
    /// A page had it: the host has to hear when it is gone.
    is_told: bool,
    /// `None` once the key is gone; the slot stays until that was saved.
    value: Option<T>,
    /// Bytes of the value.
    weight: usize,
    changed: u64,
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            index: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            revision: 1,
            saved: 0,
            len: 0,
            bytes: Cell::new(0),
            most: Bounds::none(),
            forgotten: 0,
            quietest: NONE,
            latest: NONE,
        }
    }
}

impl<T> fmt::Debug for State<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "State of {} keys", self.len())
    }
}

impl<T> State<T> {
    /// One of at most so many keys, and of some 1.9 MiB: the ones that were neither read nor written for longest make room, counted
    /// in the counter `keys_forgotten`. Whoever sends may invent names of devices, long ones too, and what they all together need
    /// must fit the plugin's memory and `limits.state`. `weight` says how many bytes a value has when it is saved, or more, and is
    /// asked after each change; see [`weight`].
    pub fn at_most(keys: usize, weight: fn(&T) -> usize) -> Self {
        Self {
            most: Bounds::of(keys, weight),
            ..Self::default()
        }
    }

    /// Whoever is to make room is not forgotten: the plugin takes it with [`overflow`](Self::overflow).
    #[must_use]
    pub fn by_hand(mut self) -> Self {
        self.most.is_by_hand = true;
        self
    }

    /// Takes out the one that was quiet for longest while there is more than may be kept.
    pub fn overflow(&mut self) -> Option<(Rc<str>, T)> {
        if !self.is_over() {
            return None;
        }
        let key = Rc::clone(&self.slots.get(self.quietest)?.key);
        self.take(self.quietest).map(|value| (key, value))
    }

    fn is_over(&self) -> bool {
        self.len > 1 && (self.len > self.most.keys || self.bytes.get() > self.most.bytes)
    }

    /// Whether `value` under a new key would make no other go.
    pub fn has_room(&self, key: &str, value: &T) -> bool {
        self.len < self.most.keys && EACH + key.len() + self.most.weight(value) <= self.room()
    }

    /// Bytes that are free.
    pub fn room(&self) -> usize {
        self.most.bytes.saturating_sub(self.bytes.get())
    }

    /// Keys that made room for others.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The value of `key`, made by `T::default()` when it is new. Reading costs nothing; writing to it marks it to
    /// be saved.
    pub fn of(&mut self, key: &str) -> Entry<'_, T>
    where
        T: Default,
    {
        let at = self.slot(key);
        if self.slots[at].value.is_none() {
            self.put(at, T::default());
        }
        self.use_again(at);
        self.make_room();
        self.entry(at).expect("it was put there")
    }

    /// The value of `key`, when there is one.
    pub fn get(&self, key: &str) -> Option<&T> {
        self.index
            .get(key)
            .and_then(|slot| self.slots[*slot].value.as_ref())
    }

    /// Sets the value of `key`.
    pub fn set(&mut self, key: &str, value: T) {
        let at = self.slot(key);
        self.put(at, value);
        self.use_again(at);
        self.slots[at].changed = self.revision;
        self.make_room();
    }

    /// The value of `key`, when there is one, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<Entry<'_, T>> {
        let at = *self.index.get(key)?;
        self.slots[at].value.as_ref()?;
        self.use_again(at);
        self.entry(at)
    }

    fn entry(&mut self, at: usize) -> Option<Entry<'_, T>> {
        let slot = &mut self.slots[at];
        Entry::of(slot, self.revision, &self.bytes, self.most.weigh).map(|(_, entry)| entry)
    }

    /// Forgets `key`.
    pub fn remove(&mut self, key: &str) -> Option<T> {
        let at = *self.index.get(key)?;
        self.take(at)
    }

    fn take(&mut self, at: usize) -> Option<T> {
        let value = self.slots[at].value.take()?;
        self.unlink(at);
        self.len -= 1;
        let weight = EACH + self.slots[at].key.len() + self.slots[at].weight;
        self.bytes.set(self.bytes.get() - weight);
        if self.slots[at].is_told {
            self.slots[at].changed = self.revision;
        } else {
            // The host has never heard of it.
            self.slots[at].changed = 0;
            self.index.remove(&self.slots[at].key);
            self.free.push(at);
        }
        Some(value)
    }

    /// Gives a slot its value.
    fn put(&mut self, at: usize, value: T) {
        let slot = &mut self.slots[at];
        let weight = self.most.weight(&value);
        let mut bytes = self.bytes.get() + weight;
        let is_new = slot.value.replace(value).is_none();
        if is_new {
            bytes += EACH + slot.key.len();
        } else {
            bytes -= slot.weight;
        }
        slot.weight = weight;
        self.bytes.set(bytes);
        if is_new {
            self.len += 1;
            self.link(at);
        }
    }

    /// What was used last is never what makes room.
    fn make_room(&mut self) {
        while !self.most.is_by_hand && self.is_over() {
            self.take(self.quietest);
            self.forgotten += 1;
            host::counter("keys_forgotten", 1);
        }
    }

    fn use_again(&mut self, at: usize) {
        if self.most.weigh.is_some() && self.latest != at {
            self.unlink(at);
            self.link(at);
        }
    }

    fn link(&mut self, at: usize) {
        (self.slots[at].before, self.slots[at].after) = (self.latest, NONE);
        match self.slots.get_mut(self.latest) {
            Some(latest) => latest.after = at,
            None => self.quietest = at,
        }
        self.latest = at;
    }

    fn unlink(&mut self, at: usize) {
        let Slot { before, after, .. } = self.slots[at];
        match self.slots.get_mut(before) {
            Some(slot) => slot.after = after,
            None => self.quietest = after,
        }
        match self.slots.get_mut(after) {
            Some(slot) => slot.before = before,
            None => self.latest = before,
        }
    }

    /// Every key with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.slots
            .iter()
            .filter_map(|slot| Some((&*slot.key, slot.value.as_ref()?)))
    }

    /// Every key with its value, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, Entry<'_, T>)> {
        let (revision, bytes, weigh) = (self.revision, &self.bytes, self.most.weigh);
        let slots = self.slots.iter_mut();
        slots.filter_map(move |slot| Entry::of(slot, revision, bytes, weigh))
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn slot(&mut self, key: &str) -> usize {
        if let Some(slot) = self.index.get(key) {
            return *slot;
        }
        let key: Rc<str> = key.into();
        let fresh = Slot {
            key: Rc::clone(&key),
            before: NONE,
            after: NONE,
            is_told: false,
            value: None,
            weight: 0,
            changed: 0,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = fresh;
                slot
            }
            None => {
                self.slots.push(fresh);
                self.slots.len() - 1
            }
        };
        self.index.insert(key, slot);
        slot
    }
}

impl<T: Serialize + DeserializeOwned> State<T> {
    /// Reads one saved value: MessagePack with field names, so that a field added with `#[serde(default)]` reads
    /// old values.
    pub fn read(saved: &[u8]) -> Result<T> {
        rmp_serde::from_slice(saved)
            .map_err(|error| format!("saved state cannot be read: {error}").into())
    }

    /// The page at `cursor`; the cursor is a slot. A save counts as complete when its last page was taken.
    pub(crate) fn save(&mut self, changed_only: bool, cursor: u64) -> Page {
        if cursor == 0 {
            self.make_room();
            self.revision += 1;
        }
        let mut page = Page::default();
        let first = usize::try_from(cursor)
            .unwrap_or(usize::MAX)
            .min(self.slots.len());
        for (offset, slot) in self.slots[first..].iter_mut().enumerate() {
            if !slot.is_due(changed_only, self.saved) {
                continue;
            }
            let before = page.data.len();
            if slot.write(&mut page) && page.data.len() > PAGE_BYTES && page.words.len() > 2 {
                page.data.truncate(before);
                page.words.truncate(page.words.len() - 2);
                page.next = Some((first + offset) as u64);
                return page;
            }
            slot.is_told = true;
        }
        self.saved = self.revision - 1;
        self.forget_gone();
        page
    }

    /// Slots whose key is gone, which the host knows by now, are used again.
    fn forget_gone(&mut self) {
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if slot.value.is_none()
                && slot.changed <= self.saved
                && self.index.get(&slot.key) == Some(&at)
            {
                self.index.remove(&slot.key);
                self.free.push(at);
            }
        }
    }

    /// Takes in a page, with values as `read` reads them.
    pub(crate) fn restore(&mut self, page: &Page, read: impl Fn(&[u8]) -> Result<T>) -> Result<()> {
        let mut data = page.data.as_slice();
        let mut take = |length: u32| {
            let (taken, rest) = data
                .split_at_checked(length as usize)
                .ok_or("a page of saved state ends inside an entry")?;
            data = rest;
            Ok::<_, crate::Error>(taken)
        };
        for lengths in page.words.chunks_exact(2) {
            let key = std::str::from_utf8(take(lengths[0])?)
                .map_err(|_| "a key of the saved state is not text")?;
            if lengths[1] == GONE {
                self.remove(key);
                continue;
            }
            let value = read(take(lengths[1])?).map_err(|error| format!("key `{key}`: {error}"))?;
            self.set(key, value);
            if let Some(at) = self.index.get(key) {
                self.slots[*at].is_told = true;
            }
        }
        Ok(())
    }
}

impl<T: Serialize> Slot<T> {
    fn is_due(&self, changed_only: bool, saved: u64) -> bool {
        if changed_only {
            self.changed > saved
        } else {
            self.value.is_some()
        }
    }

    /// Appends the entry to `page`. A value that cannot be written is left out with an error in the log.
    fn write(&self, page: &mut Page) -> bool {
        let start = page.data.len();
        page.data.extend_from_slice(self.key.as_bytes());
        let mut length = GONE;
        if let Some(value) = &self.value {
            let value_start = page.data.len();
            if let Err(error) =
                value.serialize(&mut rmp_serde::Serializer::new(&mut page.data).with_struct_map())
            {
                host::error(&format!("state of `{}` cannot be saved: {error}", self.key));
                page.data.truncate(start);
                return false;
            }
            length = (page.data.len() - value_start) as u32;
        }
        page.words
            .extend_from_slice(&[self.key.len() as u32, length]);
        true
    }
}

#[cfg(test)]
mod tests;
