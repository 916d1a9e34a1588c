//! What is in hand: messages gather, are parted by the partition that they belong to, and go out as a batch of each. Those of a partition
//! are answered before others are taken. No sockets, no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::batch::{BatchMessage, RequestBatch};
use super::super::carrier::{Answer, Refusal};
use super::partition::partition;
use super::records::TopicRecord;
use super::requests::PartitionName;

/// A message on its way into a topic.
#[derive(Debug)]
pub(in crate::uplink) struct Outgoing {
    pub(super) topic: String,
    pub(super) record: TopicRecord,
}

/// The messages in hand.
#[derive(Debug)]
pub(super) struct Hand {
    gathered: RequestBatch<Outgoing>,
    sorted: BTreeMap<PartitionName, RequestBatch<Outgoing>>,
}

impl Hand {
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            gathered: RequestBatch::new(most, most_bytes),
            sorted: BTreeMap::new(),
        }
    }

    /// How many more messages it takes.
    pub(super) fn room(&self) -> usize {
        if self.is_sorted() {
            return 0;
        }
        self.gathered.room()
    }

    /// Whether it takes one of so many bytes now.
    pub(super) fn takes(&self, bytes: usize, is_alone: bool) -> bool {
        !self.is_sorted() && self.gathered.takes(bytes, is_alone, |_| true)
    }

    pub(super) fn add(&mut self, message: BatchMessage<Outgoing>) {
        self.gathered.add(message);
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.is_sorted() && self.gathered.held().is_empty()
    }

    /// Whether what is in hand is parted by partition, and so under way.
    pub(super) fn is_sorted(&self) -> bool {
        !self.sorted.is_empty()
    }

    /// The topics of all that is in hand, some more than once.
    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        let gathered = self.gathered.held().iter();
        let gathered = gathered.map(|held| held.what.topic.as_str());
        gathered.chain(self.sorted.keys().map(|(topic, _)| topic.as_str()))
    }

    /// What belongs to this topic is refused for good, whatever it is.
    pub(super) fn refuse(&mut self, topic: &str, reason: &str, answers: &mut Vec<Answer>) {
        let all = self.gathered.take().into_iter();
        let (refused, rest): (Vec<_>, Vec<_>) = all.partition(|held| held.what.topic == topic);
        answers.extend(refused.into_iter().map(|held| Answer::Refused {
            token: held.token,
            kind: Refusal::Final,
            reason: reason.to_owned(),
        }));
        self.gathered.clear();
        rest.into_iter().for_each(|held| self.gathered.add(held));
    }

    /// Parts it by partition; `partitions` has so many for a topic.
    pub(super) fn sort(&mut self, partitions: impl Fn(&str) -> usize) {
        for held in self.gathered.take() {
            let Outgoing { topic, record } = &held.what;
            let number = partition(&record.key, partitions(topic));
            let name = (topic.clone(), i32::try_from(number).unwrap_or(0));
            let batch = self.sorted.entry(name);
            batch
                .or_insert_with(|| RequestBatch::new(usize::MAX, usize::MAX))
                .add(held);
        }
    }

    /// What the next batch of each partition is made of.
    pub(super) fn next(
        &mut self,
    ) -> impl Iterator<Item = (PartitionName, &[BatchMessage<Outgoing>])> {
        self.sorted
            .iter_mut()
            .filter_map(|(name, batch)| Some((name.clone(), batch.next()?)))
    }

    /// What was sent to a partition.
    pub(super) fn batch(&mut self, name: &PartitionName) -> Option<&mut RequestBatch<Outgoing>> {
        self.sorted.get_mut(name)
    }

    /// It was too large: its halves are sent, and later batches are no larger than these, unless it is one message alone.
    pub(super) fn too_large(
        &mut self,
        name: &PartitionName,
        words: &str,
        answers: &mut Vec<Answer>,
    ) {
        let Some(batch) = self.sorted.get_mut(name) else {
            return;
        };
        if batch.is_one() {
            self.gathered.grow_back();
        } else {
            self.gathered.shrink_to(batch.sent_bytes() / 2);
        }
        batch.refused(words, answers);
    }

    /// Hashes of the topics of all that was sent.
    pub(super) fn sent(&self) -> Vec<u64> {
        self.sorted
            .values()
            .flat_map(RequestBatch::topics)
            .collect()
    }

    /// What was sent was on its way for so long.
    pub(super) fn pace(&mut self, sending: Duration) {
        self.gathered.pace(sending);
    }

    /// Partitions of which all is answered are done with; behind the last one there is room again.
    pub(super) fn tidy(&mut self) {
        self.sorted.retain(|_, batch| !batch.held().is_empty());
        if !self.is_sorted() {
            self.gathered.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One of a device, told apart by its token.
    fn message(token: u64, device: u8) -> BatchMessage<Outgoing> {
        let record = TopicRecord {
            time: None,
            key: vec![device].into(),
            value: vec![b'x'; 10].into(),
            headers: bytes::Bytes::new(),
        };
        BatchMessage {
            token,
            topic: u64::from(device),
            is_alone: false,
            bytes: record.bytes(),
            what: Outgoing {
                topic: format!("t{}", device % 2),
                record,
            },
        }
    }

    fn filled(devices: &[u8]) -> Hand {
        let mut hand = Hand::new(1_000, 1 << 20);
        for (token, device) in (0..).zip(devices) {
            assert!(hand.takes(40, false));
            hand.add(message(token, *device));
        }
        hand
    }

    #[test]
    fn what_is_under_way_is_answered_before_more_is_taken() {
        let mut hand = filled(&[1, 2, 3, 4, 5]);
        assert!(!hand.is_sorted() && hand.room() == 995);
        hand.sort(|_| 4);
        assert!(hand.is_sorted() && hand.room() == 0 && !hand.takes(1, false));
        let names: Vec<_> = hand.next().map(|(name, _)| name).collect();
        assert!(names.len() > 1, "{names:?}");
        let mut answers = Vec::new();
        for name in &names {
            assert_eq!(hand.room(), 0);
            hand.batch(name).unwrap().accepted(&mut answers);
            hand.tidy();
        }
        assert_eq!((answers.len(), hand.room()), (5, 1_000));
        assert!(hand.is_empty());
    }

    #[test]
    fn a_topic_that_is_missing_takes_its_own_and_no_others() {
        let mut hand = filled(&[1, 2, 3, 4]);
        let mut answers = Vec::new();
        hand.refuse("t1", "no such topic", &mut answers);
        let is_final = |answer: &Answer| {
            matches!(
                answer,
                Answer::Refused {
                    kind: Refusal::Final,
                    ..
                }
            )
        };
        assert!(answers.len() == 2 && answers.iter().all(is_final));
        assert!(hand.topics().all(|topic| topic == "t0") && hand.topics().count() == 2);
        hand.refuse("t0", "no such topic", &mut answers);
        assert!(hand.is_empty() && hand.room() == 1_000);
    }

    #[test]
    fn a_batch_that_was_too_large_makes_later_ones_smaller() {
        let mut hand = filled(&[2; 100]);
        hand.sort(|_| 1);
        let (name, bytes) = hand
            .next()
            .map(|(name, held)| (name, held.iter().map(|held| held.bytes).sum::<usize>()))
            .next()
            .unwrap();
        let mut answers = Vec::new();
        hand.too_large(&name, "10", &mut answers);
        while let Some(batch) = hand.batch(&name) {
            batch.next();
            batch.accepted(&mut answers);
            hand.tidy();
        }
        assert!(answers.len() == 100 && hand.is_empty());
        let mut count = 0;
        while hand.takes(message(count, 2).bytes, false) {
            hand.add(message(count, 2));
            count += 1;
        }
        assert!((40..=60).contains(&count), "{count} of {bytes} bytes");
    }

    proptest! {
        #[test]
        fn whatever_is_refused_a_device_keeps_its_order_and_each_is_answered_once(
            devices in proptest::collection::vec(0_u8..12, 1..120), bad in proptest::collection::hash_set(0_u64..120, 0..8),
        ) {
            let mut hand = filled(&devices);
            hand.sort(|_| 3);
            let (mut answers, mut written) = (Vec::new(), Vec::new());
            while hand.is_sorted() {
                let round: Vec<(PartitionName, Vec<(u64, u8)>)> = hand
                    .next()
                    .map(|(name, held)| {
                        let sent = held.iter().map(|held| (held.token, held.what.record.key[0]));
                        (name, sent.collect())
                    })
                    .collect();
                for (name, sent) in round {
                    let batch = hand.batch(&name).unwrap();
                    if sent.iter().any(|(token, _)| bad.contains(token)) {
                        batch.refused("87", &mut answers);
                    } else {
                        written.extend(sent);
                        batch.accepted(&mut answers);
                    }
                    hand.tidy();
                }
            }
            prop_assert_eq!(answers.len(), devices.len());
            for device in 0..12 {
                let own: Vec<u64> = written.iter().filter(|(_, its)| *its == device).map(|(token, _)| *token).collect();
                prop_assert!(own.is_sorted());
            }
            let refused = answers.iter().filter(|answer| matches!(answer, Answer::Refused { kind: Refusal::Final, .. })).count();
            prop_assert_eq!(refused, bad.iter().filter(|token| **token < devices.len() as u64).count());
        }
    }
}
