//! One instance of a plugin: its store and the functions it exports, each call within its limits. The types that
//! cross the border stop here.

use std::time::Instant;

use bytes::Bytes;
use wasmtime::component::{ComponentType, Lift, Lower, TypedFunc};
use wasmtime::{Store, UpdateDeadline};

use super::batch::{GuestAnswer, PackedBatch, input};
use super::classify::classify;
use super::engine::Engine;
use super::fault::{Fault, FaultKind};
use super::guest::{Guest, GuestContext, MAX_HANDLES};
use super::program::Program;
use super::series::CallSeries;
use super::state::{SaveScope, StatePage, collect};
use crate::clock::{self, Now};
use crate::message::key_hash;

/// What crosses beside the output itself: strings of a log line, a setup, a page's frame.
const FUEL_SLACK: usize = 64 << 10;

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(record)]
struct BatchRecord<'a> {
    #[component(name = "now-us")]
    now_us: u64,
    #[component(name = "stride")]
    stride: u32,
    #[component(name = "words")]
    words: &'a [u32],
    #[component(name = "data")]
    data: &'a [u8],
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct OutputRecord {
    #[component(name = "stride")]
    stride: u32,
    #[component(name = "words")]
    words: Vec<u32>,
    #[component(name = "data")]
    data: Vec<u8>,
}

impl From<OutputRecord> for GuestAnswer {
    fn from(output: OutputRecord) -> Self {
        Self {
            stride: output.stride,
            words: output.words,
            data: Bytes::from(output.data),
        }
    }
}

/// What a plugin asks for.
#[derive(Clone, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub(crate) struct PluginSetup {
    #[component(name = "ports")]
    pub(crate) ports: Vec<String>,
    #[component(name = "tick-every-us")]
    pub(crate) tick_every_us: u64,
    #[component(name = "state-version")]
    state_version: u32,
}

/// Bit of `state-version`: the state is not by the messages' key.
const ONE_LANE: u32 = 1 << 31;

impl PluginSetup {
    /// Version of its state's form.
    pub(crate) fn state_version(&self) -> u32 {
        self.state_version & !ONE_LANE
    }

    /// Whether it needs one instance for all messages: its state is not by their key.
    pub(crate) fn needs_one_lane(&self) -> bool {
        self.state_version & ONE_LANE != 0
    }
}

