//! The file of a backup: a tar, compressed with zstd, whose last entry lists what has to be in it, with digests. One that was
//! cut short or changed is found out before anything is put in place.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::gathered::BackupFile;
use super::{BackupError, FORM, is_below};
use crate::file;

/// The name of the last entry, the list.
const LIST: &str = "backup.json";
/// Chunks are compressed already.
const LEVEL: i32 = 1;
/// Bytes of the list.
const MOST_LIST: u64 = 16 << 20;
/// Entries of an archive: whoever has more has none of ours.
const MOST_ENTRIES: usize = 200_000;

/// What a backup is of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BackupList {
    /// The form of the file.
    pub form: u32,
    pub gateway: String,
    /// When it was made, as RFC 3339 has it.
    pub made: String,
    /// Of tidegate, which made it.
    pub version: String,
    /// Each file by its name: SHA-256, in hexadecimal.
    pub files: BTreeMap<String, String>,
}

/// A backup that is being written; the file gets its name when it is whole.
pub struct ArchiveWriter {
    path: PathBuf,
    unfinished: PathBuf,
    tar: Option<tar::Builder<zstd::Encoder<'static, File>>>,
    list: BackupList,
    made_s: u64,
}

impl Drop for ArchiveWriter {
    fn drop(&mut self) {
        if self.tar.take().is_some() {
            drop(std::fs::remove_file(&self.unfinished));
        }
    }
}

impl ArchiveWriter {
    /// A new file, for its owner only. `made_s`: seconds since 1970.
    ///
    /// # Errors
    /// It is there already, or the system's.
    pub fn create(path: &Path, list: BackupList, made_s: u64) -> Result<Self, BackupError> {
        if std::fs::symlink_metadata(path).is_ok() {
            return Err(BackupError::file(path)(io::ErrorKind::AlreadyExists.into()));
        }
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)
            .map_err(BackupError::file(&unfinished))?;
        let compressed = zstd::Encoder::new(file, LEVEL).map_err(BackupError::Write)?;
        Ok(Self {
            path: path.to_owned(),
            unfinished,
            tar: Some(tar::Builder::new(compressed)),
            list: BackupList { form: FORM, ..list },
            made_s,
        })
    }

    /// Adds a file; `read` gives its bytes from a place on.
    pub fn add<E>(
        &mut self,
        file: &BackupFile,
        read: impl FnMut(u64) -> Result<Vec<u8>, E>,
    ) -> Result<(), ArchiveError<E>> {
        let mut pages = PagedReader {
            read,
            at: 0,
            page: Vec::new(),
            used: 0,
            digest: Context::new(&SHA256),
            failed: None,
        };
        let appended = append(
            &mut self.tar,
            self.made_s,
            &file.name,
            file.bytes,
            &mut pages,
        );
        if let Some(failed) = pages.failed {
            return Err(ArchiveError::Read(failed));
        }
        appended.map_err(ArchiveError::Write)?;
        if pages.at != file.bytes {
            return Err(ArchiveError::Write(io::ErrorKind::UnexpectedEof.into()));
        }
        let digest = hex(pages.digest);
        self.list.files.insert(file.name.clone(), digest);
        Ok(())
    }

    /// Writes the list, and gives the file its name. The answer is how long it is.
    pub fn finish(mut self) -> Result<u64, BackupError> {
        let list = serde_json::to_vec_pretty(&self.list)
            .map_err(|error| BackupError::Write(error.into()))?;
        let length = list.len() as u64;
        append(&mut self.tar, self.made_s, LIST, length, &*list).map_err(BackupError::Write)?;
        let Some(tar) = self.tar.take() else {
            return Err(BackupError::Write(io::ErrorKind::BrokenPipe.into()));
        };
        let written = tar.into_inner().and_then(zstd::Encoder::finish);
        let synced = written.and_then(|file| {
            file.sync_all()?;
            std::fs::rename(&self.unfinished, &self.path)?;
            file.metadata()
        });
        synced
            .map(|about| about.len())
            .inspect_err(|_| drop(std::fs::remove_file(&self.unfinished)))
            .map_err(BackupError::Write)
    }
}

/// Why a file was not added.
pub enum ArchiveError<E> {
    /// It cannot be had.
    Read(E),
    /// The backup does not take it.
    Write(io::Error),
}

fn append(
    tar: &mut Option<tar::Builder<zstd::Encoder<'static, File>>>,
    made_s: u64,
    name: &str,
    bytes: u64,
    content: impl Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(made_s);
    let tar = tar.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
    tar.append_data(&mut header, name, content.take(bytes))
}

/// What is fetched page by page, as a reader.
struct PagedReader<F, E> {
    read: F,
    at: u64,
    page: Vec<u8>,
    used: usize,
    digest: Context,
    failed: Option<E>,
}

impl<E, F: FnMut(u64) -> Result<Vec<u8>, E>> Read for PagedReader<F, E> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.page.len() {
            match (self.read)(self.at) {
                Ok(page) => (self.page, self.used) = (page, 0),
                Err(failed) => {
                    self.failed = Some(failed);
                    return Err(io::ErrorKind::Other.into());
                }
            }
            self.at += self.page.len() as u64;
            // A file that ends too early would shift all that follows.
            if self.page.is_empty() {
                return Ok(0);
            }
            self.digest.update(&self.page);
        }
        let rest = &self.page[self.used..];
        let taken = rest.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&rest[..taken]);
        self.used += taken;
        Ok(taken)
    }
}

