//! How a way into a folder begins: what a run before left there is mended.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::folder::{self, OutputFolder};
use super::mount::ask_for_disk;
use super::{Config, Error, FileCarrier};
use crate::link::{Backoff, Dial};

/// Opens one folder, always in the same way.
#[derive(Debug)]
pub(in super::super) struct FolderDialler {
    config: Arc<Config>,
    /// Of the store that messages come from.
    boot: u32,
    desk: DiskWorker,
}

/// One piece of work at a time: a disk that does not come back holds one thread, and no more.
#[derive(Clone, Debug)]
pub(super) struct DiskWorker {
    config: Arc<Config>,
    lock: Arc<Mutex<()>>,
}

/// What came of a piece of work, once the disk is through with it.
pub(super) type DiskJob<T> = tokio::task::JoinHandle<T>;

impl DiskWorker {
    /// Does it on a thread that may wait.
    pub(super) fn start<T: Send + 'static>(
        &self,
        held: OwnedMutexGuard<()>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> DiskJob<T> {
        tokio::task::spawn_blocking(move || {
            let done = work();
            drop(held);
            done
        })
    }

    /// Waits for what was begun before, for as long as the disk may take.
    pub(super) async fn take(&self) -> Result<OwnedMutexGuard<()>, Error> {
        tokio::time::timeout(self.config.answer, Arc::clone(&self.lock).lock_owned())
            .await
            .map_err(|_| self.late(self.config.answer))
    }

    /// The same if nothing is under way, which is so as long as each piece is waited for.
    pub(super) fn take_now(&self) -> Option<OwnedMutexGuard<()>> {
        Arc::clone(&self.lock).try_lock_owned().ok()
    }

    pub(super) fn late(&self, waited: Duration) -> Error {
        Error::Late {
            folder: self.config.folder.clone(),
            waited,
        }
    }
}

impl FolderDialler {
    pub(super) fn new(config: Config, boot: u32) -> Self {
        let config = Arc::new(config);
        let desk = DiskWorker {
            config: Arc::clone(&config),
            lock: Arc::default(),
        };
        Self { config, boot, desk }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }
}

impl Dial for FolderDialler {
    type Up = FileCarrier;
    type Error = Error;

    async fn dial(&self, _: u32) -> Result<FileCarrier, Error> {
        let held = self.desk.take().await?;
        let config = Arc::clone(&self.config);
        let boot = self.boot;
        let opened = self
            .desk
            .start(held, move || OutputFolder::open(&config, boot));
        let folder = tokio::time::timeout(self.config.answer, opened)
            .await
            .map_err(|_| self.desk.late(self.config.answer))?
            .map_err(|_| Error::Stopped(self.config.folder.clone()))??;
        Ok(FileCarrier::new(&self.config, folder, self.desk.clone()))
    }

    fn id(&self) -> &str {
        &self.config.id
    }

    fn backoff(&self) -> Backoff {
        self.config.backoff
    }

    fn complaint(&self) -> &'static str {
        "cannot write into the folder"
    }
}

/// Makes a file in the folder and takes it away again.
pub(in super::super) async fn reach(config: &Config) -> Result<String, Error> {
    let (folder, note) = (config.folder.clone(), config.mounted.clone());
    let tried = tokio::task::spawn_blocking(move || {
        if let Some(note) = note {
            ask_for_disk(&folder, &note)?;
        }
        folder::try_out(&folder)
    });
    let late = || Error::Late {
        folder: config.folder.clone(),
        waited: config.answer,
    };
    tokio::time::timeout(config.answer, tried)
        .await
        .map_err(|_| late())?
        .map_err(|_| Error::Stopped(config.folder.clone()))??;
    Ok("the folder is there, and takes files".to_owned())
}
