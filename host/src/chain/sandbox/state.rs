//! A plugin's state on the host's side: pages as the guest saved them, checked and bounded, not interpreted.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{ComponentType, Lift, Lower};

use super::fault::{Fault, FaultKind};
use crate::message::Remembered;

/// Value length that says that a key is gone.
const GONE: u32 = u32::MAX;

/// Bytes of a page that is restored from disk, as the SDK makes them.
const PAGE_BYTES: usize = 64 << 10;

/// Pages of one save; a guest that goes on for ever is stopped here even when its pages are empty.
const MAX_PAGES: usize = 65_536;

/// Some keyed entries, as they cross the border.
#[derive(Clone, Debug, Default, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct StatePage {
    #[component(name = "next")]
    pub(crate) next: Option<u64>,
    #[component(name = "words")]
    pub(crate) words: Vec<u32>,
    #[component(name = "data")]
    pub(crate) data: Vec<u8>,
}

impl StatePage {
    fn bytes(&self) -> usize {
        self.words.len() * 4 + self.data.len()
    }

    /// The keys; the page is one that was checked.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.entries().map(|(key, _)| key)
    }

    /// Keys and values; the page is one that was checked.
    fn entries(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let mut rest = self.data.as_slice();
        self.words
            .as_chunks::<2>()
            .0
            .iter()
            .map_while(move |[key, value]| {
                let (key, behind) = rest.split_at_checked(*key as usize)?;
                let length = if *value == GONE { 0 } else { *value as usize };
                let (bytes, behind) = behind.split_at_checked(length)?;
                rest = behind;
                Some((key, (*value != GONE).then_some(bytes)))
            })
    }

    fn push(&mut self, key: &[u8], value: Option<&[u8]>) {
        // Keys and values come from pages, whose lengths fit.
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or_default();
        self.words.extend([length(key), value.map_or(GONE, length)]);
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value.unwrap_or_default());
    }

    /// The entries as checkpoints have them: slices of one copy.
    fn remembered(&self, version: u32) -> impl Iterator<Item = Remembered> {
        let data = Bytes::copy_from_slice(&self.data);
        let mut at = 0;
        let mut take = move |length: usize| {
            let start = at;
            at += length;
            data.slice(start..at)
        };
        self.entries().map(move |(key, value)| {
            let key = take(key.len());
            Remembered {
                key,
                version,
                value: value.map(|value| take(value.len())),
            }
        })
    }

    /// Whether the lengths add up to the data.
    fn check(&self) -> Result<(), Fault> {
        let (entries, odd) = self.words.as_chunks::<2>();
        let announced: u64 = entries
            .iter()
            .map(|[key, value]| {
                u64::from(*key) + if *value == GONE { 0 } else { u64::from(*value) }
            })
            .sum();
        if !odd.is_empty() || announced != self.data.len() as u64 {
            let words = self.words.len();
            let bytes = self.data.len();
            return Err(Fault::contract(format!(
                "a page of state with {words} words announces {announced} bytes and has {bytes}"
            )));
        }
        Ok(())
    }
}

/// Everything a plugin saved: a complete set of pages, and the changes since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// `state-version` of the saver.
    pub(crate) version: u32,
    base: Vec<Arc<StatePage>>,
    changes: Vec<Arc<StatePage>>,
    /// What no checkpoint has brought to the disk yet, with the saver's version. A checkpoint that brings what the disk
    /// has already is no harm, one that lacks a key is.
    unkept: Vec<(u32, Arc<StatePage>)>,
}

/// How much a save shall bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SaveScope {
    Complete,
    Changes,
}

impl Snapshot {
    /// The pages in the order in which they are restored.
    pub(crate) fn pages(&self) -> impl Iterator<Item = &StatePage> {
        self.base.iter().chain(&self.changes).map(|page| &**page)
    }

    /// The same, each with the version of its saver.
    pub(crate) fn versioned_pages(&self) -> impl Iterator<Item = (u32, &StatePage)> {
        self.pages().map(|page| (self.version, page))
    }

    /// What several hold together, shared out anew: a key goes where `lane_of` says. Where `is_kept`, the disk has it.
    pub(crate) fn share_out(
        all: &[&Self],
        is_kept: bool,
        lanes: usize,
        lane_of: impl Fn(&[u8]) -> usize,
    ) -> Vec<Self> {
        let version = all
            .iter()
            .find(|one| !one.is_empty())
            .map_or(0, |one| one.version);
        let entries = all
            .iter()
            .flat_map(|one| one.pages())
            .flat_map(|page| page.remembered(version));
        let mut parts: Vec<Vec<Remembered>> = vec![Vec::new(); lanes];
        entries.for_each(|entry| parts[lane_of(&entry.key)].push(entry));
        let part = |part: &Vec<Remembered>| {
            let base: Vec<_> = pages(part.iter().collect())
                .into_iter()
                .map(|(_, page)| Arc::new(page))
                .collect();
            let unkept = if is_kept {
                Vec::new()
            } else {
                base.iter()
                    .map(|page| (version, Arc::clone(page)))
                    .collect()
            };
            Self {
                version,
                base,
                changes: Vec::new(),
                unkept,
            }
        };
        parts.iter().map(part).collect()
    }

    /// Whether there is nothing to restore.
    pub(crate) fn is_empty(&self) -> bool {
        self.pages().all(|page| page.words.is_empty())
    }

