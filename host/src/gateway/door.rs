//! The doors of the flows: who brings messages to a flow, or asks about it, holds its door, and does not notice that
//! there is another chain behind it now.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use crate::chain::{Chain, ROOM_BYTES, ReturnedLetter};
use crate::message::{Delivery, Flows, Intake};
use crate::recording::Recorder;

/// The door of one flow.
pub struct Door {
    inside: Mutex<Inside>,
}

struct Inside {
    /// `None` once the flow is gone: what is brought then is forgotten, and comes again from the broker.
    chain: Option<Arc<Chain>>,
    /// There while the door is closed.
    queue: Option<DoorQueue>,
    recorder: Option<Arc<Recorder>>,
    /// The flow could not be started: why. What is brought waits.
    down: Option<String>,
}

/// What waits until the door opens, batch by batch. What it can hold is bounded by those who bring it: a source by its
/// `max_unsettled`, a retry by its letters, a flow by asking.
#[derive(Default)]
struct DoorQueue {
    deliveries: Vec<Vec<Delivery>>,
    /// What the deliveries weigh together: bytes of RAM.
    bytes: usize,
    letters: Vec<(Option<Arc<str>>, Vec<ReturnedLetter>)>,
}

impl Door {
    /// The closed door of a flow that is not there yet.
    fn new() -> Self {
        Self {
            inside: Mutex::new(Inside {
                chain: None,
                queue: Some(DoorQueue::default()),
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
    pub fn close(&self) {
        self.lock().queue.get_or_insert_default();
    }

    /// Lets what waits in, to this chain or, without one, to the one that is there.
    pub fn open(&self, chain: Option<Arc<Chain>>) {
        let mut inside = self.lock();
        if chain.is_some() {
            (inside.chain, inside.down) = (chain, None);
        }
        let Some(DoorQueue {
            deliveries,
            letters,
            ..
        }) = inside.queue.take()
        else {
            return;
        };
        let Some(chain) = &inside.chain else { return };
        deliveries
            .into_iter()
            .for_each(|batch| chain.deliver(batch));
        letters
            .into_iter()
            .for_each(|(plugin, letters)| chain.rerun(plugin.as_deref(), letters));
    }

    /// The flow is gone: its last chain.
    pub fn wall_up(&self) -> Option<Arc<Chain>> {
        let mut inside = self.lock();
        (inside.queue, inside.recorder, inside.down) = (None, None, None);
        inside.chain.take()
    }

    pub fn rerun(&self, plugin: Option<&str>, letters: Vec<ReturnedLetter>) {
        let inside = &mut *self.lock();
        match (&mut inside.queue, &inside.chain) {
            (Some(queue), _) => queue.letters.push((plugin.map(Arc::from), letters)),
            (None, Some(chain)) => chain.rerun(plugin, letters),
            (None, None) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intake for Door {
    fn deliver(&self, batch: Vec<Delivery>) {
        let inside = &mut *self.lock();
        match (&mut inside.queue, &inside.chain) {
            (None, Some(chain)) => chain.deliver(batch),
            (Some(queue), _) => {
                queue.bytes += batch.iter().map(Delivery::weight).sum::<usize>();
                queue.deliveries.push(batch);
            }
            (None, None) => {}
        }
    }

    fn has_room(&self) -> bool {
        let inside = &*self.lock();
        match (&inside.queue, &inside.chain) {
            (Some(queue), _) => queue.bytes < ROOM_BYTES,
            (None, Some(chain)) => chain.has_room(),
            (None, None) => true,
        }
    }
}

/// The doors of all flows, by `FlowId` and by name; one that has had a door keeps it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Doors(Arc<RwLock<DoorTable>>);

#[derive(Default)]
struct DoorTable {
    by_number: Vec<Arc<Door>>,
    /// Flows that are led to have a door before they are there.
    by_name: HashMap<Arc<str>, Arc<Door>>,
}

impl DoorTable {
    fn named(&mut self, name: &str) -> Arc<Door> {
        let door = self.by_name.entry(name.into());
        Arc::clone(door.or_insert_with(|| Arc::new(Door::new())))
    }
}

impl Flows for Doors {
    fn flow(&self, name: &str) -> Arc<dyn Intake> {
        self.write(|all| all.named(name))
    }
}

impl Doors {
    /// The next flow, with its chain, or without one where it could not be started, and why.
    pub fn add(&self, name: &str, chain: Result<Arc<Chain>, String>) -> Arc<Door> {
        let door = self.write(|all| {
            let door = all.named(name);
            all.by_number.push(Arc::clone(&door));
            door
        });
        match chain {
            Ok(chain) => door.open(Some(chain)),
            Err(why) => door.stay_down(why),
        }
        door
    }

    /// The flows that could not be started, and why.
    pub fn down(&self) -> Vec<(usize, String)> {
        self.all()
            .iter()
            .enumerate()
            .filter_map(|(flow, door)| Some((flow, door.down()?)))
            .collect()
    }

    /// A door for one more flow, or for one that was gone.
    pub fn put(&self, flow: usize, chain: Arc<Chain>) -> Arc<Door> {
        let known = self.read().by_number.get(flow).cloned();
        let Some(door) = known else {
            return self.add(&Arc::clone(chain.name()), Ok(chain));
        };
        door.open(Some(chain));
        door
    }

    /// The door of a flow.
    ///
    /// # Panics
    /// When there never was such a flow.
    pub fn of(&self, flow: usize) -> Arc<Door> {
        Arc::clone(&self.read().by_number[flow])
    }

    /// Today's chain of a flow, if there is the flow.
    pub fn chain(&self, flow: usize) -> Option<Arc<Chain>> {
        let door = Arc::clone(self.read().by_number.get(flow)?);
        door.chain()
    }

    /// Today's chains of all flows, with their numbers.
    pub fn chains(&self) -> Vec<(usize, Arc<Chain>)> {
        self.all()
            .iter()
            .enumerate()
            .filter_map(|(flow, door)| Some((flow, door.chain()?)))
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
            .filter_map(|door| door.recorder())
            .collect()
    }

    fn all(&self) -> Vec<Arc<Door>> {
        self.read().by_number.clone()
    }

    fn read(&self) -> RwLockReadGuard<'_, DoorTable> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<R>(&self, change: impl FnOnce(&mut DoorTable) -> R) -> R {
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
            flows: Arc::new(Doors::default()),
            states: Arc::clone(out) as Arc<dyn StateStore>,
            mint: Arc::new(Mint::new(1)),
            metrics: chain::Metrics::new(&prometheus::Registry::new()).unwrap(),
            taps: Default::default(),
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

    fn doors(chains: Vec<Result<Arc<Chain>, String>>) -> Doors {
        let doors = Doors::default();
        for (flow, chain) in chains.into_iter().enumerate() {
            doors.add(&flow.to_string(), chain);
        }
        doors
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
        let doors = doors(vec![Ok(chain(&out, 1, 1, None))]);
        let door = doors.of(0);
        door.deliver(messages(0..10));
        door.close();
        door.deliver(messages(10..12));
        let next = chain(&out, 2, 1, Some(&door.chain().unwrap()));
        door.deliver(messages(12..13));
        let all_of_the_first: Vec<_> = (0..10).map(|seq| (1, seq)).collect();
        assert_eq!(
            *out.0.lock().unwrap(),
            all_of_the_first,
            "the old chain has worked off what it had, and no more"
        );
        door.open(Some(next));
        door.deliver(messages(13..14));
        assert_eq!(doors.chain(0).unwrap().stop(Duration::from_secs(60)), 0);
        assert_eq!(
            out.0.lock().unwrap()[10..],
            [(2, 10), (2, 11), (2, 12), (2, 13)]
        );
    }

    #[test]
    fn without_another_chain_the_old_one_goes_on() {
        let out = Arc::<Out>::default();
        let doors = doors(vec![Ok(chain(&out, 1, 1, None))]);
        let door = doors.of(0);
        door.close();
        door.deliver(messages(0..2));
        door.open(None);
        door.deliver(messages(2..3));
        assert_eq!(doors.chain(0).unwrap().stop(Duration::from_secs(60)), 0);
        assert_eq!(*out.0.lock().unwrap(), [(1, 0), (1, 1), (1, 2)]);
    }

    #[test]
    fn what_is_brought_to_a_flow_that_could_not_be_started_waits_until_it_is() {
        let out = Arc::<Out>::default();
        let doors = doors(vec![
            Err("no component".to_owned()),
            Ok(chain(&out, 2, 1, None)),
        ]);
        doors.of(0).deliver(messages(0..2));
        assert_eq!(
            (doors.down(), doors.chains().len()),
            (vec![(0, "no component".to_owned())], 1)
        );
        doors.of(0).stay_down("none yet".to_owned());
        doors.put(0, chain(&out, 1, 1, None));
        doors.of(0).deliver(messages(2..3));
        assert_eq!(
            (
                doors.down(),
                doors.chain(0).unwrap().stop(Duration::from_secs(60))
            ),
            (Vec::new(), 0)
        );
        assert_eq!(*out.0.lock().unwrap(), [(1, 0), (1, 1), (1, 2)]);
    }

    #[test]
    fn a_flow_that_is_gone_is_not_counted_and_may_come_back_to_its_place() {
        let out = Arc::<Out>::default();
        let doors = doors(vec![
            Ok(chain(&out, 1, 1, None)),
            Ok(chain(&out, 2, 1, None)),
        ]);
        assert!(doors.of(0).wall_up().is_some());
        doors.of(0).deliver(messages(0..1));
        assert_eq!(
            doors
                .chains()
                .iter()
                .map(|(flow, _)| *flow)
                .collect::<Vec<_>>(),
            [1]
        );
        doors.put(0, chain(&out, 3, 2, None));
        doors.of(0).deliver(messages(1..2));
        assert_eq!(doors.chain(0).unwrap().stop(Duration::from_secs(60)), 0);
        assert_eq!(*out.0.lock().unwrap(), [(3, 1)]);
    }
}
