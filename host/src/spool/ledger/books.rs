//! The ledger as the store has it, and what each uplink's upstream has not been told of yet.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::{Entry, Ledger, form};
use crate::message::{LossReason, QueueId, Receipt};

const TOTAL: u8 = b't';
const UNTOLD: u8 = b'u';
/// Key of the number of the last change.
const STAMP: &[u8] = b"n";
/// Id and the letter before it.
const KEY: usize = 9;

/// What one commit changes in the tree.
#[derive(Debug, Default)]
pub(in crate::spool) struct Changes {
    /// Keys and values to write.
    pub put: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys to remove.
    pub gone: Vec<Vec<u8>>,
    /// Messages counted by reason, with these changes.
    pub totals: BTreeMap<LossReason, u64>,
}

/// What one upstream has not been told.
#[derive(Clone, Debug, Default)]
struct Untold {
    open: Ledger,
    /// In a record on its way; on disk until that is safe.
    sealed: BTreeMap<u64, Entry>,
}

/// Everything the tree holds.
#[derive(Clone, Debug, Default)]
pub(in crate::spool) struct Books {
    total: Ledger,
    untold: BTreeMap<Arc<str>, Untold>,
    stamp: u64,
}

impl Books {
    /// What was found in the tree, for these uplinks. What cannot be read is skipped.
    pub(in crate::spool) fn found<'a>(
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        uplinks: &[Arc<str>],
    ) -> Self {
        let mut books = Self::default();
        let mut total = BTreeMap::new();
        let mut untold: BTreeMap<Arc<str>, BTreeMap<u64, Entry>> = uplinks
            .iter()
            .map(|uplink| (Arc::clone(uplink), BTreeMap::new()))
            .collect();
        for (key, value) in pairs {
            if key == STAMP {
                books.stamp = value.first_chunk().copied().map_or(0, u64::from_be_bytes);
                continue;
            }
            let Some((head, uplink)) = key.split_first_chunk::<KEY>() else {
                continue;
            };
            let Some(id) = head[1..].first_chunk().copied().map(u64::from_be_bytes) else {
                continue;
            };
            let Some(entry) = form::decode(value) else {
                tracing::error!(id, "an entry of the ledger cannot be read");
                continue;
            };
            match head[0] {
                TOTAL => drop(total.insert(id, entry)),
                UNTOLD => {
                    let uplink = std::str::from_utf8(uplink).unwrap_or_default();
                    if let Some(untold) = untold.get_mut(uplink) {
                        untold.insert(id, entry);
                    }
                }
                _ => {}
            }
        }
        books.total = Ledger::found(total);
        let open = |entries| Untold {
            open: Ledger::found(entries),
            sealed: BTreeMap::new(),
        };
        books.untold = untold
            .into_iter()
            .map(|(uplink, entries)| (uplink, open(entries)))
            .collect();
        books
    }

    /// Number of the last change.
    pub(in crate::spool) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Counts `entry`, and notes that its upstream (of one without, all of them) is to be told. That a newer message took the
    /// place of an older one is what its class is for, and no loss to tell of over a metered link.
    pub(in crate::spool) fn post(&mut self, entry: Entry) {
        let is_loss = entry.reason != LossReason::Superseded;
        for (uplink, untold) in self.untold.iter_mut().filter(|_| is_loss) {
            if entry.uplink.is_empty() || *uplink == entry.uplink {
                untold.open.post(entry.clone());
            }
        }
        self.total.post(entry);
    }

    /// Whether there is something to tell.
    pub(in crate::spool) fn has_untold(&self, uplink: &str) -> bool {
        self.untold
            .get(uplink)
            .is_some_and(|untold| !untold.open.is_empty())
    }

    /// Closes what is to be told: what is counted from now on goes into the next record.
    pub(in crate::spool) fn seal(&mut self, uplink: &str) -> Vec<Entry> {
        let Some(untold) = self.untold.get_mut(uplink) else {
            return Vec::new();
        };
        let entries = untold.open.take();
        let list = entries.values().cloned().collect();
        untold.sealed.extend(entries);
        list
    }

    /// Upstream has been told of what was sealed.
    pub(in crate::spool) fn told(&mut self, uplink: &str) {
        if let Some(untold) = self.untold.get_mut(uplink) {
            untold
                .open
                .gone
                .extend(std::mem::take(&mut untold.sealed).into_keys());
        }
    }

    /// Everything is written anew: the store is a fresh one.
    pub(in crate::spool) fn rewrite(&mut self) {
        self.total.changed.extend(self.total.entries.keys());
        for untold in self.untold.values_mut() {
            untold
                .open
                .changed
                .extend(untold.open.entries.keys().chain(untold.sealed.keys()));
        }
    }

    /// What is sealed is on its way in `self` too; `fresh` was read from a store where that does not show.
    pub(in crate::spool) fn adopt(&mut self, fresh: Self) {
        let sealed = std::mem::take(&mut self.untold)
            .into_iter()
            .map(|(uplink, untold)| (uplink, untold.sealed));
        let sealed: Vec<_> = sealed.collect();
        *self = fresh;
        for (uplink, sealed) in sealed {
            let Some(untold) = self.untold.get_mut(&uplink) else {
                continue;
            };
            for (id, _) in sealed {
                if let Some(entry) = untold.open.entries.remove(&id) {
                    untold.sealed.insert(id, entry);
                }
            }
            untold.open.rebuild_index();
        }
    }

    /// What the tree has to learn; `None` when it knows everything.
    pub(in crate::spool) fn changes(&mut self) -> Option<Changes> {
        let mut changes = Changes::default();
        collect(&mut self.total, &BTreeMap::new(), TOTAL, "", &mut changes);
        for (uplink, untold) in &mut self.untold {
            collect(
                &mut untold.open,
                &untold.sealed,
                UNTOLD,
                uplink,
                &mut changes,
            );
        }
        if changes.put.is_empty() && changes.gone.is_empty() {
            return None;
        }
        self.stamp += 1;
        changes.totals = self.totals();
        changes
            .put
            .push((STAMP.to_vec(), self.stamp.to_be_bytes().to_vec()));
        Some(changes)
    }

    /// All that was ever given up.
    pub(in crate::spool) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.total.entries()
    }

    /// Messages counted by reason.
    pub(in crate::spool) fn totals(&self) -> BTreeMap<LossReason, u64> {
        let counted = LossReason::ALL
            .into_iter()
            .map(|reason| (reason, self.total.total(reason)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// Messages counted for `reason`.
    pub(in crate::spool) fn total(&self, reason: LossReason) -> u64 {
        self.total.total(reason)
    }
}

fn key(letter: u8, id: u64, uplink: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(KEY + uplink.len());
    key.push(letter);
    key.extend_from_slice(&id.to_be_bytes());
    key.extend_from_slice(uplink.as_bytes());
    key
}

fn collect(
    ledger: &mut Ledger,
    sealed: &BTreeMap<u64, Entry>,
    letter: u8,
    uplink: &str,
    changes: &mut Changes,
) {
    changes.gone.extend(
        std::mem::take(&mut ledger.gone)
            .into_iter()
            .map(|id| key(letter, id, uplink)),
    );
    for id in std::mem::take(&mut ledger.changed) {
        if let Some(entry) = ledger.entries.get(&id).or_else(|| sealed.get(&id)) {
            changes
                .put
                .push((key(letter, id, uplink), form::encode(entry)));
        }
    }
}

/// Places of a queue that its ledger entry settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::spool) struct Expired {
    /// Which queue.
    pub queue: QueueId,
    /// The first place.
    pub from: u64,
    /// The place behind the last.
    pub to: u64,
}

/// What is settled once its entry in the ledger is on the medium.
#[derive(Debug, Default)]
pub(in crate::spool) struct Settling {
    /// Places that are owed until then.
    pub places: Vec<Expired>,
    /// Claims of messages that never came into a queue.
    pub receipts: Vec<Receipt>,
    /// Places that the disk has lost: number of the queue, and which.
    pub holes: Vec<(usize, Range<u64>)>,
}

/// What was given up and waits for the next commit; merged as the ledger is, so it is bounded too.
#[derive(Debug, Default)]
pub(in crate::spool) struct Pending {
    ledger: Ledger,
    since_us: Option<u64>,
    settling: Settling,
    is_urgent: bool,
}

impl Pending {
    /// Counts `entry`; `now_us` is the running clock.
    pub(in crate::spool) fn post(&mut self, entry: Entry, now_us: u64) {
        self.since_us.get_or_insert(now_us);
        self.ledger.post(entry);
    }

    /// These places are settled once what was posted is committed; runs without a gap are one.
    pub(in crate::spool) fn expire(
        &mut self,
        queue: QueueId,
        places: impl IntoIterator<Item = u64>,
    ) {
        for place in places {
            match self.settling.places.last_mut() {
                Some(last) if last.queue == queue && last.to == place => last.to += 1,
                _ => self.settling.places.push(Expired {
                    queue,
                    from: place,
                    to: place + 1,
                }),
            }
        }
    }

    /// These places are settled once what was posted is committed, and somebody waits for that.
    pub(in crate::spool) fn settle_soon(
        &mut self,
        queue: QueueId,
        places: impl IntoIterator<Item = Range<u64>>,
    ) {
        self.settling.places.extend(places.into_iter().map(
            |Range {
                 start: from,
                 end: to,
             }| Expired { queue, from, to },
        ));
        self.is_urgent = true;
    }

    /// The disk has lost these places of a queue: they are settled once that is committed.
    pub(in crate::spool) fn lose(&mut self, queue: QueueId, places: Range<u64>) {
        self.settling
            .holes
            .push((usize::from(queue.0), places.clone()));
        self.settle_soon(queue, [places]);
    }

    /// Whether somebody waits.
    pub(in crate::spool) fn is_urgent(&self) -> bool {
        self.is_urgent
    }

    /// These claims are released once what was posted is committed.
    pub(in crate::spool) fn hold(&mut self, receipts: impl IntoIterator<Item = Receipt>) {
        self.settling.receipts.extend(receipts);
    }

    /// Whether a source waits for the commit.
    pub(in crate::spool) fn holds(&self) -> bool {
        !self.settling.receipts.is_empty()
    }

    /// Since when something waits (running clock).
    pub(in crate::spool) fn since_us(&self) -> Option<u64> {
        self.since_us
    }

    /// Takes everything.
    pub(in crate::spool) fn take(&mut self) -> (Vec<Entry>, Settling) {
        let Self {
            ledger, settling, ..
        } = std::mem::take(self);
        (ledger.entries.into_values().collect(), settling)
    }

    /// What could not be committed waits again.
    pub(in crate::spool) fn give_back(
        &mut self,
        entries: Vec<Entry>,
        settling: Settling,
        now_us: u64,
    ) {
        for entry in entries {
            self.post(entry, now_us);
        }
        self.settling.places.extend(settling.places);
        self.settling.receipts.extend(settling.receipts);
        self.is_urgent |= !settling.holes.is_empty();
        self.settling.holes.extend(settling.holes);
    }

    /// What waits.
    pub(in crate::spool) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.ledger.entries()
    }

    /// Messages counted for `reason`.
    pub(in crate::spool) fn total(&self, reason: LossReason) -> u64 {
        self.ledger.total(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(count: u64) -> Entry {
        Entry::plain(
            LossReason::Expired,
            &"cloud".into(),
            &"telemetry".into(),
            count,
            5,
        )
    }

    fn reread(disk: &BTreeMap<Vec<u8>, Vec<u8>>) -> Books {
        Books::found(
            disk.iter()
                .map(|(key, value)| (key.as_slice(), value.as_slice())),
            &["cloud".into(), "backup".into()],
        )
    }

    fn write(books: &mut Books, disk: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
        if let Some(changes) = books.changes() {
            disk.retain(|key, _| !changes.gone.contains(key));
            disk.extend(changes.put);
        }
    }

    #[test]
    fn a_record_is_told_again_after_a_kill_until_it_is_known_to_be_safe() {
        let mut disk = BTreeMap::new();
        let mut books = reread(&disk);
        books.post(entry(3));
        write(&mut books, &mut disk);
        assert_eq!(books.seal("cloud"), [entry(3)]);
        books.post(entry(4));
        write(&mut books, &mut disk);
        let mut again = reread(&disk);
        assert_eq!(
            (
                again.total(LossReason::Expired),
                again.seal("cloud").iter().map(|entry| entry.count).sum()
            ),
            (7, 7)
        );
        books.told("cloud");
        write(&mut books, &mut disk);
        let mut after = reread(&disk);
        assert_eq!(
            (after.seal("cloud"), after.total(LossReason::Expired)),
            (vec![entry(4)], 7)
        );
        assert!(!after.has_untold("backup") && after.stamp() == 3);
    }

    #[test]
    fn places_that_expired_wait_with_their_entries_and_neighbours_are_one() {
        let mut pending = Pending::default();
        pending.post(entry(4), 1);
        pending.expire(QueueId(0), [3, 4, 5]);
        pending.expire(QueueId(0), [6, 9]);
        pending.expire(QueueId(1), [10]);
        let (entries, settling) = pending.take();
        let range = |queue, from, to| Expired {
            queue: QueueId(queue),
            from,
            to,
        };
        assert_eq!(
            (entries.len(), &*settling.places),
            (1, &[range(0, 3, 7), range(0, 9, 10), range(1, 10, 11)][..])
        );
        assert!(pending.since_us().is_none() && pending.take().1.places.is_empty());
        pending.give_back(entries, settling, 2);
        assert_eq!(
            (
                pending.since_us(),
                pending.total(LossReason::Expired),
                pending.take().1.places.len()
            ),
            (Some(2), 4, 3)
        );
    }

    #[test]
    fn what_no_uplink_was_meant_to_have_is_told_to_all_and_counted_once() {
        let mut books = reread(&BTreeMap::new());
        books.post(Entry {
            uplink: "".into(),
            ..entry(2)
        });
        assert!(books.has_untold("cloud") && books.has_untold("backup"));
        assert_eq!(books.total(LossReason::Expired), 2);
    }

    #[test]
    fn a_fresh_store_gets_everything() {
        let mut disk = BTreeMap::new();
        let mut books = reread(&disk);
        books.post(entry(3));
        write(&mut books, &mut disk);
        books.seal("cloud");
        let mut fresh = BTreeMap::new();
        books.rewrite();
        write(&mut books, &mut fresh);
        assert_eq!(fresh.len(), disk.len());
    }

    #[test]
    fn what_is_on_its_way_stays_so_when_the_store_is_read_again() {
        let mut disk = BTreeMap::new();
        let mut books = reread(&disk);
        books.post(entry(3));
        write(&mut books, &mut disk);
        books.seal("cloud");
        books.adopt(reread(&disk));
        assert!(!books.has_untold("cloud"));
        books.told("cloud");
        write(&mut books, &mut disk);
        assert!(!reread(&disk).has_untold("cloud"));
    }
}
