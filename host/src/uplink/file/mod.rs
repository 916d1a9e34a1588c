//! Into files: lines that are written and synced together, each message once its line is on the disk.
//!
//! - `name`: what files are called; it knows neither disks nor clocks.
//! - `folder`: the files, on a thread that may wait for the disk; what was not synced is cut away before anything follows it.
//! - `part`: one file that is being written, and what is left of one. Nothing counts that is not in the file of that name.
//! - `dial`: how a way into a folder begins; `mount`: that the disk is there on which it lay.
//!
//! No message is ever to blame for what a disk does: what goes wrong ends the way, everything waits and is owed again, and
//! the back-off holds.

mod dial;
mod error;
mod folder;
mod mount;
mod name;
mod part;
mod settings;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::time::Sleep;

pub(super) use self::dial::reach;
pub use self::error::Error;
pub use self::settings::Config;

use self::dial::{DiskJob, DiskWorker, FolderDialler};
use self::folder::{Lot, OutputFolder};
use super::carrier::{Answer, Carrier, OutgoingPacket, PacketOrigin, Unsendable, UpstreamLimits};
use crate::clock::Now;
use crate::link::{Causes, LinkMetrics, Redial};

/// How much longer than its answer a disk may take for each MiB that is compressed.
const PACKED_IN: Duration = Duration::from_secs(1);
const MIB: u64 = 1 << 20;

/// What was under way with the disk, with the folder for what comes next.
type FolderJob = DiskJob<(OutputFolder, Result<(), Error>)>;

/// A way into a folder.
pub(super) struct FileCarrier {
    config: Arc<Config>,
    desk: DiskWorker,
    /// With the disk otherwise.
    folder: Option<OutputFolder>,
    work: Option<FolderJob>,
    /// When the disk is late; without work, when there is some.
    alarm: Pin<Box<Sleep>>,
    waited: Duration,
    /// Messages that are being written.
    writing: Vec<u64>,
    /// Messages that are gathered, and since when.
    held: Vec<u64>,
    lots: Vec<Lot>,
    /// What names of files begin with, by what ids begin with: one for each class.
    beginnings: Vec<(String, Arc<str>)>,
    bytes: usize,
    /// The last piece of work was to tidy up.
    has_tidied: bool,
    since: Instant,
}

/// Ready to write for the uplink `name`.
pub(super) fn redial(
    config: Config,
    boot: u32,
    name: Arc<str>,
    metrics: &LinkMetrics,
) -> Redial<<FileCarrier as Carrier>::Dial> {
    Redial::new(FolderDialler::new(config, boot), "uplink", name, metrics)
}

impl FileCarrier {
    fn new(config: &Arc<Config>, folder: OutputFolder, desk: DiskWorker) -> Self {
        Self {
            config: Arc::clone(config),
            desk,
            folder: Some(folder),
            work: None,
            alarm: Box::pin(tokio::time::sleep(Duration::ZERO)),
            waited: Duration::ZERO,
            writing: Vec::new(),
            held: Vec::new(),
            lots: Vec::new(),
            beginnings: Vec::new(),
            bytes: 0,
            has_tidied: false,
            since: Instant::now(),
        }
    }

    fn is_full(&self) -> bool {
        self.held.len() >= usize::from(self.config.batch_messages)
            || self.bytes >= self.config.batch_bytes
    }

