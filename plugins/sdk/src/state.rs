//! What a plugin remembers per key, and its packed form.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host;
use crate::layout::GONE;
use crate::plugin::Result;

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
    /// A save was begun and not taken to its end.
    is_saving: bool,
    /// Slots with a value.
    len: usize,
    /// Most of them; beyond, the one that was quiet for longest goes.
    most: usize,
    /// Those that went so.
    forgotten: u64,
    /// The slots with a value from the one that was quiet for longest to the last one written or read by its key.
    quietest: usize,
    latest: usize,
}

struct Slot<T> {
    key: Rc<str>,
    /// Neighbours in the order of their last use.
    before: usize,
    after: usize,
    /// The revision in which it came; 0 when it was restored.
    born: u64,
    /// `None` once the key is gone; the slot stays until that was saved.
    value: Option<T>,
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
            is_saving: false,
            len: 0,
            most: usize::MAX,
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
    /// One of at most so many keys: the one that was neither read nor written for longest makes room, counted in the
    /// counter `keys_forgotten`. Whoever sends may invent names of devices, and what they all together need must fit the
    /// plugin's memory and `limits.state`: 20,000 keys with a value of some 50 bytes take about 2 MiB of state.
    pub fn at_most(keys: usize) -> Self {
        Self {
            most: keys.max(1),
            ..Self::default()
        }
    }

    /// Whether one more key would make another go.
    pub fn is_full(&self) -> bool {
        self.len >= self.most
    }

    /// The key that goes next: the one that was neither read nor written for longest.
    pub fn quietest(&self) -> Option<&str> {
        self.slots.get(self.quietest).map(|slot| &*slot.key)
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
        let revision = self.revision;
        let slot = &mut self.slots[at];
        Entry {
            value: slot.value.get_or_insert_default(),
            changed: &mut slot.changed,
            revision,
        }
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
    }

    /// The value of `key`, when there is one, to be changed.
    pub fn get_mut(&mut self, key: &str) -> Option<Entry<'_, T>> {
        let at = *self.index.get(key)?;
        self.slots[at].value.as_ref()?;
        self.use_again(at);
        let (revision, slot) = (self.revision, &mut self.slots[at]);
        Some(Entry {
            value: slot.value.as_mut()?,
            changed: &mut slot.changed,
            revision,
        })
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
        if self.is_saving || self.slots[at].born <= self.saved {
            self.slots[at].changed = self.revision;
        } else {
            // The host has never heard of it.
            self.slots[at].changed = 0;
            self.index.remove(&self.slots[at].key);
            self.free.push(at);
        }
        Some(value)
    }

    /// Gives a slot its value; a new one makes another go where there are too many.
    fn put(&mut self, at: usize, value: T) {
        if self.slots[at].value.replace(value).is_some() {
            return;
        }
        self.len += 1;
        self.link(at);
        if self.len > self.most {
            self.take(self.quietest);
            self.forgotten += 1;
            host::counter("keys_forgotten", 1);
        }
    }

    fn use_again(&mut self, at: usize) {
        if self.most < usize::MAX && self.latest != at {
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
        let revision = self.revision;
        self.slots.iter_mut().filter_map(move |slot| {
            Some((
                &*slot.key,
                Entry {
                    value: slot.value.as_mut()?,
                    changed: &mut slot.changed,
                    revision,
                },
            ))
        })
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
            born: self.revision,
            value: None,
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
            self.revision += 1;
            self.is_saving = true;
        }
        let mut page = Page::default();
        let first = usize::try_from(cursor)
            .unwrap_or(usize::MAX)
            .min(self.slots.len());
        for (offset, slot) in self.slots[first..].iter().enumerate() {
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
        }
        self.saved = self.revision - 1;
        self.is_saving = false;
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
                self.slots[*at].born = 0;
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

/// A value in a [`State`]; writing to it marks it to be saved.
#[derive(Debug)]
pub struct Entry<'s, T> {
    value: &'s mut T,
    changed: &'s mut u64,
    revision: u64,
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
        self.value
    }
}

/// FNV-1a: short keys, and the same order of everything in every run.
#[derive(Clone, Copy)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
