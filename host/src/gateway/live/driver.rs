//! The one thread that takes orders for changes, one after the other. Changes of flows it makes itself; one of a plugin has
//! a thread of its own (`job.rs`), since its probation may take a minute or an hour. Of each flow one plugin is changed at a
//! time: what else is wanted of it waits, and nothing of other flows does.

mod back;
mod candidate;
mod change;
mod ends;
mod flows;
mod job;
mod reload;
mod files;
mod orders;
mod wanted;
mod watched;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::board::{PluginIndex, guarded};
use super::desk::Orders;
use super::held::HeldFiles;
use super::order::{ChangeLine, PluginName};
use super::parts::LiveParts;
use super::request::{Adopted, DriverRequest, WAITING};
use super::watch::FileWatch;
use crate::chain::PluginConfig;
use crate::clock::Now;
use crate::gateway::ends::Endpoints;
use crate::heap;
use crate::versions::StoredVersion;
use crate::versions::history::Who;
use candidate::Candidate;
use job::{After, Bench, InVain, Job};
use wanted::Wanted;
use watched::{watch, watched};

/// How often a verdict that could not be written down is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(10);

/// A flow of which a plugin is being changed.
struct Busy {
    /// What the config is to say of the plugin, where that is why.
    adopting: Option<(usize, Box<PluginConfig>)>,
    /// The config says by now what ran before it.
    is_taken_back: bool,
    waiting: VecDeque<Wanted>,
    thread: Option<JoinHandle<()>>,
}

pub(super) struct Driver {
    parts: LiveParts,
    ends: Endpoints,
    desk: Orders,
    watched: Vec<PathBuf>,
    watch: FileWatch,
    /// Changes of files that are not to be made yet.
    held: HeldFiles,
    in_vain: InVain,
    /// By the numbers of their flows.
    busy: HashMap<usize, Busy>,
    /// Names of flows whose change waits for that of one of their plugins.
    deferred: BTreeSet<String>,
}

impl Driver {
    pub(super) fn new(parts: LiveParts, ends: Endpoints, desk: Orders) -> std::io::Result<Self> {
        let watched = watched(&parts.config, &parts.origin);
        let watch = watch(&watched, &desk)?;
        let window = parts.config.gateway.change_window.clone();
        let held = HeldFiles::new(window, parts.standing.clone());
        let in_vain = InVain::default();
        let busy = HashMap::new();
        let deferred = BTreeSet::new();
        Ok(Self {
            parts,
            ends,
            desk,
            watched,
            watch,
            held,
            in_vain,
            busy,
            deferred,
        })
    }

