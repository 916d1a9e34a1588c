//! The flows of a source: which of them a message goes to, and what each is given of a burst.

use std::sync::Arc;

use super::devices::SourceWatch;
use super::index::FlowIndex;
use super::pending::PendingBurst;
use super::repeats::{Repeats, SeenBefore};
use super::trace::SourceTrace;
use super::unsettled::AckOrder;
use super::{Ack, Config, FlowRoute};
use crate::message::{
    Delivery, FlowId, Intake, Message, Pattern, Progress, Receipt, Span, with_shorter_expiry,
};

/// The routes of one flow.
struct FlowRoutes {
    id: FlowId,
    name: Arc<str>,
    ack: Ack,
    /// Longest life of a message, seconds.
    expires: Option<u32>,
    repeats: Option<Repeats>,
    patterns: Vec<Pattern>,
    intake: Arc<dyn Intake>,
    batch: Vec<Delivery>,
    /// For each of `batch`, which receipt it gets.
    claims: Vec<Option<u32>>,
}

impl FlowRoutes {
    fn key(&self, topic: &str) -> Option<Span> {
        self.patterns
            .iter()
            .find_map(|pattern| pattern.matches(topic))
    }
}

/// To whom a message was given.
#[derive(Default)]
pub(super) struct GivenTo {
    pub(super) weight: usize,
    /// Flows whose word is waited for.
    pub(super) safe: u32,
    /// Flows that acknowledge at once.
    pub(super) loose: u32,
    /// Flows that had it before.
    pub(super) repeated: u64,
    /// The message itself, where no flow takes it.
    pub(super) unrouted: Option<Message>,
}

/// The routes of each flow.
fn by_flow(routes: &[FlowRoute], order: AckOrder) -> Vec<FlowRoutes> {
    let mut flows: Vec<FlowRoutes> = Vec::new();
    for route in routes {
        match flows.iter_mut().find(|flow| flow.id == route.flow) {
            Some(flow) => flow.patterns.push(route.pattern.clone()),
            None => flows.push(FlowRoutes {
                id: route.flow,
                name: Arc::clone(&route.name),
                ack: route.ack,
                expires: route.expires,
                repeats: route.dedup.clone().map(|rule| Repeats::new(rule, order)),
                patterns: vec![route.pattern.clone()],
                intake: Arc::clone(&route.intake),
                batch: Vec::new(),
                claims: Vec::new(),
            }),
        }
    }
    flows
}

pub(super) struct RoutedFlows {
    flows: Vec<FlowRoutes>,
    index: FlowIndex,
    /// How many of them are asked for; those behind get what no other takes.
    asked: usize,
    /// Those that may match the message in hand.
    candidates: Vec<usize>,
    /// Those with something in their batch.
    filled: Vec<usize>,
    /// Where it is noted which devices sent something.
    watch: Option<SourceWatch>,
    trace: SourceTrace,
}

impl RoutedFlows {
    /// Of all routes, and of those that get what these do not take. `order` is that of the acknowledgements.
    pub(super) fn new(config: &Config, order: AckOrder, trace: SourceTrace) -> Self {
        let mut flows = by_flow(&config.routes, order);
        let index = FlowIndex::new(flows.iter().map(|flow| &*flow.patterns));
        let asked = flows.len();
        flows.extend(by_flow(&config.late, order));
        Self {
            index,
            flows,
            asked,
            candidates: Vec::new(),
            filled: Vec::new(),
            watch: config.devices.clone().map(SourceWatch::of),
            trace,
        }
    }

    /// Notes that a device has sent something that goes no further.
    pub(super) fn note(&self, message: &Message, key: Span) {
        if let Some(watch) = &self.watch {
            watch.heard(message, key);
        }
    }

    /// The first flow that takes `topic`: its name, its id, and the topic's key there.
    pub(super) fn first(&self, topic: &str) -> Option<(&Arc<str>, FlowId, Span)> {
        self.flows
            .iter()
            .find_map(|flow| Some((&flow.name, flow.id, flow.key(topic)?)))
    }

