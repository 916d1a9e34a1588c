//! Takes down what lanes are told, and keeps it on a thread of its own.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::event::Buffer;
use super::form::{RecordingHeader, Segment};
use super::kept::{KeptRecording, SegmentPage};
use super::{Config, Error};
use crate::clock::Now;
use crate::message::{Delivery, Tape};

/// A buffer of this size is packed: LZ4 looks no further back.
const SEGMENT_BYTES: usize = 64 << 10;
/// What may wait to be packed. Beyond it the recording has fallen behind, and leaves messages out; a batch that is larger
/// by itself is never taken.
const WAITING_BYTES: usize = 4 << 20;
/// A buffer that is not full is kept all the same after this time: what a kill may cost.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Longest wait of whoever wants all of it kept.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a record takes beside topic, headers and payload.
const RECORD_BYTES: usize = 64;

/// What is counted about recordings.
#[derive(Clone, Debug)]
pub struct Metrics {
    bytes: IntGaugeVec,
    missed: IntCounterVec,
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// When a metric of the same name is registered already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let bytes = Opts::new(
            "tidegate_recording_bytes",
            "Size of what is recorded of a flow, compressed.",
        );
        let missed = Opts::new(
            "tidegate_recording_missed_messages_total",
            "Messages that a recording left out.",
        );
        let bytes = IntGaugeVec::new(bytes, &["flow"])?;
        let missed = IntCounterVec::new(missed, &["flow"])?;
        registry.register(Box::new(bytes.clone()))?;
        registry.register(Box::new(missed.clone()))?;
        Ok(Self { bytes, missed })
    }

    /// Takes away what is shown of a flow.
    pub fn forget(&self, flow: &str) {
        // An error means that nothing is shown of it.
        let _ = (
            self.bytes.remove_label_values(&[flow]),
            self.missed.remove_label_values(&[flow]),
        );
    }
}

