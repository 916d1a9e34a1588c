//! A cluster as it is spoken to: which broker has which partition, and the connections to those that have one of ours.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::connection::{BrokerConnection, BrokerReply};
use super::requests::{
    BatchAnswer, ClusterView, KafkaApi, PartitionName, ProduceAnswer, TopicView, metadata, produce,
};
use super::verdict::{LOST, NO_LEADER, UNKNOWN_TOPIC};
use super::{Config, Error};
use crate::link::TokenLife;

/// The number of a broker that has not told its own yet.
const SEED: i32 = -1;
/// After so long it is asked anew where things are, as Java's clients do: partitions may have been added.
const FRESH: Duration = Duration::from_secs(300);
/// Topics that are remembered.
const MOST_TOPICS: usize = 1_024;
/// How long connections that are left are waited for, all together.
const LINGER: Duration = Duration::from_secs(1);

/// A cluster, and the connections to it.
pub(super) struct Cluster {
    config: Arc<Config>,
    /// Where the connection leads that was made before numbers were known.
    seed: (String, u16),
    /// By the number of their broker.
    connections: BTreeMap<i32, BrokerConnection>,
    /// Where each broker is.
    brokers: BTreeMap<i32, (String, u16)>,
    topics: BTreeMap<String, TopicView>,
    read_at: Instant,
    /// Something of what is known was seen to be wrong.
    is_outdated: bool,
}

/// What came of batches that were sent.
#[derive(Debug, Default)]
pub(super) struct Produced {
    pub(super) answers: Vec<(PartitionName, BatchAnswer)>,
    /// What ended a connection meanwhile: of what is not among the answers nobody knows what became.
    pub(super) fault: Option<Error>,
    /// The longest that a request was on its way, and that an answer took.
    pub(super) sending: Duration,
    pub(super) took: Duration,
}

impl Cluster {
    /// Finds one of its brokers, beginning with number `first` of those in the config, and asks it about these topics.
    pub(super) async fn open(
        config: Arc<Config>,
        first: usize,
        topics: &[&str],
    ) -> Result<Self, Error> {
        let mut cluster = Self {
            config,
            seed: (String::new(), 0),
            connections: BTreeMap::new(),
            brokers: BTreeMap::new(),
            topics: BTreeMap::new(),
            read_at: Instant::now(),
            is_outdated: true,
        };
        cluster.seek(first).await?;
        cluster.look(topics).await?;
        Ok(cluster)
    }

