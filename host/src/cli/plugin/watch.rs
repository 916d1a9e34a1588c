//! Waits until something is saved. It looks a few times a second: what an author has is a handful of files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const EVERY: Duration = Duration::from_millis(250);
/// Files that are looked at, and how deep their folders may lie.
const MOST_FILES: usize = 10_000;
const DEEPEST: usize = 8;

type FileStamps = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// Waits until a file of these, or below these folders, is another one; of what is built nothing counts.
pub(super) fn until_changed(paths: &[PathBuf]) {
    let before = look(paths);
    loop {
        std::thread::sleep(EVERY);
        let now = look(paths);
        // A second look finds it whole: an editor writes in pieces.
        if now != before
            && now == {
                std::thread::sleep(EVERY);
                look(paths)
            }
        {
            return;
        }
    }
}

fn look(paths: &[PathBuf]) -> FileStamps {
    let mut seen = FileStamps::new();
    paths.iter().for_each(|path| put(path, DEEPEST, &mut seen));
    seen
}

fn put(path: &Path, depth: usize, seen: &mut FileStamps) {
    let Ok(found) = path.metadata() else { return };
    if seen.len() >= MOST_FILES {
        return;
    }
    if !found.is_dir() {
        seen.insert(path.to_owned(), (found.modified().ok(), found.len()));
        return;
    }
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let is_made = ["target", "node_modules", "__pycache__"].contains(&name)
        || name.starts_with('.') && name.len() > 2;
    if is_made || depth == 0 {
        return;
    }
    let entries = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    entries.for_each(|entry| put(&entry.path(), depth - 1, seen));
}
