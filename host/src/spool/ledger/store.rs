//! The ledger as the store has it, and what each uplink's upstream has not been told of yet.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::clock::RunningTime;
use crate::message::{LossReason, QueueId, Receipt, Seq};
use crate::spool::drop_policy::is_told_upstream;
use crate::spool::ledger::{Ledger, LedgerEntry, format};

const TOTAL: u8 = b't';
const UNREPORTED: u8 = b'u';
/// Key of the number of the last change.
const STAMP: &[u8] = b"n";
/// Id and the letter before it.
const KEY: usize = 9;

/// What one commit changes in the tree.
#[derive(Debug, Default)]
pub(crate) struct LedgerChanges {
    /// Keys and values to write.
    pub put: Vec<(Vec<u8>, Vec<u8>)>,
    pub gone: Vec<Vec<u8>>,
    /// Messages counted by reason, with these changes.
    pub totals: BTreeMap<LossReason, u64>,
}

/// What one upstream has not been told.
#[derive(Clone, Debug, Default)]
struct Unreported {
    open: Ledger,
    /// In a record on its way; on disk until that is safe.
    in_report: BTreeMap<u64, LedgerEntry>,
}

/// Everything the tree holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct LedgerStore {
    total: Ledger,
    unreported: BTreeMap<Arc<str>, Unreported>,
    stamp: u64,
}

