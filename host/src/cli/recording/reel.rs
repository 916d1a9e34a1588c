//! A recording, wherever it is: in an exported file, in the files of a gateway, or in the memory of a running one.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::admin::Client;
use crate::cli::place::{CommandFailure, DataDirArgument, GatewayOrConfig, find};
use crate::cli::{Global, Surroundings};
use crate::config::Config;
use crate::gateway::api::recordings::{EncodedSegments, Listed, RecordingRequest};
use crate::recording::{self, RecordingHeader, Segment, SegmentFiles};
use crate::words::with_causes;

/// Its segments, in their order.
pub enum Reel {
    /// Files, as the recorder or an export has written them.
    Files(Box<SegmentFiles>),
    /// The memory of a running gateway.
    Memory(Box<Pages>),
}

/// Segments that come page by page.
pub struct Pages {
    client: Client,
    header: RecordingHeader,
    waiting: VecDeque<String>,
    next: Option<u64>,
}

impl Reel {
    /// Finds it: in `file`, or else what the gateway has recorded of `flow`, which may be left out where there is one.
    pub fn find(
        global: &Global,
        at: &DataDirArgument,
        surroundings: Surroundings,
        flow: Option<&str>,
        file: Option<&Path>,
    ) -> Result<Self, CommandFailure> {
        if let Some(file) = file {
            let reel = Self::files(vec![file.to_owned()])?;
            let of = &reel.header().flow;
            return match flow {
                Some(flow) if flow != of => Err(CommandFailure::Usage(format!(
                    "`{}` is of the flow `{of}`",
                    file.display()
                ))),
                _ => Ok(reel),
            };
        }
        match find(global, at, surroundings)? {
            GatewayOrConfig::Running(client) => Self::running(client, flow),
            GatewayOrConfig::Stopped(config) => Self::stopped(&config, flow),
        }
    }

    fn running(client: Client, flow: Option<&str>) -> Result<Self, CommandFailure> {
        let listed: Vec<Listed> = client.post("/v1/recordings", &RecordingRequest::List)?;
        let names = listed
            .iter()
            .map(|listed| listed.header.flow.as_str())
            .collect::<Vec<_>>();
        let index = choose(&names, flow)?;
        let Listed { header, folder, .. } =
            listed.into_iter().nth(index).ok_or_else(|| nothing(flow))?;
        match folder {
            Some(_) if !client.is_of_this_machine() => Err(CommandFailure::Said(format!(
                "`{}` is recorded in files, which are read where they lie: run this over there, without --gateway",
                header.flow
            ))),
            Some(folder) => Self::folder(&folder, &header.flow),
            None => Ok(Self::Memory(Box::new(Pages {
                client,
                header,
                waiting: VecDeque::new(),
                next: Some(0),
            }))),
        }
    }

    fn stopped(config: &Config, flow: Option<&str>) -> Result<Self, CommandFailure> {
        let data_dir = &config.gateway.data_dir;
        let there = |name: &&str| {
            !recording::in_folder(&recording::folder(data_dir, name))
                .unwrap_or_default()
                .is_empty()
        };
        let names: Vec<&str> = config
            .flows
            .iter()
            .map(|flow| &*flow.name)
            .filter(there)
            .collect();
        let index = choose(&names, flow)?;
        Self::folder(&recording::folder(data_dir, names[index]), names[index])
    }

    fn folder(folder: &Path, flow: &str) -> Result<Self, CommandFailure> {
        let files = recording::in_folder(folder).map_err(said)?;
        if files.is_empty() {
            return Err(nothing(Some(flow)));
        }
        Self::files(files.into_iter().map(|(path, _)| path).collect())
    }

    fn files(paths: Vec<PathBuf>) -> Result<Self, CommandFailure> {
        Ok(Self::Files(Box::new(
            SegmentFiles::open(paths).map_err(said)?,
        )))
    }

    /// What it is of.
    pub fn header(&self) -> &RecordingHeader {
        match self {
            Self::Files(files) => files.header(),
            Self::Memory(pages) => &pages.header,
        }
    }

    /// What was not whole so far, in words.
    pub fn torn(&self) -> Vec<String> {
        match self {
            Self::Memory(_) => Vec::new(),
            Self::Files(files) => {
                let torn = |(path, damage): &(PathBuf, recording::RecordingDamage)| {
                    format!("`{}`: {damage}", path.display())
                };
                files.torn().iter().map(torn).collect()
            }
        }
    }
}

impl Iterator for Reel {
    type Item = Result<Segment, CommandFailure>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Files(files) => files.next().map(|segment| segment.map_err(said)),
            Self::Memory(pages) => pages.segment().transpose(),
        }
    }
}

impl Pages {
    fn segment(&mut self) -> Result<Option<Segment>, CommandFailure> {
        while self.waiting.is_empty() {
            let Some(from) = self.next else {
                return Ok(None);
            };
            let request = RecordingRequest::Page {
                flow: self.header.flow.clone(),
                from,
            };
            let part: EncodedSegments = self.client.post("/v1/recordings", &request)?;
            (self.waiting, self.next) = (part.segments.into(), part.next);
        }
        let Some(text) = self.waiting.pop_front() else {
            return Ok(None);
        };
        let odd = |error: &dyn std::error::Error| {
            CommandFailure::Said(format!("an answer of another form: {error}"))
        };
        let frame = STANDARD.decode(text).map_err(|error| odd(&error))?;
        Segment::read(frame).map(Some).map_err(|error| odd(&error))
    }
}

/// The one that was named, or the only one there is.
fn choose(names: &[&str], flow: Option<&str>) -> Result<usize, CommandFailure> {
    match (flow, names) {
        (None, [_]) => Ok(0),
        (_, []) => Err(nothing(flow)),
        (None, several) => Err(CommandFailure::Usage(format!(
            "name one of the flows that are recorded: --flow {}",
            several.join(" | ")
        ))),
        (Some(flow), names) => names
            .iter()
            .position(|name| *name == flow)
            .ok_or_else(|| nothing(Some(flow))),
    }
}

fn nothing(flow: Option<&str>) -> CommandFailure {
    let of = flow.map_or("no flow".to_owned(), |flow| {
        format!("of the flow `{flow}` nothing")
    });
    CommandFailure::Said(format!(
        "{of} is recorded: give the flow record = \"16MiB\" in the config; a running gateway takes that up by itself"
    ))
}

pub(super) fn said(error: recording::Error) -> CommandFailure {
    CommandFailure::Said(with_causes(&error))
}
