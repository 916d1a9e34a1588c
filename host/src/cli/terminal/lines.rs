//! Lines of JSON to a new file or standard output.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::place::{CommandFailure, file_failure};
use crate::words;

/// An export under way.
pub struct JsonLines {
    out: Box<dyn Write>,
    path: PathBuf,
    count: u64,
}

impl JsonLines {
    /// To this file, which must not be there yet, or to standard output.
    pub fn to(path: Option<&Path>) -> Result<Self, CommandFailure> {
        let out: Box<dyn Write> = match path {
            Some(path) => Box::new(BufWriter::new(
                File::create_new(path).map_err(|error| file_failure(path, error))?,
            )),
            None => Box::new(BufWriter::new(std::io::stdout())),
        };
        Ok(Self {
            out,
            path: path.unwrap_or(Path::new("standard output")).to_owned(),
            count: 0,
        })
    }

    /// Writes `item` as one line of JSON.
    pub fn push(&mut self, item: &impl Serialize) -> Result<(), CommandFailure> {
        let line =
            serde_json::to_string(item).map_err(|error| CommandFailure::Said(error.to_string()))?;
        self.count += 1;
        // The same JSON, and nothing in it that a terminal would act on.
        writeln!(self.out, "{}", words::escaped(&line)).map_err(|error| self.failed(error))
    }

    /// How many lines it were, when all are written.
    pub fn finish(mut self) -> Result<u64, CommandFailure> {
        self.out
            .flush()
            .map_err(|error| self.failed(error))
            .map(|()| self.count)
    }

    fn failed(&self, error: std::io::Error) -> CommandFailure {
        // `| head` has seen enough.
        if error.kind() == ErrorKind::BrokenPipe {
            CommandFailure::ReaderGone
        } else {
            file_failure(&self.path, error)
        }
    }
}
