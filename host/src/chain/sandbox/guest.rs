//! What belongs to one instance on the host's side: its limits, its clock, its empty WASI context, and a bounded
//! ring with the last it wrote.
//!
//! Time and random numbers are the host's, so that runs can be repeated: the clocks stand still during a call and
//! show the batch's time, the monotonic one the time the gateway has run; random numbers come from a generator seeded by the plugin's name and lane, so that two versions
//! side by side draw the same. They are not secret.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::{Gauge, IntCounter};
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{Deterministic, WasiCtx, WasiCtxView, WasiView};

use crate::chain::metrics::PluginMetrics;
use crate::chain::settings::{Limits, Topics};
use crate::clock::{Now, RunningTime, WallTime};

/// Bytes of stdout and stderr that are kept: the last, and of the present call the first, where many a language has said
/// already what was wrong.
const RING_BYTES: usize = 4 << 10;
const HEAD_BYTES: usize = 1 << 10;

/// Log lines of level error that are kept of the present call.
const MAX_ERROR_LINES: usize = 4;

/// Core instances, memories and tables of one component: its own and the adapters that tools put in.
const MAX_INSTANCES: usize = 64;
const MAX_MEMORIES: usize = 8;
const MAX_TABLES: usize = 16;

/// Handles of resources a component may hold.
pub(super) const MAX_HANDLES: usize = 512;

/// Host resources (streams, pollables) a guest may hold.
pub(super) const MAX_RESOURCES: usize = 256;

/// Bytes of one random request; seeds need 16 to 32.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

/// Bytes of the random cycle: as long as a hash seed is drawn per map it does not repeat soon.
const RANDOM_CYCLE: usize = 1 << 10;

/// What an instance may use, and for whom it works.
#[derive(Clone, Copy)]
pub(crate) struct GuestContext<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) metrics: &'a PluginMetrics,
    pub(crate) lane: usize,
    pub(crate) topics: &'a Arc<Topics>,
}

pub(super) struct Guest {
    wasi: WasiCtx,
    table: ResourceTable,
    /// The host's time, microseconds since 1970.
    pub(crate) now: WallTime,
    /// Time the gateway has run, over restarts, microseconds: it never jumps.
    pub(crate) running: RunningTime,
    /// How long the call under way may take.
    pub(super) allowance: Allowance,
    /// While inputs are run again, the log and the metrics have had them already.
    pub(crate) muted: bool,
    pub(super) budget: MemoryBudget,
    pub(crate) output: Ring,
    /// The last log lines of level error of the present call.
    pub(super) error_lines: VecDeque<String>,
    pub(crate) log_lines_per_second: u32,
    pub(crate) metrics: PluginMetrics,
    pub(crate) lane: usize,
    /// What its flow takes.
    pub(crate) topics: Arc<Topics>,
    /// Those it has used: the allowance is the plugin's.
    pub(crate) counters: HashMap<String, IntCounter>,
    pub(crate) gauges: HashMap<String, Gauge>,
}

impl Guest {
    pub(crate) fn new(place: GuestContext<'_>, seed: u64) -> Self {
        let GuestContext {
            limits,
            metrics,
            lane,
            ..
        } = place;
        let output = Ring::default();
        let mut random = fastrand::Rng::with_seed(seed.wrapping_add(lane as u64));
        let mut wasi = WasiCtx::builder();
        wasi.stdout(output.clone())
            .stderr(output.clone())
            .secure_random(Deterministic::new(
                std::iter::repeat_with(|| random.u8(..))
                    .take(RANDOM_CYCLE)
                    .collect(),
            ))
            .insecure_random(Deterministic::new(
                std::iter::repeat_with(|| random.u8(..))
                    .take(RANDOM_CYCLE)
                    .collect(),
            ))
            .insecure_random_seed(random.u128(..))
            .max_random_size(MAX_RANDOM_BYTES)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        Self {
            wasi: wasi.build(),
            table,
            now: WallTime::default(),
            running: RunningTime::START,
            allowance: Allowance {
                time: limits.call_time,
                since: None,
            },
            muted: false,
            budget: MemoryBudget::new(limits),
            output,
            error_lines: VecDeque::new(),
            log_lines_per_second: limits.log_lines_per_second,
            metrics: metrics.clone(),
            lane,
            topics: Arc::clone(place.topics),
            counters: HashMap::new(),
            gauges: HashMap::new(),
        }
    }

