//! How far each queue is accepted, in a file of its own: it bounds what a kill sends twice. And what there is, so that it
//! is missed when it cannot be read any more.
//!
//! ```text
//! low 2 <name of the store>
//! records {…}                                     number and totals of the last batch of letters, ledger and state
//! queue:cloud:telemetry low=… end=… owed=… bytes=…      one line for each queue, numbers with 20 digits
//! crc=…                                           of all before
//! ```
//!
//! The store hears of `low` once a second, with the deletes, or when a sync that hangs is over; this file within
//! milliseconds, from a thread of its own. It is one small write in place, never synced: what the operating system has
//! survives a kill, and after a power cut the store's word counts. It is written while the disk drains, some seconds after
//! it has taken something, at the end, and at no other time.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::folder::Folder;
use super::queue::Mark;
use super::seam::{Call, Seam};
use super::store::{Witness, is_no_file, read_regular};
use super::{Shared, locked};

const TITLE: &str = "low 2 ";
/// It named no store.
const TITLE_BEFORE: &str = "low 1\n";
/// Most that is read: a line for each queue is far less.
const MOST: u64 = 1 << 20;
/// How long a disk that refused is left alone.
const RETRY_US: u64 = 1_000_000;
/// What was written is noted so long after that: with each commit it would cost the card a block more.
pub(super) const WITNESS_US: u64 = 5_000_000;

/// The file, and what it says of each queue of the config.
#[derive(Debug)]
pub(super) struct Notes {
    path: PathBuf,
    seam: Seam,
    file: Option<File>,
    store: String,
    names: Vec<String>,
    said: Vec<Mark>,
    witness: Witness,
    text: String,
    length: usize,
}

/// What a file says.
#[derive(Debug, Default, PartialEq)]
struct Said {
    store: Option<String>,
    witness: Witness,
    marks: Vec<(String, Mark)>,
}

impl Notes {
    /// Reads what an earlier run of `store` noted of queues of these names; a file that names no store `is_before` stores
    /// had names. What cannot be read, or is another store's, is as if it were not there, and so is all beside a new store,
    /// which `is_known` not to be: its places may have been used before.
    pub(super) fn open(
        folder: &Folder,
        names: Vec<String>,
        store: &str,
        (is_known, is_before): (bool, bool),
    ) -> io::Result<Self> {
        let path = folder.path().join("low");
        let bytes = match read_regular(&path, MOST, &folder.seam) {
            Ok(bytes) if is_known => bytes,
            Err(error) if !is_no_file(&error) => return Err(error),
            Ok(_) | Err(_) => Vec::new(),
        };
        let found = std::str::from_utf8(&bytes)
            .ok()
            .and_then(parse)
            .unwrap_or_default();
        let is_own = found
            .store
            .as_deref()
            .map_or(is_before, |named| named == store);
        if !is_own && !bytes.is_empty() {
            tracing::warn!(path = %path.display(), "how far the queues were accepted is not taken from this file: it is damaged, or another store's");
        }
        let found = if is_own { found } else { Said::default() };
        let of = |name: &String| {
            found
                .marks
                .iter()
                .find(|(noted, _)| noted == name)
                .map_or_else(Mark::default, |found| found.1)
        };
        let said = names.iter().map(of).collect();
        let (store, witness) = (store.to_owned(), found.witness);
        Ok(Self {
            path,
            seam: folder.seam.clone(),
            file: None,
            store,
            names,
            said,
            witness,
            text: String::new(),
            length: 0,
        })
    }

    /// What was last recorded, as far as that was noted.
    pub(super) fn witness(&self) -> &Witness {
        &self.witness
    }

    /// What the store says of a queue, with what was noted since: what was accepted, and what must be there; and whether
    /// the notes know of all that.
    pub(super) fn newer(&self, queue: usize, mark: Mark) -> (Mark, bool) {
        let said = self.said[queue];
        let is_exact = said.end > 0 && said.end >= mark.end && said.low >= mark.low;
        if said.low <= mark.low && said.end <= mark.end {
            return (
                Mark {
                    owed: if is_exact { said.owed } else { mark.owed },
                    ..mark
                },
                is_exact,
            );
        }
        let end = mark.end.max(said.end);
        let low = mark.low.max(said.low).min(end);
        // Whoever knows the later end knows what is owed.
        let (owed, bytes) = if said.end >= mark.end {
            (said.owed, said.bytes)
        } else {
            (mark.owed, mark.bytes)
        };
        let mark = if low == end {
            Mark {
                low,
                end,
                owed: 0,
                bytes: 0,
                ..mark
            }
        } else {
            Mark {
                low,
                end,
                owed,
                bytes,
                ..mark
            }
        };
        (mark, is_exact)
    }

