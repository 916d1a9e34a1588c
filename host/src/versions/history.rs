//! Who changed what, and what came of it: one line of JSON for each event, oldest first. Append-only and bounded: at
//! 1 MiB the file becomes `history.1`, in place of the one before. A line is on the medium before the next thing
//! happens; a last line that a power cut has torn is read past.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::files;
use crate::clock::{Now, utc};
use crate::file;

const FILE: &str = "history";
const OLDER: &str = "history.1";
const MAX_BYTES: u64 = 1 << 20;

/// Who wants a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case")]
pub enum Who {
    /// A user at the control socket.
    Operator {
        /// Number of the user.
        uid: u32,
        /// Name of the user, where this machine's own list has it.
        user: Option<String>,
    },
    /// Whoever has a token for the admin port.
    Token {
        /// Its name in the config.
        token: String,
        /// The address that it came from.
        from: String,
    },
    /// A plugin's file was changed.
    File,
    /// The config was changed.
    Config,
    Start,
    /// A plugin's breaker opened.
    Breaker,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryEvent {
    pub at: String,
    #[serde(flatten)]
    pub who: Who,
    /// Its flow; empty where it is about the whole config.
    #[serde(default)]
    pub flow: String,
    #[serde(default)]
    pub plugin: String,
    /// `begun`, a state of the swap, `fallen-back`, `not-tried`, `reloaded` and so on.
    pub what: String,
    /// Digest of the version that ran before, or runs on.
    #[serde(default)]
    pub old: String,
    /// Digest of the version it is about.
    #[serde(default)]
    pub new: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<serde_json::Value>,
}

impl Who {
    pub fn name(&self) -> String {
        match self {
            Self::Operator {
                user: Some(user), ..
            } => user.clone(),
            Self::Operator { uid, .. } => format!("user {uid}"),
            Self::Token { token, from } => format!("token {token} from {from}"),
            Self::File => "file".to_owned(),
            Self::Config => "config".to_owned(),
            Self::Start => "start".to_owned(),
            Self::Breaker => "breaker".to_owned(),
        }
    }
}

impl HistoryEvent {
    /// Something that happens now; digests and words may be added.
    pub fn now(who: &Who, flow: &str, plugin: &str, what: &str) -> Self {
        Self {
            at: utc(Now::read().wall.0),
            who: who.clone(),
            flow: flow.to_owned(),
            plugin: plugin.to_owned(),
            what: what.to_owned(),
            old: String::new(),
            new: String::new(),
            why: None,
            figures: None,
        }
    }
}

/// The history of a gateway.
#[derive(Clone, Debug)]
pub struct History {
    folder: PathBuf,
    /// What waits until the work of [`History::together`] is done.
    put_off: Arc<Mutex<Option<Vec<HistoryEvent>>>>,
}

impl History {
    /// Of a data folder.
    pub fn of(data_dir: &Path) -> Self {
        Self {
            folder: super::folder(data_dir),
            put_off: Arc::default(),
        }
    }

    /// What is noted while `work` runs is written together behind it: the first start of many flows notes each of their
    /// plugins, and a card takes some milliseconds for every sync.
    pub fn together<R>(&self, work: impl FnOnce() -> R) -> R {
        *self.waiting() = Some(Vec::new());
        let done = work();
        let events = self.waiting().take().unwrap_or_default();
        self.write(&events);
        done
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Vec<HistoryEvent>>> {
        self.put_off.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line. Where that fails, the log has it.
    pub fn note(&self, event: &HistoryEvent) {
        match &mut *self.waiting() {
            Some(waiting) => waiting.push(event.clone()),
            None => self.write(std::slice::from_ref(event)),
        }
    }

    fn write(&self, events: &[HistoryEvent]) {
        if let Err(error) = self.append(events) {
            let path = self.folder.display();
            let events = serde_json::to_string(events).unwrap_or_default();
            tracing::warn!(%path, %error, events, "the history of changes cannot be written");
        }
    }

    fn append(&self, events: &[HistoryEvent]) -> io::Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        files::make(&self.folder)?;
        let path = self.folder.join(FILE);
        let open = || {
            OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&path)
        };
        let mut file = open()?;
        let mut length = file.metadata()?.len();
        let mut is_new = length == 0;
        let mut lines = if !is_new && !ends_with_line(&mut file)? {
            vec![b'\n']
        } else {
            Vec::new()
        };
        for event in events {
            let line = serde_json::to_vec(event).map_err(io::Error::other)?;
            if length + (lines.len() + line.len()) as u64 >= MAX_BYTES {
                file.write_all(&lines)?;
                file.sync_data()?;
                fs::rename(&path, self.folder.join(OLDER))?;
                file = open()?;
                lines.clear();
                (length, is_new) = (0, true);
            }
            lines.extend(line);
            lines.push(b'\n');
        }
        file.write_all(&lines)?;
        file.sync_data()?;
        if is_new {
            file::sync_folder(&self.folder)
        } else {
            Ok(())
        }
    }

