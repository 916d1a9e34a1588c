//! Into topics of a Kafka cluster: batches of records, one a partition at a time, each acknowledged by all replicas that are in step.
//!
//! It is spoken here and not by a library: those for Rust make a topic by asking for it, have no deadlines, and try again or queue by
//! themselves; what counts as sent, as accepted and as over has to be known here.
//!
//! - `form`, `records`, `requests`: what is said, in both directions. `partition`: which partition a key belongs to; `topic`: what a
//!   message is written to. `verdict`: what a code says. `scram`: a login that shows no password. All without sockets.
//! - `connection`: one to a broker, with deadlines; `login`: how we say who we are. `cluster`: which broker has what, and the
//!   connections to them. `hand`: what is in hand, by partition. `dial`: how a way into a cluster begins.
//!
//! Upstream has a message when its batch was answered without an error, with `acks=all`. An answer that says nothing about a record (a
//! right, a topic, replicas) ends the way instead, so that everything waits, is owed again, and the back-off holds. Topics are never made.

mod cluster;
mod connection;
mod dial;
mod error;
mod form;
mod hand;
mod login;
mod partition;
mod records;
mod requests;
mod scram;
mod settings;
mod topic;
mod verdict;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;

pub(super) use self::dial::reach;
pub use self::error::Error;
pub use self::settings::{Config, KafkaLogin, SaslWay};
pub use self::topic::TopicName;

use self::cluster::{Cluster, Produced};
use self::dial::{ClusterDialler, fault, held};
use self::hand::{Hand, Outgoing};
use self::records::{TopicRecord, batch};
use self::requests::{BatchAnswer, PartitionName};
use self::verdict::{RecordVerdict, UNKNOWN_TOPIC, in_words};
use super::batch::{BatchMessage, Patience, Unproven};
use super::carrier::{
    Answer, Carrier, CarrierFault, Manner, OutgoingPacket, PacketOrigin, Unsendable, UpstreamLimits,
};
use super::form::template::Filling;
use crate::link::{LinkMetrics, Redial, TokenLife};
use crate::message::key_hash;

/// What came of a turn with the cluster, which comes back with it.
enum TurnOutcome {
    Looked(Result<(), Error>),
    Produced(Produced),
}

/// A turn with the cluster under way.
type ClusterTurn = Pin<Box<dyn Future<Output = (Box<Cluster>, TurnOutcome)> + Send>>;

/// The cluster, or what is under way with it.
enum ClusterStage {
    Idle(Box<Cluster>),
    Busy(ClusterTurn),
    /// It did not come back: nothing more can be done over this way.
    Gone,
}

/// A way into a cluster.
pub(super) struct KafkaCarrier {
    config: Arc<Config>,
    stage: ClusterStage,
    hand: Hand,
    /// What is being sent was sent before, to where it belonged then.
    is_again: bool,
    unproven: Unproven,
    /// What is known of the cluster over all connections of this way.
    patience: Arc<Mutex<Patience>>,
    life: Option<TokenLife>,
    /// How many brokers there are, for the log.
    size: usize,
}

/// Ready to dial for the uplink `name`.
pub(super) fn redial(
    config: Config,
    name: Arc<str>,
    metrics: &LinkMetrics,
) -> Redial<<KafkaCarrier as Carrier>::Dial> {
    Redial::new(ClusterDialler::new(config), "uplink", name, metrics)
}

impl KafkaCarrier {
    fn new(
        config: Arc<Config>,
        cluster: Box<Cluster>,
        (unproven, patience): (Unproven, Arc<Mutex<Patience>>),
    ) -> Self {
        Self {
            hand: Hand::new(usize::from(config.batch_messages), config.batch_bytes),
            config,
            is_again: false,
            unproven,
            patience,
            life: cluster.life(),
            size: cluster.size(),
            stage: ClusterStage::Idle(cluster),
        }
    }