    /// Takes up what is to be said of a queue with the next write.
    pub(super) fn set(&mut self, queue: usize, mark: Mark) {
        self.said[queue] = mark;
    }

    /// Takes up what was recorded.
    pub(super) fn record(&mut self, witness: Witness) {
        self.witness = witness;
    }

    /// Writes all lines in place.
    pub(super) fn write(&mut self) -> io::Result<()> {
        use std::fmt::Write as _;
        self.seam.pass(Call::Write)?;
        self.text.clear();
        let records = serde_json::to_string(&self.witness).map_err(io::Error::other)?;
        let _ = writeln!(self.text, "{TITLE}{}\nrecords {records}", self.store);
        for (
            name,
            Mark {
                low,
                end,
                owed,
                bytes,
                ..
            },
        ) in self.names.iter().zip(&self.said)
        {
            // Writing into a String cannot fail.
            let _ = writeln!(
                self.text,
                "{name} low={low:020} end={end:020} owed={owed:020} bytes={bytes:020}"
            );
        }
        let _ = writeln!(
            self.text,
            "crc={:08x}",
            crc32fast::hash(self.text.as_bytes())
        );
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                self.length = 0;
                OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(&self.path)?
            }
        };
        if self.length != self.text.len() {
            file.set_len(self.text.len() as u64)?;
            self.length = self.text.len();
        }
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
        let witness = Some(self.witness_due.load(Ordering::Acquire)).filter(|due| *due > 0);
        self.slots
            .iter()
            .filter_map(|slot| locked(&slot.queue).note_due())
            .chain(witness)
            .min()
    }

    /// Something was committed: what there is now is noted soon.
    pub(super) fn witness_soon(&self) {
        let due = self.clock.now().saturating_add(WITNESS_US);
        if self
            .witness_due
            .compare_exchange(0, due, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
        {
            self.note_bell.due(due);
        }
    }

    /// Notes how far the queues are accepted, and what there is.
    pub(super) fn write_notes(&self) -> io::Result<()> {
        // In hand while it is written: a store that was opened anew meanwhile has brought its own.
        let Some(mut notes) = locked(&self.notes).take() else {
            return Ok(());
        };
        let now_us = self.clock.now();
        let mut is_news = self.witness_due.swap(0, Ordering::AcqRel) > 0;
        for (index, slot) in self.slots.iter().enumerate() {
            let mark = {
                let mut queue = locked(&slot.queue);
                let news = queue.note(now_us);
                is_news |= news.is_some();
                news.unwrap_or_else(|| queue.mark_noted(now_us))
            };
            notes.set(index, mark);
        }
        notes.record(locked(&self.witness).clone());
        let written = if is_news { notes.write() } else { Ok(()) };
        locked(&self.notes).get_or_insert(notes);
        written
    }
}

