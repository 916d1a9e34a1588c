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

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;

pub(super) use self::dial::reach;
pub use self::error::Error;
pub use self::settings::{Config, KafkaLogin, SaslWay};
pub use self::topic::TopicName;

use self::cluster::{Cluster, Produced};
use self::dial::{fault, held};
use self::hand::{Hand, Outgoing};
use self::records::{TopicRecord, batch};
use self::requests::{BatchAnswer, PartitionName};
use self::verdict::{RecordVerdict, UNKNOWN_TOPIC, in_words};
use super::batch::{BatchCarrier, BatchMemory, BatchMessage};
use super::carrier::{Answer, CarrierFault, Manner, OutgoingPacket, PacketOrigin, Unsendable};
use crate::link::{Backoff, SecretFiles, Tls, TokenLife};

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
    memory: BatchMemory,
    life: Option<TokenLife>,
    /// How many brokers there are, for the log.
    size: usize,
}

impl KafkaCarrier {
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
                self.memory.set_unproven(true);
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
        let patience = self.memory.left(self.config.deadlines.answer);
        self.stage = ClusterStage::Busy(Box::pin(async move {
            let produced = cluster.produce(&batches, patience).await;
            (cluster, TurnOutcome::Produced(produced))
        }));
    }

    /// What a connection's end says of what was under way.
    fn note(&self, error: &Error) {
        self.memory.ended(error, self.hand.sent());
    }

    /// What the answers say about what was sent.
    fn conclude(&mut self, produced: Produced, answers: &mut Vec<Answer>) -> Result<(), Error> {
        let mut fault = produced.fault;
        match &fault {
            Some(error) => {
                self.note(error);
                let is_told = error.manner() == Manner::Elsewhere;
                self.memory.set_unproven(is_told);
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
            self.memory.set_unproven(false);
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        if self.is_again {
            self.doubt();
        } else {
            self.memory.took(produced.took, Vec::new());
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
        self.memory.set_unproven(is_of_all);
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
        self.memory.told(topics);
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

impl BatchCarrier for KafkaCarrier {
    type Settings = Config;
    /// How often it was dialled: each time another broker is asked first.
    type Known = AtomicUsize;
    type Fault = Error;
    type What = Outgoing;

    const HAS_HEADERS: bool = true;
    const COMPLAINT: &'static str = "no way into the Kafka cluster";

    fn id(config: &Config) -> &str {
        &config.id
    }

    fn backoff(config: &Config) -> Backoff {
        config.backoff
    }

    fn files(config: &Config) -> SecretFiles {
        SecretFiles::of(config.password(), config.tls.iter().flat_map(Tls::paths))
    }

    async fn open(
        config: &Arc<Config>,
        dials: &AtomicUsize,
        memory: &BatchMemory,
    ) -> Result<Self, Error> {
        let first = dials.fetch_add(1, Ordering::Relaxed);
        let (cluster, _) = Box::pin(dial::open(config, first)).await?;
        Ok(Self {
            hand: Hand::new(usize::from(config.batch_messages), config.batch_bytes),
            config: Arc::clone(config),
            is_again: false,
            memory: memory.clone(),
            life: cluster.life(),
            size: cluster.size(),
            stage: ClusterStage::Idle(cluster),
        })
    }

    fn announce(&self, (stage, name): (&str, &str), failures_before: u32) {
        let (host, port) = (self.config.host(), self.config.port());
        let (topic, brokers) = (&self.config.topic, self.size);
        tracing::info!(stage, %name, broker = %format_args!("{host}:{port}"), %topic, brokers, failures_before, "online");
    }

    fn memory(&self) -> &BatchMemory {
        &self.memory
    }

    fn places(&self) -> usize {
        self.hand.room()
    }

    fn stand_in(
        &mut self,
        packet: OutgoingPacket,
        about: PacketOrigin<'_>,
    ) -> Result<(usize, Outgoing), Unsendable> {
        let filling = about.filling(&packet.topic);
        let topic = self.config.topic.of(filling).map_err(Unsendable::Never)?;
        let key = self.config.key.bytes(filling);
        let milliseconds = |time: crate::clock::WallTime| i64::try_from(time.0 / 1_000).ok();
        let record = TopicRecord {
            time: about.arrived.and_then(milliseconds),
            key: key.into(),
            value: packet.payload,
            headers: packet.headers,
        };
        Ok((record.bytes(), Outgoing { topic, record }))
    }

    fn add(
        &mut self,
        message: BatchMessage<Outgoing>,
        _: PacketOrigin<'_>,
    ) -> Result<(), Unsendable> {
        if !self.hand.takes(message.bytes, message.is_alone) {
            return Err(Unsendable::Full);
        }
        self.hand.add(message);
        Ok(())
    }

    /// Sends what is in hand, and takes the answers.
    fn poll_step(
        &mut self,
        cx: &mut Context<'_>,
        answers: &mut Vec<Answer>,
    ) -> Poll<Result<(), Error>> {
        match std::mem::replace(&mut self.stage, ClusterStage::Gone) {
            ClusterStage::Gone => Poll::Ready(Err(Error::Closed(""))),
            ClusterStage::Busy(mut turning) => {
                let Poll::Ready((cluster, turned)) = turning.as_mut().poll(cx) else {
                    self.stage = ClusterStage::Busy(turning);
                    return Poll::Pending;
                };
                self.life = cluster.life();
                self.stage = ClusterStage::Idle(cluster);
                Poll::Ready(match turned {
                    TurnOutcome::Looked(looked) => looked.inspect_err(|error| self.note(error)),
                    TurnOutcome::Produced(produced) => self.conclude(produced, answers),
                })
            }
            ClusterStage::Idle(mut cluster) => {
                let stands = cluster.poll_idle(cx);
                self.begin(cluster, stands, answers)
            }
        }
    }

    fn token_life(&self) -> Option<TokenLife> {
        self.life
    }

    async fn leave(self) {
        if let ClusterStage::Idle(cluster) = self.stage {
            cluster.close().await;
        }
    }
}

#[cfg(test)]
mod tests;
