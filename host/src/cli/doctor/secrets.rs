//! Files of secrets: who else can read them, and what is mended there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::finding::{Finding, FindingLevel};
use super::machine::shown;
use crate::cli::show::of;
use crate::file::{self, SecretGuard};

const SUBJECT: &str = "secrets";
/// Bits of the mode that others have.
const OTHERS: u32 = 0o007;
const OTHERS_READ: u32 = 0o004;
const GROUP_WRITE: u32 = 0o020;

/// A file that the config leads to, and the key under which it does.
#[derive(Clone, Debug)]
pub(super) struct SecretFile {
    pub(super) of: String,
    pub(super) path: PathBuf,
}

pub(super) fn look(files: &[SecretFile], data_dir: &Path) -> Vec<Finding> {
    let mut found: Vec<Finding> = files
        .iter()
        .filter_map(|file| one(file, data_dir))
        .collect();
    if found.is_empty() && !files.is_empty() {
        found.push(Finding::ok(
            SUBJECT,
            format!("{}, for the gateway alone", of(files.len() as u64, "file")),
        ));
    }
    found
}

fn one(kept: &SecretFile, data_dir: &Path) -> Option<Finding> {
    let path = shown(&kept.path);
    let Ok(about) = fs::metadata(&kept.path) else {
        let what = format!("{}: {path} cannot be looked at", kept.of);
        let why = "whoever runs the gateway has to read it";
        return Some(Finding::of(
            FindingLevel::Unknown,
            SUBJECT,
            what,
            why,
            format!("ls -l {path}"),
        ));
    };
    let failed = |what: String, mend: String| {
        let why = "who has it can be this gateway, to the broker or to its disk";
        Some(Finding::of(FindingLevel::Failed, SUBJECT, what, why, mend))
    };
    if about.permissions().mode() & OTHERS_READ != 0 {
        let what = format!("{}: every user of this machine can read {path}", kept.of);
        return failed(what, format!("tidegate doctor --fix, or: chmod o= {path}"));
    }
    match file::guard(&kept.path, data_dir) {
        SecretGuard::Kept => None,
        SecretGuard::Owner(owner) => {
            let what = format!(
                "{}: {path} belongs to user {owner}, who does not run the gateway",
                kept.of
            );
            failed(what, format!("chown root {path}; chmod 640 {path}"))
        }
        SecretGuard::Written => {
            let who = if about.permissions().mode() & OTHERS != 0 {
                "every user of this machine"
            } else {
                "a group that is not the gateway's"
            };
            let what = format!("{}: {who} can write {path}", kept.of);
            failed(
                what,
                format!("tidegate doctor --fix, or: chmod g-w,o= {path}"),
            )
        }
    }
}

/// Takes away what others have of each, and what a group writes that is not the gateway's; says what was done, and what could not be.
pub(super) fn close(files: &[SecretFile], data_dir: &Path) -> Vec<String> {
    files
        .iter()
        .filter_map(|file| close_one(&file.path, data_dir))
        .collect()
}

fn close_one(path: &Path, data_dir: &Path) -> Option<String> {
    let mode = fs::metadata(path).ok()?.permissions().mode();
    let is_written = matches!(file::guard(path, data_dir), SecretGuard::Written);
    let taken = if is_written {
        OTHERS | GROUP_WRITE
    } else {
        OTHERS
    };
    if mode & taken == 0 {
        return None;
    }
    let closed = fs::Permissions::from_mode(mode & !taken & 0o7777);
    Some(match fs::set_permissions(path, closed) {
        Ok(()) => format!(
            "{}: mode {:o} became {:o}",
            shown(path),
            mode & 0o777,
            mode & !taken & 0o777
        ),
        Err(error) => format!(
            "{}: its mode {:o} stays: {error}",
            shown(path),
            mode & 0o777
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_others_read_is_told_and_closed_and_nothing_else_changes() {
        let folder = tempfile::tempdir().unwrap();
        let kept = |name: &str, mode: u32| {
            let path = folder.path().join(name);
            fs::write(&path, "x").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            SecretFile {
                of: "uplink.cloud.password".to_owned(),
                path,
            }
        };
        let files = [
            kept("open", 0o644),
            kept("written", 0o602),
            kept("closed", 0o640),
        ];
        let levels = |files: &[SecretFile]| -> Vec<FindingLevel> {
            look(files, folder.path())
                .iter()
                .map(|finding| finding.level)
                .collect()
        };
        assert_eq!(levels(&files), [FindingLevel::Failed, FindingLevel::Failed]);
        let done = close(&files, folder.path());
        assert!(
            done.len() == 2 && done[0].ends_with("mode 644 became 640"),
            "{done:?}"
        );
        assert_eq!(levels(&files), [FindingLevel::Ok]);
        assert_eq!(close(&files, folder.path()), [""; 0]);
        let mode =
            |file: &SecretFile| fs::metadata(&file.path).unwrap().permissions().mode() & 0o777;
        assert_eq!(files.each_ref().map(mode), [0o640, 0o600, 0o640]);
        fs::remove_file(&files[0].path).unwrap();
        assert_eq!(levels(&files), [FindingLevel::Unknown]);
        assert_eq!(close(&files, folder.path()), [""; 0]);
    }
}