impl LedgerStore {
    /// What was found in the tree, for these uplinks. What cannot be read is skipped.
    pub(crate) fn found<'a>(
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        uplinks: &[Arc<str>],
    ) -> Self {
        let mut ledger_store = Self::default();
        let mut total = BTreeMap::new();
        let mut unreported: BTreeMap<Arc<str>, BTreeMap<u64, LedgerEntry>> = uplinks
            .iter()
            .map(|uplink| (Arc::clone(uplink), BTreeMap::new()))
            .collect();
        for (key, value) in pairs {
            if key == STAMP {
                ledger_store.stamp = value.first_chunk().copied().map_or(0, u64::from_be_bytes);
                continue;
            }
            let Some((head, uplink)) = key.split_first_chunk::<KEY>() else {
                continue;
            };
            let Some(id) = head[1..].first_chunk().copied().map(u64::from_be_bytes) else {
                continue;
            };
            let Some(entry) = format::decode(value) else {
                tracing::error!(id, "an entry of the ledger cannot be read");
                continue;
            };
            match head[0] {
                TOTAL => drop(total.insert(id, entry)),
                UNREPORTED => {
                    let uplink = std::str::from_utf8(uplink).unwrap_or_default();
                    if let Some(unreported) = unreported.get_mut(uplink) {
                        unreported.insert(id, entry);
                    }
                }
                _ => {}
            }
        }
        ledger_store.total = Ledger::found(total);
        let open = |entries| Unreported {
            open: Ledger::found(entries),
            in_report: BTreeMap::new(),
        };
        ledger_store.unreported = unreported
            .into_iter()
            .map(|(uplink, entries)| (uplink, open(entries)))
            .collect();
        ledger_store
    }

    /// Whether it notes what this uplink's upstream is to be told.
    pub(crate) fn knows(&self, uplink: &str) -> bool {
        self.unreported.contains_key(uplink)
    }

    /// The uplinks that `found` knows besides are told what it has for them.
    pub(crate) fn join(&mut self, found: Self) {
        for (uplink, unreported) in found.unreported {
            self.unreported.entry(uplink).or_insert(unreported);
        }
    }

    /// Number of the last change.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Counts `entry`, and notes that its upstream (of one without, all of them) is to be told.
    pub(crate) fn post(&mut self, entry: LedgerEntry) {
        let is_told = is_told_upstream(entry.reason);
        for (uplink, unreported) in self.unreported.iter_mut().filter(|_| is_told) {
            if entry.uplink.is_empty() || *uplink == entry.uplink {
                unreported.open.post(entry.clone());
            }
        }
        self.total.post(entry);
    }

    /// Whether there is something to tell.
    pub(crate) fn has_unreported(&self, uplink: &str) -> bool {
        self.unreported
            .get(uplink)
            .is_some_and(|unreported| !unreported.open.is_empty())
    }

    /// Closes what is to be told: what is counted from now on goes into the next record.
    pub(crate) fn begin_report(&mut self, uplink: &str) -> Vec<LedgerEntry> {
        let Some(unreported) = self.unreported.get_mut(uplink) else {
            return Vec::new();
        };
        let entries = unreported.open.take();
        let list = entries.values().cloned().collect();
        unreported.in_report.extend(entries);
        list
    }

    /// Upstream has been told of what was in that report.
    pub(crate) fn reported(&mut self, uplink: &str) {
        if let Some(unreported) = self.unreported.get_mut(uplink) {
            unreported
                .open
                .gone
                .extend(std::mem::take(&mut unreported.in_report).into_keys());
        }
    }

    /// Everything is written anew: the store is a fresh one.
    pub(crate) fn rewrite(&mut self) {
        self.total.changed.extend(self.total.entries.keys());
        for unreported in self.unreported.values_mut() {
            unreported.open.changed.extend(
                unreported
                    .open
                    .entries
                    .keys()
                    .chain(unreported.in_report.keys()),
            );
        }
    }

    /// What is in a report is on its way in `self` too; `fresh` was read from a store where that does not show.
    pub(crate) fn adopt(&mut self, fresh: Self) {
        let in_report = std::mem::take(&mut self.unreported)
            .into_iter()
            .map(|(uplink, unreported)| (uplink, unreported.in_report));
        let in_report: Vec<_> = in_report.collect();
        *self = fresh;
        for (uplink, in_report) in in_report {
            let Some(unreported) = self.unreported.get_mut(&uplink) else {
                continue;
            };
            for (id, _) in in_report {
                if let Some(entry) = unreported.open.entries.remove(&id) {
                    unreported.in_report.insert(id, entry);
                }
            }
            unreported.open.rebuild_index();
        }
    }

    /// What the tree has to learn; `None` when it knows everything.
    pub(crate) fn changes(&mut self) -> Option<LedgerChanges> {
        let mut changes = LedgerChanges::default();
        collect(&mut self.total, &BTreeMap::new(), TOTAL, "", &mut changes);
        for (uplink, unreported) in &mut self.unreported {
            collect(
                &mut unreported.open,
                &unreported.in_report,
                UNREPORTED,
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
    pub(crate) fn entries(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.total.entries()
    }

    /// Messages counted by reason.
    pub(crate) fn totals(&self) -> BTreeMap<LossReason, u64> {
        let counted = LossReason::ALL
            .into_iter()
            .map(|reason| (reason, self.total.total(reason)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// Messages counted for `reason`.
    pub(crate) fn total(&self, reason: LossReason) -> u64 {
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
    in_report: &BTreeMap<u64, LedgerEntry>,
    letter: u8,
    uplink: &str,
    changes: &mut LedgerChanges,
) {
    changes.gone.extend(
        std::mem::take(&mut ledger.gone)
            .into_iter()
            .map(|id| key(letter, id, uplink)),
    );
    for id in std::mem::take(&mut ledger.changed) {
        if let Some(entry) = ledger.entries.get(&id).or_else(|| in_report.get(&id)) {
            changes
                .put
                .push((key(letter, id, uplink), format::encode(entry)));
        }
    }
}

/// Places of a queue that its ledger entry settles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    pub queue: QueueId,
    pub from: Seq,
    /// The place behind the last.
    pub to: Seq,
}

/// What is settled once its entry in the ledger is on the medium.
#[derive(Debug, Default)]
pub(crate) struct Settling {
    /// Places that are owed until then.
    pub places: Vec<Expired>,
    /// Claims of messages that never came into a queue.
    pub receipts: Vec<Receipt>,
    /// Places that the disk has lost: number of the queue, and which.
    pub holes: Vec<(usize, Range<Seq>)>,
    /// Somebody waits for it: it is written even where there is hardly room.
    pub is_urgent: bool,
}

/// What was given up and waits for the next commit; merged as the ledger is, so it is bounded too.
#[derive(Debug, Default)]
pub(crate) struct PendingLosses {
    ledger: Ledger,
    since: Option<RunningTime>,
    settling: Settling,
}

impl PendingLosses {
    /// Counts `entry`, given up at `now`.
    pub(crate) fn post(&mut self, entry: LedgerEntry, now: RunningTime) {
        self.since.get_or_insert(now);
        self.ledger.post(entry);
    }

    /// These places are settled once what was posted is committed; runs without a gap are one.
    pub(crate) fn expire(&mut self, queue: QueueId, places: impl IntoIterator<Item = Seq>) {
        for place in places {
            match self.settling.places.last_mut() {
                Some(last) if last.queue == queue && last.to == place => last.to = place.next(),
                _ => self.settling.places.push(Expired {
                    queue,
                    from: place,
                    to: place.next(),
                }),
            }
        }
    }

    /// These places are settled once what was posted is committed, and somebody waits for that.
    pub(crate) fn settle_soon(
        &mut self,
        queue: QueueId,
        places: impl IntoIterator<Item = Range<Seq>>,
    ) {
        self.settling.places.extend(places.into_iter().map(
            |Range {
                 start: from,
                 end: to,
             }| Expired { queue, from, to },
        ));
        self.settling.is_urgent = true;
    }

    /// The disk has lost these places of a queue: they are settled once that is committed.
    pub(crate) fn lose(&mut self, queue: QueueId, places: Range<Seq>) {
        self.settling
            .holes
            .push((usize::from(queue.0), places.clone()));
        self.settle_soon(queue, [places]);
    }

    pub(crate) fn is_urgent(&self) -> bool {
        self.settling.is_urgent
    }

    /// These claims are released once what was posted is committed.
    pub(crate) fn hold(&mut self, receipts: impl IntoIterator<Item = Receipt>) {
        self.settling.receipts.extend(receipts);
    }

    /// Whether a source waits for the commit.
    pub(crate) fn holds(&self) -> bool {
        !self.settling.receipts.is_empty()
    }

    /// Since when something waits.
    pub(crate) fn since(&self) -> Option<RunningTime> {
        self.since
    }

    pub(crate) fn take(&mut self) -> (Vec<LedgerEntry>, Settling) {
        let Self {
            ledger, settling, ..
        } = std::mem::take(self);
        (ledger.entries.into_values().collect(), settling)
    }

    /// What could not be committed waits again.
    pub(crate) fn give_back(
        &mut self,
        entries: Vec<LedgerEntry>,
        settling: Settling,
        now: RunningTime,
    ) {
        for entry in entries {
            self.post(entry, now);
        }
        self.settling.places.extend(settling.places);
        self.settling.receipts.extend(settling.receipts);
        self.settling.is_urgent |= settling.is_urgent;
        self.settling.holes.extend(settling.holes);
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &LedgerEntry> {
        self.ledger.entries()
    }

    /// Messages counted for `reason`.
    pub(crate) fn total(&self, reason: LossReason) -> u64 {
        self.ledger.total(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(count: u64) -> LedgerEntry {
        LedgerEntry::plain(
            LossReason::Expired,
            &"cloud".into(),
            &"telemetry".into(),
            count,
            5,
        )
    }

    fn reread(disk: &BTreeMap<Vec<u8>, Vec<u8>>) -> LedgerStore {
        LedgerStore::found(
            disk.iter()
                .map(|(key, value)| (key.as_slice(), value.as_slice())),
            &["cloud".into(), "backup".into()],
        )
    }

    fn write(ledger_store: &mut LedgerStore, disk: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
        if let Some(changes) = ledger_store.changes() {
            disk.retain(|key, _| !changes.gone.contains(key));
            disk.extend(changes.put);
        }
    }

    #[test]
    fn a_record_is_told_again_after_a_kill_until_it_is_known_to_be_safe() {
        let mut disk = BTreeMap::new();
        let mut ledger_store = reread(&disk);
        ledger_store.post(entry(3));
        write(&mut ledger_store, &mut disk);
        assert_eq!(ledger_store.begin_report("cloud"), [entry(3)]);
        ledger_store.post(entry(4));
        write(&mut ledger_store, &mut disk);
        let mut again = reread(&disk);
        assert_eq!(
            (
                again.total(LossReason::Expired),
                again
                    .begin_report("cloud")
                    .iter()
                    .map(|entry| entry.count)
                    .sum()
            ),
            (7, 7)
        );
        ledger_store.reported("cloud");
        write(&mut ledger_store, &mut disk);
        let mut after = reread(&disk);
        assert_eq!(
            (
                after.begin_report("cloud"),
                after.total(LossReason::Expired)
            ),
            (vec![entry(4)], 7)
        );
        assert!(!after.has_unreported("backup") && after.stamp() == 3);
    }

    #[test]
    fn places_that_expired_wait_with_their_entries_and_neighbours_are_one() {
        let mut pending = PendingLosses::default();
        pending.post(entry(4), RunningTime(1));
        pending.expire(QueueId(0), [3, 4, 5].map(Seq));
        pending.expire(QueueId(0), [6, 9].map(Seq));
        pending.expire(QueueId(1), [Seq(10)]);
        let (entries, settling) = pending.take();
        let range = |queue, from, to| Expired {
            queue: QueueId(queue),
            from: Seq(from),
            to: Seq(to),
        };
        assert_eq!(
            (entries.len(), &*settling.places),
            (1, &[range(0, 3, 7), range(0, 9, 10), range(1, 10, 11)][..])
        );
        assert!(pending.since().is_none() && pending.take().1.places.is_empty());
        pending.give_back(entries, settling, RunningTime(2));
        assert_eq!(
            (
                pending.since(),
                pending.total(LossReason::Expired),
                pending.take().1.places.len()
            ),
            (Some(RunningTime(2)), 4, 3)
        );
    }

    #[test]
    fn what_no_uplink_was_meant_to_have_is_told_to_all_and_counted_once() {
        let mut ledger_store = reread(&BTreeMap::new());
        ledger_store.post(LedgerEntry {
            uplink: "".into(),
            ..entry(2)
        });
        assert!(ledger_store.has_unreported("cloud") && ledger_store.has_unreported("backup"));
        assert_eq!(ledger_store.total(LossReason::Expired), 2);
    }

    #[test]
    fn a_fresh_store_gets_everything() {
        let mut disk = BTreeMap::new();
        let mut ledger_store = reread(&disk);
        ledger_store.post(entry(3));
        write(&mut ledger_store, &mut disk);
        ledger_store.begin_report("cloud");
        let mut fresh = BTreeMap::new();
        ledger_store.rewrite();
        write(&mut ledger_store, &mut fresh);
        assert_eq!(fresh.len(), disk.len());
    }

    #[test]
    fn what_is_on_its_way_stays_so_when_the_store_is_read_again() {
        let mut disk = BTreeMap::new();
        let mut ledger_store = reread(&disk);
        ledger_store.post(entry(3));
        write(&mut ledger_store, &mut disk);
        ledger_store.begin_report("cloud");
        ledger_store.adopt(reread(&disk));
        assert!(!ledger_store.has_unreported("cloud"));
        ledger_store.reported("cloud");
        write(&mut ledger_store, &mut disk);
        assert!(!reread(&disk).has_unreported("cloud"));
    }
}
