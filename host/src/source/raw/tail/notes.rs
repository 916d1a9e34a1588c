//! Up to where files are read, kept over restarts: a file of two halves that are written in turns, so that one of them is whole whatever
//! happens. What is written survives a kill at once, and a power cut after a while: then it is read again.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::mark::ReadPlace;
use crate::file;

/// So much has each half room for.
const HALF_BYTES: u64 = 512 << 10;
/// How often what is written is brought to the medium, if it changes all the time.
const SYNC_EVERY: Duration = Duration::from_secs(30);
/// Numbers and places that nobody comes to.
const MOST: u64 = 1 << 62;
/// Before each half stand its checksum and its length.
const HEAD_BYTES: usize = 8;

#[derive(Debug, Default, Serialize, Deserialize)]
struct WrittenPlaces {
    /// The half with the higher one is the newer one.
    version: u64,
    places: Vec<ReadPlace>,
}

#[derive(Debug)]
pub(super) struct PlaceNotes {
    file: File,
    version: u64,
    /// The half that is written now; the other one is on the medium.
    half: u64,
    synced: Instant,
    is_changed: bool,
    /// Something was there when it was opened, and no half of it was whole.
    pub(super) is_damaged: bool,
}

impl PlaceNotes {
    /// Opens the file at `path`, which may not be there, and says what it has. What is damaged is nothing: all is read again.
    ///
    /// # Errors
    /// The disk's, or it is too large to be one.
    pub(super) fn open(path: &Path, now: Instant) -> io::Result<(Self, Vec<ReadPlace>)> {
        if let Some(folder) = path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let found = match file::read(path, 2 * HALF_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            found => found,
        }?;
        let (first, second) = found.split_at(found.len().min(index(HALF_BYTES)));
        let halves = [first, second].map(read);
        let is_damaged = !found.is_empty() && halves.iter().all(Option::is_none);
        let halves = halves.map(Option::unwrap_or_default);
        let half = u64::from(halves[1].version > halves[0].version);
        let [first, second] = halves;
        let newest = if half == 0 { first } else { second };
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        if let Some(folder) = path.parent() {
            file::sync_folder(folder)?;
        }
        // The newest one may not be on the medium yet.
        file.sync_data()?;
        let notes = Self {
            file,
            version: newest.version,
            half: 1 - half,
            synced: now,
            is_changed: false,
            is_damaged,
        };
        Ok((notes, newest.places))
    }

    /// Writes all of them in place of what was.
    ///
    /// # Errors
    /// The disk's, or there are too many of them.
    pub(super) fn write(
        &mut self,
        places: &BTreeMap<u64, ReadPlace>,
        now: Instant,
    ) -> io::Result<()> {
        self.version += 1;
        let written = WrittenPlaces {
            version: self.version,
            places: places.values().cloned().collect(),
        };
        let text = serde_json::to_vec(&written)?;
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        if text.len() + HEAD_BYTES > index(HALF_BYTES) {
            return Err(io::Error::other("the names of the files are too long"));
        }
        let head = [crc32fast::hash(&text).to_be_bytes(), length.to_be_bytes()];
        let bytes = [head.as_flattened(), &text].concat();
        self.file.write_all_at(&bytes, self.half * HALF_BYTES)?;
        self.is_changed = true;
        if now.saturating_duration_since(self.synced) >= SYNC_EVERY {
            self.sync(now)?;
        }
        Ok(())
    }

    /// Brings what was written to the medium.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn sync(&mut self, now: Instant) -> io::Result<()> {
        if std::mem::take(&mut self.is_changed) {
            self.file.sync_data()?;
            self.half = 1 - self.half;
            self.synced = now;
        }
        Ok(())
    }
}

/// Where it is kept up to where the files of a source are read.
pub(in crate::source) fn kept_at(data_dir: &Path, source: &str) -> PathBuf {
    data_dir.join("tails").join(source)
}

