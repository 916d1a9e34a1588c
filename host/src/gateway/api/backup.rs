//! A backup of the running gateway: gathered at one moment, read page by page, and removed at the end, or when nobody has read
//! for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Bytes;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::admin::{ApiResult, Caller, json};
use crate::backup::BackupError;
use crate::backup::gathered::{BackupFile, Gathered};
use crate::gateway::running::RunningGateway;

/// Bytes of one page.
pub const PAGE: u64 = 4 << 20;
/// Whoever has not read for so long does not come back: what is kept for him takes room.
const FORGOTTEN: Duration = Duration::from_secs(120);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum BackupRequest {
    /// Gather everything: [`BackupContents`]. One that was begun before is removed.
    Begin,
    /// Bytes of a file from a place on: [`BackupPage`].
    Read {
        number: u64,
        name: String,
        from: u64,
    },
    /// It is not needed any more: [`BackupPage`], without bytes.
    End { number: u64 },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackupContents {
    /// By which it is read.
    pub number: u64,
    pub gateway: String,
    pub files: Vec<BackupFile>,
    /// Plugins' files that are not in it, since they lie elsewhere than below the config's folder.
    pub elsewhere: Vec<String>,
}

/// A part of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackupPage {
    /// In base64; empty behind the end.
    pub bytes: String,
}

/// The backup that is being read, if there is one.
#[derive(Debug, Default)]
pub struct RunningBackup(Mutex<BackupState>);

#[derive(Debug, Default)]
struct BackupState {
    last: u64,
    gathered: Option<(Arc<Gathered>, Instant)>,
}

/// Somebody has begun another one, or it was forgotten.
#[derive(Debug, thiserror::Error)]
#[error("this backup is not there any more: another one was begun, or nobody read for {} s", FORGOTTEN.as_secs())]
pub struct BackupGone;

impl RunningBackup {
    fn lock(&self) -> MutexGuard<'_, BackupState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, running: &RunningGateway) -> Result<BackupContents, BackupError> {
        // The folder of the one before goes first.
        drop(self.lock().gathered.take());
        let config = running.current.now();
        let file = running.standing.look().file;
        let snapshot = |into: &std::path::Path| running.spool.snapshot(into);
        let gathered = Gathered::gather(&config, &file, snapshot)?;
        let elsewhere = gathered.elsewhere().iter();
        let elsewhere = elsewhere.map(|path| path.display().to_string()).collect();
        let mut state = self.lock();
        state.last += 1;
        let contents = BackupContents {
            number: state.last,
            gateway: config.gateway.name.to_string(),
            files: gathered.files().to_vec(),
            elsewhere,
        };
        state.gathered = Some((Arc::new(gathered), Instant::now()));
        Ok(contents)
    }

    fn of(&self, number: u64) -> Result<Arc<Gathered>, BackupGone> {
        let mut state = self.lock();
        let is_last = state.last == number;
        let found = state.gathered.as_mut().filter(|_| is_last);
        let (gathered, read) = found.ok_or(BackupGone)?;
        *read = Instant::now();
        Ok(Arc::clone(gathered))
    }

    /// Removes it, and answers whether anything is left to look after.
    fn end(&self, number: u64, is_over: impl Fn(Instant) -> bool) -> bool {
        let mut state = self.lock();
        let is_last = state.last == number;
        let ended = state
            .gathered
            .take_if(|(_, read)| is_last && is_over(*read));
        let is_left = is_last && state.gathered.is_some();
        drop(state);
        drop(ended);
        is_left
    }
}

/// Takes a [`BackupRequest`], which says what its answer is.
pub(super) async fn ask(
    State(running): State<Arc<RunningGateway>>,
    State(backup): State<Arc<RunningBackup>>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> ApiResult {
    match serde_json::from_slice(&body)? {
        BackupRequest::Begin => {
            tracing::info!(who = caller.words(), "an operator makes a backup");
            let making = Arc::clone(&backup);
            let begun = tokio::task::spawn_blocking(move || making.begin(&running));
            let contents = begun.await??;
            tokio::spawn(forget(backup, contents.number));
            Ok(json(&contents))
        }
        BackupRequest::Read { number, name, from } => {
            let gathered = backup.of(number)?;
            let read = tokio::task::spawn_blocking(move || gathered.read(&name, from, PAGE));
            let bytes = STANDARD.encode(read.await??);
            Ok(json(&BackupPage { bytes }))
        }
        BackupRequest::End { number } => {
            tokio::task::spawn_blocking(move || backup.end(number, |_| true)).await?;
            let bytes = String::new();
            Ok(json(&BackupPage { bytes }))
        }
    }
}

/// Removes it once nobody reads any more.
async fn forget(backup: Arc<RunningBackup>, number: u64) {
    loop {
        tokio::time::sleep(FORGOTTEN).await;
        let is_over = |read: Instant| read.elapsed() >= FORGOTTEN;
        let backup = Arc::clone(&backup);
        let end = tokio::task::spawn_blocking(move || backup.end(number, is_over));
        if !end.await.unwrap_or_default() {
            return;
        }
    }
}
