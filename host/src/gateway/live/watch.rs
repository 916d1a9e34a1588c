//! Notices that a file has new content, whatever way it came: written in place, renamed over, a symlink flipped,
//! deleted and made again.
//!
//! Nothing guarantees an event, and no kind of event says that a file is complete. So an event only means "look",
//! and there is a look every few seconds anyway. What counts is the content: it is reported when size, times and
//! hash have stood still for a while and the hash is a new one.

mod content;

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use content::{ContentDigest, Signature, digest, is_whole, read};

/// How long a file must stand still before it is read for good.
const SETTLE: Duration = Duration::from_millis(200);

/// The same for a file that looks cut short: a slow copy pauses longer than that.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks without an event, with and without a working watch.
const SCAN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_secs(1);

/// What is in a file at this moment, as far as one is watched.
pub(super) fn content_now(path: &Path) -> std::io::Result<Vec<u8>> {
    read(path)
}

/// A running watch. Dropping it stops it, and waits for a call of `on_change` that is under way.
#[derive(Debug)]
pub(super) struct FileWatch {
    bell: SyncSender<()>,
    signals: Arc<WatchSignals>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct WatchSignals {
    stop: AtomicBool,
    /// The watch does not work any more, and why.
    lost: Mutex<Option<String>>,
}

impl FileWatch {
    /// Watches `files`, which need not exist yet. What is in them now counts as known; `on_change` is called on the
    /// watch's own thread with each new content, and may take its time. Start the watch before reading the files,
    /// and no change is missed.
    ///
    /// # Errors
    /// No thread is to be had. That the system cannot watch is none: then the files are looked at every second.
    pub(super) fn start(
        files: Vec<PathBuf>,
        on_change: impl FnMut(&Path, Vec<u8>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let (bell, rings) = sync_channel(1);
        let signals = Arc::new(WatchSignals::default());
        let files = files.into_iter().map(Tracked::new).collect();
        let eyes = Eyes::open(bell.clone(), Arc::clone(&signals));
        let mut round = WatchThread {
            files,
            eyes,
            rings,
            signals: Arc::clone(&signals),
            on_change,
        };
        let thread = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || crate::thread::keep("watch", || round.run()))?;
        Ok(Self {
            bell,
            signals,
            thread: Some(thread),
        })
    }
}

impl Drop for FileWatch {
    fn drop(&mut self) {
        self.signals.stop.store(true, Ordering::Release);
        // A bell that rings already is as good.
        let _ = self.bell.try_send(());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the file watch ended by a panic");
        }
    }
}

/// The thread's own part.
struct WatchThread<F> {
    files: Vec<Tracked>,
    eyes: Eyes,
    rings: Receiver<()>,
    signals: Arc<WatchSignals>,
    on_change: F,
}

impl<F: FnMut(&Path, Vec<u8>)> WatchThread<F> {
    fn run(&mut self) {
        let mut due = Instant::now();
        while !self.stopping() {
            match self
                .rings
                .recv_timeout(due.saturating_duration_since(Instant::now()))
            {
                // Events come in swarms: one look for all of them, and not later than promised.
                Ok(()) => due = due.min(Instant::now() + SETTLE),
                Err(RecvTimeoutError::Timeout) => due = Instant::now() + self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn stopping(&self) -> bool {
        self.signals.stop.load(Ordering::Acquire)
    }

    /// Looks at every file; the answer is when to look again.
    fn look(&mut self) -> Duration {
        let mut next = self.eyes.aim(&self.files);
        for file in &mut self.files {
            match file.look(Instant::now()) {
                FileLook::Quiet => {}
                FileLook::Again(wait) => next = next.min(wait),
                FileLook::Changed(content) => (self.on_change)(&file.path, content),
            }
        }
        next
    }
}

/// The system's watch on the folders; a file's own watch is silent for ever after a rename over it.
struct Eyes {
    watcher: Option<RecommendedWatcher>,
    watched: Vec<(PathBuf, (u64, u64))>,
    signals: Arc<WatchSignals>,
}

impl Eyes {
    fn open(bell: SyncSender<()>, signals: Arc<WatchSignals>) -> Self {
        let seen = Arc::clone(&signals);
        let handler = move |event: notify::Result<notify::Event>| {
            match event {
                Ok(event) if is_reading(event.kind) => return,
                Ok(_) => {}
                Err(error) => {
                    *seen.lost.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(error.to_string())
                }
            }
            // A bell that rings already is as good.
            let _ = bell.try_send(());
        };
        let watcher = match notify::recommended_watcher(handler) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                poll_instead(&error.to_string());
                None
            }
        };
        Self {
            watcher,
            watched: Vec::new(),
            signals,
        }
    }

    /// Watches the folders of the files and of what they link to; a folder that was replaced anew. The answer is the
    /// interval of looks.
    fn aim(&mut self, files: &[Tracked]) -> Duration {
        if let Some(why) = self
            .signals
            .lost
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            poll_instead(&why);
            self.watcher = None;
        }
        let Some(watcher) = &mut self.watcher else {
            return POLL;
        };
        for folder in files.iter().flat_map(Tracked::folders) {
            let Ok(metadata) = crate::file::about(&folder) else {
                continue;
            };
            let identity = (metadata.dev(), metadata.ino());
            if self
                .watched
                .iter()
                .any(|watched| *watched == (folder.clone(), identity))
            {
                continue;
            }
            self.watched.retain(|(path, _)| *path != folder);
            if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                poll_instead(&error.to_string());
                self.watcher = None;
                return POLL;
            }
            self.watched.push((folder, identity));
        }
        SCAN
    }
}

