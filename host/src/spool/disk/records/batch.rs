//! One batch, as it lies in a file, and what it tells.
//!
//! ```text
//! 0          4
//! ┌──────────┬──────────────────────────────────────────────────────────────────────────┐
//! │ sum u32  │ MessagePack: store, number, totals, [[tree and key, value or nil], ...]  │
//! └──────────┴──────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::message::LossReason;
use crate::spool::dead_letters::kept::KeptLetters;
use crate::spool::disk::frame::HEAD;

/// Bytes of the checksum before a body.
const SUM: usize = 4;

/// What an entry belongs to: the first byte of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tree {
    Letters = b'l',
    Ledger = b'g',
    State = b's',
    /// The same, of a plugin that could not read it.
    StateAside = b'a',
    /// Numbers of the store itself.
    Own = b'o',
}

impl Tree {
    pub(super) fn key(self, key: &[u8]) -> Vec<u8> {
        [&[self as u8], key].concat()
    }
}

/// What there is: enough to say what damage has cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Totals {
    /// Letters by reason, and their bytes.
    pub kept: KeptLetters,
    /// Entries of plugins' state.
    pub states: u64,
    /// Messages in the ledger by reason.
    pub given_up: BTreeMap<LossReason, u64>,
}

/// What was last on the medium.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Witness {
    /// Number of the last batch.
    pub number: u64,
    /// What there was with it.
    pub totals: Totals,
}

/// What one commit records.
#[derive(Serialize, Deserialize)]
pub(super) struct RecordBatch<'a> {
    /// Name of the store.
    #[serde(borrow)]
    pub store: &'a str,
    /// What there is with it.
    pub witness: Witness,
    /// Keys, each with its new value or none.
    #[serde(borrow)]
    pub changes: Vec<(&'a serde_bytes::Bytes, Option<&'a serde_bytes::Bytes>)>,
}

/// A piece with the batch; its head is still missing.
pub(super) fn encode(batch: &RecordBatch<'_>) -> Vec<u8> {
    let mut piece = vec![0; HEAD + SUM];
    rmp_serde::encode::write(&mut piece, batch)
        .expect("fields of known length always go into a Vec");
    let sum = crc32fast::hash(&piece[HEAD + SUM..]).to_le_bytes();
    piece[HEAD..HEAD + SUM].copy_from_slice(&sum);
    piece
}

/// The body of a batch, and what it says.
pub(super) fn decode(body: &[u8]) -> Option<RecordBatch<'_>> {
    let (sum, rest) = body.split_first_chunk::<SUM>()?;
    (crc32fast::hash(rest) == u32::from_le_bytes(*sum)).then(|| rmp_serde::from_slice(rest).ok())?
}
