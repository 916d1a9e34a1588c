//! The doors of the flows: who brings messages to a flow, or asks about it, holds its door, and does not notice that
//! there is another chain behind it now.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::chain::{Chain, Returned};
use crate::message::{Delivery, Intake};
use crate::recording::Recorder;

/// The door of one flow.
pub struct Door {
    inside: Mutex<Inside>,
}

struct Inside {
    /// `None` once the flow is gone: what is brought then is forgotten, and comes again from the broker.
    chain: Option<Arc<Chain>>,
    /// There while the door is closed.
    queue: Option<Queue>,
    recorder: Option<Arc<Recorder>>,
    /// The flow could not be started: why. What is brought waits.
    down: Option<String>,
}

/// What waits until the door opens. What it can hold is bounded by those who bring it: a source by its
/// `max_unsettled`, a retry by its letters.
#[derive(Default)]
struct Queue {
    deliveries: Vec<Delivery>,
    letters: Vec<(Option<Arc<str>>, Vec<Returned>)>,
}

impl Door {
    fn new(chain: Arc<Chain>) -> Self {
        Self {
            inside: Mutex::new(Inside {
                chain: Some(chain),
                queue: None,
                recorder: None,
                down: None,
            }),
        }
    }

    /// The closed door of a flow that could not be started.
    fn of_one_down(why: String) -> Self {
        let queue = Some(Queue::default());
        Self {
            inside: Mutex::new(Inside {
                chain: None,
                queue,
                recorder: None,
                down: Some(why),
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
        let Some(Queue {
            deliveries,
            letters,
        }) = inside.queue.take()
        else {
            return;
        };
        let Some(chain) = &inside.chain else { return };
        if !deliveries.is_empty() {
            chain.deliver(deliveries);
        }
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

    pub fn rerun(&self, plugin: Option<&str>, letters: Vec<Returned>) {
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
            (Some(queue), _) => queue.deliveries.extend(batch),
            (None, None) => {}
        }
    }
}

/// The doors of all flows, by `FlowId`; one that has had a door keeps it. Cheap to clone.
#[derive(Clone, Default)]
pub struct Doors(Arc<RwLock<Vec<Arc<Door>>>>);

impl Doors {
    /// For these chains, or for flows that could not be started, and why.
    pub fn new(chains: Vec<Result<Arc<Chain>, String>>) -> Self {
        let door = |chain: Result<_, _>| Arc::new(chain.map_or_else(Door::of_one_down, Door::new));
        Self(Arc::new(RwLock::new(
            chains.into_iter().map(door).collect(),
        )))
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
        let mut doors = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match doors.get(flow) {
            Some(door) => door.open(Some(chain)),
            None => doors.push(Arc::new(Door::new(chain))),
        }
        Arc::clone(&doors[flow])
    }

    /// The door of a flow.
    ///
    /// # Panics
    /// When there never was such a flow.
    pub fn of(&self, flow: usize) -> Arc<Door> {
        Arc::clone(&self.all()[flow])
    }

    /// Today's chain of a flow, if there is the flow.
    pub fn chain(&self, flow: usize) -> Option<Arc<Chain>> {
        self.all().get(flow)?.chain()
    }

    /// Today's chains of all flows, with their numbers.
    pub fn chains(&self) -> Vec<(usize, Arc<Chain>)> {
        self.all()
            .iter()
            .enumerate()
            .filter_map(|(flow, door)| Some((flow, door.chain()?)))
            .collect()
    }

    pub fn recorders(&self) -> Vec<Arc<Recorder>> {
        self.all()
            .iter()
            .filter_map(|door| door.recorder())
            .collect()
    }

    fn all(&self) -> Vec<Arc<Door>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::chain::{self, Engine, Wiring, Workshop};
    use crate::message::{
        Append, DeadLetter, FlowId, Loss, Message, MessageId, Mint, Outlet, QueueId, StateStore,
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
            flow: FlowId(0),
            name: "climate".into(),
            lanes,
            batch_messages: 4,
            plugins: Vec::new(),
            ports: BTreeMap::from([("out".to_owned(), vec![QueueId(queue)])]),
            settles_with_any: false,
            topic: None,
            topics: chain::Topics::default(),
            quarantine: None,
        };
        let wiring = Wiring {
            outlet: Arc::clone(out) as Arc<dyn Outlet>,
            states: Arc::clone(out) as Arc<dyn StateStore>,
            mint: Arc::new(Mint::new(1)),
            metrics: chain::Metrics::new(&prometheus::Registry::new()).unwrap(),
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
        let doors = Doors::new(vec![Ok(chain(&out, 1, 1, None))]);
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
        let doors = Doors::new(vec![Ok(chain(&out, 1, 1, None))]);
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
        let doors = Doors::new(vec![
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
        let doors = Doors::new(vec![
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
