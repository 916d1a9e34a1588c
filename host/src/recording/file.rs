//! Files of segments: written by appending, read up to the last whole frame.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Error;
use super::form::{FRAME, MAGIC, RecordingDamage, RecordingHeader, Segment, body_length, check};

/// Owner and group read it, as they may use the control socket.
const MODE: u32 = 0o640;

/// A file that is written.
#[derive(Debug)]
pub struct SegmentWriter {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl SegmentWriter {
    /// A new file, which must not be there yet.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn create(path: &Path, header: &RecordingHeader) -> Result<Self, Error> {
        let failed = |source| Error::File {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(MODE)
            .open(path)
            .map_err(failed)?;
        let mut writer = Self {
            file,
            path: path.to_owned(),
            bytes: 0,
        };
        writer.append(&[&MAGIC, header.frame().as_slice()].concat())?;
        Ok(writer)
    }

    /// Adds a segment, in one write: a kill leaves it whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn push(&mut self, segment: &Segment) -> Result<(), Error> {
        self.append(segment.frame())
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|source| Error::File {
            path: self.path.clone(),
            source,
        })?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The segments of one or several files, in their order.
pub struct SegmentFiles {
    rest: std::vec::IntoIter<PathBuf>,
    open: Option<(PathBuf, BufReader<File>)>,
    header: RecordingHeader,
    /// What was not whole at the end of a file.
    torn: Vec<(PathBuf, RecordingDamage)>,
}

impl SegmentFiles {
    /// Opens them; the header is that of the first which has one.
    ///
    /// # Errors
    /// None of them is a recording.
    pub fn open(paths: Vec<PathBuf>) -> Result<Self, Error> {
        let mut files = Self {
            rest: paths.into_iter(),
            open: None,
            header: RecordingHeader::default(),
            torn: Vec::new(),
        };
        loop {
            match files.next_file() {
                Some(Ok(header)) => {
                    files.header = header;
                    return Ok(files);
                }
                // A kill between the making of a file and its header.
                Some(Err(Error::Damaged {
                    path,
                    source: RecordingDamage::Torn,
                })) if files.rest.len() > 0 => {
                    files.torn.push((path, RecordingDamage::Torn));
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(files),
            }
        }
    }

    /// What they are of.
    pub fn header(&self) -> &RecordingHeader {
        &self.header
    }

    /// Files whose end was not whole, so far, and why: it was dropped.
    pub fn torn(&self) -> &[(PathBuf, RecordingDamage)] {
        &self.torn
    }

    fn next_file(&mut self) -> Option<Result<RecordingHeader, Error>> {
        let path = self.rest.next()?;
        let opened = crate::file::open(&path).map(BufReader::new);
        Some(match opened {
            Ok(mut file) => match read_header(&mut file) {
                Ok(header) => {
                    self.open = Some((path, file));
                    Ok(header)
                }
                Err(source) => Err(Error::Damaged { path, source }),
            },
            Err(source) => Err(Error::File { path, source }),
        })
    }
}

impl Iterator for SegmentFiles {
    type Item = Result<Segment, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((path, file)) = &mut self.open {
                match read_frame(file).transpose() {
                    Some(Ok(frame)) => match Segment::read(frame) {
                        Ok(segment) => return Some(Ok(segment)),
                        Err(damage) => self.torn.push((path.clone(), damage)),
                    },
                    Some(Err(damage)) => self.torn.push((path.clone(), damage)),
                    None => {}
                }
                self.open = None;
            }
            match self.next_file()? {
                Ok(_) => {}
                Err(Error::Damaged { path, source }) => self.torn.push((path, source)),
                // The oldest may have made room meanwhile.
                Err(Error::File { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn read_header(file: &mut impl Read) -> Result<RecordingHeader, RecordingDamage> {
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic)
        .map_err(|_| RecordingDamage::Torn)?;
    if magic[..5] != MAGIC[..5] {
        return Err(RecordingDamage::Strange);
    }
    if magic != MAGIC {
        return Err(RecordingDamage::Version(magic[5]));
    }
    let frame = read_frame(file)?.ok_or(RecordingDamage::Torn)?;
    let (head, body) = frame
        .split_first_chunk::<FRAME>()
        .ok_or(RecordingDamage::Torn)?;
    check(head, body)?;
    RecordingHeader::read(body)
}

/// A frame with its head; `None` at the end of the file.
fn read_frame(file: &mut impl Read) -> Result<Option<Vec<u8>>, RecordingDamage> {
    let mut frame = Vec::new();
    file.take(FRAME as u64)
        .read_to_end(&mut frame)
        .map_err(|_| RecordingDamage::Torn)?;
    if frame.is_empty() {
        return Ok(None);
    }
    let head = *frame.first_chunk::<FRAME>().ok_or(RecordingDamage::Torn)?;
    let length = body_length(&head)?;
    file.take(length as u64)
        .read_to_end(&mut frame)
        .map_err(|_| RecordingDamage::Torn)?;
    if frame.len() == FRAME + length {
        Ok(Some(frame))
    } else {
        Err(RecordingDamage::Torn)
    }
}