    /// Puts `message` into the batch of each flow that takes it; `is_claimed` if somebody waits for its acknowledgement.
    pub(super) fn give<A>(
        &mut self,
        message: Message,
        is_claimed: bool,
        pending: &mut PendingBurst<A>,
    ) -> GivenTo {
        let claim = is_claimed.then(|| pending.next());
        let mut given = GivenTo {
            weight: message.weight(),
            ..GivenTo::default()
        };
        let watch = self.watch.as_ref();
        let is_status = watch.is_some_and(|watch| watch.is_status(&message));
        // The last flow that matches takes the message itself, the others a clone.
        let mut last: Option<(usize, Span)> = None;
        self.index.look(message.topic_str(), &mut self.candidates);
        for at in 0..self.candidates.len() {
            let index = self.candidates[at];
            if let Some(key) = self.flows[index].key(message.topic_str())
                && let Some(before) = last.replace((index, key))
            {
                self.give_to(before, message.clone(), claim, &mut given, pending);
            }
        }
        if let Some((_, key)) = last.filter(|_| !is_status) {
            self.note(&message, key);
        }
        match last {
            Some(last) => self.give_to(last, message, claim, &mut given, pending),
            // It is for the register alone.
            None if is_status => {}
            None => self.give_late(message, claim, &mut given, pending),
        }
        given
    }

    /// The same for what is not asked for here any more, and for some flow that asks for it elsewhere.
    #[cold]
    fn give_late<A>(
        &mut self,
        message: Message,
        claim: Option<u32>,
        given: &mut GivenTo,
        pending: &mut PendingBurst<A>,
    ) {
        let mut is_routed = false;
        for index in self.asked..self.flows.len() {
            if let Some(key) = self.flows[index].key(message.topic_str()) {
                self.give_to((index, key), message.clone(), claim, given, pending);
                is_routed = true;
            }
        }
        if !is_routed {
            given.unrouted = Some(message);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "a struct of what it needs would be used once"
    )]
    fn give_to<A>(
        &mut self,
        (index, key): (usize, Span),
        mut message: Message,
        claim: Option<u32>,
        given: &mut GivenTo,
        pending: &mut PendingBurst<A>,
    ) {
        let flow = &mut self.flows[index];
        let claim = claim.filter(|_| flow.ack == Ack::Safe);
        let now = message.uptime;
        match flow.repeats.as_mut().map_or(SeenBefore::New, |repeats| {
            repeats.look(&message, claim, now)
        }) {
            SeenBefore::New => {}
            SeenBefore::Repeat => return given.repeated += 1,
            SeenBefore::UnderWay(first, index) => {
                given.safe += 1;
                pending
                    .waiting
                    .extend(claim.map(|claim| (first, index, claim)));
                return given.repeated += 1;
            }
        }
        if let Some(headers) = flow
            .expires
            .and_then(|most| with_shorter_expiry(&message.headers, most))
        {
            message.headers = headers;
        }
        *if claim.is_some() {
            &mut given.safe
        } else {
            &mut given.loose
        } += 1;
        if flow.batch.is_empty() {
            self.filled.push(index);
        }
        let mut message = Message {
            flow: Some(flow.id),
            key,
            ..message
        };
        if self.trace.is_on() {
            self.trace.begin(&mut message, &flow.name);
        }
        flow.batch.push(Delivery {
            message,
            receipt: None,
        });
        flow.claims.push(claim);
    }

    /// Gives each flow its batch, with the receipts that `receipt` makes; `progress` is that of the claimed ones.
    pub(super) fn deliver(
        &mut self,
        progress: Option<&Arc<Progress>>,
        receipt: impl Fn(Option<u32>) -> Option<Receipt>,
    ) {
        for index in self.filled.drain(..) {
            let flow = &mut self.flows[index];
            if let Some(repeats) = &mut flow.repeats {
                repeats.sorted(progress);
            }
            for (delivery, claim) in flow.batch.iter_mut().zip(flow.claims.drain(..)) {
                delivery.receipt = receipt(claim);
            }
            let next = Vec::with_capacity(flow.batch.len());
            flow.intake
                .deliver(std::mem::replace(&mut flow.batch, next));
        }
    }

    /// A new connection stands.
    pub(super) fn reconnected(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.reconnected();
        }
        self.repeats().for_each(Repeats::reconnected);
    }

    /// Messages were lost inside: what comes again is no repeat.
    pub(super) fn forget_ids(&mut self) {
        self.repeats().for_each(Repeats::forget_all);
    }

    fn repeats(&mut self) -> impl Iterator<Item = &mut Repeats> {
        self.flows
            .iter_mut()
            .filter_map(|flow| flow.repeats.as_mut())
    }
}
