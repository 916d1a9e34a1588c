//! What lies on disk: chunks in their files (`log`), letters, ledger and state in theirs (`records`), and in sled the index
//! over the chunks. The only part that names sled.
//!
//! ```text
//! default tree            "format" → u8, "store" → name
//! "queue:<uplink>:<class>"  'c' + first place (u64, big endian) → where its chunk lies;
//!                         'm' → mark (low, end, owed, bytes, clock);  'p' → up to where the files are in here;
//!                         'n' → number of the last batch of the records that gave up something of this queue
//! ```
//!
//! sled takes what it cannot read for the end of its log, so it holds nothing that is not found again in the files: an index
//! that is lost, or does not know what the records know, is made up from them.
//!
//! A commit is the chunks, one batch of the records, and one sync; what is given up goes from the index only behind that.
//! What the index has not heard of is found again at the end of the files. sled is told durably of deletes: its `flush`, which
//! alone does not survive a power cut, and a `syncfs` behind it. sled is never flushed without that: it writes over what it
//! has freed before the growing end of its file is on the medium.
//!
//! sled panics on some damage, so every call is caught. After one failed write a handle is dead: it must be opened anew.

pub(crate) mod audit;
pub(crate) mod chunk;
pub(crate) mod error;
pub(crate) mod fault_injection;
pub(crate) mod folder;
pub(crate) mod format_before;
pub(crate) mod frame;
pub(crate) mod held;
pub(crate) mod identity;
mod index;
pub(crate) mod log;
pub(crate) mod low_marks;
pub(crate) mod mark;
pub(crate) mod name;
pub(crate) mod open;
pub(crate) mod queue_store;
pub(crate) mod ram_copy;
pub(crate) mod records;
pub(crate) mod recover;
pub(crate) mod reseal;
pub(crate) mod sealing;
pub(crate) mod snapshot;
pub(crate) mod store;

pub(crate) const FORMAT: u8 = 4;
/// Letters, ledger and state lay in sled, too; they are taken over. In 3 something was sealed.
pub(crate) const FORMATS_BEFORE: [u8; 2] = [2, 3];