fn hex(digest: Context) -> String {
    let digest = digest.finish();
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect()
}

/// Unpacks a backup into the new folder `into`, and looks whether all of it is there.
///
/// # Errors
/// It is none, or a damaged one: what was unpacked of it is not to be used.
pub fn unpack(path: &Path, into: &Path) -> Result<BackupList, BackupError> {
    let archive = file::open(path).map_err(BackupError::file(path))?;
    let plain = zstd::Decoder::new(archive).map_err(BackupError::Read)?;
    let mut archive = tar::Archive::new(plain);
    make(into)?;
    let mut found = BTreeMap::new();
    for entry in archive.entries().map_err(BackupError::Read)? {
        let mut entry = entry.map_err(BackupError::Read)?;
        let name = entry.path().map_err(BackupError::Read)?.into_owned();
        if name == Path::new(LIST) {
            let mut text = Vec::new();
            entry
                .take(MOST_LIST)
                .read_to_end(&mut text)
                .map_err(BackupError::Read)?;
            return compare(&text, &found);
        }
        if !is_below(&name) || !entry.header().entry_type().is_file() || found.len() >= MOST_ENTRIES
        {
            return Err(BackupError::Damaged(
                "it has an entry of another kind".to_owned(),
            ));
        }
        let target = into.join(&name);
        make(target.parent().unwrap_or(into))?;
        let digest = write(&mut entry, &target)?;
        found.insert(name.display().to_string(), digest);
    }
    Err(BackupError::Damaged("it ends too early".to_owned()))
}

fn make(folder: &Path) -> Result<(), BackupError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(BackupError::file(folder))
}

fn write(content: &mut impl Read, path: &Path) -> Result<String, BackupError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(BackupError::file(path))?;
    let mut digest = Context::new(&SHA256);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = content.read(&mut buffer).map_err(BackupError::Read)?;
        if read == 0 {
            break;
        }
        digest.update(&buffer[..read]);
        file.write_all(&buffer[..read])
            .map_err(BackupError::file(path))?;
    }
    file.sync_all().map_err(BackupError::file(path))?;
    Ok(hex(digest))
}

/// Whether what was found is what the list says.
fn compare(list: &[u8], found: &BTreeMap<String, String>) -> Result<BackupList, BackupError> {
    let damaged = |error: serde_json::Error| BackupError::Damaged(error.to_string());
    let list: BackupList = serde_json::from_slice(list).map_err(damaged)?;
    if list.form > FORM {
        return Err(BackupError::Form(list.form));
    }
    if let Some((name, _)) = list
        .files
        .iter()
        .find(|(name, digest)| found.get(*name) != Some(digest))
    {
        return Err(BackupError::Damaged(format!(
            "`{}` is not as it was",
            crate::words::line(name, 200)
        )));
    }
    if list.files.len() != found.len() {
        return Err(BackupError::Damaged(
            "it has more than it should".to_owned(),
        ));
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(folder: &Path, names: &[&str]) -> PathBuf {
        let path = folder.join("a.backup");
        let mut writer = ArchiveWriter::create(&path, BackupList::default(), 0).unwrap();
        for name in names {
            let file = BackupFile {
                name: (*name).to_owned(),
                bytes: 6,
            };
            let pages = |from: u64| -> Result<Vec<u8>, ()> {
                Ok(if from < 9 {
                    b"abc".to_vec()
                } else {
                    Vec::new()
                })
            };
            assert!(writer.add(&file, pages).is_ok());
        }
        writer.finish().unwrap();
        path
    }

    #[test]
    fn what_went_in_comes_out_and_a_file_that_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let long = format!("data/{}", "x".repeat(200));
        let path = archive(folder.path(), &["config/tidegate.toml", &long]);
        let mode = std::os::unix::fs::PermissionsExt::mode;
        assert_eq!(
            mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777,
            0o600
        );
        let into = folder.path().join("into");
        assert_eq!(unpack(&path, &into).unwrap().files.len(), 2);
        assert_eq!(std::fs::read(into.join(long)).unwrap(), b"abcabc");
        assert!(ArchiveWriter::create(&path, BackupList::default(), 0).is_err());
    }

    #[test]
    fn one_that_was_cut_or_changed_or_leads_elsewhere_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive(folder.path(), &["data/spool/lock"]);
        let whole = std::fs::read(&path).unwrap();
        for (index, cut) in [0, 1, 20, whole.len() / 2, whole.len() - 40]
            .into_iter()
            .enumerate()
        {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(
                unpack(&path, &folder.path().join(index.to_string())).is_err(),
                "{cut}"
            );
        }
        for name in [
            "data/../../etc/passwd",
            "/etc/passwd",
            "etc/passwd",
            "data",
            "config",
        ] {
            assert!(!is_below(Path::new(name)), "{name}");
        }
        assert!(is_below(Path::new("data/spool/chunks/a:b.1")));
    }
}