    /// Connects to the first broker of the config that can be.
    async fn seek(&mut self, first: usize) -> Result<(), Error> {
        let config = Arc::clone(&self.config);
        let count = config.servers.len();
        let mut last = None;
        for (host, port) in config
            .servers
            .iter()
            .cycle()
            .skip(first % count.max(1))
            .take(count)
        {
            match Box::pin(BrokerConnection::open(&config, host, *port)).await {
                Ok(connection) => {
                    self.seed = (host.clone(), *port);
                    self.connections.insert(SEED, connection);
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(Error::Closed("")))
    }

    /// Asks about these topics, over whichever connection stands.
    pub(super) async fn look(&mut self, topics: &[&str]) -> Result<(), Error> {
        if self.connections.is_empty() {
            self.seek(fastrand::usize(..)).await?;
        }
        let Some((number, connection)) = self.connections.iter_mut().next() else {
            return Err(Error::Closed(""));
        };
        let (number, version) = (*number, connection.versions.metadata);
        connection.rested().await;
        let question = metadata(topics, version);
        let asked = connection.request((KafkaApi::Metadata, version), &question);
        let reply = match asked.await {
            Ok(reply) => reply,
            Err(error) => {
                self.connections.remove(&number);
                return Err(match error {
                    Error::Closed(_) if self.config.login.is_none() => Error::Closed(
                        " instead of saying where its topics are: if it wants a login, set `user` and `password`",
                    ),
                    error => error,
                });
            }
        };
        let mut view = ClusterView::read(&reply.body, version, topics)?;
        connection.rest(view.rest);
        for topic in topics {
            let told = view.topics.entry((*topic).to_owned());
            told.or_insert_with(|| TopicView {
                code: UNKNOWN_TOPIC,
                ..TopicView::default()
            });
        }
        self.learn(view);
        Ok(())
    }

    fn learn(&mut self, view: ClusterView) {
        let is_stale = self.is_stale();
        if is_stale || self.topics.len() + view.topics.len() > MOST_TOPICS {
            self.topics.clear();
        }
        self.topics.extend(view.topics);
        // One that has another place now is another one.
        let (before, brokers) = (std::mem::take(&mut self.brokers), view.brokers);
        self.connections
            .retain(|number, _| *number == SEED || brokers.get(number) == before.get(number));
        self.brokers = brokers;
        self.settle();
        (self.read_at, self.is_outdated) = (Instant::now(), false);
    }

    /// The connection that was made before numbers were known is that of its broker, if that is one with such a place.
    fn settle(&mut self) {
        let Some(seed) = self.connections.remove(&SEED) else {
            return;
        };
        let own = self.brokers.iter().find(|(_, place)| **place == self.seed);
        match own.map(|(number, _)| *number) {
            Some(number) => _ = self.connections.entry(number).or_insert(seed),
            None if self.connections.is_empty() => _ = self.connections.insert(SEED, seed),
            None => {}
        }
    }

    /// Something of what is known was seen to be wrong.
    pub(super) fn doubt(&mut self) {
        self.is_outdated = true;
    }

    /// Whether it is to be asked anew where things are.
    pub(super) fn is_stale(&self) -> bool {
        self.is_outdated || self.read_at.elapsed() > FRESH
    }

    pub(super) fn topic(&self, name: &str) -> Option<&TopicView> {
        self.topics.get(name)
    }

    /// The broker says of it that something is wrong: it is asked about anew.
    pub(super) fn forget(&mut self, name: &str) {
        self.topics.remove(name);
    }

    /// How many brokers there are.
    pub(super) fn size(&self) -> usize {
        self.brokers.len()
    }

    /// How long the logins count, where they end.
    pub(super) fn life(&self) -> Option<TokenLife> {
        let lives = self
            .connections
            .values()
            .filter_map(|connection| connection.life);
        lives.min_by_key(|life| life.renews_at)
    }

    /// Sends each batch to the broker that has its partition, and waits for all answers, each no longer than `patience`.
    pub(super) async fn produce(
        &mut self,
        batches: &[(PartitionName, Bytes)],
        patience: Duration,
    ) -> Produced {
        let mut produced = Produced::default();
        let mut by_leader: BTreeMap<i32, Vec<(&PartitionName, &Bytes)>> = BTreeMap::new();
        for (name, batch) in batches {
            match self.leader(name) {
                Some(leader) => by_leader.entry(leader).or_default().push((name, batch)),
                None => produced.fail(std::iter::once(name), self.code_of(&name.0)),
            }
        }
        let leaders: Vec<i32> = by_leader.keys().copied().collect();
        for leader in leaders {
            // What is for the others is sent first; then the way ends.
            if let Err(error) = self.connect(leader).await {
                produced.fault.get_or_insert(error);
                by_leader.remove(&leader);
            }
        }
        // Before a broker would be given up it says that its replicas took too long.
        let within = i32::try_from(patience.as_millis() * 3 / 4).unwrap_or(i32::MAX);
        for (leader, batches) in &by_leader {
            if let Some(connection) = self.connections.get_mut(leader) {
                connection.rested().await;
                let what = (KafkaApi::Produce, connection.versions.produce);
                connection.ask(what, &produce(batches, within), Some(patience));
            }
        }
        for (number, reply) in self.replies().await {
            let sent = by_leader.get(&number).into_iter().flatten();
            let sent: Vec<_> = sent.map(|(name, _)| *name).collect();
            self.take(number, reply, &sent, &mut produced);
        }
        produced
    }

    /// Waits until each question under way is answered, or its connection is over.
    async fn replies(&mut self) -> Vec<(i32, Result<BrokerReply, Error>)> {
        let mut replies = Vec::new();
        poll_fn(|cx| {
            let mut is_waiting = false;
            for (number, connection) in &mut self.connections {
                let is_told = replies.iter().any(|(told, _)| told == number);
                if is_told || !connection.is_busy() {
                    continue;
                }
                match connection.poll_reply(cx) {
                    Poll::Ready(reply) => replies.push((*number, reply)),
                    Poll::Pending => is_waiting = true,
                }
            }
            if is_waiting {
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
        replies
    }

    /// What the broker of this number said of what it was sent.
    fn take(
        &mut self,
        number: i32,
        reply: Result<BrokerReply, Error>,
        sent: &[&PartitionName],
        produced: &mut Produced,
    ) {
        let Some(connection) = self.connections.get_mut(&number) else {
            return;
        };
        let read = reply.and_then(|reply| {
            let answer = ProduceAnswer::read(&reply.body, connection.versions.produce)?;
            connection.rest(answer.rest);
            match answer.oddity(sent) {
                Some(odd) => Err(Error::Stranger(odd)),
                None => Ok((reply, answer)),
            }
        });
        match read {
            Ok((reply, answer)) => {
                produced.sending = produced.sending.max(reply.sending);
                produced.took = produced.took.max(reply.took);
                if let Some((topic, partition)) = answer.lacks(sent.iter().copied()) {
                    // The same would be sent again, for ever.
                    let topic = crate::words::line(topic, 200);
                    let lack = format!(
                        "it says nothing of partition {partition} of `{topic}`, into which something was sent"
                    );
                    produced.fault.get_or_insert(Error::Stranger(lack));
                }
                produced.answers.extend(answer.batches);
            }
            Err(error) => {
                // Brokers close what was not used for long, perhaps as we begin to.
                let was_used = connection.is_used;
                self.connections.remove(&number);
                if was_used && error.is_hang_up() {
                    produced.fail(sent.iter().copied(), LOST);
                } else {
                    produced.fault.get_or_insert(error);
                }
            }
        }
    }

    /// What is to be said of a topic without a partition of which we know.
    fn code_of(&self, topic: &str) -> i16 {
        let known = self.topics.get(topic).map(|view| view.code);
        known.filter(|code| *code != 0).unwrap_or(NO_LEADER)
    }

    fn leader(&self, (topic, partition): &PartitionName) -> Option<i32> {
        let place = usize::try_from(*partition).ok()?;
        let leader = (*self.topics.get(topic)?.leaders.get(place)?)?;
        self.brokers.contains_key(&leader).then_some(leader)
    }

    /// Connects to the broker of this number, unless it is.
    async fn connect(&mut self, number: i32) -> Result<(), Error> {
        if self.connections.contains_key(&number) {
            return Ok(());
        }
        let Some((host, port)) = self.brokers.get(&number) else {
            return Ok(());
        };
        let opened = Box::pin(BrokerConnection::open(&self.config, host, *port)).await?;
        self.connections.insert(number, opened);
        self.connections.remove(&SEED);
        Ok(())
    }

    /// While nothing is asked it is only seen when brokers close their connections, as they do after ten minutes of silence; `false`
    /// where none is left.
    pub(super) fn poll_idle(&mut self, cx: &mut Context<'_>) -> bool {
        self.connections
            .retain(|_, connection| connection.poll_idle(cx).is_ok());
        !self.connections.is_empty()
    }

    /// Takes leave of all of them.
    pub(super) async fn close(self) {
        let end = Instant::now() + LINGER;
        for connection in self.connections.into_values() {
            connection
                .close(end.saturating_duration_since(Instant::now()))
                .await;
        }
    }
}

impl Produced {
    /// What nobody could be asked about.
    fn fail<'a>(&mut self, names: impl Iterator<Item = &'a PartitionName>, code: i16) {
        let told = |name: &PartitionName| {
            (
                name.clone(),
                BatchAnswer {
                    code,
                    words: String::new(),
                },
            )
        };
        self.answers.extend(names.map(told));
    }
}
