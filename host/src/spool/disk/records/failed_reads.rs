//! Files that cannot be read, each since when it was not read once: what fails now and then is never given up.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::spool::lock::locked;

/// How long one file may refuse to be read: as long as a chunk.
const PATIENCE: Duration = if cfg!(test) {
    Duration::from_millis(500)
} else {
    Duration::from_secs(30)
};

#[derive(Debug, Default)]
pub(crate) struct FailedReads {
    since: Mutex<BTreeMap<PathBuf, Instant>>,
}

impl FailedReads {
    /// The file was read.
    pub(crate) fn read(&self, path: &Path) {
        locked(&self.since).remove(path);
    }

    /// The file could not be read: whether it was asked for long enough.
    pub(crate) fn failed(&self, path: &Path, now: Instant) -> bool {
        let since = *locked(&self.since).entry(path.to_owned()).or_insert(now);
        now >= since + PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fails_all_the_time_has_failed_for_long() {
        let (failed_reads, start) = (FailedReads::default(), Instant::now());
        let (one, other) = (Path::new("one"), Path::new("other"));
        assert!(!failed_reads.failed(one, start) && !failed_reads.failed(other, start));
        failed_reads.read(one);
        let later = start + PATIENCE;
        assert!(!failed_reads.failed(one, later) && failed_reads.failed(other, later));
    }
}
