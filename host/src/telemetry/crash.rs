//! What is kept of a panic of the host's own code: said in the log with its stack, and in a file of the data folder, where
//! `tidegate status` finds it after the process is gone, too.

use std::fs;
use std::panic::PanicHookInfo;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::{Now, utc};
use crate::file;
use crate::words;

/// The folder in the data folder.
const FOLDER: &str = "crashes";
/// So many are kept, the newest.
const MOST: usize = 16;
/// Of one place in one run so many are written: what panics again and again shall not wear the card out.
const OF_A_PLACE: usize = 3;
/// Frames of a stack that are kept, and letters of each.
const FRAMES: usize = 40;
const FRAME: usize = 160;
const FILE_BYTES: u64 = 64 << 10;

/// A panic of the host's own code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// When it happened, UTC, as in the log.
    pub at: String,
    /// Version of the gateway.
    pub version: String,
    /// Name of the thread.
    pub thread: String,
    /// File, line and column.
    pub place: String,
    /// In its own words.
    pub what: String,
    /// Frames of the stack, the innermost first.
    pub stack: Vec<String>,
}

/// What this process knows of them, and where it keeps them.
#[derive(Debug)]
struct CrashLog {
    folder: Option<PathBuf>,
    /// Those that are kept, the oldest first.
    crashes: Vec<Crash>,
    /// How many of them there have been since the start.
    here: usize,
}

static KNOWN: Mutex<CrashLog> = Mutex::new(CrashLog {
    folder: None,
    crashes: Vec::new(),
    here: 0,
});

fn known() -> MutexGuard<'static, CrashLog> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on they are kept in this data folder, with those that lie there.
pub fn keep_in(data_dir: &Path) {
    let mut earlier = read(data_dir);
    let mut known = known();
    earlier.append(&mut known.crashes);
    known.crashes = earlier;
    known.folder = Some(data_dir.join(FOLDER));
}

/// Those that are kept, the oldest first, and how many there were since the start.
pub fn all() -> (Vec<Crash>, usize) {
    let known = known();
    (known.crashes.clone(), known.here)
}

/// Those that lie in a data folder, the oldest first.
pub fn read(data_dir: &Path) -> Vec<Crash> {
    let text = |path: PathBuf| file::read_text(&path, FILE_BYTES).ok();
    let crash = |text: String| serde_json::from_str::<Crash>(&text).ok();
    files(&data_dir.join(FOLDER))
        .into_iter()
        .filter_map(text)
        .filter_map(crash)
        .map(Crash::cleaned)
        .collect()
}

/// The files of records, the oldest first: their names are moments.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    files.sort();
    files
}

/// In place of the standard library's words, which go to standard error in place: a reader that has stopped would hold up
/// the stage that has panicked.
pub(super) fn tell(panic: &PanicHookInfo<'_>) {
    let now = Now::read();
    let place = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let stack = std::backtrace::Backtrace::force_capture().to_string();
    let crash = Crash {
        at: utc(now.wall.0),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        thread: std::thread::current()
            .name()
            .unwrap_or("without a name")
            .to_owned(),
        place,
        what: panic.payload_as_str().unwrap_or("without words").to_owned(),
        stack: frames(&stack),
    }
    .cleaned();
    let Crash {
        thread,
        place,
        what,
        stack,
        ..
    } = &crash;
    let stack = stack.join(" < ");
    tracing::error!(
        thread,
        place,
        stack,
        "a panic of the host's own code: {what}"
    );
    known().note(crash, now);
}

/// The functions of a stack, without what the panic itself adds, and the files of ours.
fn frames(stack: &str) -> Vec<String> {
    let mut frames: Vec<String> = Vec::new();
    for line in stack.lines().map(str::trim) {
        if let Some(file) = line.strip_prefix("at ") {
            if let (Some(frame), Some((_, own))) =
                (frames.last_mut(), file.rsplit_once("host/src/"))
            {
                frame.push_str(&format!(" ({own})"));
            }
        } else if let Some((_, function)) = line.split_once(": ") {
            frames.push(function.to_owned());
        }
    }
    let is_ours = |frame: &String| {
        let machinery = [
            "std::",
            "core::",
            "rust_begin_unwind",
            "__rustc",
            "_rust",
            "<alloc::boxed",
        ];
        !machinery.iter().any(|begin| frame.starts_with(begin))
            && !frame.contains("telemetry::crash")
    };
    let ours = frames.into_iter().filter(is_ours);
    ours.take(FRAMES).collect()
}

