//! The folder: written beside, synced, renamed, folder synced. A kill at any moment leaves the old or the new.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::IncomingComponent;
use super::entry::PluginVersions;
use crate::file;
use crate::trust::digest;

const TABLE: &str = "running.json";
/// Bytes of the table: it names a few versions of each plugin, with their settings.
const MAX_TABLE_BYTES: u64 = 64 << 20;
const COMPONENT: &str = ".wasm";
const SIGNATURE: &str = ".minisig";
const BEING_WRITTEN: &str = ".new";

/// Where a component is kept.
pub(super) fn component(folder: &Path, digest: &str) -> PathBuf {
    folder.join(format!("{digest}{COMPONENT}"))
}

/// Whether a component is there, by its name (it is read when it is needed), and has this signature.
pub(super) fn is_kept(folder: &Path, digest: &str, code: IncomingComponent<'_>) -> bool {
    let signature = folder.join(format!("{digest}{COMPONENT}{SIGNATURE}"));
    let is_signed = |text: &str| {
        file::read(&signature, file::BY_HAND).is_ok_and(|kept| kept == text.as_bytes())
    };
    component(folder, digest).exists() && code.signature.is_none_or(is_signed)
}

/// Keeps a component, after its signature, so that it never stands without.
pub(super) fn keep(folder: &Path, digest: &str, code: IncomingComponent<'_>) -> io::Result<()> {
    if let Some(signature) = code.signature {
        replace(
            folder,
            &format!("{digest}{COMPONENT}{SIGNATURE}"),
            &[signature.as_bytes()],
        )?;
    }
    replace(folder, &format!("{digest}{COMPONENT}"), &[code.component])
}

/// The table; empty when there is none.
pub(super) fn load(folder: &Path) -> io::Result<Vec<PluginVersions>> {
    let text = match file::read(&folder.join(TABLE), MAX_TABLE_BYTES) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let damaged = |what: &str| {
        io::Error::new(
            ErrorKind::InvalidData,
            format!("`{TABLE}` is damaged: {what}"),
        )
    };
    let end = text
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or_else(|| damaged("it is cut short"))?;
    let (table, rest) = text.split_at(end);
    if rest.trim_ascii() != seal(table).as_bytes() {
        return Err(damaged("its checksum does not fit"));
    }
    serde_json::from_slice(table).map_err(|error| damaged(&error.to_string()))
}

/// Writes the table, then takes away what it does not name.
pub(super) fn save(folder: &Path, table: &[PluginVersions]) -> io::Result<()> {
    let mut line = serde_json::to_vec(table).map_err(io::Error::other)?;
    let seal = seal(&line);
    line.push(b'\n');
    replace(folder, TABLE, &[&line, seal.as_bytes(), b"\n"])?;
    for name in names(folder)? {
        let is_named = |digest| {
            table
                .iter()
                .flat_map(PluginVersions::digests)
                .any(|known| known == digest)
        };
        let own = name
            .trim_end_matches(BEING_WRITTEN)
            .trim_end_matches(SIGNATURE)
            .strip_suffix(COMPONENT);
        let is_idle = own.is_some_and(|digest| is_digest(digest) && !is_named(digest));
        if is_idle {
            // What stays takes room, and goes the next time.
            let _ = fs::remove_file(folder.join(name));
        }
    }
    Ok(())
}

/// Moves a table that cannot be read out of the way, for people to look at.
pub(super) fn set_aside(folder: &Path) {
    // Where that fails it is written over; it says nothing any more.
    let _ = fs::rename(folder.join(TABLE), folder.join(format!("{TABLE}.damaged")));
}

/// JSON, so that the whole file is a sequence of JSON values.
fn seal(table: &[u8]) -> String {
    format!("\"{}\"", digest(table))
}

fn replace(folder: &Path, name: &str, parts: &[&[u8]]) -> io::Result<()> {
    make(folder)?;
    let beside = folder.join(format!("{name}{BEING_WRITTEN}"));
    let write = || {
        let mut written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        parts.iter().try_for_each(|part| written.write_all(part))?;
        written.sync_all()
    };
    // On a full disk what is half written only takes room.
    write().inspect_err(|_| drop(fs::remove_file(&beside)))?;
    fs::rename(&beside, folder.join(name))?;
    file::sync_folder(folder)
}

/// Makes the folder, which is for the gateway's user alone: settings may hold what is nobody else's business.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    folder.parent().map_or(Ok(()), file::sync_folder)
}

/// Whatever has another name was put here by somebody else.
fn is_digest(name: &str) -> bool {
    name.len() == 64
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}
