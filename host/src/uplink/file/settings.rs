//! What an uplink into files needs to know; already checked (`config` does that).

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::facts::UplinkFacts;
use super::super::form::compress::Compress;
use super::super::form::lines::LineFormat;
use super::super::form::template::Template;
use super::name;
use crate::link::Backoff;

/// Files in one folder.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it is known by in the log.
    pub id: String,
    /// Is there already: one that was made by us may lie where a disk should have been.
    pub folder: PathBuf,
    /// Where it is noted that the folder is a mount point, once it was seen to be one.
    pub mounted: Option<PathBuf>,
    /// What names of files begin with.
    pub name: Template,
    /// What it makes of each class there is: by that, files are known as this uplink's.
    pub beginnings: Vec<String>,
    pub form: LineFormat,
    /// Whether messages come as an envelope, which is JSON.
    pub has_envelope: bool,
    /// How files are compressed once they are whole.
    pub compress: Compress,
    /// A file of so many bytes, or so old, is whole.
    pub file_bytes: u64,
    pub file_age: Duration,
    /// Bytes of whole files that are kept; the oldest go.
    pub keep_bytes: Option<u64>,
    /// Messages that are written and synced at once, at most, their bytes, and how long the first of them waits for others.
    pub batch_messages: u16,
    pub batch_bytes: usize,
    pub batch_wait: Duration,
    /// How long the disk may take.
    pub answer: Duration,
    pub backoff: Backoff,
}

impl Config {
    /// What it says of itself.
    pub(in crate::uplink) fn facts(&self) -> UplinkFacts<'_> {
        UplinkFacts {
            name: "file",
            host: self.folder.to_str().unwrap_or_default(),
            port: None,
            tls: None,
            secrets: Vec::new(),
            has_login: false,
            // One batch is with the disk while the next one gathers.
            window: self.batch_messages,
            answer: self.answer,
        }
    }

    /// Says which classes there are, and where notes are kept.
    pub fn know<'a>(
        &mut self,
        gateway: &str,
        data_dir: &Path,
        classes: impl Iterator<Item = &'a str>,
    ) {
        self.mounted = Some(data_dir.join("mounts").join(&self.id));
        let of = |class| name::beginning(&self.name, &format!("{gateway}///{class}/"));
        self.beginnings = classes.map(of).collect();
    }

    /// Whether names of this uplink's files begin so.
    pub(super) fn gives(&self, beginning: &str) -> bool {
        self.beginnings.iter().any(|own| own == beginning)
    }
}