    /// The last `most` events that `fits` wants, oldest first.
    ///
    /// # Errors
    /// The files cannot be read; that there are none is no error.
    pub fn read(
        &self,
        most: usize,
        fits: impl Fn(&HistoryEvent) -> bool,
    ) -> io::Result<Vec<HistoryEvent>> {
        let mut events = Vec::new();
        for name in [OLDER, FILE] {
            let mut text = Vec::new();
            match file::open(&self.folder.join(name)) {
                Ok(file) => file.take(2 * MAX_BYTES).read_to_end(&mut text)?,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // A torn line is none.
            let lines = text
                .split(|byte| *byte == b'\n')
                .filter_map(|line| serde_json::from_slice::<HistoryEvent>(line).ok());
            events.extend(lines.filter(&fits));
        }
        events.drain(..events.len().saturating_sub(most));
        Ok(events)
    }
}

fn ends_with_line(file: &mut File) -> io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: usize) -> HistoryEvent {
        let who = Who::Operator {
            uid: 1_000,
            user: Some("pi".to_owned()),
        };
        HistoryEvent {
            why: Some(format!("{number} {}", "x".repeat(500))),
            ..HistoryEvent::now(&who, "climate", "rule", "confirmed")
        }
    }

    #[test]
    fn what_was_noted_is_read_again_and_a_torn_line_is_read_past() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::of(folder.path());
        assert_eq!(history.read(9, |_| true).unwrap(), []);
        let events: Vec<_> = (0..3).map(event).collect();
        history.note(&events[0]);
        let path = folder.path().join("plugins").join(FILE);
        let whole = fs::read(&path).unwrap();
        for cut in 1..whole.len() {
            fs::write(&path, [&whole[..], &whole[..cut]].concat()).unwrap();
            history.note(&events[1]);
            history.note(&events[2]);
            let read = history.read(9, |_| true).unwrap();
            // A line that lacks nothing but its end is whole.
            let known: Vec<_> = read
                .into_iter()
                .skip(usize::from(cut == whole.len() - 1))
                .collect();
            assert_eq!(known, events, "cut after {cut} bytes");
            fs::write(&path, &whole).unwrap();
        }
        history.note(&events[1]);
        assert_eq!(history.read(1, |_| true).unwrap(), [events[1].clone()]);
        assert_eq!(
            history.read(9, |event| *event == events[0]).unwrap(),
            [events[0].clone()]
        );
    }

    #[test]
    fn what_is_noted_together_is_written_behind_the_work_bounded_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::of(folder.path());
        history.note(&event(0));
        history.together(|| {
            (1..5_000).for_each(|number| history.note(&event(number)));
            assert_eq!(history.read(9, |_| true).unwrap().len(), 1);
        });
        history.note(&event(5_000));
        let read: Vec<_> = history
            .read(5_000, |_| true)
            .unwrap()
            .into_iter()
            .filter_map(|event| event.why)
            .collect();
        assert!(read.len() > 1_000, "{}", read.len());
        let newest = (5_001 - read.len()..=5_000).filter_map(|number| event(number).why);
        assert!(newest.eq(read));
        for name in [FILE, OLDER] {
            let bytes = fs::metadata(folder.path().join("plugins").join(name))
                .unwrap()
                .len();
            assert!(bytes <= MAX_BYTES, "{name}: {bytes}");
        }
    }

    #[test]
    fn it_stays_bounded_and_keeps_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let history = History::of(folder.path());
        let line = serde_json::to_vec(&event(0)).unwrap().len();
        let full = MAX_BYTES as usize / line * line;
        let path = folder.path().join("plugins");
        fs::create_dir(&path).unwrap();
        for round in 0..3 {
            fs::write(path.join(FILE), vec![b'\n'; full]).unwrap();
            (0..2).for_each(|number| history.note(&event(round * 2 + number)));
        }
        let sizes = [FILE, OLDER].map(|name| fs::metadata(path.join(name)).unwrap().len());
        assert!(sizes.iter().all(|bytes| *bytes <= MAX_BYTES), "{sizes:?}");
        let read = history.read(100, |_| true).unwrap();
        assert_eq!(read.last().unwrap().why, event(5).why);
    }
}