/// The recording of one flow.
#[derive(Debug)]
pub struct Recorder {
    shared: Arc<SharedRecorder>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct SharedRecorder {
    desk: Mutex<EventBuffers>,
    /// Something is there to be packed, or the thread is to end.
    bell: Condvar,
    /// Nothing is left to be packed.
    idle: Condvar,
    kept: Mutex<KeptRecording>,
    header: RecordingHeader,
    bytes: IntGauge,
    missed: IntCounter,
}

/// What lanes write to.
#[derive(Debug, Default)]
struct EventBuffers {
    open: Buffer,
    full: VecDeque<Buffer>,
    spare: Vec<Vec<u8>>,
    /// Bytes of `full` and of the buffer that is being packed.
    waiting: usize,
    packing: bool,
    /// Left out since the last event.
    missed: u32,
    flush: bool,
    stop: bool,
}

impl Recorder {
    /// Starts to record.
    ///
    /// # Errors
    /// The folder cannot be made or read, or there is no thread.
    pub fn start(
        config: &Config,
        header: RecordingHeader,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        let kept = KeptRecording::open(config, header.clone())?;
        let bytes = metrics.bytes.with_label_values(&[header.flow.as_str()]);
        bytes.set(i64::try_from(kept.bytes()).unwrap_or(i64::MAX));
        let missed = metrics.missed.with_label_values(&[header.flow.as_str()]);
        let desk = Mutex::default();
        let kept = Mutex::new(kept);
        let shared = Arc::new(SharedRecorder {
            desk,
            bell: Condvar::new(),
            idle: Condvar::new(),
            kept,
            header,
            bytes,
            missed,
        });
        let own = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("recording".to_owned())
            .stack_size(256 << 10)
            .spawn(move || crate::thread::keep("recording", || own.run()));
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread.map_err(Error::Thread)?)),
        })
    }

    /// What it is of.
    pub fn header(&self) -> &RecordingHeader {
        &self.shared.header
    }

    /// Keeps what was taken down so far. Waits for the disk, where it is on disk, for ten seconds at the most.
    pub fn flush(&self) {
        let mut desk = self.shared.desk();
        desk.flush = true;
        self.shared.bell.notify_one();
        let busy = |desk: &mut EventBuffers| {
            !desk.stop && (desk.flush || desk.packing || !desk.full.is_empty())
        };
        // A card that hangs shall not hang whoever asks.
        let waited = self.shared.idle.wait_timeout_while(desk, PATIENCE, busy);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Some segments of a recording in memory, from number `from` on.
    pub fn page(&self, from: u64) -> SegmentPage {
        self.shared.kept().page(from)
    }

    pub fn clear(&self) {
        self.flush();
        let mut kept = self.shared.kept();
        kept.clear();
        self.shared
            .bytes
            .set(i64::try_from(kept.bytes()).unwrap_or(i64::MAX));
    }

    /// Bytes it takes, compressed.
    pub fn bytes(&self) -> u64 {
        self.shared.kept().bytes()
    }

    /// Messages it left out since the start.
    pub fn missed(&self) -> u64 {
        self.shared.missed.get()
    }

    /// Its folder, where it is on disk.
    pub fn folder(&self) -> Option<PathBuf> {
        self.shared.kept().folder().map(std::path::Path::to_owned)
    }

    /// Keeps what was taken down and ends the thread.
    pub fn stop(&self) {
        self.shared.desk().stop = true;
        self.shared.bell.notify_one();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!(
                flow = self.shared.header.flow,
                "the recording ended by a panic"
            );
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Tape for Recorder {
    fn batch(&self, lane: usize, now: Now, batch: &[Delivery]) {
        let weight = |delivery: &Delivery| {
            let message = &delivery.message;
            message.topic.len() + message.headers.len() + message.payload.len() + RECORD_BYTES
        };
        let weight: usize = batch.iter().map(weight).sum();
        self.shared.take(
            weight,
            u32::try_from(batch.len()).unwrap_or(u32::MAX),
            now,
            |open| open.batch(lane, now, batch),
        );
    }

    fn tick(&self, lane: usize, plugin: usize, now: Now) {
        self.shared
            .take(RECORD_BYTES, 0, now, |open| open.tick(lane, plugin, now));
    }
}

impl SharedRecorder {
    fn desk(&self) -> MutexGuard<'_, EventBuffers> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, KeptRecording> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an event of some `weight` into the open buffer, or leaves it out when there is no room.
    fn take(&self, weight: usize, messages: u32, now: Now, write: impl FnOnce(&mut Buffer)) {
        let mut desk = self.desk();
        if desk.waiting + desk.open.raw.len() + weight > WAITING_BYTES {
            desk.missed = desk.missed.saturating_add(messages);
            self.missed.inc_by(u64::from(messages));
            return;
        }
        let missed = std::mem::take(&mut desk.missed);
        if missed > 0 {
            desk.open.miss(missed, now);
        }
        write(&mut desk.open);
        if desk.open.raw.len() >= SEGMENT_BYTES {
            desk.close();
            self.bell.notify_one();
        }
    }

    fn run(&self) {
        let mut told = false;
        let mut reported = 0;
        while let Some(buffer) = self.next() {
            let segment = Segment::pack(buffer.about, &buffer.raw);
            let mut kept = self.kept();
            let pushed = kept.push(segment);
            self.bytes
                .set(i64::try_from(kept.bytes()).unwrap_or(i64::MAX));
            drop(kept);
            match pushed {
                Ok(()) => told = false,
                Err(error) => {
                    self.missed.inc_by(u64::from(buffer.about.messages));
                    let mut desk = self.desk();
                    desk.missed = desk
                        .missed
                        .saturating_add(buffer.about.messages + buffer.missed);
                    drop(desk);
                    if !std::mem::replace(&mut told, true) {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(
                            flow = self.header.flow,
                            error,
                            "the recording cannot be written, and lacks messages"
                        );
                    }
                }
            }
            self.report_missed(&mut reported);
            self.give_back(buffer.raw);
        }
    }

    fn report_missed(&self, reported: &mut u64) {
        let missed = self.missed.get();
        if *reported == 0 && missed > 0 {
            let flow = &*self.header.flow;
            tracing::warn!(
                flow,
                missed,
                "the recording fell behind and lacks messages; tidegate_recording_missed_messages_total counts on"
            );
        }
        *reported = missed;
    }

    /// The next buffer to pack: a full one, or after a while, when it is asked for and at the end the open one. `None`
    /// at the end.
    fn next(&self) -> Option<Buffer> {
        let mut desk = self.desk();
        loop {
            if desk.full.is_empty() {
                let due = std::mem::take(&mut desk.flush) || desk.stop;
                if due && !desk.open.raw.is_empty() {
                    desk.close();
                }
            }
            if let Some(buffer) = desk.full.pop_front() {
                desk.packing = true;
                return Some(buffer);
            }
            self.idle.notify_all();
            if desk.stop {
                return None;
            }
            let waited = self
                .bell
                .wait_timeout(desk, FLUSH_EVERY)
                .unwrap_or_else(PoisonError::into_inner);
            desk = waited.0;
            desk.flush |= waited.1.timed_out();
        }
    }

    fn give_back(&self, mut raw: Vec<u8>) {
        let mut desk = self.desk();
        desk.packing = false;
        desk.waiting = desk.waiting.saturating_sub(raw.len());
        raw.clear();
        if raw.capacity() <= 2 * SEGMENT_BYTES && desk.spare.len() < 4 {
            desk.spare.push(raw);
        }
    }
}

impl EventBuffers {
    /// The open buffer is to be packed.
    fn close(&mut self) {
        let raw = self
            .spare
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(SEGMENT_BYTES + SEGMENT_BYTES / 4));
        let open = std::mem::replace(
            &mut self.open,
            Buffer {
                raw,
                ..Buffer::default()
            },
        );
        self.waiting += open.raw.len();
        self.full.push_back(open);
    }
}

#[cfg(test)]
mod tests;
