//! Which files there are in the folder of the chunks: their names, whose they are and how they are sealed.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::spool::disk::fault_injection::FaultInjection;
use crate::spool::disk::frame::is_no_file;
use crate::spool::disk::log::stand::{self, first_seal};
use crate::spool::disk::sealing::sealer::KeyId;

/// The queues that have files in this folder.
pub(crate) fn queues(folder: &Path) -> io::Result<Vec<String>> {
    let mut names: Vec<String> = listed(folder)?.into_iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// Queue and number of each file.
pub(super) fn listed(folder: &Path) -> io::Result<Vec<(String, u64)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let parts = name.to_str().and_then(|name| name.rsplit_once('.'));
        found.extend(
            parts.and_then(|(queue, number)| Some((queue.to_owned(), number.parse().ok()?))),
        );
    }
    Ok(found)
}

/// The store that files in this folder belong to, by the first that tells.
pub(crate) fn owner(folder: &Path, fault_injection: &FaultInjection) -> Option<String> {
    let files = listed(folder).unwrap_or_default();
    files.into_iter().find_map(|(queue, number)| {
        stand::owner(&path(folder, &queue, number), fault_injection)
            .ok()
            .flatten()
    })
}

/// How the chunks in this folder are sealed.
pub(crate) fn chunks_sealed_with(folder: &Path) -> io::Result<BTreeSet<Option<KeyId>>> {
    let mut found = BTreeSet::new();
    for (queue, number) in listed(folder)? {
        match first_seal(&path(folder, &queue, number)) {
            Err(error) if is_no_file(&error) => {}
            seal => found.extend(seal?),
        }
    }
    Ok(found)
}

pub(super) fn path(folder: &Path, name: &str, number: u64) -> PathBuf {
    folder.join(format!("{name}.{number:08}"))
}