    /// What the next save by a plugin of state version `version` shall bring: changes, until they are half of the
    /// whole; everything when the form is another.
    pub(crate) fn next_extent(&self, version: u32) -> SaveScope {
        let size = |pages: &[Arc<StatePage>]| pages.iter().map(|page| page.bytes()).sum::<usize>();
        let is_far = self.base.is_empty() || size(&self.changes) * 2 >= size(&self.base);
        if is_far || self.version != version {
            SaveScope::Complete
        } else {
            SaveScope::Changes
        }
    }

    /// Puts a complete save in place of this, or adds changes. A guest may count changes from its last save or from
    /// its last complete one: with the earlier changes kept, and later ones restored after them, both come out right.
    pub(crate) fn replace(&mut self, extent: SaveScope, version: u32, pages: Vec<StatePage>) {
        let pages: Vec<_> = pages
            .into_iter()
            .filter(|page| !page.words.is_empty())
            .map(Arc::new)
            .collect();
        match extent {
            SaveScope::Complete => {
                // A complete save does not name the keys that are gone.
                let gone = self.missing_in(&pages);
                self.unkept = if gone.words.is_empty() {
                    Vec::new()
                } else {
                    vec![(version, Arc::new(gone))]
                };
                (self.version, self.base, self.changes) = (version, pages.clone(), Vec::new());
            }
            SaveScope::Changes => self.changes.extend(pages.iter().cloned()),
        }
        self.unkept
            .extend(pages.into_iter().map(|page| (version, page)));
    }

    /// The keys known so far that `pages` has not, each as gone.
    fn missing_in(&self, pages: &[Arc<StatePage>]) -> StatePage {
        let there: HashSet<&[u8]> = pages
            .iter()
            .flat_map(|page| page.entries())
            .map(|(key, _)| key)
            .collect();
        let known = self
            .pages()
            .chain(self.unkept.iter().map(|(_, page)| &**page));
        let mut gone = StatePage::default();
        for key in known
            .flat_map(StatePage::entries)
            .map(|(key, _)| key)
            .filter(|key| !there.contains(key))
            .collect::<BTreeSet<_>>()
        {
            gone.push(key, None);
        }
        gone
    }

    /// Makes this, of another version, the next one after `old`: a checkpoint then brings all of it, and says which of
    /// the keys that `old` has brought are gone.
    pub(crate) fn succeed(&mut self, old: &Self) {
        let pages: Vec<_> = self.base.iter().chain(&self.changes).cloned().collect();
        let gone = old.missing_in(&pages);
        self.unkept = if gone.words.is_empty() {
            Vec::new()
        } else {
            vec![(self.version, Arc::new(gone))]
        };
        self.unkept
            .extend(pages.into_iter().map(|page| (self.version, page)));
    }

    /// Whether a checkpoint would bring anything.
    pub(crate) fn has_unkept(&self) -> bool {
        !self.unkept.is_empty()
    }

    /// The disk has everything, or shall have nothing.
    pub(crate) fn forget_unkept(&mut self) {
        self.unkept.clear();
    }

    /// What the next checkpoint brings.
    pub(crate) fn take_unkept(&mut self) -> Vec<Remembered> {
        let pages = std::mem::take(&mut self.unkept);
        pages
            .iter()
            .flat_map(|(version, page)| page.remembered(*version))
            .collect()
    }
}

/// What `theirs` holds of the keys that `is_theirs`, and `mine` of all others.
pub(crate) fn merged(
    mine: &Snapshot,
    theirs: &Snapshot,
    is_theirs: impl Fn(&[u8]) -> bool,
) -> Vec<(u32, StatePage)> {
    let entries = |one: &Snapshot, wanted: bool| {
        one.versioned_pages()
            .flat_map(|(version, page)| page.remembered(version))
            .filter(|entry| is_theirs(&entry.key) == wanted)
            .collect::<Vec<_>>()
    };
    let all = [entries(mine, false), entries(theirs, true)].concat();
    pages(all.iter().collect())
}

/// Pages of what was remembered, each with the version of its saver.
pub(crate) fn pages(mut remembered: Vec<&Remembered>) -> Vec<(u32, StatePage)> {
    remembered.sort_by_key(|entry| entry.version);
    let mut pages: Vec<(u32, StatePage)> = Vec::new();
    for entry in remembered {
        let fits = |(version, page): &(u32, StatePage)| {
            *version == entry.version && page.data.len() < PAGE_BYTES
        };
        if !pages.last().is_some_and(fits) {
            pages.push((entry.version, StatePage::default()));
        }
        if let Some((_, page)) = pages.last_mut() {
            page.push(&entry.key, entry.value.as_deref());
        }
    }
    pages
}

/// Collects the pages of a save, `next_page` being the call into the guest.
///
/// # Errors
/// What the guest did wrong, or that it saved more than `max_bytes`.
pub(crate) fn collect(
    max_bytes: usize,
    mut next_page: impl FnMut(u64) -> Result<StatePage, Fault>,
) -> Result<Vec<StatePage>, Fault> {
    let mut pages = Vec::new();
    let mut bytes = 0;
    let mut cursor = 0;
    loop {
        let page = next_page(cursor)?;
        page.check()?;
        bytes += page.bytes();
        if bytes > max_bytes || pages.len() == MAX_PAGES {
            return Err(Fault::new(
                FaultKind::State,
                format!("state is larger than {max_bytes} bytes or {MAX_PAGES} pages"),
            ));
        }
        let next = page.next;
        pages.push(page);
        match next {
            None => return Ok(pages),
            Some(next) if next == cursor => {
                return Err(Fault::contract(format!(
                    "`save` names cursor {cursor} again"
                )));
            }
            Some(next) => cursor = next,
        }
    }
}

#[cfg(test)]
mod tests;