fn index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn read(half: &[u8]) -> Option<WrittenPlaces> {
    let (sum, rest) = half.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let text = rest.get(..index(u64::from(u32::from_be_bytes(*length))))?;
    let is_whole = crc32fast::hash(text) == u32::from_be_bytes(*sum);
    let written: WrittenPlaces = is_whole
        .then(|| serde_json::from_slice(text).ok())
        .flatten()?;
    let mut places = written.places.iter();
    let is_sound = places.all(|place| place.number < MOST && place.mark.offset < MOST);
    (is_sound && written.version < MOST).then_some(written)
}

#[cfg(test)]
mod tests {
    use super::super::mark::{FileId, FileMark};
    use super::*;

    fn places(offset: u64) -> BTreeMap<u64, ReadPlace> {
        let place = ReadPlace {
            number: 7,
            home: "/var/log/app.log".into(),
            id: FileId {
                device: Some(1),
                inode: 12,
            },
            since: (0, 0),
            is_through: false,
            mark: FileMark {
                offset,
                ..FileMark::default()
            },
        };
        [(7, place)].into()
    }

    #[test]
    fn what_was_written_last_is_there_whatever_becomes_of_the_half_that_was_being_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tails/app");
        let mut now = Instant::now();
        let (mut notes, none) = PlaceNotes::open(&path, now).unwrap();
        assert!(none.is_empty());
        let offset = |path: &Path| {
            let (_, places) = PlaceNotes::open(path, Instant::now()).unwrap();
            places.first().map(|place| place.mark.offset)
        };
        notes.write(&places(1), now).unwrap();
        notes.write(&places(2), now).unwrap();
        assert_eq!(offset(&path), Some(2));
        now += SYNC_EVERY;
        notes.write(&places(3), now).unwrap();
        notes.write(&places(4), now).unwrap();
        assert_eq!(offset(&path), Some(4));
        // That half is torn: the other one counts, which was on the medium.
        let half = notes.half;
        notes
            .file
            .write_all_at(b"torn", half * HALF_BYTES + 20)
            .unwrap();
        assert_eq!(offset(&path), Some(3));
        notes
            .file
            .write_all_at(b"torn", (1 - half) * HALF_BYTES + 20)
            .unwrap();
        assert_eq!(offset(&path), None);
        let (mut anew, _) = PlaceNotes::open(&path, now).unwrap();
        assert!(anew.is_damaged && !notes.is_damaged);
        anew.write(&places(5), now).unwrap();
        assert_eq!(offset(&path), Some(5));
        let (whole, _) = PlaceNotes::open(&path, now).unwrap();
        assert!(!whole.is_damaged);
        // Nor is one whole that somebody else wrote.
        anew.write(&places(u64::MAX), now).unwrap();
        assert_eq!(offset(&path), None);
        // What cannot be read is no note that is not there.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(PlaceNotes::open(&path, now).is_err());
    }
    #[test]
    fn notes_without_a_device_are_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app");
        let mark = r#"{"offset":4,"head":"aa","before":"bb"}"#;
        let text = format!(
            r#"{{"version":3,"places":[{{"number":7,"home":"/a.log","inode":12,"since":[5,6],"mark":{mark}}}]}}"#
        );
        let length = u32::try_from(text.len()).unwrap();
        let head = [
            crc32fast::hash(text.as_bytes()).to_be_bytes(),
            length.to_be_bytes(),
        ];
        std::fs::write(&path, [head.as_flattened(), text.as_bytes()].concat()).unwrap();
        let (mut notes, known) = PlaceNotes::open(&path, Instant::now()).unwrap();
        let [place] = &known[..] else {
            panic!("{known:?}");
        };
        let id = FileId {
            device: None,
            inode: 12,
        };
        assert_eq!((place.id, place.mark.offset, place.since), (id, 4, (5, 6)));
        // And what is written now is read as it was written.
        notes.write(&places(9), Instant::now()).unwrap();
        let (_, known) = PlaceNotes::open(&path, Instant::now()).unwrap();
        assert_eq!(known, places(9).into_values().collect::<Vec<_>>());
    }
}
