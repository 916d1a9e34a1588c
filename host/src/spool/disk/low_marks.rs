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

use crate::clock::RunningTime;
use crate::message::Seq;
use crate::spool::disk::fault_injection::{DiskCall, FaultInjection};
use crate::spool::disk::folder::DataFolder;
use crate::spool::disk::frame::{is_no_file, read_regular};
use crate::spool::disk::mark::QueueMark;
use crate::spool::disk::records::batch::Witness;

const TITLE: &str = "low 2 ";
/// It named no store.
const TITLE_BEFORE: &str = "low 1\n";
/// Most that is read: a line for each queue is far less.
const MOST: u64 = 1 << 20;

/// The file, and what it says of each queue of the config.
#[derive(Debug)]
pub(crate) struct LowMarks {
    path: PathBuf,
    fault_injection: FaultInjection,
    file: Option<File>,
    store: String,
    names: Vec<String>,
    said: Vec<QueueMark>,
    witness: Witness,
    text: String,
    length: usize,
}

/// What a file says.
#[derive(Debug, Default, PartialEq)]
struct LowMarksFile {
    store: Option<String>,
    witness: Witness,
    marks: Vec<(String, QueueMark)>,
}

impl LowMarks {
    /// Reads what an earlier run of `store` noted of queues of these names; a file that names no store `is_before` stores
    /// had names. What cannot be read, or is another store's, is as if it were not there, and so is all beside a new store,
    /// which `is_known` not to be: its places may have been used before.
    pub(crate) fn open(
        folder: &DataFolder,
        names: Vec<String>,
        store: &str,
        (is_known, is_before): (bool, bool),
    ) -> io::Result<Self> {
        let path = folder.path().join("low");
        let bytes = match read_regular(&path, MOST, &folder.fault_injection) {
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
        let found = if is_own {
            found
        } else {
            LowMarksFile::default()
        };
        let of = |name: &String| {
            found
                .marks
                .iter()
                .find(|(noted, _)| noted == name)
                .map_or_else(QueueMark::default, |found| found.1)
        };
        let said = names.iter().map(of).collect();
        let store = store.to_owned();
        let witness = found.witness;
        Ok(Self {
            path,
            fault_injection: folder.fault_injection.clone(),
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
    pub(crate) fn witness(&self) -> &Witness {
        &self.witness
    }

    /// What the store says of a queue, with what was noted since: what was accepted, and what must be there; and whether
    /// the low marks know of all that.
    pub(crate) fn newer(&self, queue: usize, mark: QueueMark) -> (QueueMark, bool) {
        let said = self.said[queue];
        let is_exact = said.end > Seq::FIRST && said.end >= mark.end && said.low >= mark.low;
        if said.low <= mark.low && said.end <= mark.end {
            return (
                QueueMark {
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
            QueueMark {
                low,
                end,
                owed: 0,
                bytes: 0,
                ..mark
            }
        } else {
            QueueMark {
                low,
                end,
                owed,
                bytes,
                ..mark
            }
        };
        (mark, is_exact)
    }

    /// Takes up what is to be said of a queue with the next write; of one that came since, it is the next.
    pub(crate) fn set(&mut self, queue: usize, name: &str, mark: QueueMark) {
        match self.said.get_mut(queue) {
            Some(said) => *said = mark,
            None => {
                self.names.push(name.to_owned());
                self.said.push(mark);
            }
        }
    }

    /// Takes up what was recorded.
    pub(crate) fn record(&mut self, witness: Witness) {
        self.witness = witness;
    }

    /// Writes all lines in place.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        use std::fmt::Write as _;
        self.fault_injection.pass(DiskCall::Write)?;
        self.text.clear();
        let records = serde_json::to_string(&self.witness).map_err(io::Error::other)?;
        let _ = writeln!(self.text, "{TITLE}{}\nrecords {records}", self.store);
        for (
            name,
            QueueMark {
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

/// What the lines say; `None` when the text is not whole.
fn parse(text: &str) -> Option<LowMarksFile> {
    let (body, crc) = text.rsplit_once("crc=")?;
    if u32::from_str_radix(crc.trim_end(), 16).ok()? != crc32fast::hash(body.as_bytes()) {
        return None;
    }
    let line = |line: &str| {
        let mut words = line.rsplitn(5, ' ');
        let mut number = |label: &str| words.next()?.strip_prefix(label)?.parse().ok();
        let bytes = number("bytes=")?;
        let owed = number("owed=")?;
        let end = Seq(number("end=")?);
        let low = Seq(number("low=")?);
        Some((
            words.next()?.to_owned(),
            QueueMark {
                low,
                end,
                owed,
                bytes,
                clock: RunningTime::START,
            },
        ))
    };
    let marks = |lines: &str| lines.lines().map(line).collect::<Option<Vec<_>>>();
    if let Some(lines) = body.strip_prefix(TITLE_BEFORE) {
        return Some(LowMarksFile {
            marks: marks(lines)?,
            ..LowMarksFile::default()
        });
    }
    let (store, rest) = body.strip_prefix(TITLE)?.split_once('\n')?;
    let (records, lines) = rest.strip_prefix("records ")?.split_once('\n')?;
    Some(LowMarksFile {
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

    fn mark(low: u64, end: u64) -> QueueMark {
        QueueMark {
            low: Seq(low),
            end: Seq(end),
            owed: end - low,
            bytes: 70,
            clock: RunningTime::START,
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
        let folder = DataFolder::lock(folder.path()).unwrap();
        let mut low_marks = LowMarks::open(&folder, names(), STORE, (true, false)).unwrap();
        assert_eq!(low_marks.newer(0, mark(3, 9)), (mark(3, 9), false));
        for low in [4, 1 << 40] {
            low_marks.set(1, "cloud:alarm", mark(low, (1 << 40) + 5));
            low_marks.record(witness());
            low_marks.write().unwrap();
        }
        let low_marks = LowMarks::open(
            &folder,
            names().into_iter().rev().collect(),
            STORE,
            (true, false),
        )
        .unwrap();
        assert_eq!(
            low_marks.newer(0, mark(7, (1 << 40) + 5)),
            (mark(1 << 40, (1 << 40) + 5), true)
        );
        assert_eq!(
            (low_marks.newer(1, mark(3, 9)).0, low_marks.witness()),
            (mark(3, 9), &witness())
        );
    }

    #[test]
    fn a_note_of_another_store_says_nothing() {
        let folder = crate::spool::tests::tempdir();
        let folder = DataFolder::lock(folder.path()).unwrap();
        let mut low_marks = LowMarks::open(&folder, names(), STORE, (true, false)).unwrap();
        low_marks.set(0, "cloud:telemetry", mark(300, 300));
        low_marks.write().unwrap();
        for (other, known) in [
            ("hgfedcba", (true, false)),
            ("hgfedcba", (true, true)),
            (STORE, (false, false)),
        ] {
            assert_eq!(
                LowMarks::open(&folder, names(), other, known)
                    .unwrap()
                    .newer(0, mark(0, 300)),
                (mark(0, 300), false)
            );
        }
    }

    #[test]
    fn a_note_never_leads_back_and_knows_what_must_be_there() {
        let folder = crate::spool::tests::tempdir();
        let folder = DataFolder::lock(folder.path()).unwrap();
        let mut low_marks = LowMarks::open(&folder, names(), STORE, (true, false)).unwrap();
        low_marks.set(
            0,
            "cloud:telemetry",
            QueueMark {
                low: Seq(40),
                end: Seq(50),
                owed: 9,
                bytes: 9,
                clock: RunningTime::START,
            },
        );
        let before = QueueMark {
            clock: RunningTime(8),
            ..mark(3, 9)
        };
        assert_eq!(
            low_marks.newer(0, before),
            (
                QueueMark {
                    low: Seq(40),
                    end: Seq(50),
                    owed: 9,
                    bytes: 9,
                    clock: RunningTime(8)
                },
                true
            )
        );
        assert_eq!(low_marks.newer(0, mark(41, 50)), (mark(41, 50), false));
        assert_eq!(
            low_marks
                .newer(
                    0,
                    QueueMark {
                        owed: 30,
                        ..mark(30, 60)
                    }
                )
                .0,
            QueueMark {
                low: Seq(40),
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
