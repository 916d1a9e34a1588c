//! The files of a store as they are between two commits. Chunks and records only grow, so a second name for each file and its
//! length at this moment are enough, which costs no bytes; what is written in place is copied.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What is written in place, and small.
const IN_PLACE: [&str; 3] = ["lock", "low", "keys"];
/// Looks at a file that may be being written: two that are alike are whole.
const LOOKS: usize = 50;

/// A file of it, by its path below the folder it was put into, and how much of it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotFile {
    pub path: PathBuf,
    pub bytes: u64,
}

/// Puts the files of the store in `spool`, whose index lies in `store`, into the new folder `into`. Nothing may be written
/// meanwhile.
pub(crate) fn take(spool: &Path, store: &Path, into: &Path) -> io::Result<Vec<SnapshotFile>> {
    let mut taking = SnapshotTaking {
        into: into.to_owned(),
        files: Vec::new(),
    };
    taking.folder(Path::new(""))?;
    taking.folder(Path::new("chunks"))?;
    for path in files_in(&spool.join("chunks"))? {
        taking.link(&path, Path::new("chunks"))?;
    }
    for path in files_in(spool)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("records.") {
            taking.link(&path, Path::new(""))?;
        } else if IN_PLACE.contains(&&*name) {
            taking.copy(&path, Path::new(""))?;
        }
    }
    taking.copy_all(store, Path::new("store"))?;
    Ok(taking.files)
}

struct SnapshotTaking {
    into: PathBuf,
    files: Vec<SnapshotFile>,
}

impl SnapshotTaking {
    fn folder(&self, below: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(self.into.join(below))
    }

    fn add(&mut self, source: &Path, below: &Path) -> (PathBuf, u64) {
        let path = below.join(source.file_name().unwrap_or_default());
        let bytes = fs::metadata(source).map_or(0, |about| about.len());
        self.files.push(SnapshotFile {
            path: path.clone(),
            bytes,
        });
        (self.into.join(path), bytes)
    }

    /// A file system without second names, and one that lies elsewhere, gets a copy.
    fn link(&mut self, source: &Path, below: &Path) -> io::Result<()> {
        let (target, _) = self.add(source, below);
        fs::hard_link(source, &target).or_else(|_| fs::copy(source, &target).map(drop))
    }

    fn copy(&mut self, source: &Path, below: &Path) -> io::Result<()> {
        let mut content = fs::read(source)?;
        for _ in 0..LOOKS {
            let again = fs::read(source)?;
            if again == content {
                break;
            }
            content = again;
        }
        let (target, _) = self.add(source, below);
        if let Some(file) = self.files.last_mut() {
            file.bytes = content.len() as u64;
        }
        fs::write(target, content)
    }

    /// Snapshots of the index that are not finished count for nothing.
    fn copy_all(&mut self, folder: &Path, below: &Path) -> io::Result<()> {
        self.folder(below)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                self.copy_all(&path, &below.join(entry.file_name()))?;
            } else if path.extension() != Some("generating".as_ref()) {
                self.copy(&path, below)?;
            }
        }
        Ok(())
    }
}

fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}
