//! `tidegate backup` and `tidegate restore`: a gateway in one file, and back on another card or machine.

mod restore;

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::json;

pub use restore::{RestoreArguments, restore};

use super::place::{Access, CommandFailure, DataDirArgument, GatewayOrFiles};
use super::show::{bytes, count};
use super::{Global, OutputFormat, Surroundings, print_json, say};
use crate::backup::BackupError;
use crate::backup::archive::{ArchiveError, ArchiveWriter, BackupList};
use crate::backup::gathered::{BackupFile, Gathered};
use crate::clock::{Now, utc};
use crate::exit::Exit;
use crate::gateway::api::backup::{BackupContents, BackupPage, BackupRequest, PAGE};

const EXAMPLES: &str = "\
Examples:
  tidegate backup /media/usb/barn-7.backup
  tidegate backup barn-7.backup --data-dir /mnt/card/tidegate      of a card that was taken out

Of a running gateway, which goes on meanwhile, or of the files of a stopped one: the config with its parts and the plugins below \
its folder, versions of plugins, their state, what is owed, dead letters, ledger. What is owed in memory is written first, so \
everything owed at that moment is in it. Not in it: what the config refers to (passwords, certificates, keys, the key of a sealed \
store), recordings. What devices said is: the file is for its owner only (0600), keep it so. `tidegate restore` puts it back.";

/// Arguments of `tidegate backup`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BackupArguments {
    /// A new file to write.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    at: DataDirArgument,
}

impl From<BackupError> for CommandFailure {
    fn from(error: BackupError) -> Self {
        Self::Said(crate::words::with_causes(&error))
    }
}

pub fn backup(global: &Global, arguments: &BackupArguments, surroundings: Surroundings) -> Exit {
    let made = GatewayOrFiles::find(global, &arguments.at, surroundings, Access::Look)
        .and_then(|place| make(global, arguments, &place));
    match made {
        Ok(()) => Exit::Done,
        Err(failure) => failure.end(),
    }
}

fn make(
    global: &Global,
    arguments: &BackupArguments,
    place: &GatewayOrFiles,
) -> Result<(), CommandFailure> {
    let owed = owed(place)?;
    let content = Content::of(global, place)?;
    let now_us = Now::read().wall.0;
    let list = BackupList {
        gateway: content.contents.gateway.clone(),
        made: utc(now_us),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..BackupList::default()
    };
    let written = write(arguments, &content, list, now_us / 1_000_000);
    content.end();
    let length = written?;
    let BackupContents {
        files, elsewhere, ..
    } = &content.contents;
    match global.output {
        OutputFormat::Json => print_json(
            &json!({ "file": arguments.file, "bytes": length, "files": files.len(), "owed": owed, "elsewhere": elsewhere }),
        ),
        OutputFormat::Text => {
            let file = crate::words::line(&arguments.file.display().to_string(), 200);
            say(&format!(
                "{file}: {}, {} files, {} messages owed; without passwords, certificates and keys, which the config refers to, and without recordings",
                bytes(length),
                files.len(),
                count(owed)
            ));
            for path in elsewhere {
                let path = crate::words::line(path, 200);
                say(&format!(
                    "not in it, since it lies elsewhere than below the config's folder: {path} (its version that runs is)"
                ));
            }
        }
    }
    Ok(())
}

fn owed(place: &GatewayOrFiles) -> Result<u64, CommandFailure> {
    let queues = place.status()?.queues;
    Ok(queues
        .iter()
        .map(|queue| queue.in_ram + queue.on_disk)
        .sum())
}

fn write(
    arguments: &BackupArguments,
    content: &Content<'_>,
    list: BackupList,
    made_s: u64,
) -> Result<u64, CommandFailure> {
    let mut archive = ArchiveWriter::create(&arguments.file, list, made_s)?;
    for file in &content.contents.files {
        archive
            .add(file, |from| content.read(file, from))
            .map_err(|error| match error {
                ArchiveError::Read(failure) => failure,
                ArchiveError::Write(error) => BackupError::Write(error).into(),
            })?;
    }
    Ok(archive.finish()?)
}

/// What goes into the backup, as a running gateway gives it, or from the files of a stopped one.
struct Content<'a> {
    place: &'a GatewayOrFiles,
    contents: BackupContents,
    gathered: Option<Gathered>,
}

impl<'a> Content<'a> {
    fn of(global: &Global, place: &'a GatewayOrFiles) -> Result<Self, CommandFailure> {
        let (config, stopped) = match place {
            GatewayOrFiles::Running(client) => {
                return Ok(Self {
                    place,
                    contents: client.post("/v1/backup", &BackupRequest::Begin)?,
                    gathered: None,
                });
            }
            GatewayOrFiles::Stopped(config, stopped) => (config, stopped),
        };
        let gathered = Gathered::gather(config, &global.config, |into| stopped.snapshot(into))?;
        let elsewhere = gathered.elsewhere().iter();
        let contents = BackupContents {
            number: 0,
            gateway: config.gateway.name.to_string(),
            files: gathered.files().to_vec(),
            elsewhere: elsewhere.map(|path| path.display().to_string()).collect(),
        };
        let gathered = Some(gathered);
        Ok(Self {
            place,
            contents,
            gathered,
        })
    }

    fn read(&self, file: &BackupFile, from: u64) -> Result<Vec<u8>, CommandFailure> {
        if let Some(gathered) = &self.gathered {
            return Ok(gathered.read(&file.name, from, PAGE)?);
        }
        let request = BackupRequest::Read {
            number: self.contents.number,
            name: file.name.clone(),
            from,
        };
        let page: BackupPage = self.ask(&request)?;
        STANDARD
            .decode(page.bytes)
            .map_err(|error| CommandFailure::Said(format!("an answer of another form: {error}")))
    }

    fn ask(&self, request: &BackupRequest) -> Result<BackupPage, CommandFailure> {
        match self.place {
            GatewayOrFiles::Running(client) => Ok(client.post("/v1/backup", request)?),
            GatewayOrFiles::Stopped(..) => Ok(BackupPage {
                bytes: String::new(),
            }),
        }
    }

    /// A gateway that has gone meanwhile, or forgets by itself, is no failure of the backup.
    fn end(&self) {
        let number = self.contents.number;
        let _: Result<BackupPage, CommandFailure> = self.ask(&BackupRequest::End { number });
    }
}
