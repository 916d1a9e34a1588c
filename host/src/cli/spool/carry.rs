//! What is owed, carried out to a file and in again.

use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::json;

use super::{ExportMessages, ImportMessages, PAGE, PAGE_BYTES, queues, tell};
use crate::cli::place::{CommandFailure, GatewayOrFiles, file_failure};
use crate::cli::show::of;
use crate::cli::terminal::lines::JsonLines;
use crate::cli::{Global, OutputFormat, print_json, say};
use crate::exit::Exit;
use crate::file;
use crate::message::Seq;
use crate::spool::{AffectedCount, QueueRecord, RecordPage, ToolRequest};
use crate::words::with_causes;

pub(super) fn export(
    arguments: &ExportMessages,
    place: &GatewayOrFiles,
) -> Result<Exit, CommandFailure> {
    let mut lines = JsonLines::to(arguments.to.as_deref())?;
    let mut well = true;
    for queue in queues(place, &arguments.queues)? {
        let mut from = Some(Seq::FIRST);
        while let Some(next) = from {
            let page: RecordPage = place.ask(ToolRequest::Page {
                queue: queue.clone(),
                from: next,
                max: PAGE,
            })?;
            page.records
                .iter()
                .try_for_each(|record| lines.push(record))?;
            well &= page.findings.is_empty();
            tell(&page.findings);
            from = page.next;
        }
    }
    say(&format!("{} exported", of(lines.finish()?, "message")));
    Ok(if well { Exit::Done } else { Exit::Failed })
}

pub(super) fn import(
    global: &Global,
    arguments: &ImportMessages,
    place: GatewayOrFiles,
) -> Result<Exit, CommandFailure> {
    let input: Box<dyn BufRead> = if arguments.file == Path::new("-") {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        Box::new(BufReader::new(
            file::open(&arguments.file).map_err(|error| file_failure(&arguments.file, error))?,
        ))
    };
    let mut importing = Importing {
        place: &place,
        queue: arguments.queue.as_deref(),
        records: Vec::new(),
        bytes: 0,
        done: 0,
    };
    let imported = importing.all(input, &arguments.file);
    let done = importing.done;
    // What is in is written, whatever came of the rest.
    let closed = place.close();
    match global.output {
        OutputFormat::Json => print_json(&json!({ "imported": done })),
        OutputFormat::Text => say(&format!("{} imported", of(done, "message"))),
    }
    imported.and(closed).map(|()| Exit::Done)
}

/// Lines on their way in.
pub(super) struct Importing<'a> {
    place: &'a GatewayOrFiles,
    queue: Option<&'a str>,
    records: Vec<QueueRecord>,
    bytes: usize,
    done: u64,
}

impl Importing<'_> {
    fn all(&mut self, input: Box<dyn BufRead>, file: &Path) -> Result<(), CommandFailure> {
        for (index, line) in input.lines().enumerate() {
            let line = line.map_err(|error| file_failure(file, error))?;
            if line.trim().is_empty() {
                continue;
            }
            self.take(&line).map_err(|error| {
                CommandFailure::Said(format!("line {} is no message: {error}", index + 1))
            })?;
            if self.records.len() >= PAGE || self.bytes >= PAGE_BYTES {
                self.send()?;
            }
        }
        self.send()
    }

    fn take(&mut self, line: &str) -> Result<(), serde_json::Error> {
        let mut value: serde_json::Value = serde_json::from_str(line)?;
        if let (Some(queue), Some(fields)) = (self.queue, value.as_object_mut()) {
            fields.insert("queue".to_owned(), queue.into());
        }
        self.records.push(serde_json::from_value(value)?);
        self.bytes += line.len();
        Ok(())
    }

    fn send(&mut self) -> Result<(), CommandFailure> {
        if self.records.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut self.records);
        let first = self.done + 1;
        self.bytes = 0;
        let done: Result<AffectedCount, _> = self.place.ask(ToolRequest::Import { records });
        self.done += done
            .map_err(|error| {
                CommandFailure::Said(format!("from message {first} on: {}", with_causes(&error)))
            })?
            .count;
        Ok(())
    }
}