/// What the lines say; `None` when the text is not whole.
fn parse(text: &str) -> Option<Said> {
    let (body, crc) = text.rsplit_once("crc=")?;
    if u32::from_str_radix(crc.trim_end(), 16).ok()? != crc32fast::hash(body.as_bytes()) {
        return None;
    }
    let line = |line: &str| {
        let mut words = line.rsplitn(5, ' ');
        let mut number = |label: &str| words.next()?.strip_prefix(label)?.parse().ok();
        let (bytes, owed, end, low) = (
            number("bytes=")?,
            number("owed=")?,
            number("end=")?,
            number("low=")?,
        );
        Some((
            words.next()?.to_owned(),
            Mark {
                low,
                end,
                owed,
                bytes,
                clock_us: 0,
            },
        ))
    };
    let marks = |lines: &str| lines.lines().map(line).collect::<Option<Vec<_>>>();
    if let Some(lines) = body.strip_prefix(TITLE_BEFORE) {
        return Some(Said {
            marks: marks(lines)?,
            ..Said::default()
        });
    }
    let (store, rest) = body.strip_prefix(TITLE)?.split_once('\n')?;
    let (records, lines) = rest.strip_prefix("records ")?.split_once('\n')?;
    Some(Said {
        store: Some(store.to_owned()),
        witness: serde_json::from_str(records).ok()?,
        marks: marks(lines)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: &str = "abcdefgh";

    fn names() -> Vec<String> {
        vec!["cloud:telemetry".to_owned(), "cloud:alarm".to_owned()]
    }

    fn mark(low: u64, end: u64) -> Mark {
        Mark {
            low,
            end,
            owed: end - low,
            bytes: 70,
            clock_us: 0,
        }
    }

    fn witness() -> Witness {
        let mut witness = Witness {
            number: 7,
            ..Witness::default()
        };
        witness
            .totals
            .given_up
            .insert(crate::message::LossReason::Expired, 3);
        witness
    }

    #[test]
    fn what_is_noted_is_found_again_by_name() {
        let folder = crate::spool::tests::tempdir();
        let folder = Folder::lock(folder.path()).unwrap();
        let mut notes = Notes::open(&folder, names(), STORE, (true, false)).unwrap();
        assert_eq!(notes.newer(0, mark(3, 9)), (mark(3, 9), false));
        for low in [4, 1 << 40] {
            notes.set(1, mark(low, (1 << 40) + 5));
            notes.record(witness());
            notes.write().unwrap();
        }
        let notes = Notes::open(
            &folder,
            names().into_iter().rev().collect(),
            STORE,
            (true, false),
        )
        .unwrap();
        assert_eq!(
            notes.newer(0, mark(7, (1 << 40) + 5)),
            (mark(1 << 40, (1 << 40) + 5), true)
        );
        assert_eq!(
            (notes.newer(1, mark(3, 9)).0, notes.witness()),
            (mark(3, 9), &witness())
        );
    }

    #[test]
    fn a_note_of_another_store_says_nothing() {
        let folder = crate::spool::tests::tempdir();
        let folder = Folder::lock(folder.path()).unwrap();
        let mut notes = Notes::open(&folder, names(), STORE, (true, false)).unwrap();
        notes.set(0, mark(300, 300));
        notes.write().unwrap();
        for (other, known) in [
            ("hgfedcba", (true, false)),
            ("hgfedcba", (true, true)),
            (STORE, (false, false)),
        ] {
            assert_eq!(
                Notes::open(&folder, names(), other, known)
                    .unwrap()
                    .newer(0, mark(0, 300)),
                (mark(0, 300), false)
            );
        }
    }

    #[test]
    fn a_note_never_leads_back_and_knows_what_must_be_there() {
        let folder = crate::spool::tests::tempdir();
        let folder = Folder::lock(folder.path()).unwrap();
        let mut notes = Notes::open(&folder, names(), STORE, (true, false)).unwrap();
        notes.set(
            0,
            Mark {
                low: 40,
                end: 50,
                owed: 9,
                bytes: 9,
                clock_us: 0,
            },
        );
        let before = Mark {
            clock_us: 8,
            ..mark(3, 9)
        };
        assert_eq!(
            notes.newer(0, before),
            (
                Mark {
                    low: 40,
                    end: 50,
                    owed: 9,
                    bytes: 9,
                    clock_us: 8
                },
                true
            )
        );
        assert_eq!(notes.newer(0, mark(41, 50)), (mark(41, 50), false));
        assert_eq!(
            notes
                .newer(
                    0,
                    Mark {
                        owed: 30,
                        ..mark(30, 60)
                    }
                )
                .0,
            Mark {
                low: 40,
                owed: 30,
                ..mark(30, 60)
            }
        );
    }

    #[test]
    fn a_torn_or_altered_note_says_nothing() {
        let text = format!("{TITLE_BEFORE}cloud:alarm low=1 end=2 owed=1 bytes=5\n");
        let whole = format!("{text}crc={:08x}\n", crc32fast::hash(text.as_bytes()));
        assert_eq!(parse(&whole).unwrap().marks.len(), 1);
        for length in 0..whole.len() - 2 {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
        assert_eq!(parse(&whole.replace("low=1", "low=2")), None);
        assert_eq!(parse(&format!("{}\0\0\0", whole)), None);
    }
}
