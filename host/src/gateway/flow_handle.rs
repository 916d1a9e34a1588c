//! The handles of the flows: who brings messages to a flow, or asks about it, holds its handle, and does not notice that
//! there is another chain behind it now.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use crate::chain::{Chain, ROOM_BYTES, ReturnedLetter};
use crate::message::{Delivery, Flows, Intake};
use crate::recording::Recorder;

/// The handle of one flow.
pub struct FlowHandle {
    runtime: Mutex<FlowRuntime>,
}

/// What there is of a flow while the gateway runs.
struct FlowRuntime {
    /// `None` once the flow is gone: what is brought then is forgotten, and comes again from the broker.
    chain: Option<Arc<Chain>>,
    /// There while the flow is paused.
    queue: Option<HeldDeliveries>,
    recorder: Option<Arc<Recorder>>,
    /// The flow could not be started: why. What is brought waits.
    down: Option<String>,
}

/// What waits until the flow goes on, batch by batch. What it can hold is bounded by those who bring it: a source by its
/// `max_unsettled`, a retry by its letters, a flow by asking.
#[derive(Default)]
struct HeldDeliveries {
    deliveries: Vec<Vec<Delivery>>,
    /// What the deliveries weigh together: bytes of RAM.
    bytes: usize,
    letters: Vec<(Option<Arc<str>>, Vec<ReturnedLetter>)>,
}

impl FlowHandle {
    /// That of a flow that is not there yet: paused.
    fn new() -> Self {
        Self {
            runtime: Mutex::new(FlowRuntime {
                chain: None,
                queue: Some(HeldDeliveries::default()),
                recorder: None,
                down: None,
            }),
        }
    }

    /// Why the flow could not be started, while it is not.
    pub fn down(&self) -> Option<String> {
        self.lock().down.clone()
    }

    /// It was tried again, in vain.
    pub fn stay_down(&self, why: String) {
        self.lock().down = Some(why);
    }

    /// Today's chain of the flow, if there is the flow.
    pub fn chain(&self) -> Option<Arc<Chain>> {
        self.lock().chain.clone()
    }

    /// The flow's recorder, if it has one.
    pub fn recorder(&self) -> Option<Arc<Recorder>> {
        self.lock().recorder.clone()
    }

    /// From now on this is the flow's recorder.
    pub fn record(&self, recorder: Option<Arc<Recorder>>) {
        self.lock().recorder = recorder;
    }

    /// What is brought from now on waits, and everything before has reached the chain.
    pub fn pause(&self) {
        self.lock().queue.get_or_insert_default();
    }

    /// Lets what waits in, to this chain or, without one, to the one that is there.
    pub fn resume(&self, chain: Option<Arc<Chain>>) {
        let mut runtime = self.lock();
        if chain.is_some() {
            (runtime.chain, runtime.down) = (chain, None);
        }
        let Some(HeldDeliveries {
            deliveries,
            letters,
            ..
        }) = runtime.queue.take()
        else {
            return;
        };
        let Some(chain) = &runtime.chain else { return };
        deliveries
            .into_iter()
            .for_each(|batch| chain.deliver(batch));
        letters
            .into_iter()
            .for_each(|(plugin, letters)| chain.rerun(plugin.as_deref(), letters));
    }

    /// The flow is gone: its last chain.
    pub fn retire(&self) -> Option<Arc<Chain>> {
        let mut runtime = self.lock();
        (runtime.queue, runtime.recorder, runtime.down) = (None, None, None);
        runtime.chain.take()
    }

