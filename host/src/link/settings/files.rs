//! The files that decide whether the other end lets us in: where one of them changes, a refusal is not waited out. A password or a
//! certificate may have been half written when it was read.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::secret::Secret;

/// How often they are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Which file it is, its length, and when it was written: seconds, and nanoseconds of a second.
type FileStamp = (u64, u64, i64, i64);

/// Files of secrets and certificates, and how they were before the last dial.
#[derive(Clone, Debug, Default)]
pub struct SecretFiles {
    paths: Arc<[PathBuf]>,
    seen: Vec<Option<FileStamp>>,
}

impl SecretFiles {
    /// Those of a connection.
    pub fn of<'a>(
        secrets: impl IntoIterator<Item = &'a Secret>,
        certificates: impl IntoIterator<Item = PathBuf>,
    ) -> Self {
        let secrets = secrets.into_iter().filter_map(Secret::file_behind);
        let secrets = secrets.map(|path| path.to_path_buf());
        Self {
            paths: secrets.chain(certificates).collect(),
            seen: Vec::new(),
        }
    }

    /// Notes how they are.
    pub(in crate::link) async fn note(&mut self) {
        self.seen = self.look().await;
    }

    /// Waits until one of them is not as it was noted.
    pub(in crate::link) async fn changed(&self) {
        if self.paths.is_empty() {
            return std::future::pending().await;
        }
        while self.look().await == self.seen {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// On a thread that may wait for the disk.
    async fn look(&self) -> Vec<Option<FileStamp>> {
        if self.paths.is_empty() {
            return Vec::new();
        }
        let paths = Arc::clone(&self.paths);
        let look = move || {
            let mark = |path: &PathBuf| {
                let about = crate::file::about(path).ok()?;
                Some((about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
            };
            paths.iter().map(mark).collect()
        };
        tokio::task::spawn_blocking(look).await.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_written_absent_or_replaced_has_changed_and_one_that_rests_has_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "hun").unwrap();
        let mut files = SecretFiles::of([&Secret::in_file(&path), &Secret::new("x")], []);
        assert_eq!(files.paths.len(), 1);
        files.note().await;
        assert_eq!(files.look().await, files.seen);
        std::fs::write(&path, "hunter2").unwrap();
        files.changed().await;
        files.note().await;
        std::fs::remove_file(&path).unwrap();
        files.changed().await;
        files.note().await;
        std::fs::write(&path, "hunter2").unwrap();
        files.changed().await;
    }
}
