//! A recording on disk: numbered files in a folder of its flow, the oldest making room.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::file::SegmentWriter;
use super::form::{RecordingHeader, Segment};
use super::{Config, Error};

const MODE: u32 = 0o750;
/// So many files make up a full recording: as much goes at a time.
const FILES: u64 = 8;
/// Smallest file: a folder of thousands helps nobody.
const SMALLEST: u64 = 64 << 10;

/// Where the recording of a flow lies on disk.
pub fn folder(data_dir: &Path, flow: &str) -> PathBuf {
    data_dir.join("recordings").join(flow)
}

/// The files of a recording, oldest first, with their lengths.
///
/// # Errors
/// The folder cannot be read; one that is not there has none.
pub fn in_folder(folder: &Path) -> Result<Vec<(PathBuf, u64)>, Error> {
    let failed = |source| Error::File {
        path: folder.to_owned(),
        source,
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if number_of(&path).is_some() {
            files.push((path, entry.metadata().map_err(failed)?.len()));
        }
    }
    files.sort();
    Ok(files)
}

fn number_of(path: &Path) -> Option<u64> {
    path.file_name()?
        .to_str()?
        .strip_suffix(".tgrec")?
        .parse()
        .ok()
}

/// The folder as it is written to.
#[derive(Debug)]
pub(super) struct RecordingFolder {
    path: PathBuf,
    header: RecordingHeader,
    limit: u64,
    reserve: u64,
    files: VecDeque<(PathBuf, u64)>,
    writer: Option<SegmentWriter>,
    next: u64,
}

impl RecordingFolder {
    /// Goes on behind what an earlier process has left.
    pub(super) fn open(
        path: PathBuf,
        header: RecordingHeader,
        config: &Config,
    ) -> Result<Self, Error> {
        let made = DirBuilder::new().recursive(true).mode(MODE).create(&path);
        made.map_err(|source| Error::File {
            path: path.clone(),
            source,
        })?;
        let files: VecDeque<_> = in_folder(&path)?.into();
        let next = files
            .back()
            .and_then(|(path, _)| number_of(path))
            .map_or(1, |number| number + 1);
        let limit = config.bytes;
        let reserve = config.reserve_bytes;
        Ok(Self {
            path,
            header,
            limit,
            reserve,
            files,
            writer: None,
            next,
        })
    }

    pub(super) fn push(&mut self, segment: &Segment) -> Result<(), Error> {
        self.check_room()?;
        if self
            .writer
            .as_ref()
            .is_some_and(|writer| writer.bytes() >= (self.limit / FILES).max(SMALLEST))
        {
            self.end_file();
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => {
                let path = self.path.join(format!("{:010}.tgrec", self.next));
                self.next += 1;
                none.insert(SegmentWriter::create(&path, &self.header)?)
            }
        };
        let pushed = writer.push(segment);
        if pushed.is_err() {
            // What it holds is whole up to the last frame; the next segment begins another.
            self.end_file();
        }
        self.make_room();
        pushed
    }

    fn check_room(&self) -> Result<(), Error> {
        let about = rustix::fs::statvfs(&self.path);
        let about = about.map_err(|error| Error::File {
            path: self.path.clone(),
            source: error.into(),
        })?;
        let free = about.f_bavail.saturating_mul(about.f_frsize);
        if free < self.reserve {
            Err(Error::Full {
                path: self.path.clone(),
                free,
            })
        } else {
            Ok(())
        }
    }

    fn end_file(&mut self) {
        if let Some(writer) = self.writer.take() {
            self.files.push_back((
                self.path.join(format!("{:010}.tgrec", self.next - 1)),
                writer.bytes(),
            ));
        }
    }

    fn make_room(&mut self) {
        while self.bytes() > self.limit
            && let Some((path, _)) = self.files.pop_front()
        {
            // One that is gone already made its room.
            let _ = fs::remove_file(path);
        }
    }

    pub(super) fn clear(&mut self) {
        self.end_file();
        self.files
            .drain(..)
            .for_each(|(path, _)| drop(fs::remove_file(path)));
    }

    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum::<u64>()
            + self.writer.as_ref().map_or(0, SegmentWriter::bytes)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