fn poll_instead(why: &str) {
    let todo = "where a limit is reached, raise fs.inotify.max_user_instances and fs.inotify.max_user_watches";
    tracing::warn!(interval = ?POLL, "files cannot be watched and are looked at instead: {why}; {todo}");
}

/// Reading a file changes nothing, and we read it ourselves.
fn is_reading(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

/// A look at a file.
#[derive(Debug, PartialEq, Eq)]
enum FileLook {
    Quiet,
    Again(Duration),
    Changed(Vec<u8>),
}

/// A file on its way to new content.
#[derive(Clone, Copy, Debug)]
struct PendingFile {
    signature: Signature,
    digest: ContentDigest,
    since: Instant,
    patience: Duration,
}

#[derive(Debug)]
struct Tracked {
    path: PathBuf,
    known: Option<ContentDigest>,
    signature: Option<Signature>,
    pending: Option<PendingFile>,
}

impl Tracked {
    fn new(path: PathBuf) -> Self {
        let signature = Signature::of(&path).ok();
        let known = read(&path).ok().map(|content| digest(&content));
        Self {
            path,
            known,
            signature,
            pending: None,
        }
    }

    fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let target = std::fs::canonicalize(&self.path).ok();
        let own = Some(self.path.clone()).filter(|path| path.is_dir());
        let around = [Some(self.path.clone()), target];
        let around = around.into_iter().flatten().filter_map(|path| {
            let parent = path.parent()?;
            Some(if parent.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                parent.to_owned()
            })
        });
        around.chain(own)
    }

    fn look(&mut self, now: Instant) -> FileLook {
        let Some(signature) = self.stat() else {
            return FileLook::Quiet;
        };
        if self.pending.is_none() && self.signature == Some(signature) {
            return FileLook::Quiet;
        }
        match self.pending {
            Some(pending)
                if pending.signature == signature
                    && now.saturating_duration_since(pending.since) < pending.patience =>
            {
                FileLook::Again(pending.patience - now.saturating_duration_since(pending.since))
            }
            _ => self.settle(signature, now),
        }
    }

    fn stat(&mut self) -> Option<Signature> {
        match Signature::of(&self.path) {
            Ok(signature) => Some(signature),
            Err(error) => {
                if self.signature.take().is_some() {
                    let gone = error.kind() == ErrorKind::NotFound;
                    let what = if gone {
                        "watched file is gone; what runs stays"
                    } else {
                        "watched file cannot be looked at; what runs stays"
                    };
                    tracing::warn!(path = %self.path.display(), %error, "{what}");
                }
                self.pending = None;
                None
            }
        }
    }

    /// Reads the file; what was read twice the same, some time apart, is its content.
    fn settle(&mut self, signature: Signature, now: Instant) -> FileLook {
        let content = match read(&self.path) {
            Ok(content) => content,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "watched file has changed and cannot be read");
                (self.signature, self.pending) = (Some(signature), None);
                return FileLook::Quiet;
            }
        };
        let digest = digest(&content);
        if !self
            .pending
            .is_some_and(|pending| pending.signature == signature && pending.digest == digest)
        {
            let patience = if is_whole(&content) { SETTLE } else { PATIENCE };
            self.pending = Some(PendingFile {
                signature,
                digest,
                since: now,
                patience,
            });
            return FileLook::Again(patience.min(SETTLE));
        }
        (self.signature, self.pending) = (Some(signature), None);
        if self.known.replace(digest) == Some(digest) {
            FileLook::Quiet
        } else {
            FileLook::Changed(content)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Looks until nothing is pending, with a clock that the looks themselves move on.
    fn settled(file: &mut Tracked, now: &mut Instant) -> Vec<Vec<u8>> {
        let mut changes = Vec::new();
        loop {
            match file.look(*now) {
                FileLook::Quiet => return changes,
                FileLook::Again(wait) => *now += wait,
                FileLook::Changed(content) => changes.push(content),
            }
        }
    }

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rule.wasm");
        fs::write(&path, "one").unwrap();
        (folder, path)
    }

    #[test]
    fn every_way_to_replace_a_file_is_one_change() {
        let (folder, path) = folder();
        let (mut file, mut now) = (Tracked::new(path.clone()), Instant::now());
        assert!(
            settled(&mut file, &mut now).is_empty(),
            "what was there is known"
        );

        fs::write(&path, "in place").unwrap();
        assert_eq!(settled(&mut file, &mut now), [b"in place"]);

        fs::write(folder.path().join("new"), "renamed").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(settled(&mut file, &mut now), [b"renamed"]);

        fs::remove_file(&path).unwrap();
        assert!(settled(&mut file, &mut now).is_empty());
        fs::write(&path, "made again").unwrap();
        assert_eq!(settled(&mut file, &mut now), [b"made again"]);

        for target in ["a", "b"] {
            fs::write(folder.path().join(target), target).unwrap();
        }
        for target in ["a", "b"] {
            let link = folder.path().join("link");
            symlink(target, &link).unwrap();
            fs::rename(&link, &path).unwrap();
            assert_eq!(settled(&mut file, &mut now), [target.as_bytes()]);
        }
    }

    #[test]
    fn a_touch_and_the_same_content_again_are_no_change() {
        let (_folder, path) = folder();
        let (mut file, mut now) = (Tracked::new(path.clone()), Instant::now());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "one").unwrap();
        assert!(settled(&mut file, &mut now).is_empty());
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        assert!(settled(&mut file, &mut now).is_empty());
    }

    #[test]
    fn a_file_that_still_grows_is_waited_for() {
        let (_folder, path) = folder();
        let (mut file, mut now) = (Tracked::new(path.clone()), Instant::now());
        for content in ["t", "tw", "two"] {
            fs::write(&path, content).unwrap();
            assert!(matches!(file.look(now), FileLook::Again(_)), "{content}");
            now += SETTLE / 2;
        }
        assert_eq!(settled(&mut file, &mut now), [b"two"]);
    }

    #[test]
    fn a_half_written_component_is_reported_only_if_it_stays() {
        let (_folder, path) = folder();
        let (mut file, begun) = (Tracked::new(path.clone()), Instant::now());
        let mut now = begun;
        let whole = b"\0asm\x0d\0\x01\0\x00\x03\x01ab";
        fs::write(&path, &whole[..10]).unwrap();
        assert!(matches!(file.look(now), FileLook::Again(_)));
        assert!(
            matches!(file.look(now + SETTLE * 2), FileLook::Again(_)),
            "not after the short time"
        );
        fs::write(&path, whole).unwrap();
        assert_eq!(settled(&mut file, &mut now), [whole]);

        fs::write(&path, &whole[..9]).unwrap();
        let before = now;
        assert_eq!(settled(&mut file, &mut now), [&whole[..9]]);
        assert!(now - before >= PATIENCE);
    }

    #[test]
    fn the_system_tells_and_the_callback_hears() {
        let (_folder, path) = folder();
        let (sender, heard) = sync_channel(8);
        let watch = FileWatch::start(vec![path.clone()], move |path, content| {
            sender.send((path.to_owned(), content)).unwrap()
        })
        .unwrap();
        fs::write(&path, "two").unwrap();
        let change = heard.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(change, (path, b"two".to_vec()));
        drop(watch);
        assert!(heard.recv().is_err(), "the callback is gone");
    }

    #[test]
    fn when_the_system_does_not_watch_any_more_files_are_looked_at() {
        let (_folder, path) = folder();
        let (signals, (bell, rings)) = (Arc::new(WatchSignals::default()), sync_channel(1));
        let files = vec![Tracked::new(path.clone())];
        let mut eyes = Eyes::open(bell.clone(), Arc::clone(&signals));
        *signals.lost.lock().unwrap() = Some("no watch is left".to_owned());
        assert_eq!(eyes.aim(&files), POLL);
        assert!(eyes.watcher.is_none());

        let (sender, heard) = sync_channel(8);
        let on_change = move |_: &Path, content| sender.send(content).unwrap();
        let mut round = WatchThread {
            files,
            eyes,
            rings,
            signals: Arc::clone(&signals),
            on_change,
        };
        let thread = std::thread::spawn(move || round.run());
        fs::write(&path, "two").unwrap();
        assert_eq!(heard.recv_timeout(Duration::from_secs(30)).unwrap(), b"two");
        signals.stop.store(true, Ordering::Release);
        bell.send(()).unwrap();
        thread.join().unwrap();
    }
}
