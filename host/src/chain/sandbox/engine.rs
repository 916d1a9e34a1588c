//! The one wasmtime engine of the process: what guests may import, and the clock tick that ends a call which runs too
//! long.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::component::{Component, Linker};

use super::compile::{self, CodeOrigin, Compiler, Digest, Shop, Workshop};
use super::guest::Guest;
use super::imports;
use super::program::Programs;
use crate::chain::pool::{Pool, PoolView};
use crate::chain::{Error, Unusable};
use crate::clock::Clock;

/// How exact the time limit of a call is. Shorter ticks wake the processor more often.
const TICK: Duration = Duration::from_millis(10);

/// Ticks without a call after which the ticker sleeps until the next one: an idle gateway shall be idle.
const QUIET_TICKS: u32 = 50;

/// Stack of a thread that works for lanes, beside what guests may use of it.
const LANE_STACK_BYTES: usize = 1 << 20;

/// Frames of a guest's back-trace that a fault keeps.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::new(24).expect("24 is not 0");

/// Compiles components and runs their instances. Cheap to clone; the last clone stops the ticker.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<SharedEngine>,
    clock: Clock,
}

struct SharedEngine {
    stack_bytes: usize,
    wasm: wasmtime::Engine,
    linker: Linker<Guest>,
    ticker: Ticker,
    shop: Shop,
    pool: Pool,
    programs: Programs,
}

impl Engine {
    /// An engine whose guests have `stack_bytes` of native stack at most, and get their code from `workshop`.
    ///
    /// # Errors
    /// [`Error::Engine`] when this machine cannot run it, [`Error::Thread`] when there is no thread for its ticker.
    pub fn new(stack_bytes: usize, workshop: Workshop) -> Result<Self, Error> {
        let config = config(stack_bytes, &workshop.compiler);
        let wasm =
            wasmtime::Engine::new(&config).map_err(|cause| Error::Engine(format!("{cause:#}")))?;
        let linker = link(&wasm).map_err(|cause| Error::Engine(format!("{cause:#}")))?;
        let pool = Pool::new(workers(), LANE_STACK_BYTES + 2 * stack_bytes);
        let ticker = Ticker::start(&wasm, pool.view()).map_err(Error::Thread)?;
        pool.oversee(ticker.waker());
        let shop = Shop::open(workshop, stack_bytes);
        let programs = Programs::default();
        let shared = Arc::new(SharedEngine {
            stack_bytes,
            wasm,
            linker,
            ticker,
            shop,
            pool,
            programs,
        });
        Ok(Self {
            shared,
            clock: Clock::default(),
        })
    }

    /// The same, whose chains and guests live by `clock`.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// The clocks of all that runs on it.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What is compiled and in use.
    pub(super) fn programs(&self) -> &Programs {
        &self.shared.programs
    }

    /// Who works for the lanes.
    pub(crate) fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    /// Has one of the lanes' workers do `work`, behind the lanes that wait: whether they still work shows in that.
    ///
    /// # Errors
    /// There are no threads to be had.
    pub fn once(&self, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        self.shared.pool.once(work)
    }

    /// Native stack a guest may use; a thread that runs one needs that much beside its own.
    pub(crate) fn stack_bytes(&self) -> usize {
        self.shared.stack_bytes
    }

    pub(crate) fn wasm(&self) -> &wasmtime::Engine {
        &self.shared.wasm
    }

    /// The code of a component, out of the cache or through the compiler: may take seconds.
    ///
    /// # Errors
    /// It does not compile, or not within the limits.
    pub(crate) fn compile(
        &self,
        component: &[u8],
        digest: &Digest,
    ) -> Result<(Component, CodeOrigin), Unusable> {
        self.shared.shop.make(self.wasm(), component, digest)
    }

    /// From now on what is compiled stays, for a look at many flows one after the other.
    pub fn keep_compiled(&self) {
        self.shared.programs.keep();
    }

    /// The process is to end: what is being compiled is given up, for good.
    pub fn give_up_compiling(&self) {
        self.shared.shop.close();
    }

    pub(super) fn linker(&self) -> &Linker<Guest> {
        &self.shared.linker
    }

    /// Says that a guest is about to run. The call has ended when the answer is dropped.
    pub(super) fn begin_call(&self) -> GuestCall<'_> {
        self.shared.ticker.begin();
        GuestCall(&self.shared.ticker)
    }
}

