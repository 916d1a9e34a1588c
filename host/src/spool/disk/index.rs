//! What the index over the chunks is kept in: sled, named here and nowhere else. What is taken of it, how its errors are met, and how
//! calls into it are made: it panics over some damage.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(super) use sled::{
    Batch as IndexBatch, Config as IndexOptions, Db as IndexFile, IVec as IndexBytes,
    Result as IndexResult, Tree as IndexTree,
};

use crate::spool::disk::error::StoreError;

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                Self::Damaged(error.to_string())
            }
            sled::Error::Io(error) => Self::Disk(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// Runs sled code; a panic in it is damage.
pub(super) fn guarded<T>(work: impl FnOnce() -> IndexResult<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Ok(result?),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Err(StoreError::Damaged(format!(
                "sled panicked: {}",
                text.unwrap_or("without a word")
            )))
        }
    }
}