    pub fn rerun(&self, plugin: Option<&str>, letters: Vec<ReturnedLetter>) {
        let runtime = &mut *self.lock();
        match (&mut runtime.queue, &runtime.chain) {
            (Some(queue), _) => queue.letters.push((plugin.map(Arc::from), letters)),
            (None, Some(chain)) => chain.rerun(plugin, letters),
            (None, None) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, FlowRuntime> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intake for FlowHandle {
    fn deliver(&self, batch: Vec<Delivery>) {
        let runtime = &mut *self.lock();
        match (&mut runtime.queue, &runtime.chain) {
            (None, Some(chain)) => chain.deliver(batch),
            (Some(queue), _) => {
                queue.bytes += batch.iter().map(Delivery::weight).sum::<usize>();
                queue.deliveries.push(batch);
            }
            (None, None) => {}
        }
    }

    fn has_room(&self) -> bool {
        let runtime = &*self.lock();
        match (&runtime.queue, &runtime.chain) {
            (Some(queue), _) => queue.bytes < ROOM_BYTES,
            (None, Some(chain)) => chain.has_room(),
            (None, None) => true,
        }
    }
}

/// The handles of all flows, by `FlowId` and by name; a flow that has had one keeps it. Cheap to clone.
#[derive(Clone, Default)]
pub struct FlowHandles(Arc<RwLock<HandleTable>>);

#[derive(Default)]
struct HandleTable {
    by_number: Vec<Arc<FlowHandle>>,
    /// Flows that are led to have a handle before they are there.
    by_name: HashMap<Arc<str>, Arc<FlowHandle>>,
}

impl HandleTable {
    fn named(&mut self, name: &str) -> Arc<FlowHandle> {
        let handle = self.by_name.entry(name.into());
        Arc::clone(handle.or_insert_with(|| Arc::new(FlowHandle::new())))
    }
}

impl Flows for FlowHandles {
    fn flow(&self, name: &str) -> Arc<dyn Intake> {
        self.write(|all| all.named(name))
    }
}

impl FlowHandles {
    /// The next flow, with its chain, or without one where it could not be started, and why.
    pub fn add(&self, name: &str, chain: Result<Arc<Chain>, String>) -> Arc<FlowHandle> {
        let handle = self.write(|all| {
            let handle = all.named(name);
            all.by_number.push(Arc::clone(&handle));
            handle
        });
        match chain {
            Ok(chain) => handle.resume(Some(chain)),
            Err(why) => handle.stay_down(why),
        }
        handle
    }

    /// The flows that could not be started, and why.
    pub fn down(&self) -> Vec<(usize, String)> {
        self.all()
            .iter()
            .enumerate()
            .filter_map(|(flow, handle)| Some((flow, handle.down()?)))
            .collect()
    }

    /// A handle for one more flow, or for one that was gone.
    pub fn put(&self, flow: usize, chain: Arc<Chain>) -> Arc<FlowHandle> {
        let known = self.read().by_number.get(flow).cloned();
        let Some(handle) = known else {
            return self.add(&Arc::clone(chain.name()), Ok(chain));
        };
        handle.resume(Some(chain));
        handle
    }

    /// The handle of a flow.
    ///
    /// # Panics
    /// When there never was such a flow.
    pub fn of(&self, flow: usize) -> Arc<FlowHandle> {
        Arc::clone(&self.read().by_number[flow])
    }

    /// Today's chain of a flow, if there is the flow.
    pub fn chain(&self, flow: usize) -> Option<Arc<Chain>> {
        let handle = Arc::clone(self.read().by_number.get(flow)?);
        handle.chain()
    }

    /// Today's chains of all flows, with their numbers.
    pub fn chains(&self) -> Vec<(usize, Arc<Chain>)> {
        self.all()
            .iter()
            .enumerate()
            .filter_map(|(flow, handle)| Some((flow, handle.chain()?)))
            .collect()
    }

    /// The chains of all flows, those of each list before those that they lead to.
    pub fn chains_by_depth(&self) -> Vec<Vec<Arc<Chain>>> {
        let mut left: Vec<_> = self.chains().into_iter().map(|(_, chain)| chain).collect();
        let mut lists = Vec::new();
        while !left.is_empty() {
            let led_to: HashSet<_> = left
                .iter()
                .flat_map(|from| from.leads_to())
                .cloned()
                .collect();
            let is_first = |chain: &mut Arc<Chain>| !led_to.contains(chain.name());
            let first: Vec<_> = left.extract_if(.., is_first).collect();
            // A circle is refused by `check`; one that is there all the same ends together.
            let first = if first.is_empty() {
                std::mem::take(&mut left)
            } else {
                first
            };
            lists.push(first);
        }
        lists
    }

    pub fn recorders(&self) -> Vec<Arc<Recorder>> {
        self.all()
            .iter()
            .filter_map(|handle| handle.recorder())
            .collect()
    }

    fn all(&self) -> Vec<Arc<FlowHandle>> {
        self.read().by_number.clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, HandleTable> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<R>(&self, change: impl FnOnce(&mut HandleTable) -> R) -> R {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::chain::{self, Engine, Wiring, Workshop};
    use crate::message::{
        Append, DeadLetter, Destination, FlowId, Loss, Message, MessageId, Mint, Outlet, QueueId,
        StateStore,
    };

    /// Takes note of what comes out, by the queue it goes to.
    #[derive(Default)]
    struct Out(Mutex<Vec<(u16, u64)>>);

    impl StateStore for Out {}

    impl Outlet for Out {
        fn append(&self, batch: Vec<Append>) {
            self.0.lock().unwrap().extend(
                batch
                    .iter()
                    .map(|append| (append.queue.0, append.message.id.seq)),
            );
        }

        fn park(&self, _: Vec<DeadLetter>) {}

        fn lose(&self, _: Vec<Loss>) {}
    }

    /// A chain without plugins that leads to this queue.
    fn chain(out: &Arc<Out>, queue: u16, lanes: usize, after: Option<&Chain>) -> Arc<Chain> {
        let config = chain::Config {
            flow: FlowId::FIRST,
            name: "climate".into(),
            lanes,
            batch_messages: 4,
            plugins: Vec::new(),
            ports: BTreeMap::from([("out".to_owned(), vec![Destination::Queue(QueueId(queue))])]),
            settles_with_any: false,
            topic: None,
            topics: chain::Topics::default(),
            patterns: Vec::new(),
            expires: None,
            quarantine: None,
        };
        let wiring = Wiring {
            outlet: Arc::clone(out) as Arc<dyn Outlet>,
            flows: Arc::new(FlowHandles::default()),
            states: Arc::clone(out) as Arc<dyn StateStore>,
            mint: Arc::new(Mint::new(1)),
            metrics: chain::Metrics::new(&prometheus::Registry::new()).unwrap(),
            taps: Default::default(),
            tracer: Default::default(),
            failed: Arc::default(),
        };
        match after {
            Some(old) => Arc::new(
                old.rehearse(config, wiring)
                    .unwrap()
                    .follow(old, &|| true)
                    .unwrap(),
            ),
            None => {
                let engine = Engine::new(512 << 10, Workshop::in_process()).unwrap();
                Arc::new(Chain::build(config, &engine, wiring).unwrap())
            }
        }
    }

    fn flow_handles(chains: Vec<Result<Arc<Chain>, String>>) -> FlowHandles {
        let flow_handles = FlowHandles::default();
        for (flow, chain) in chains.into_iter().enumerate() {
            flow_handles.add(&flow.to_string(), chain);
        }
        flow_handles
    }

    fn messages(range: std::ops::Range<u64>) -> Vec<Delivery> {
        let message = |seq| Message {
            id: MessageId { boot: 1, seq },
            ..Message::default()
        };
        range
            .map(|seq| Delivery {
                message: message(seq),
                receipt: None,
            })
            .collect()
    }

    #[test]
    fn what_is_brought_to_a_closed_door_waits_and_goes_to_the_chain_that_follows() {
        let out = Arc::<Out>::default();
        let flow_handles = flow_handles(vec![Ok(chain(&out, 1, 1, None))]);
        let handle = flow_handles.of(0);
        handle.deliver(messages(0..10));
        handle.pause();
        handle.deliver(messages(10..12));
        let next = chain(&out, 2, 1, Some(&handle.chain().unwrap()));
        handle.deliver(messages(12..13));
        let all_of_the_first: Vec<_> = (0..10).map(|seq| (1, seq)).collect();
        assert_eq!(
            *out.0.lock().unwrap(),
            all_of_the_first,
            "the old chain has worked off what it had, and no more"
        );
        handle.resume(Some(next));
        handle.deliver(messages(13..14));
        assert_eq!(
            flow_handles.chain(0).unwrap().stop(Duration::from_secs(60)),
            0
        );
        assert_eq!(
            out.0.lock().unwrap()[10..],
            [(2, 10), (2, 11), (2, 12), (2, 13)]
        );
    }

    #[test]
    fn without_another_chain_the_old_one_goes_on() {
        let out = Arc::<Out>::default();
        let flow_handles = flow_handles(vec![Ok(chain(&out, 1, 1, None))]);
        let handle = flow_handles.of(0);
        handle.pause();
        handle.deliver(messages(0..2));
        handle.resume(None);
        handle.deliver(messages(2..3));
        assert_eq!(
            flow_handles.chain(0).unwrap().stop(Duration::from_secs(60)),
            0
        );
        assert_eq!(*out.0.lock().unwrap(), [(1, 0), (1, 1), (1, 2)]);
    }

    #[test]
    fn what_is_brought_to_a_flow_that_could_not_be_started_waits_until_it_is() {
        let out = Arc::<Out>::default();
        let flow_handles = flow_handles(vec![
            Err("no component".to_owned()),
            Ok(chain(&out, 2, 1, None)),
        ]);
        flow_handles.of(0).deliver(messages(0..2));
        assert_eq!(
            (flow_handles.down(), flow_handles.chains().len()),
            (vec![(0, "no component".to_owned())], 1)
        );
        flow_handles.of(0).stay_down("none yet".to_owned());
        flow_handles.put(0, chain(&out, 1, 1, None));
        flow_handles.of(0).deliver(messages(2..3));
        assert_eq!(
            (
                flow_handles.down(),
                flow_handles.chain(0).unwrap().stop(Duration::from_secs(60))
            ),
            (Vec::new(), 0)
        );
        assert_eq!(*out.0.lock().unwrap(), [(1, 0), (1, 1), (1, 2)]);
    }

    #[test]
    fn a_flow_that_is_gone_is_not_counted_and_may_come_back_to_its_place() {
        let out = Arc::<Out>::default();
        let flow_handles = flow_handles(vec![
            Ok(chain(&out, 1, 1, None)),
            Ok(chain(&out, 2, 1, None)),
        ]);
        assert!(flow_handles.of(0).retire().is_some());
        flow_handles.of(0).deliver(messages(0..1));
        assert_eq!(
            flow_handles
                .chains()
                .iter()
                .map(|(flow, _)| *flow)
                .collect::<Vec<_>>(),
            [1]
        );
        flow_handles.put(0, chain(&out, 3, 2, None));
        flow_handles.of(0).deliver(messages(1..2));
        assert_eq!(
            flow_handles.chain(0).unwrap().stop(Duration::from_secs(60)),
            0
        );
        assert_eq!(*out.0.lock().unwrap(), [(3, 1)]);
    }
}