    /// A call begins at `now`.
    pub(super) fn begin_call(&mut self, now: Now, running: RunningTime) {
        (self.now, self.running) = (now.wall, running);
        (self.budget.memory_denied, self.budget.table_denied) = (false, false);
        self.allowance.begin();
        self.error_lines.clear();
        self.output.begin();
    }

    /// Keeps a log line for the case that this call fails.
    pub(super) fn keep_error_line(&mut self, line: &str) {
        if self.error_lines.len() == MAX_ERROR_LINES {
            self.error_lines.pop_front();
        }
        self.error_lines.push_back(line.to_owned());
    }

    pub(crate) fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// How many times its limit a call may take by the clock: what others do on a busy machine is not held against it, but
/// whoever waits for it does not wait for ever.
const PATIENCE: u32 = 20;

/// What a call may take. A look costs a system call, so there is none at its beginning: the first one, within a tick of
/// that, is where it counts from.
pub(super) struct Allowance {
    pub(crate) time: Duration,
    since: Option<(Instant, Duration)>,
}

impl Allowance {
    pub(crate) fn begin(&mut self) {
        self.since = None;
    }

    /// Whether the call may go on at `moment`, when its thread has taken `cpu` of processor time.
    pub(crate) fn look(&mut self, moment: Instant, cpu: Duration) -> bool {
        let (begun, before) = *self.since.get_or_insert((moment, cpu));
        cpu.saturating_sub(before) < self.time
            && moment.saturating_duration_since(begun) < self.time * PATIENCE
    }
}

/// Memory and tables of a store, over all its instances, and whether it was ever refused more.
pub(super) struct MemoryBudget {
    pub(crate) memory_bytes: usize,
    pub(crate) table_elements: usize,
    memory_used: usize,
    tables_used: usize,
    pub(super) memory_denied: bool,
    pub(super) table_denied: bool,
}

impl MemoryBudget {
    /// Linear memory in use.
    pub(super) fn memory_used(&self) -> usize {
        self.memory_used
    }

    fn new(limits: &Limits) -> Self {
        Self {
            memory_bytes: limits.memory_bytes,
            table_elements: limits.table_elements,
            memory_used: 0,
            tables_used: 0,
            memory_denied: false,
            table_denied: false,
        }
    }
}

/// Whether `used` may grow by `more` within `limit`; if so it has.
fn grow(used: &mut usize, more: usize, limit: usize, denied: &mut bool) -> bool {
    let total = used.saturating_add(more);
    *denied |= total > limit;
    if total <= limit {
        *used = total;
    }
    total <= limit
}

impl ResourceLimiter for MemoryBudget {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        Ok(grow(
            &mut self.memory_used,
            more,
            self.memory_bytes,
            &mut self.memory_denied,
        ))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let more = desired.saturating_sub(current);
        Ok(grow(
            &mut self.tables_used,
            more,
            self.table_elements,
            &mut self.table_denied,
        ))
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

/// What a guest wrote to stdout and stderr. wasmtime-wasi's own pipe traps the guest when it is full.
#[derive(Clone, Default)]
pub(super) struct Ring(Arc<Mutex<CapturedOutput>>);

#[derive(Default)]
struct CapturedOutput {
    /// The first bytes of the present call.
    head: Vec<u8>,
    /// The last bytes of all calls.
    tail: VecDeque<u8>,
    /// Bytes of the present call.
    written: usize,
}

impl Ring {
    pub(crate) fn begin(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.head.clear();
        kept.written = 0;
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = HEAD_BYTES - kept.head.len();
        kept.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        kept.written = kept.written.saturating_add(bytes.len());
        let bytes = &bytes[bytes.len().saturating_sub(RING_BYTES)..];
        let excess = (kept.tail.len() + bytes.len()).saturating_sub(RING_BYTES);
        kept.tail.drain(..excess);
        kept.tail.extend(bytes);
    }

    /// What is kept, as text, and what the present call has written of it.
    pub(crate) fn words(&self) -> [String; 2] {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let CapturedOutput {
            head,
            tail,
            written,
        } = &mut *kept;
        let tail = tail.make_contiguous();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if *written <= RING_BYTES {
            return [
                text(tail),
                text(&tail[tail.len().saturating_sub(*written)..]),
            ];
        }
        // What lies between is gone, unless both meet.
        let met = (HEAD_BYTES + RING_BYTES).saturating_sub(*written);
        let gap = if met > 0 { "" } else { "\n[...]\n" };
        let whole = format!("{}{gap}{}", text(head), text(&tail[met..]));
        [whole.clone(), whole]
    }
}

impl IsTerminal for Ring {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Ring {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for it, and that is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Ring {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(RING_BYTES)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Ring {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests;
