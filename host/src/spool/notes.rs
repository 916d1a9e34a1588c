//! How far each queue is accepted, in a file of its own: it bounds what a kill sends twice.
//!
//! ```text
//! low 1
//! queue:cloud:telemetry low=… end=… owed=… bytes=…      one line for each queue, numbers with 20 digits
//! crc=…                                           of all before
//! ```
//!
//! The store hears of it once a second, with the deletes, or when a sync that hangs is over; this file within
//! milliseconds, from a thread of its own. It is one small write in place, never synced: what the operating system has
//! survives a kill, and after a power cut the store's word counts. It is written while the disk drains or takes something,
//! and at no other time.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::folder::Folder;
use super::queue::Mark;
use super::seam::{Call, Seam};
use super::{Shared, locked};

const TITLE: &str = "low 1\n";
/// Most that is read: a line for each queue is far less.
const MOST: usize = 1 << 20;
/// How long a disk that refused is left alone.
const RETRY_US: u64 = 1_000_000;

/// The file, and what it says of each queue of the config.
#[derive(Debug)]
pub(super) struct Notes {
    path: PathBuf,
    seam: Seam,
    file: Option<File>,
    names: Vec<String>,
    said: Vec<Mark>,
    text: String,
}

impl Notes {
    /// Reads what an earlier run noted of queues of these names. What cannot be read is as if it were not there, and
    /// beside a new store nothing `is_valid`: its places may have been used before.
    pub(super) fn open(folder: &Folder, names: Vec<String>, is_valid: bool) -> Self {
        let path = folder.path().join("low");
        let text = Some(&path).filter(|_| is_valid).and_then(|path| std::fs::read_to_string(path).ok());
        let text = text.filter(|text| text.len() <= MOST).unwrap_or_default();
        let found = parse(&text).unwrap_or_default();
        let said =
            names.iter().map(|name| found.iter().find(|(noted, _)| noted == name).map_or_else(Mark::default, |found| found.1));
        Self { path, seam: folder.seam.clone(), file: None, said: said.collect(), names, text: String::new() }
    }

    /// What the store says of a queue, with what was noted since.
    pub(super) fn newer(&self, queue: usize, mark: Mark) -> Mark {
        let said = self.said[queue];
        if said.low <= mark.low {
            return mark;
        }
        let low = said.low.min(mark.end);
        // Another end: the store lost what it was told last, and only the place still means something.
        let (owed, bytes) = if said.end == mark.end { (said.owed, said.bytes) } else { (mark.owed, mark.bytes) };
        if low == mark.end { Mark { low, owed: 0, bytes: 0, ..mark } } else { Mark { low, owed, bytes, ..mark } }
    }

    /// Takes up what is to be said of a queue with the next write.
    pub(super) fn set(&mut self, queue: usize, mark: Mark) {
        self.said[queue] = mark;
    }

    /// Writes all lines in place.
    pub(super) fn write(&mut self) -> io::Result<()> {
        use std::fmt::Write as _;
        self.seam.pass(Call::Write)?;
        self.text.clear();
        self.text.push_str(TITLE);
        for (name, Mark { low, end, owed, bytes, .. }) in self.names.iter().zip(&self.said) {
            // Writing into a String cannot fail.
            let _ = writeln!(self.text, "{name} low={low:020} end={end:020} owed={owed:020} bytes={bytes:020}");
        }
        let _ = writeln!(self.text, "crc={:08x}", crc32fast::hash(self.text.as_bytes()));
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let file = OpenOptions::new().write(true).create(true).truncate(false).open(&self.path)?;
                file.set_len(self.text.len() as u64)?;
                file
            }
        };
        file.write_all_at(self.text.as_bytes(), 0)?;
        self.file = Some(file);
        Ok(())
    }
}

impl Shared {
    /// The thread of the notes: writes what is due, ends with the spool.
    pub(super) fn keep_noting(&self) {
        let mut rest_until_us = 0;
        loop {
            self.note_bell.look();
            if self.is_ending.load(Ordering::Acquire) {
                return;
            }
            let now_us = self.clock.now();
            match self.note_due().map(|due| due.max(rest_until_us)) {
                Some(due) if due <= now_us => {
                    self.note_bell.busy();
                    if let Err(error) = self.write_notes() {
                        tracing::debug!(%error, "how far the queues are accepted was not noted; the store hears of it later");
                        rest_until_us = now_us.saturating_add(RETRY_US);
                    }
                }
                due => self.note_bell.sleep(now_us, due),
            }
        }
    }

