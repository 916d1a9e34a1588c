//! What a candidate has to pass before it comes into any lane: it is compiled, linked, configured, tried with an empty batch and a
//! tick, and shown a copy of every lane's state.

use std::sync::Arc;

use super::event::ChangeState;
use super::outcome::NotChanged;
use super::plan::OnRefusedState;
use super::teller::Teller;
use crate::chain::lane::inbox::InitialState;
use crate::chain::lane::live::Live;
use crate::chain::lane::load;
use crate::chain::lane::slot::LaneIndex;
use crate::chain::lane::trial::report::ChangeStep;
use crate::chain::lane::version::{Recipe, Version};
use crate::chain::sandbox::fault::FaultKind;
use crate::chain::sandbox::state::Snapshot;
use crate::chain::{Chain, ChangeContext};
use crate::clock::Clock;

/// The change that a candidate is prepared for.
pub(super) struct Preparation<'a> {
    pub(super) chain: &'a Chain,
    pub(super) driver: &'a ChangeContext,
    pub(super) index: usize,
    pub(super) old: &'a Arc<Version>,
    pub(super) teller: Teller<'a>,
}

impl Preparation<'_> {
    fn clock(&self) -> &Clock {
        self.chain.shared.engine.clock()
    }

    /// A version that is configured and has passed an empty batch and a tick.
    pub(super) fn prepare(
        &self,
        component: Option<&[u8]>,
        settings: String,
    ) -> Result<Arc<Version>, NotChanged> {
        let plugin = &self.driver.plugins[self.index];
        let engine = &self.chain.shared.engine;
        let program = match component {
            Some(bytes) => load::program(plugin, engine, &self.old.metrics, bytes)
                .map_err(|error| NotChanged::at(ChangeStep::Compile, error))?,
            None => self.old.program.clone(),
        };
        self.teller.tell(ChangeState::Compiled, None, None);
        let now = self.clock().now();
        let recipe = Recipe {
            engine,
            plugin,
            ports: &self.driver.ports,
            metrics: &self.old.metrics,
            topics: &self.driver.topics,
            now,
        };
        let (version, mut instance) = Version::configure(program, settings, recipe)
            .map_err(|error| NotChanged::at(ChangeStep::Configure, error))?;
        if version.setup.needs_one_lane() && self.chain.inboxes.len() > 1 {
            let why = "its state is not by the flow's key, and the flow has several lanes: give it lanes = 1 first";
            return Err(NotChanged::at(ChangeStep::Configure, why));
        }
        self.teller.tell(ChangeState::Linked, None, None);
        let tested = version
            .self_test(&mut instance, now)
            .and_then(|()| version.self_test_tick(&mut instance, now));
        tested.map_err(|fault| NotChanged::at(ChangeStep::SelfTest, fault))?;
        Ok(Arc::new(version))
    }

    /// Shows the candidate a copy of each lane's state, in instances that are thrown away: what is it to begin with?
    pub(super) fn rehearse(
        &self,
        new: &Arc<Version>,
        on_refused: OnRefusedState,
    ) -> Result<InitialState, NotChanged> {
        let try_with = |lane, snapshot: &Snapshot| {
            Ok(self
                .start(new, lane, ChangeStep::Restore)?
                .rehearse(snapshot, self.clock().now()))
        };
        let mut without = None;
        for (lane, snapshot) in self.snapshots()?.iter().enumerate() {
            let Err(fault) = try_with(lane, snapshot)? else {
                continue;
            };
            if on_refused == OnRefusedState::Refuse || fault.kind != FaultKind::State {
                return Err(NotChanged::at(ChangeStep::Restore, fault));
            }
            try_with(lane, &Snapshot::default())?
                .map_err(|fault| NotChanged::at(ChangeStep::Restore, fault))?;
            without = Some(format!(
                "it begins without state, as asked for: {}",
                fault.message
            ));
        }
        let origin = if without.is_some() {
            InitialState::Empty
        } else {
            InitialState::Copy
        };
        self.teller.tell(ChangeState::SelfTested, without, None);
        Ok(origin)
    }

    fn snapshots(&self) -> Result<Vec<Snapshot>, NotChanged> {
        self.chain
            .copies(self.index)
            .map_err(|why| NotChanged::at(ChangeStep::Restore, why))
    }

    /// An instance for each lane.
    pub(super) fn candidates(&self, new: &Arc<Version>) -> Result<Vec<Live>, NotChanged> {
        (0..self.chain.inboxes.len())
            .map(|lane| self.start(new, lane, ChangeStep::Commit))
            .collect()
    }

    fn start(&self, new: &Arc<Version>, lane: usize, step: ChangeStep) -> Result<Live, NotChanged> {
        Live::start(
            new,
            &self.chain.shared.engine,
            LaneIndex {
                lane,
                lanes: self.chain.inboxes.len(),
            },
            self.clock().now(),
        )
        .map_err(|fault| NotChanged::at(step, fault))
    }
}
