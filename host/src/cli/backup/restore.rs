//! `tidegate restore`: unpacked beside its place, looked through, and only then put there. Nothing that is there is written over.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::backup::archive::{BackupList, unpack};
use crate::backup::{CONFIG, DATA};
use crate::cli::place::{CommandFailure, file_failure};
use crate::cli::{Global, OutputFormat, Surroundings, print_json, say};
use crate::config;
use crate::exit::Exit;
use crate::file;

const EXAMPLES: &str = "\
Examples:
  sudo tidegate restore /media/usb/barn-7.backup --replace-config      on a machine on which the package was just installed
  tidegate restore barn-7.backup --into /mnt/card/tidegate -c /mnt/card/etc/tidegate.toml

The data folder must not be there, or be empty, and no file of the config may be there with another content: with --replace-config \
those are kept as FILE.before. Passwords, certificates and keys that the config names have to be brought by hand. The store knows \
that it was copied: its messages get ids of another name, and it leaves the sessions of the first gateway alone. What was \
delivered after the backup is delivered again. Never run both: at a broker they throw each other out.";

/// Arguments of `tidegate restore`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RestoreArguments {
    /// What `tidegate backup` has written.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The data folder to make. Default: as for `run`.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Files of the config that are there and differ are kept as FILE.before.
    #[arg(long)]
    replace_config: bool,
}

/// Puts a backup back.
pub fn restore(global: &Global, arguments: &RestoreArguments, _: Surroundings) -> Exit {
    match put_back(global, arguments) {
        Ok(()) => Exit::Done,
        Err(failure) => failure.end(),
    }
}

fn put_back(global: &Global, arguments: &RestoreArguments) -> Result<(), CommandFailure> {
    let into = target(global, arguments)?;
    let mut beside = into.as_os_str().to_owned();
    beside.push(".restoring");
    let beside = PathBuf::from(beside);
    // What a kill has left of a restore is nobody's.
    drop(fs::remove_dir_all(&beside));
    let done = unpack(&arguments.file, &beside)
        .map_err(CommandFailure::from)
        .and_then(|list| {
            let replaced = put(global, arguments, &beside, &into)?;
            Ok((list, replaced))
        });
    drop(fs::remove_dir_all(&beside));
    let (list, replaced) = done?;
    tell(global, &list, &into, &replaced);
    Ok(())
}

/// Where the data goes, which is nowhere yet.
fn target(global: &Global, arguments: &RestoreArguments) -> Result<PathBuf, CommandFailure> {
    let into = match &arguments.into {
        Some(into) => into.clone(),
        None => config::data_dir(&global.sources(None)).ok_or_else(|| {
            CommandFailure::Usage("say where the data goes: --into DIR".to_owned())
        })?,
    };
    let shown = into.display();
    match fs::read_dir(&into) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(into),
        Err(error) => Err(file_failure(&into, error)),
        Ok(_) if into.join("spool/lock").exists() => Err(CommandFailure::Said(format!(
            "there is a store in `{shown}` already, and what it owes would be lost: name another folder with --into, or move that one away"
        ))),
        Ok(mut entries) => match entries.next() {
            None => Ok(into),
            Some(_) => Err(CommandFailure::Said(format!(
                "`{shown}` is not empty: name a folder with --into that is, or is not there"
            ))),
        },
    }
}

/// Puts everything in its place, config first; answers which files were kept under another name.
fn put(
    global: &Global,
    arguments: &RestoreArguments,
    beside: &Path,
    into: &Path,
) -> Result<Vec<PathBuf>, CommandFailure> {
    let folder = global.config.parent().unwrap_or(Path::new(""));
    let mut moves = Vec::new();
    let mut differing = Vec::new();
    for (source, name) in files_below(&beside.join(CONFIG), Path::new(""))? {
        let target = if name == Path::new("tidegate.toml") {
            global.config.clone()
        } else {
            folder.join(name)
        };
        let own =
            file::read(&source, file::COMPONENT).map_err(|error| file_failure(&source, error))?;
        match file::read(&target, file::COMPONENT) {
            Ok(there) if there == own => continue,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Ok(_) | Err(_) => differing.push(target.clone()),
        }
        moves.push((own, target));
    }
    if !differing.is_empty() && !arguments.replace_config {
        let names: Vec<_> = differing
            .iter()
            .map(|path| crate::words::line(&path.display().to_string(), 200))
            .collect();
        return Err(CommandFailure::Said(format!(
            "there with another content, and not written over: {}; --replace-config keeps them as FILE.before, -c FILE puts the config elsewhere",
            names.join(", ")
        )));
    }
    for path in &differing {
        let mut before = path.as_os_str().to_owned();
        before.push(".before");
        fs::rename(path, before).map_err(|error| file_failure(path, error))?;
    }
    for (content, target) in moves {
        if let Some(folder) = target
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            fs::create_dir_all(folder).map_err(|error| file_failure(folder, error))?;
        }
        fs::write(&target, content).map_err(|error| file_failure(&target, error))?;
    }
    put_data(&beside.join(DATA), into)?;
    Ok(differing)
}

/// A folder that is there and empty stays, with its owner, who gets what comes into it.
fn put_data(data: &Path, into: &Path) -> Result<(), CommandFailure> {
    let failed = |error| file_failure(into, error);
    if into.exists() {
        file::give_all(data, into).map_err(failed)?;
        for entry in fs::read_dir(data).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            fs::rename(entry.path(), into.join(entry.file_name())).map_err(failed)?;
        }
    } else {
        fs::rename(data, into).map_err(failed)?;
    }
    file::sync_folder(into).map_err(failed)
}

/// Files with their names below `folder`, in order.
fn files_below(folder: &Path, name: &Path) -> Result<Vec<(PathBuf, PathBuf)>, CommandFailure> {
    let failed = |error| file_failure(folder, error);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let own = name.join(entry.file_name());
        if entry.file_type().map_err(failed)?.is_dir() {
            files.extend(files_below(&entry.path(), &own)?);
        } else {
            files.push((entry.path(), own));
        }
    }
    files.sort();
    Ok(files)
}

fn tell(global: &Global, list: &BackupList, into: &Path, replaced: &[PathBuf]) {
    if global.output == OutputFormat::Json {
        return print_json(&json!({
            "gateway": list.gateway, "made": list.made, "version": list.version,
            "into": into, "config": global.config, "replaced": replaced,
        }));
    }
    let shown = |path: &Path| crate::words::line(&path.display().to_string(), 200);
    say(&format!(
        "{} as of {} is in {}, its config in {}",
        crate::words::line(&list.gateway, 100),
        crate::words::line(&list.made, 30),
        shown(into),
        shown(&global.config)
    ));
    for path in replaced {
        say(&format!("{} was kept as .before", shown(path)));
    }
    say(
        "bring passwords, certificates and keys that it names by hand, then: tidegate check; the first gateway must not run any more",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backup::BackupError;

    #[test]
    fn a_backup_error_is_told_with_its_cause() {
        let error = BackupError::Damaged("it ends too early".to_owned());
        let failure = CommandFailure::from(error).to_string();
        assert!(failure.contains("nothing was put in place") && failure.contains("too early"));
    }
}
