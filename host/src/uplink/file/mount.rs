//! A folder that is a mount point is there without its disk as well, and would take files on the disk below: that it was one is
//! noted, and asked for from then on.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Error;
use crate::file;

/// Longest path that is noted.
const LONGEST: u64 = 4 << 10;

/// Refuses a folder that was a mount point, as `note` says, and is none now.
///
/// # Errors
/// Nothing is mounted there, or it cannot be looked at.
pub(super) fn ask_for_disk(folder: &Path, note: &Path) -> Result<(), Error> {
    if is_mount_point(folder)? || !is_noted(folder, note) {
        return Ok(());
    }
    Err(Error::NotMounted {
        folder: folder.to_owned(),
        note: note.to_owned(),
    })
}

/// Notes a folder that is a mount point.
///
/// # Errors
/// It cannot be looked at.
pub(super) fn note_disk(folder: &Path, note: &Path) -> Result<(), Error> {
    if is_mount_point(folder)?
        && !is_noted(folder, note)
        && let Err(error) = write(folder, note)
    {
        let (folder, note) = (folder.display(), note.display());
        tracing::warn!(%folder, %note, %error, "that a disk is mounted there cannot be noted: without it, files would go where it is not");
    }
    Ok(())
}

/// Whether another file system begins there.
fn is_mount_point(folder: &Path) -> Result<bool, Error> {
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev());
    let wrong = |cause| Error::new("look into", folder, cause);
    Ok(device(folder).map_err(wrong)? != device(&folder.join("..")).map_err(wrong)?)
}

/// What is noted of another folder counts for that one.
fn is_noted(folder: &Path, note: &Path) -> bool {
    file::read(note, LONGEST).is_ok_and(|noted| noted == folder.as_os_str().as_bytes())
}

fn write(folder: &Path, note: &Path) -> io::Result<()> {
    let above = note.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(above)?;
    // Half of a path is another one, which was never asked for: nothing worse than none.
    fs::write(note, folder.as_os_str().as_bytes())?;
    file::open(note)?.sync_all()?;
    file::sync_folder(above)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_folder_that_was_a_mount_point_is_asked_for_its_disk() {
        let (folder, other, data) = (
            TempDir::new().unwrap(),
            TempDir::new().unwrap(),
            TempDir::new().unwrap(),
        );
        let note = data.path().join("mounts/history");
        // Wherever this runs, these are mounted.
        note_disk(Path::new("/proc"), &note).unwrap();
        ask_for_disk(Path::new("/proc"), &note).unwrap();
        assert!(is_noted(Path::new("/proc"), &note));

        note_disk(folder.path(), &note).unwrap();
        ask_for_disk(folder.path(), &note).unwrap();
        write(folder.path(), &note).unwrap();
        let refused = ask_for_disk(folder.path(), &note).unwrap_err().to_string();
        let names = |path: &Path| refused.contains(&path.display().to_string());
        assert!(names(folder.path()) && names(&note), "{refused}");
        ask_for_disk(other.path(), &note).unwrap();
        fs::remove_file(&note).unwrap();
        ask_for_disk(folder.path(), &note).unwrap();
    }
}