    fn patience(&self) -> MutexGuard<'_, Patience> {
        self.patience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends what is in hand, and takes the answers.
    fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        answers: &mut Vec<Answer>,
    ) -> Poll<Result<(), Error>> {
        loop {
            match std::mem::replace(&mut self.stage, ClusterStage::Gone) {
                ClusterStage::Gone => return Poll::Ready(Err(Error::Closed(""))),
                ClusterStage::Busy(mut turning) => {
                    let Poll::Ready((cluster, turned)) = turning.as_mut().poll(cx) else {
                        self.stage = ClusterStage::Busy(turning);
                        return Poll::Pending;
                    };
                    self.life = cluster.life();
                    self.stage = ClusterStage::Idle(cluster);
                    match turned {
                        TurnOutcome::Looked(looked) => {
                            looked.inspect_err(|error| self.note(error))?
                        }
                        TurnOutcome::Produced(produced) => self.conclude(produced, answers)?,
                    }
                }
                ClusterStage::Idle(mut cluster) => {
                    let stands = cluster.poll_idle(cx);
                    ready!(self.begin(cluster, stands, answers))?;
                }
            }
            if !answers.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Begins what is next: to ask where things are, to sort what is in hand, or to send it. Pending where there is nothing to do.
    fn begin(
        &mut self,
        cluster: Box<Cluster>,
        stands: bool,
        answers: &mut Vec<Answer>,
    ) -> Poll<Result<(), Error>> {
        if !stands {
            // Brokers close connections that were silent for long: whether they are still there is seen at once.
            self.look(cluster);
        } else if self.hand.is_empty() {
            self.stage = ClusterStage::Idle(cluster);
            return Poll::Pending;
        } else if cluster.is_stale()
            || self
                .hand
                .topics()
                .any(|topic| cluster.topic(topic).is_none())
        {
            self.look(cluster);
        } else if self.hand.is_sorted() {
            self.send(cluster);
        } else {
            let sorted = self.sort(cluster, answers);
            return Poll::Ready(sorted);
        }
        Poll::Ready(Ok(()))
    }

    /// Asks about the topics of what is in hand.
    fn look(&mut self, mut cluster: Box<Cluster>) {
        let mut topics: Vec<String> = self.hand.topics().map(str::to_owned).collect();
        topics.extend(self.config.topic.plain());
        topics.sort_unstable();
        topics.dedup();
        self.stage = ClusterStage::Busy(Box::pin(async move {
            let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
            let looked = cluster.look(&topics).await;
            (cluster, TurnOutcome::Looked(looked))
        }));
    }

    /// Parts what is in hand by partition. What belongs to no topic is refused where it said which one itself.
    fn sort(&mut self, mut cluster: Box<Cluster>, answers: &mut Vec<Answer>) -> Result<(), Error> {
        let mut topics: Vec<String> = self.hand.topics().map(str::to_owned).collect();
        topics.dedup();
        for topic in topics {
            let Some(view) = cluster.topic(&topic) else {
                continue;
            };
            let Some(fault) = fault(&topic, view) else {
                continue;
            };
            let Error::Held { answer, hint, .. } = &fault else {
                return Err(fault);
            };
            if !self.config.topic.is_by_message() {
                self.unproven.set(true);
                return Err(fault);
            }
            let reason = format!("{answer}, of the topic `{topic}`; {hint}");
            self.hand.refuse(&topic, &reason, answers);
            cluster.forget(&topic);
        }
        let partitions = |topic: &str| cluster.topic(topic).map_or(0, |view| view.leaders.len());
        self.hand.sort(partitions);
        self.stage = ClusterStage::Idle(cluster);
        Ok(())
    }

    /// Sends the next batch of each partition.
    fn send(&mut self, mut cluster: Box<Cluster>) {
        let compress = self.config.compress;
        let batches: Vec<(PartitionName, Bytes)> = self
            .hand
            .next()
            .map(|(name, held)| {
                (
                    name,
                    batch(held.iter().map(|held| &held.what.record), compress),
                )
            })
            .collect();
        let patience = self.patience().left(self.config.deadlines.answer);
        self.stage = ClusterStage::Busy(Box::pin(async move {
            let produced = cluster.produce(&batches, patience).await;
            (cluster, TurnOutcome::Produced(produced))
        }));
    }

    /// What a connection's end says of what was under way.
    fn note(&self, error: &Error) {
        if error.manner() == Manner::StoodStill {
            let sent = self.hand.sent();
            self.patience().had_none(sent.into_iter());
        }
    }

    /// What the answers say about what was sent.
    fn conclude(&mut self, produced: Produced, answers: &mut Vec<Answer>) -> Result<(), Error> {
        let mut fault = produced.fault;
        match &fault {
            Some(error) => {
                self.note(error);
                self.unproven.set(error.manner() == Manner::Elsewhere);
            }
            None => self.hand.pace(produced.sending),
        }
        let was_again = std::mem::replace(&mut self.is_again, false);
        for (name, answer) in &produced.answers {
            let told = self.conclude_one(name, answer, was_again, answers);
            if let Err(error) = told {
                fault.get_or_insert(error);
            }
        }
        if answers
            .iter()
            .any(|answer| matches!(answer, Answer::Accepted { .. }))
        {
            self.unproven.set(false);
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        if self.is_again {
            self.doubt();
        } else {
            self.patience().took(produced.took, std::iter::empty());
        }
        Ok(())
    }

    fn conclude_one(
        &mut self,
        name: &PartitionName,
        answer: &BatchAnswer,
        was_again: bool,
        answers: &mut Vec<Answer>,
    ) -> Result<(), Error> {
        let BatchAnswer { code, words } = answer;
        let is_by_message = self.config.topic.is_by_message();
        let verdict = match RecordVerdict::of(*code) {
            RecordVerdict::Moved if !was_again => {
                self.is_again = true;
                return Ok(());
            }
            RecordVerdict::Moved if *code == UNKNOWN_TOPIC => RecordVerdict::Topic,
            RecordVerdict::Moved => RecordVerdict::Passing,
            verdict => verdict,
        };
        let verdict = match verdict {
            RecordVerdict::Topic if is_by_message => RecordVerdict::Refused,
            RecordVerdict::Topic => RecordVerdict::Held,
            verdict => verdict,
        };
        let is_of_all = matches!(verdict, RecordVerdict::Held | RecordVerdict::Passing);
        self.unproven.set(is_of_all);
        let told = in_words(*code, words);
        let Some(sent) = self.hand.batch(name) else {
            return Ok(());
        };
        let topics = sent.topics();
        match verdict {
            RecordVerdict::Accepted => sent.accepted(answers),
            RecordVerdict::TooLarge => self.hand.too_large(name, &told, answers),
            RecordVerdict::Refused => sent.refused(&told, answers),
            RecordVerdict::Failed if !sent.busy(&told, answers) => return Err(Error::Failed(told)),
            RecordVerdict::Failed => {}
            RecordVerdict::Held => return Err(held(&name.0, *code, words)),
            _ => {
                return Err(Error::Busy(format!(
                    "{told}, of partition {} of `{}`",
                    name.1, name.0
                )));
            }
        }
        self.patience().told(topics.into_iter());
        self.hand.tidy();
        Ok(())
    }

    /// What is where is asked before the same batches are sent again.
    fn doubt(&mut self) {
        if let ClusterStage::Idle(cluster) = &mut self.stage {
            cluster.doubt();
        }
    }
}

impl Carrier for KafkaCarrier {
    type Dial = ClusterDialler;

    const KEEPS_TIME: bool = true;

    fn online(&self, redial: &mut Redial<ClusterDialler>) {
        let failures_before = redial.stands();
        let (stage, name) = redial.owner();
        let config = redial.dialled().config();
        let (host, port) = (config.host(), config.port());
        let (topic, brokers) = (&config.topic, self.size);
        tracing::info!(stage, %name, broker = %format_args!("{host}:{port}"), %topic, brokers, failures_before, "online");
    }

    fn limits(&self) -> UpstreamLimits {
        UpstreamLimits::of_batches(true)
    }

    fn life(&self) -> Option<TokenLife> {
        self.life
    }

    fn room(&self) -> usize {
        self.hand.room()
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
        if self.hand.room() == 0 {
            return Err(Unsendable::Full);
        }
        let filling = Filling {
            prefix: about.prefix,
            topic: &packet.topic,
            device: about.stored.message.key(),
        };
        let topic = self.config.topic.of(filling).map_err(Unsendable::Never)?;
        let key = self.config.key.bytes(filling);
        let milliseconds = |time: crate::clock::WallTime| i64::try_from(time.0 / 1_000).ok();
        let record = TopicRecord {
            time: about.arrived.and_then(milliseconds),
            key: key.into(),
            value: packet.payload,
            headers: packet.headers,
        };
        let bytes = record.bytes();
        let hash = key_hash(&packet.topic);
        let is_alone = self.patience().is_doubted(hash);
        if !self.hand.takes(bytes, is_alone) {
            return Err(Unsendable::Full);
        }
        self.hand.add(BatchMessage {
            token,
            topic: hash,
            is_alone,
            bytes,
            what: Outgoing { topic, record },
        });
        Ok(())
    }

    async fn turn(&mut self, answers: &mut Vec<Answer>) -> Result<(), Error> {
        let turned = poll_fn(|cx| self.poll_turn(cx, answers)).await;
        if turned
            .as_ref()
            .is_err_and(|error| error.manner() != Manner::Elsewhere)
        {
            self.unproven.set(false);
        }
        turned
    }

    fn is_unproven(&self) -> bool {
        self.unproven.get()
    }

    async fn close(self) {
        if let ClusterStage::Idle(cluster) = self.stage {
            cluster.close().await;
        }
    }
}

#[cfg(test)]
mod tests;