type Restore = TypedFunc<(u32, &'static StatePage), (Result<(), String>,)>;

/// A running plugin. After a fault it must not be called again.
pub(crate) struct Instance {
    engine: Engine,
    store: Store<Guest>,
    configure: TypedFunc<(&'static str,), (Result<PluginSetup, String>,)>,
    process: TypedFunc<(BatchRecord<'static>,), (OutputRecord,)>,
    tick: Option<TypedFunc<(u64,), (OutputRecord,)>>,
    save: Option<TypedFunc<(bool, u64), (StatePage,)>>,
    restore: Option<Restore>,
}

impl Instance {
    /// A fresh instance, not configured yet.
    ///
    /// # Errors
    /// A fault of kind `instantiate`: a limit is met before it runs, or a function has another shape than the
    /// contract's.
    pub(crate) fn new(
        program: &Program,
        engine: &Engine,
        place: GuestContext<'_>,
    ) -> Result<Self, Fault> {
        let GuestContext {
            limits, metrics, ..
        } = place;
        let mut store = Store::new(
            engine.wasm(),
            Guest::new(place, key_hash(metrics.plugin.as_bytes())),
        );
        store.limiter(|guest| &mut guest.budget);
        store.set_hostcall_fuel(
            limits
                .output_bytes
                .saturating_add(limits.output_messages.saturating_mul(64))
                .saturating_add(FUEL_SLACK),
        );
        store.set_max_component_handles(MAX_HANDLES);
        store.epoch_deadline_callback(|mut store| {
            let may_go_on = store
                .data_mut()
                .allowance
                .look(Instant::now(), clock::thread_cpu());
            Ok(if may_go_on {
                UpdateDeadline::Continue(1)
            } else {
                UpdateDeadline::Interrupt
            })
        });
        let call = engine.begin_call();
        store.set_epoch_deadline(1);
        let linked = Self::link(program, engine, store);
        drop(call);
        linked
    }

    /// Begins the component in `store` and looks its functions up.
    fn link(program: &Program, engine: &Engine, mut store: Store<Guest>) -> Result<Self, Fault> {
        let find = |store: &mut Store<Guest>| {
            let instance = program.pre().instantiate(&mut *store)?;
            let tick = program.tick.as_ref();
            let state = program.state.as_ref();
            Ok::<_, wasmtime::Error>((
                instance.get_typed_func(&mut *store, program.transform.configure)?,
                instance.get_typed_func(&mut *store, program.transform.process)?,
                tick.map(|tick| instance.get_typed_func(&mut *store, tick))
                    .transpose()?,
                state
                    .map(|state| instance.get_typed_func(&mut *store, state.save))
                    .transpose()?,
                state
                    .map(|state| instance.get_typed_func(&mut *store, state.restore))
                    .transpose()?,
            ))
        };
        let found = find(&mut store).map_err(|error| {
            let fault = classify(&error, store.data());
            let kind = match fault.kind {
                FaultKind::Trap => FaultKind::Instantiate,
                kind => kind,
            };
            Fault {
                kind,
                message: format!("{error:#}"),
                ..fault
            }
        });
        let (configure, process, tick, save, restore) = found?;
        Ok(Self {
            engine: engine.clone(),
            store,
            configure,
            process,
            tick,
            save,
            restore,
        })
    }

    /// Hands the settings over.
    ///
    /// # Errors
    /// The inner error is the plugin's own, for the operator.
    pub(crate) fn configure(
        &mut self,
        settings: &str,
        now: Now,
    ) -> Result<Result<PluginSetup, String>, Fault> {
        let configure = self.configure;
        self.call(now, |store| configure.call(store, (settings,)))
            .map(|(setup,)| setup)
    }

    pub(crate) fn process(&mut self, packed: &PackedBatch, now: Now) -> Result<GuestAnswer, Fault> {
        let process = self.process;
        let batch = BatchRecord {
            now_us: now.wall.0,
            stride: input::STRIDE as u32,
            words: &packed.words,
            data: &packed.data,
        };
        self.call(now, |store| process.call(store, (batch,)))
            .map(|(output,)| output.into())
    }

    /// Tells it the time; a plugin without a timer answers nothing.
    pub(crate) fn tick(&mut self, now: Now) -> Result<GuestAnswer, Fault> {
        let Some(tick) = self.tick else {
            return Ok(GuestAnswer::default());
        };
        self.call(now, |store| tick.call(store, (now.wall.0,)))
            .map(|(output,)| output.into())
    }

    /// Linear memory it has, bytes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().budget.memory_used()
    }

    /// Its state, page by page; none when it keeps none.
    pub(crate) fn save(
        &mut self,
        extent: SaveScope,
        max_bytes: usize,
        now: Now,
    ) -> Result<Vec<StatePage>, Fault> {
        let Some(save) = self.save else {
            return Ok(Vec::new());
        };
        let changed_only = extent == SaveScope::Changes;
        let series = CallSeries::begin();
        collect(max_bytes, |cursor| {
            if let Some(why) = series.over() {
                return Err(Fault::new(FaultKind::State, format!("`save` takes {why}")));
            }
            self.call(now, |store| save.call(store, (changed_only, cursor)))
                .map(|(page,)| page)
        })
    }

    /// Takes over what another instance saved, each page with its state version.
    ///
    /// # Errors
    /// A fault of kind `state` when the plugin refuses it, in its own words.
    pub(crate) fn restore<'p>(
        &mut self,
        pages: impl Iterator<Item = (u32, &'p StatePage)>,
        now: Now,
    ) -> Result<(), Fault> {
        let Some(restore) = self.restore else {
            return Ok(());
        };
        let series = CallSeries::begin();
        for (version, page) in pages {
            if let Some(why) = series.over() {
                return Err(Fault::new(
                    FaultKind::State,
                    format!("`restore` takes {why}"),
                ));
            }
            let (restored,) = self.call(now, |store| restore.call(store, (version, page)))?;
            restored.map_err(|why| {
                Fault::new(
                    FaultKind::State,
                    format!("`restore` refused the state: {why}"),
                )
            })?;
        }
        Ok(())
    }

    /// Whether it is muted.
    pub(crate) fn is_muted(&self) -> bool {
        self.store.data().muted
    }

    /// While muted, log lines and metrics of the guest go nowhere: it is being shown inputs it has seen before.
    pub(crate) fn mute(&mut self, muted: bool) {
        self.store.data_mut().muted = muted;
    }

    fn call<R>(
        &mut self,
        now: Now,
        run: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        let guest = self.store.data_mut();
        guest.begin_call(now, self.engine.clock().running(now.uptime));
        let _call = self.engine.begin_call();
        self.store.set_epoch_deadline(1);
        run(&mut self.store).map_err(|error| classify(&error, self.store.data()))
    }
}
