//! A plugin's state on the host's side: pages as the guest saved them, checked and bounded, not interpreted.

use wasmtime::component::{ComponentType, Lift, Lower};

use super::fault::{Fault, FaultKind};

/// Value length that says that a key is gone.
const GONE: u32 = u32::MAX;

/// Pages of one save; a guest that goes on for ever is stopped here even when its pages are empty.
const MAX_PAGES: usize = 65_536;

/// Some keyed entries, as they cross the border.
#[derive(Clone, Debug, Default, PartialEq, Eq, ComponentType, Lift, Lower)]
#[component(record)]
pub(super) struct Page {
    #[component(name = "next")]
    pub(super) next: Option<u64>,
    #[component(name = "words")]
    pub(super) words: Vec<u32>,
    #[component(name = "data")]
    pub(super) data: Vec<u8>,
}

impl Page {
    fn bytes(&self) -> usize {
        self.words.len() * 4 + self.data.len()
    }

    /// Whether the lengths add up to the data.
    fn check(&self) -> Result<(), Fault> {
        let (entries, odd) = self.words.as_chunks::<2>();
        let announced: u64 =
            entries.iter().map(|[key, value]| u64::from(*key) + if *value == GONE { 0 } else { u64::from(*value) }).sum();
        if !odd.is_empty() || announced != self.data.len() as u64 {
            let (words, bytes) = (self.words.len(), self.data.len());
            return Err(Fault::contract(format!(
                "a page of state with {words} words announces {announced} bytes and has {bytes}"
            )));
        }
        Ok(())
    }
}

/// Everything a plugin saved: a complete set of pages, and the changes since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// `state-version` of the saver.
    pub(super) version: u32,
    base: Vec<Page>,
    changes: Vec<Page>,
}

/// How much a save shall bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    Complete,
    Changes,
}

impl Snapshot {
    /// The pages in the order in which they are restored.
    pub(super) fn pages(&self) -> impl Iterator<Item = &Page> {
        self.base.iter().chain(&self.changes)
    }

    /// Whether there is nothing to restore.
    pub(super) fn is_empty(&self) -> bool {
        self.pages().all(|page| page.words.is_empty())
    }

    /// What the next save shall bring: changes, until they are half of the whole.
    pub(super) fn next_extent(&self) -> Extent {
        let size = |pages: &[Page]| pages.iter().map(Page::bytes).sum::<usize>();
        if self.base.is_empty() || size(&self.changes) * 2 >= size(&self.base) { Extent::Complete } else { Extent::Changes }
    }

    /// Puts a complete save in place of this, or adds changes. A guest may count changes from its last save or from
    /// its last complete one: with the earlier changes kept, and later ones restored after them, both come out right.
    pub(super) fn replace(&mut self, extent: Extent, version: u32, pages: Vec<Page>) {
        match extent {
            Extent::Complete => *self = Self { version, base: pages, changes: Vec::new() },
            Extent::Changes => self.changes.extend(pages),
        }
    }
}

/// Collects the pages of a save, `next_page` being the call into the guest.
///
/// # Errors
/// What the guest did wrong, or that it saved more than `max_bytes`.
pub(super) fn collect(max_bytes: usize, mut next_page: impl FnMut(u64) -> Result<Page, Fault>) -> Result<Vec<Page>, Fault> {
    let (mut pages, mut bytes, mut cursor) = (Vec::new(), 0, 0);
    loop {
        let page = next_page(cursor)?;
        page.check()?;
        bytes += page.bytes();
        if bytes > max_bytes || pages.len() == MAX_PAGES {
            return Err(Fault::new(FaultKind::State, format!("state is larger than {max_bytes} bytes or {MAX_PAGES} pages")));
        }
        let next = page.next;
        pages.push(page);
        match next {
            None => return Ok(pages),
            Some(next) if next == cursor => return Err(Fault::contract(format!("`save` names cursor {cursor} again"))),
            Some(next) => cursor = next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(next: Option<u64>, entries: &[(&str, Option<&str>)]) -> Page {
        let mut page = Page { next, ..Page::default() };
        for (key, value) in entries {
            page.words.extend([key.len() as u32, value.map_or(GONE, |value| value.len() as u32)]);
            page.data.extend_from_slice(key.as_bytes());
            page.data.extend_from_slice(value.unwrap_or_default().as_bytes());
        }
        page
    }

    #[test]
    fn pages_are_asked_for_by_their_cursor_until_the_last() {
        let saved = [page(Some(7), &[("d1", Some("3"))]), page(None, &[("d2", None)])];
        let mut asked = Vec::new();
        let pages = collect(1_000, |cursor| {
            asked.push(cursor);
            Ok(saved[asked.len() - 1].clone())
        });
        assert_eq!((pages.unwrap(), asked), (saved.to_vec(), vec![0, 7]));
    }

    #[test]
    fn state_that_lies_or_never_ends_is_a_fault() {
        let lying = Page { words: vec![1, 1], data: vec![0; 3], next: None };
        assert_eq!(collect(1_000, |_| Ok(lying.clone())).unwrap_err().kind, FaultKind::Contract);
        let odd = Page { words: vec![1], data: vec![0], next: None };
        assert_eq!(collect(1_000, |_| Ok(odd.clone())).unwrap_err().kind, FaultKind::Contract);
        assert_eq!(collect(1_000, |cursor| Ok(page(Some(cursor + 1), &[("k", Some("v"))]))).unwrap_err().kind, FaultKind::State);
        assert_eq!(collect(1_000, |cursor| Ok(page(Some(cursor + 1), &[]))).unwrap_err().kind, FaultKind::State);
        assert_eq!(collect(1_000, |_| Ok(page(Some(0), &[]))).unwrap_err().kind, FaultKind::Contract);
    }

    #[test]
    fn changes_are_added_until_they_are_half_of_the_whole() {
        let mut snapshot = Snapshot::default();
        assert!(snapshot.is_empty() && snapshot.next_extent() == Extent::Complete);
        snapshot.replace(Extent::Complete, 1, vec![page(None, &[("k1", Some("a")), ("k2", Some("b")), ("k3", Some("c"))])]);
        assert_eq!(snapshot.next_extent(), Extent::Changes);
        snapshot.replace(Extent::Changes, 1, vec![page(None, &[("k1", Some("x"))])]);
        snapshot.replace(Extent::Changes, 1, vec![page(None, &[("k1", Some("x")), ("k2", None)])]);
        assert_eq!(snapshot.pages().map(|page| page.words.len() / 2).collect::<Vec<_>>(), [3, 1, 2], "in the order they came");
        assert_eq!(snapshot.next_extent(), Extent::Complete);
    }
}
