//! The carrier that comes of a protocol which sends batches and answers each message.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::super::carrier::{
    Answer, Carrier, CarrierFault, Manner, OutgoingPacket, PacketOrigin, Unsendable, UpstreamLimits,
};
use super::memory::BatchMemory;
use super::request::BatchMessage;
use crate::link::{Backoff, Dial, LinkMetrics, Redial, SecretFiles, TokenLife};
use crate::message::key_hash;

/// One connection, or several, over which batches go: what a protocol says of itself. Nothing is sent behind a message that is alone.
pub(in crate::uplink) trait BatchCarrier: Send + Sized {
    type Settings: Send + Sync + 'static;
    /// What it remembers over its connections beside the [`BatchMemory`].
    type Known: Default + Send + Sync;
    type Fault: CarrierFault + 'static;
    /// What stands for a message.
    type What;

    /// Whether headers arrive there.
    const HAS_HEADERS: bool;
    /// What a failed dial comes to, for the log.
    const COMPLAINT: &'static str;

    /// What upstream knows the way by.
    fn id(config: &Self::Settings) -> &str;

    fn backoff(config: &Self::Settings) -> Backoff;

    /// The files of its secrets and certificates, as in [`Dial::files`].
    fn files(_: &Self::Settings) -> SecretFiles {
        SecretFiles::default()
    }

    /// Dials once; each phase has a deadline.
    fn open(
        config: &Arc<Self::Settings>,
        known: &Self::Known,
        memory: &BatchMemory,
    ) -> impl Future<Output = Result<Self, Self::Fault>> + Send;

    /// Tells the log of the connection, which is used from now on. The uplink's stage and name, and how often it failed before.
    fn announce(&self, uplink: (&str, &str), failures_before: u32);

    fn memory(&self) -> &BatchMemory;

    /// How many more messages it takes now.
    fn places(&self) -> usize;

    /// What stands for a message, and how many bytes that adds.
    fn stand_in(
        &mut self,
        packet: OutgoingPacket,
        about: PacketOrigin<'_>,
    ) -> Result<(usize, Self::What), Unsendable>;

    /// Takes it, unless something has to go first.
    fn add(
        &mut self,
        message: BatchMessage<Self::What>,
        about: PacketOrigin<'_>,
    ) -> Result<(), Unsendable>;

    /// Sends what is next, or takes an answer: ready once it has, pending where there is nothing to do.
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        answers: &mut Vec<Answer>,
    ) -> Poll<Result<(), Self::Fault>>;

    /// What gathers waits no longer.
    fn send_now(&mut self) {}

    /// How long it is used, where it came to stand with a token that ends.
    fn token_life(&self) -> Option<TokenLife> {
        None
    }

    /// Leaves in good order.
    fn leave(self) -> impl Future<Output = ()> + Send;
}

/// Dials one upstream, always in the same way.
#[derive(Debug)]
pub(in crate::uplink) struct BatchDialler<C: BatchCarrier> {
    config: Arc<C::Settings>,
    known: C::Known,
    memory: BatchMemory,
}

impl<C: BatchCarrier> BatchDialler<C> {
    pub(in crate::uplink) fn new(config: C::Settings) -> Self {
        Self {
            config: Arc::new(config),
            known: C::Known::default(),
            memory: BatchMemory::default(),
        }
    }
}

/// Ready to dial for the uplink `name`.
pub(in crate::uplink) fn redial<C: BatchCarrier>(
    config: C::Settings,
    name: Arc<str>,
    metrics: &LinkMetrics,
) -> Redial<BatchDialler<C>> {
    Redial::new(BatchDialler::new(config), "uplink", name, metrics)
}

impl<C: BatchCarrier> Dial for BatchDialler<C> {
    type Up = C;
    type Error = C::Fault;

    async fn dial(&self, _: u32) -> Result<C, C::Fault> {
        C::open(&self.config, &self.known, &self.memory).await
    }

    fn id(&self) -> &str {
        C::id(&self.config)
    }

    fn backoff(&self) -> Backoff {
        C::backoff(&self.config)
    }

    fn files(&self) -> SecretFiles {
        C::files(&self.config)
    }

    fn complaint(&self) -> &'static str {
        C::COMPLAINT
    }
}

impl<C: BatchCarrier> Carrier for C {
    type Dial = BatchDialler<C>;

    const KEEPS_TIME: bool = true;

    fn online(&self, redial: &mut Redial<BatchDialler<C>>) {
        let failures_before = redial.stands();
        self.announce(redial.owner(), failures_before);
    }

    fn limits(&self) -> UpstreamLimits {
        UpstreamLimits::of_batches(C::HAS_HEADERS)
    }

    fn life(&self) -> Option<TokenLife> {
        self.token_life()
    }

    fn room(&self) -> usize {
        self.places()
    }

    fn unsent(&self) -> usize {
        0
    }

    fn offer(
        &mut self,
        packet: OutgoingPacket,
        about: PacketOrigin<'_>,
        token: u64,
    ) -> Result<(), Unsendable> {
        if self.places() == 0 {
            return Err(Unsendable::Full);
        }
        let topic = key_hash(&packet.topic);
        let is_alone = self.memory().is_doubted(topic);
        let (bytes, what) = self.stand_in(packet, about)?;
        let message = BatchMessage {
            token,
            topic,
            is_alone,
            bytes,
            what,
        };
        self.add(message, about)
    }

    async fn turn(&mut self, answers: &mut Vec<Answer>) -> Result<(), C::Fault> {
        let turned = poll_fn(|cx| {
            loop {
                ready!(self.poll_step(cx, answers))?;
                if !answers.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
        })
        .await;
        let is_told = |fault: &C::Fault| fault.manner() == Manner::Elsewhere;
        if turned.as_ref().is_err_and(|fault| !is_told(fault)) {
            self.memory().set_unproven(false);
        }
        turned
    }

    fn press(&mut self) {
        self.send_now();
    }

    fn is_unproven(&self) -> bool {
        self.memory().is_unproven()
    }

    async fn close(self) {
        self.leave().await;
    }
}
