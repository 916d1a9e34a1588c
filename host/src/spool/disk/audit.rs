//! What there is of letters, ledger and state, and what is missing of it.

use std::sync::Arc;

use crate::spool::dead_letters::kept::KeptLetters;
use crate::spool::disk::error::StoreError;
use crate::spool::disk::records::batch::{Totals, Tree, Witness};
use crate::spool::disk::records::files::Scan;
use crate::spool::disk::records::sealed::{self, Sealed};
use crate::spool::disk::records::{Records, letters};
use crate::spool::disk::sealing::sealer::Sealer;
use crate::spool::disk::store::Store;
use crate::spool::ledger::store::LedgerStore;
use crate::spool::settings::Config;

/// What letters, ledger and state have lost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Commits of which nothing is known but that there were some.
    pub commits: u64,
    /// Letters, messages in the ledger, and entries of state: more than is there.
    pub totals: Totals,
}

impl Lost {
    /// What is missing of `known` where only `found` is there.
    fn of(commits: u64, known: &Totals, found: &Totals) -> Self {
        let mut totals = Totals {
            states: known.states.saturating_sub(found.states),
            ..Totals::default()
        };
        let counts = known.kept.counts.iter().zip(found.kept.counts);
        for (lost, (known, found)) in totals.kept.counts.iter_mut().zip(counts) {
            *lost = known.saturating_sub(found);
        }
        for (reason, known) in &known.given_up {
            let lost = known.saturating_sub(found.given_up.get(reason).copied().unwrap_or(0));
            totals
                .given_up
                .extend((lost > 0).then_some((*reason, lost)));
        }
        Self { commits, totals }
    }

    /// Of it what is missing of letters.
    pub(crate) fn letters_only(&self) -> Self {
        Self {
            commits: self.commits,
            totals: Totals {
                kept: self.totals.kept,
                ..Totals::default()
            },
        }
    }

    /// Whether it is anything.
    fn is_some(&self) -> bool {
        let Totals {
            kept,
            states,
            given_up,
        } = &self.totals;
        self.commits > 0 || kept.total() > 0 || *states > 0 || !given_up.is_empty()
    }
}

/// Letters kept, the ledger, and what is missing of letters, ledger and state; `was_used`: an earlier run has signed the store.
pub(super) fn audit(
    config: &Config,
    records: &Records,
    scan: &Scan,
    (witness, was_used): (&Witness, bool),
) -> Result<(KeptLetters, LedgerStore, Option<Lost>), StoreError> {
    let ledger_store = ledger_store(&config.sealer, records, &uplinks(config))?;
    // What was in the last file nobody knows where that was not noted: something was.
    let missing = scan.missing.max(scan.given_up.len() as u64);
    let commits = missing + witness.number.saturating_sub(scan.witness.number);
    // A store that was used has recorded at least that, and here nothing and nobody knows of it.
    let is_empty = witness.number == 0 && scan.witness.number == 0;
    let commits = commits.max(u64::from(was_used && is_empty));
    let totals = &witness.totals;
    // Files that are gone altogether leave no gap in the numbers where they were the oldest.
    let is_whole = commits == 0
        && witness.number > 0
        && (records.count(Tree::Letters), records.states()) == (totals.kept.total(), totals.states)
        && ledger_store.totals() == totals.given_up;
    let kept = if is_whole {
        totals.kept
    } else {
        letters::count_letters(records, &config.sealer)?
    };
    let found = Totals {
        kept,
        states: records.states(),
        given_up: ledger_store.totals(),
    };
    for (path, why) in &scan.strange {
        tracing::error!(path = %path.display(), why, "this file of letters, ledger and state is left alone");
    }
    let lost = Some(Lost::of(commits, totals, &found)).filter(Lost::is_some);
    // What a power cut has torn was safe nowhere, and nobody misses it.
    for path in scan.damaged.iter().filter(|_| lost.is_some()) {
        tracing::warn!(path = %path.display(), "this file of letters, ledger and state has damaged bytes");
    }
    records.found(found);
    Ok((kept, ledger_store, lost))
}

impl Store {
    /// The ledger, with what the upstreams of these uplinks have not been told yet.
    pub(crate) fn ledger(&self, uplinks: &[Arc<str>]) -> Result<LedgerStore, StoreError> {
        ledger_store(&self.sealer, &self.records, uplinks)
    }
}

fn ledger_store(
    sealer: &Sealer,
    records: &Records,
    uplinks: &[Arc<str>],
) -> Result<LedgerStore, StoreError> {
    let pairs = records
        .each(Tree::Ledger, &[])
        .collect::<Result<Vec<_>, _>>()
        .map_err(StoreError::Disk)?;
    let opened = |(key, value): (Vec<u8>, Vec<u8>)| {
        let value = sealed::open(sealer, Sealed::Ledger, &key, &value).into_owned();
        (key, value)
    };
    let pairs: Vec<_> = pairs.into_iter().map(opened).collect();
    Ok(LedgerStore::found(
        pairs.iter().map(|(key, value)| (&**key, &**value)),
        uplinks,
    ))
}

/// The ledger as long as there is no store.
pub(crate) fn empty_ledger_store(config: &Config) -> LedgerStore {
    LedgerStore::found(std::iter::empty(), &uplinks(config))
}

fn uplinks(config: &Config) -> Vec<Arc<str>> {
    let mut uplinks: Vec<Arc<str>> = config
        .queues
        .iter()
        .map(|queue| Arc::clone(&queue.uplink))
        .collect();
    uplinks.sort_unstable();
    uplinks.dedup();
    uplinks
}