impl Crash {
    /// A file may have been written by anybody who can write there; what panics may speak of what came from outside.
    fn cleaned(self) -> Self {
        let line = |text: String| words::line(&text, FRAME * 2);
        let stack = self.stack.into_iter().take(FRAMES);
        Self {
            at: line(self.at),
            version: line(self.version),
            thread: line(self.thread),
            place: line(self.place),
            what: line(self.what),
            stack: stack.map(|frame| words::line(&frame, FRAME)).collect(),
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        self.place == other.place && self.thread == other.thread
    }
}

impl CrashLog {
    fn note(&mut self, crash: Crash, now: Now) {
        let before = self.crashes.iter().rev().take(self.here);
        let alike = before.filter(|known| known.is_like(&crash)).count();
        self.here += 1;
        if alike < OF_A_PLACE
            && let Some(folder) = &self.folder
        {
            write(folder, &crash, now);
        }
        self.crashes.push(crash);
        let over = self.crashes.len().saturating_sub(MOST);
        self.crashes.drain(..over);
    }
}

/// What the disk does not take is in the log, and in what `status` says as long as the process lives.
fn write(folder: &Path, crash: &Crash, now: Now) {
    let Ok(text) = serde_json::to_vec(crash) else {
        return;
    };
    let name = format!("{:020}.json", now.wall.0);
    let _ = fs::create_dir_all(folder).and_then(|()| fs::write(folder.join(name), text));
    let files = files(folder);
    let over = files.len().saturating_sub(MOST);
    for file in &files[..over] {
        let _ = fs::remove_file(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Uptime, WallTime};

    fn at(place: &str) -> Crash {
        Crash {
            place: place.to_owned(),
            thread: "worker".to_owned(),
            what: "told to".to_owned(),
            ..Crash::default()
        }
    }

    fn moment(wall_us: u64) -> Now {
        Now {
            wall: WallTime(wall_us),
            uptime: Uptime(wall_us),
        }
    }

    #[test]
    fn the_newest_are_kept_and_what_panics_again_and_again_is_written_three_times() {
        let folder = tempfile::tempdir().unwrap();
        let mut known = CrashLog {
            folder: Some(folder.path().join(FOLDER)),
            crashes: Vec::new(),
            here: 0,
        };
        for number in 0..10 {
            known.note(at("a.rs:1:1"), moment(number));
        }
        assert_eq!(read(folder.path()), vec![at("a.rs:1:1"); 3]);
        for number in 10..40 {
            known.note(at(&format!("b.rs:{number}:1")), moment(number));
        }
        let kept = read(folder.path());
        assert_eq!(
            (kept.len(), known.crashes.len(), known.here),
            (MOST, MOST, 40)
        );
        assert_eq!(kept.last().unwrap().place, "b.rs:39:1");
        assert_eq!(kept, known.crashes);
    }

    #[test]
    fn what_lies_there_may_be_anything() {
        let folder = tempfile::tempdir().unwrap();
        let crashes = folder.path().join(FOLDER);
        fs::create_dir(&crashes).unwrap();
        fs::write(crashes.join("1.json"), "no JSON").unwrap();
        fs::create_dir(crashes.join("2.json")).unwrap();
        let bad = Crash {
            what: "\u{1b}[2J".repeat(1_000),
            stack: vec!["f".to_owned(); 400],
            ..at("x")
        };
        fs::write(crashes.join("3.json"), serde_json::to_vec(&bad).unwrap()).unwrap();
        let found = read(folder.path());
        assert_eq!(found.len(), 1);
        assert!(!found[0].what.contains('\u{1b}') && found[0].stack.len() == FRAMES);
        assert_eq!(read(&folder.path().join("none")), []);
    }

    #[test]
    fn a_stack_has_our_functions_with_their_places() {
        let stack = "   0: std::backtrace::capture\n             at /rustc/x/library/std/src/backtrace.rs:1:2\n   1: tidegate::spool::writer::Writer::turn\n             at /home/me/tidegate/host/src/spool/writer/mod.rs:7:9\n   2: core::ops::function\n   3: tidegate::thread::keep\n";
        assert_eq!(
            frames(stack),
            [
                "tidegate::spool::writer::Writer::turn (spool/writer/mod.rs:7:9)",
                "tidegate::thread::keep"
            ]
        );
    }
}
