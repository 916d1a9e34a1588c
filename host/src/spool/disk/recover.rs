//! What each queue owes, as its index, its files and the records tell together.

use std::collections::BTreeSet;

use crate::message::Seq;
use crate::spool::disk::chunk::Extent;
use crate::spool::disk::error::StoreError;
use crate::spool::disk::mark::QueueMark;
use crate::spool::disk::queue_store::QueueStore;
use crate::spool::disk::queue_store::recovery::Recovered;
use crate::spool::disk::records::Records;
use crate::spool::disk::records::batch::Tree;

/// The last batch of the records that gave up something of a queue, and the place before which nothing was owed then.
pub(super) fn encode_given_up(number: u64, low: Seq) -> Vec<u8> {
    [number.to_be_bytes(), low.0.to_be_bytes()].concat()
}

fn decode_given_up(value: &[u8]) -> Option<(u64, Seq)> {
    let (number, low) = value.split_first_chunk()?;
    Some((
        u64::from_be_bytes(*number),
        Seq(u64::from_be_bytes(*low.first_chunk()?)),
    ))
}

/// What a queue owes.
pub(super) fn recover(
    queue: &QueueStore,
    records: &Records,
    newer: impl FnOnce(QueueMark) -> (QueueMark, bool),
) -> Result<(QueueMark, Option<Extent>), StoreError> {
    let given_up = records
        .get(Tree::Own, queue.name().as_bytes())
        .map_err(StoreError::Disk)?;
    let given_up = given_up
        .as_deref()
        .and_then(decode_given_up)
        .unwrap_or_default();
    let Recovered {
        mark,
        first,
        is_rebuilt,
    } = queue.recover(given_up, newer)?;
    if is_rebuilt {
        let queue = queue.name();
        let QueueMark { low, end, owed, .. } = mark;
        tracing::warn!(
            queue,
            low = low.0,
            end = end.0,
            owed,
            "the index of this queue was made up from its files"
        );
    }
    Ok((mark, first))
}

/// Those of the `known` queues with something owed that the config does not have.
pub(super) fn strangers(
    records: &Records,
    names: &[String],
    known: BTreeSet<String>,
    open: impl Fn(&str) -> Result<QueueStore, StoreError>,
) -> Result<Vec<(String, u64)>, StoreError> {
    let mut found = Vec::new();
    for name in known.into_iter().filter(|name| !names.contains(name)) {
        let (mark, _) = recover(&open(&name)?, records, |mark| (mark, false))?;
        if mark.owed > 0 {
            found.push((name, mark.owed));
        }
    }
    Ok(found)
}