    /// Writes what is gathered when it is time, and tells what is on the disk.
    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        answers: &mut Vec<Answer>,
    ) -> Poll<Result<(), Error>> {
        loop {
            if let Some(work) = &mut self.work {
                let Poll::Ready(done) = Pin::new(work).poll(cx) else {
                    ready!(self.alarm.as_mut().poll(cx));
                    return Poll::Ready(Err(self.desk.late(self.waited)));
                };
                self.work = None;
                let (folder, done) =
                    done.map_err(|_| Error::Stopped(self.config.folder.clone()))?;
                done?;
                self.folder = Some(folder);
                if !self.writing.is_empty() {
                    let written = self.writing.drain(..);
                    answers.extend(written.map(|token| Answer::Accepted { token }));
                    return Poll::Ready(Ok(()));
                }
            }
            let now = Instant::now();
            let due = (!self.held.is_empty()).then(|| self.since + self.config.batch_wait);
            let is_due = self.is_full() || due.is_some_and(|at| at <= now);
            let folder = self.folder.as_ref();
            // By turns: under load there is always something to write, and where many files were left there is as much to compress.
            if folder.is_some_and(|folder| folder.is_untidy(now)) && !(is_due && self.has_tidied) {
                self.tidy()?;
                self.has_tidied = true;
                continue;
            }
            if is_due {
                self.write()?;
                self.has_tidied = false;
                continue;
            }
            let ripe = self.folder.as_ref().and_then(OutputFolder::ripe_at);
            let Some(at) = due.into_iter().chain(ripe).min() else {
                return Poll::Pending;
            };
            self.alarm.as_mut().reset(at.into());
            ready!(self.alarm.as_mut().poll(cx));
        }
    }

    fn write(&mut self) -> Result<(), Error> {
        let lots = std::mem::take(&mut self.lots);
        self.writing = std::mem::take(&mut self.held);
        self.bytes = 0;
        self.start(self.config.answer, move |folder| {
            folder.write(&lots, Now::read(), Instant::now())
        })
    }

    fn tidy(&mut self) -> Result<(), Error> {
        let mebibytes = u32::try_from(self.config.file_bytes / MIB).unwrap_or(u32::MAX);
        let waits = self.config.answer + PACKED_IN.saturating_mul(mebibytes);
        self.start(waits, |folder| folder.tidy(Instant::now()))
    }

    /// What names of files begin with, for a class.
    fn beginning(&mut self, prefix: &str) -> Arc<str> {
        let known = self.beginnings.iter().find(|(of, _)| of == prefix);
        if let Some((_, beginning)) = known {
            return Arc::clone(beginning);
        }
        let beginning = Arc::from(name::beginning(&self.config.name, prefix));
        self.beginnings
            .push((prefix.to_owned(), Arc::clone(&beginning)));
        beginning
    }

    /// Ends what is under way, and names as whole what was written.
    async fn leave(&mut self) -> Result<(), Error> {
        let late = |_| self.desk.late(self.config.answer);
        let stopped = |_| Error::Stopped(self.config.folder.clone());
        let mut ended = Ok(());
        if let Some(work) = self.work.take() {
            let done = tokio::time::timeout(self.config.answer, work).await;
            let (folder, done) = done.map_err(late)?.map_err(stopped)?;
            self.folder = Some(folder);
            ended = done;
        }
        if let (Some(folder), Some(held)) = (self.folder.take(), self.desk.take_now()) {
            let closing = self.desk.start(held, move || folder.close());
            let closed = tokio::time::timeout(self.config.answer, closing).await;
            ended = ended.and(closed.map_err(late)?.map_err(stopped)?);
        }
        ended
    }

    /// Gives the disk something to do.
    fn start(
        &mut self,
        waits: Duration,
        work: impl FnOnce(&mut OutputFolder) -> Result<(), Error> + Send + 'static,
    ) -> Result<(), Error> {
        let (Some(mut folder), Some(held)) = (self.folder.take(), self.desk.take_now()) else {
            return Err(self.desk.late(Duration::ZERO));
        };
        self.waited = waits;
        self.alarm.as_mut().reset((Instant::now() + waits).into());
        self.work = Some(self.desk.start(held, move || {
            let done = work(&mut folder);
            (folder, done)
        }));
        Ok(())
    }
}

impl Carrier for FileCarrier {
    type Dial = FolderDialler;

    const KEEPS_TIME: bool = true;

    fn online(&self, redial: &mut Redial<FolderDialler>) {
        let failures_before = redial.stands();
        let (stage, name) = redial.owner();
        let folder = redial.dialled().config().folder.display();
        tracing::info!(stage, %name, %folder, failures_before, "online");
    }

    fn limits(&self) -> UpstreamLimits {
        UpstreamLimits::of_batches(false)
    }

    fn room(&self) -> usize {
        if self.is_full() {
            0
        } else {
            usize::from(self.config.batch_messages) - self.held.len()
        }
    }

    fn unsent(&self) -> usize {
        0
    }

    fn offer(
        &mut self,
        packet: OutgoingPacket,
        about: PacketOrigin<'_>,
        token: u64,
    ) -> Result<(), Unsendable> {
        if self.is_full() {
            return Err(Unsendable::Full);
        }
        let entry = about.line_input(&packet);
        let line = self.config.form.line(entry, self.config.has_envelope);
        let beginning = self.beginning(about.prefix);
        if self.held.is_empty() {
            self.since = Instant::now();
        }
        self.held.push(token);
        self.bytes += line.len();
        match self.lots.iter_mut().find(|lot| lot.beginning == beginning) {
            Some(lot) => lot.lines.extend_from_slice(&line),
            None => self.lots.push(Lot {
                beginning,
                first: about.stored.seq,
                lines: BytesMut::from(&line[..]),
            }),
        }
        Ok(())
    }

    async fn turn(&mut self, answers: &mut Vec<Answer>) -> Result<(), Error> {
        poll_fn(|cx| self.poll_turn(cx, answers)).await
    }

    /// What is being written is waited for, and named as whole.
    async fn close(mut self) {
        if let Err(error) = self.leave().await {
            let cause = Causes(&error);
            tracing::warn!(uplink = %self.config.id, %cause, "files were left as they are: what is not named as whole is at the next look into the folder");
        }
    }
}

#[cfg(test)]
mod tests;