    /// Until the gateway stops. What crashes costs the order at hand, and is said.
    pub(super) fn run(&mut self, waiting: &Receiver<DriverRequest>) {
        guarded(&self.desk.board.clone(), None, || self.catch_up());
        loop {
            let request = match waiting.recv_timeout(WRITE_AGAIN) {
                Ok(request) => Some(request),
                Err(RecvTimeoutError::Timeout) => {
                    self.parts.versions.write_again();
                    None
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let due = self.held.due(Now::read());
            guarded(&self.desk.board.clone(), None, || self.take_held(&due));
            let Some(request) = request else { continue };
            if self.desk.board.is_stopping() || matches!(request, DriverRequest::Stop) {
                break;
            }
            let id = request.id();
            guarded(&self.desk.board.clone(), id, || self.obey(request));
        }
        for busy in std::mem::take(&mut self.busy).into_values() {
            busy.waiting
                .into_iter()
                .for_each(|wanted| self.drop_wanted(&wanted));
            // What panicked there has said so.
            busy.thread.map(JoinHandle::join);
        }
        self.parts.versions.write_again();
    }

    fn obey(&mut self, request: DriverRequest) {
        match request {
            DriverRequest::Changed { path, .. } if self.held.hold(&path, Now::read()) => {}
            DriverRequest::Changed { path, .. } if self.is_of_config(&path) => {
                self.reload(None, &Who::Config)
            }
            DriverRequest::Changed { path, content } => self.replace(&path, &content),
            DriverRequest::Reload { id, who } => {
                // Whoever asks for it wants all that is new.
                let mut held = self.held.take();
                held.retain(|path| !self.is_of_config(path));
                self.reload(id, &who);
                self.take_held(&held);
            }
            DriverRequest::Swap {
                id,
                order,
                component,
                who,
            } => self.want(Wanted::Swap {
                id,
                order,
                component,
                who,
            }),
            DriverRequest::Rollback { id, order, who } => {
                self.want(Wanted::Rollback { id, order, who })
            }
            DriverRequest::Opened { flow, opened } => self.want(Wanted::FailOver { flow, opened }),
            DriverRequest::Ended { place, adopted } => self.ended(place, adopted),
            DriverRequest::Stop => {}
        }
    }

    /// Begins a change, or has it wait for the one of its flow that is under way.
    fn want(&mut self, wanted: Wanted) {
        let flow = match &wanted {
            Wanted::Swap { order, .. } => {
                self.desk.place(&order.plugin).ok().map(|place| place.flow)
            }
            Wanted::Rollback { order, .. } => {
                self.desk.place(&order.plugin).ok().map(|place| place.flow)
            }
            Wanted::FailOver { flow, .. } => Some(*flow),
            Wanted::ByItself { place, .. } | Wanted::Setting { place, .. } => Some(place.flow),
        };
        let Some(busy) = flow.and_then(|flow| self.busy.get_mut(&flow)) else {
            return self.begin(wanted);
        };
        if busy.waiting.len() < WAITING {
            busy.waiting.push_back(wanted);
        } else {
            tracing::warn!(
                "more changes of a flow than can wait; send SIGHUP when the last one is done"
            );
            self.drop_wanted(&wanted);
        }
    }

    /// Whoever waits for it hears that nothing comes of it.
    fn drop_wanted(&self, wanted: &Wanted) {
        if let Wanted::Swap { id, .. } | Wanted::Rollback { id, .. } = wanted {
            self.desk.board.end(*id);
        }
    }

    fn begin(&mut self, wanted: Wanted) {
        match wanted {
            Wanted::Swap {
                id,
                order,
                component,
                who,
            } => match self.still_there(id, &order.plugin) {
                Some(place) => self.swap((id, place, who), order, component),
                None => self.desk.board.end(id),
            },
            Wanted::Rollback { id, order, who } => match self.still_there(id, &order.plugin) {
                Some(place) => self.roll_back((id, place, who), order.to.as_deref()),
                None => self.desk.board.end(id),
            },
            Wanted::FailOver { flow, opened } => self.fail_over(flow, &opened),
            Wanted::ByItself {
                place,
                who,
                candidate,
            } => {
                let id = self.open(place, &who);
                self.start(id, (place, who), candidate, After::default());
            }
            Wanted::Setting {
                place,
                who,
                config,
                reload,
            } => self.apply(place, who, config, reload),
        }
    }

    /// What the config says of a plugin, as it was last seen.
    fn written(&self, place: PluginIndex) -> &StoredVersion {
        &self.parts.started[place.flow][place.plugin].written
    }

    fn written_mut(&mut self, place: PluginIndex) -> &mut StoredVersion {
        &mut self.parts.started[place.flow][place.plugin].written
    }

    /// Puts up a change that no operator has put up.
    fn open(&self, place: PluginIndex, who: &Who) -> u64 {
        let board = &self.desk.board;
        let title = format!("{} changes {}", who.name(), self.title(place));
        // One that an operator has put up for the same plugin comes after it.
        board
            .open(title.clone(), Some(place))
            .or_else(|_| board.open(title, None))
            .unwrap_or_default()
    }

    /// What a change is made of by now.
    fn job(
        &self,
        id: u64,
        (place, who): (PluginIndex, Who),
        candidate: Candidate,
        after: After,
    ) -> Job {
        let LiveParts {
            flow_handles,
            versions,
            audit,
            ..
        } = &self.parts;
        let bench = Bench {
            desk: self.desk.clone(),
            flow_handles: flow_handles.clone(),
            versions: versions.clone(),
            audit: audit.clone(),
            in_vain: self.in_vain.clone(),
        };
        let spec = self.plugin(place).clone();
        let about = self.about(place, &candidate);
        Job {
            bench,
            id,
            place,
            who,
            spec,
            about,
            candidate,
            after,
            reload: Mutex::default(),
        }
    }

    fn start(&mut self, id: u64, whose: (PluginIndex, Who), candidate: Candidate, after: After) {
        let job = self.job(id, whose, candidate, after);
        self.start_job(job);
    }

    fn start_job(&mut self, job: Job) {
        let PluginIndex { flow, plugin } = job.place;
        let adopting = job.after.adopt.clone().map(|config| (plugin, config));
        let busy = self.busy.entry(flow).or_insert_with(|| Busy {
            adopting: None,
            is_taken_back: false,
            waiting: VecDeque::new(),
            thread: None,
        });
        (busy.adopting, busy.is_taken_back) = (adopting, false);
        let ending = job.ending();
        // Dropped with the closure where no thread is to be had, which ends it as well.
        match std::thread::Builder::new()
            .name("change".into())
            .spawn(move || job.run(ending))
        {
            Ok(thread) => busy.thread = Some(thread),
            Err(error) => {
                tracing::error!(%error, "a plugin cannot be changed: no thread is to be had")
            }
        }
    }

    /// The next change of the flow has its turn.
    fn ended(&mut self, PluginIndex { flow, plugin }: PluginIndex, adopted: Option<Adopted>) {
        let busy = self.busy.get(&flow);
        let is_taken_back = busy.is_some_and(|busy| busy.is_taken_back);
        if let Some(Adopted { config, .. }) =
            adopted.filter(|adopted| adopted.is_running || !is_taken_back)
        {
            self.parts.config.flows[flow].plugins[plugin] = *config;
        }
        let Some(Busy {
            mut waiting,
            thread,
            ..
        }) = self.busy.remove(&flow)
        else {
            return;
        };
        // It is at its end; what panicked there has said so.
        thread.map(JoinHandle::join);
        heap::give_back();
        while let Some(next) = waiting.pop_front() {
            self.begin(next);
            if let Some(busy) = self.busy.get_mut(&flow) {
                busy.waiting.append(&mut waiting);
            }
        }
        let name = &*self.parts.config.flows[flow].name;
        if !self.busy.contains_key(&flow) && self.deferred.remove(name) {
            self.reload(None, &Who::Config);
        }
    }

    /// Where a plugin is by now: its flow may be another one since the order came.
    fn still_there(&self, id: u64, plugin: &PluginName) -> Option<PluginIndex> {
        let place = self.desk.place(plugin);
        if let Err(why) = &place {
            tracing::warn!(plugin = plugin.0, "nothing is changed: {why}");
            self.desk.board.push(
                id,
                ChangeLine::Gone {
                    plugin: plugin.0.clone(),
                },
            );
        }
        place.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::live::board::ChangeTracker;

    #[test]
    fn an_order_that_crashes_is_over_and_the_next_one_is_done() {
        let board = ChangeTracker::default();
        let (place, mut done) = (PluginIndex { flow: 0, plugin: 0 }, Vec::new());
        let first = board
            .open("an operator swaps all/count".to_owned(), Some(place))
            .unwrap();
        guarded(&board, Some(first), || panic!("a fault of ours"));
        assert!(
            board.page(first, 0).is_some_and(|page| page.has_ended),
            "whoever follows it waits for ever"
        );
        // The place is free again.
        let second = board
            .open("an operator swaps all/count".to_owned(), Some(place))
            .unwrap();
        guarded(&board, Some(second), || done.push(second));
        guarded(&board, None, || panic!("nobody waits for this one"));
        guarded(&board, None, || done.push(0));
        assert_eq!(done, [second, 0]);
    }
}