/// A guest is running: the ticker stays awake, and each of its ticks is a look at what the guest may take.
pub(super) struct GuestCall<'a>(&'a Ticker);

impl Drop for GuestCall<'_> {
    fn drop(&mut self) {
        self.0.pulse.running.fetch_sub(1, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// One for each processor; with only one, the second goes on while a plugin computes in the first.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, |processors| processors.get().max(2))
}

/// The compiler is left out where children compile: then nothing can be compiled here by accident, and its tables take
/// no memory.
fn config(stack_bytes: usize, compiler: &Compiler) -> wasmtime::Config {
    let mut config = compile::settings(stack_bytes);
    config
        .enable_compiler(Shop::compiles_here(compiler))
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES));
    config
}

/// WASI 0.2 and the host interfaces, the same for every plugin: what a guest is granted is in its store.
fn link(wasm: &wasmtime::Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(wasm);
    wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
    imports::add_to_linker(&mut linker)?;
    Ok(linker)
}

/// Advances the epoch while calls are made, and looks after the workers while lanes wait for them.
struct Ticker {
    pulse: Arc<TickerState>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct TickerState {
    running: AtomicUsize,
    begun: AtomicU64,
    asleep: AtomicBool,
    stop: AtomicBool,
}

impl Ticker {
    fn start(wasm: &wasmtime::Engine, pool: PoolView) -> std::io::Result<Self> {
        let pulse = Arc::new(TickerState::default());
        let seen = Arc::clone(&pulse);
        let engine = wasm.weak();
        let thread = std::thread::Builder::new()
            .name("ticker".to_owned())
            .stack_size(64 << 10)
            .spawn(move || crate::thread::keep("ticker", || tick(&engine, &seen, &pool)))?;
        Ok(Self {
            pulse,
            thread: Some(thread),
        })
    }

    /// Wakes it, for whoever may see it asleep.
    fn waker(&self) -> impl Fn() + Send + Sync + use<> {
        let pulse = Arc::clone(&self.pulse);
        let thread = self.thread.as_ref().map(|thread| thread.thread().clone());
        move || {
            if pulse.asleep.load(Ordering::SeqCst)
                && let Some(thread) = &thread
            {
                thread.unpark();
            }
        }
    }

    fn begin(&self) {
        self.pulse.begun.fetch_add(1, Ordering::Relaxed);
        self.pulse.running.fetch_add(1, Ordering::SeqCst);
        if self.pulse.asleep.load(Ordering::SeqCst)
            && let Some(thread) = &self.thread
        {
            thread.thread().unpark();
        }
    }
}

fn tick(engine: &wasmtime::EngineWeak, pulse: &TickerState, pool: &PoolView) {
    while !pulse.stop.load(Ordering::SeqCst) {
        let Some(engine) = engine.upgrade() else {
            return;
        };
        tick_until_quiet(&engine, pulse, pool);
        drop(engine);
        sleep_until_called(pulse, pool);
    }
}

/// Ticks until no call has been running or begun, and nobody has waited for a worker, for [`QUIET_TICKS`].
fn tick_until_quiet(engine: &wasmtime::Engine, pulse: &TickerState, pool: &PoolView) {
    let mut seen = 0;
    let mut quiet = 0;
    while quiet < QUIET_TICKS && !pulse.stop.load(Ordering::SeqCst) {
        std::thread::park_timeout(TICK);
        engine.increment_epoch();
        let begun = pulse.begun.load(Ordering::Relaxed);
        let busy = pool.look() || begun != seen || pulse.running.load(Ordering::SeqCst) > 0;
        quiet = if busy { 0 } else { quiet + 1 };
        seen = begun;
    }
}

/// `asleep` is raised before `running` is read, and a call raises `running` before it reads `asleep`: one of the two
/// sees the other. With those that wait for a worker it is the same.
fn sleep_until_called(pulse: &TickerState, pool: &PoolView) {
    pulse.asleep.store(true, Ordering::SeqCst);
    while pulse.running.load(Ordering::SeqCst) == 0
        && !pool.is_pressed()
        && !pulse.stop.load(Ordering::SeqCst)
    {
        std::thread::park();
    }
    pulse.asleep.store(false, Ordering::SeqCst);
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.pulse.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A ticker cannot panic; if it did, there is nothing left to stop.
            let _ = thread.join();
        }
    }
}