    /// When there is something to note (running clock).
    fn note_due(&self) -> Option<u64> {
        locked(&self.notes).as_ref()?;
        self.slots.iter().filter_map(|slot| locked(&slot.queue).note_due()).min()
    }

    /// Notes how far the queues are accepted.
    pub(super) fn write_notes(&self) -> io::Result<()> {
        // In hand while it is written: a store that was opened anew meanwhile has brought its own.
        let Some(mut notes) = locked(&self.notes).take() else { return Ok(()) };
        let now_us = self.clock.now();
        let mut is_news = false;
        for (index, slot) in self.slots.iter().enumerate() {
            if let Some(mark) = locked(&slot.queue).note(now_us) {
                notes.set(index, mark);
                is_news = true;
            }
        }
        let written = if is_news { notes.write() } else { Ok(()) };
        locked(&self.notes).get_or_insert(notes);
        written
    }
}

/// Name and mark of each line; `None` when the text is not whole.
fn parse(text: &str) -> Option<Vec<(String, Mark)>> {
    let (body, crc) = text.rsplit_once("crc=")?;
    if u32::from_str_radix(crc.trim_end(), 16).ok()? != crc32fast::hash(body.as_bytes()) {
        return None;
    }
    let line = |line: &str| {
        let mut words = line.rsplitn(5, ' ');
        let mut number = |label: &str| words.next()?.strip_prefix(label)?.parse().ok();
        let (bytes, owed, end, low) = (number("bytes=")?, number("owed=")?, number("end=")?, number("low=")?);
        Some((words.next()?.to_owned(), Mark { low, end, owed, bytes, clock_us: 0 }))
    };
    body.strip_prefix(TITLE)?.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["cloud:telemetry".to_owned(), "cloud:alarm".to_owned()]
    }

    fn mark(low: u64, end: u64) -> Mark {
        Mark { low, end, owed: end - low, bytes: 70, clock_us: 0 }
    }

    #[test]
    fn what_is_noted_is_found_again_by_name() {
        let folder = crate::spool::tests::tempdir();
        let folder = Folder::lock(folder.path()).unwrap();
        let mut notes = Notes::open(&folder, names(), true);
        assert_eq!(notes.newer(0, mark(3, 9)), mark(3, 9));
        for low in [4, 1 << 40] {
            notes.set(1, mark(low, (1 << 40) + 5));
            notes.write().unwrap();
        }
        let notes = Notes::open(&folder, names().into_iter().rev().collect(), true);
        assert_eq!(notes.newer(0, mark(7, (1 << 40) + 5)), mark(1 << 40, (1 << 40) + 5));
        assert_eq!(notes.newer(1, mark(3, 9)), mark(3, 9));
    }

    #[test]
    fn a_note_never_leads_past_the_end_nor_back() {
        let folder = crate::spool::tests::tempdir();
        let folder = Folder::lock(folder.path()).unwrap();
        let mut notes = Notes::open(&folder, names(), true);
        notes.set(0, Mark { low: 40, end: 50, owed: 10, bytes: 9, clock_us: 0 });
        assert_eq!(notes.newer(0, Mark { clock_us: 8, ..mark(3, 9) }), Mark { low: 9, end: 9, owed: 0, bytes: 0, clock_us: 8 });
        assert_eq!(notes.newer(0, mark(41, 50)), mark(41, 50));
        assert_eq!(notes.newer(0, Mark { owed: 30, ..mark(30, 60) }), Mark { low: 40, owed: 30, ..mark(30, 60) });
    }

    #[test]
    fn a_torn_or_altered_note_says_nothing() {
        let text = format!("{TITLE}cloud:alarm low=1 end=2 owed=1 bytes=5\n");
        let whole = format!("{text}crc={:08x}\n", crc32fast::hash(text.as_bytes()));
        assert_eq!(parse(&whole).unwrap().len(), 1);
        for length in 0..whole.len() - 2 {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
        assert_eq!(parse(&whole.replace("low=1", "low=2")), None);
        assert_eq!(parse(&format!("{}\0\0\0", whole)), None);
    }
}
