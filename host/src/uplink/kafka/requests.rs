//! What brokers are asked, and what they answer: the few requests that it takes to write, each in a version that all brokers of the last
//! years know. No sockets.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};

use super::form::{AnswerReading, CutOff, put_count, put_text};
use crate::words;

/// Characters of a broker's words that are kept.
const WORDS: usize = 300;
/// Brokers of a cluster that are known; the largest clusters have some hundred.
const MOST_BROKERS: usize = 1_024;

/// What is asked, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i16)]
pub(super) enum KafkaApi {
    Produce = 0,
    Metadata = 3,
    SaslHandshake = 17,
    /// Which versions of each it speaks (`ApiVersions`).
    Abilities = 18,
    SaslAuthenticate = 36,
}

/// SpokenVersions of what is asked: those below say too little, those above are written in another way.
const PRODUCE: (i16, i16) = (3, 8);
const METADATA: (i16, i16) = (4, 8);
const AUTHENTICATE: (i16, i16) = (0, 1);

/// Which versions a broker is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SpokenVersions {
    pub(super) produce: i16,
    pub(super) metadata: i16,
    pub(super) authenticate: i16,
}

impl SpokenVersions {
    /// Reads what a broker can; in words what it lacks.
    pub(super) fn read(
        answer: &[u8],
        has_login: bool,
    ) -> Result<Result<Self, &'static str>, CutOff> {
        let mut reading = AnswerReading(answer);
        let code = reading.i16()?;
        if code != 0 {
            return Ok(Err("which versions it speaks"));
        }
        let known = reading.each(|one| Ok((one.i16()?, (one.i16()?, one.i16()?))))?;
        let best = |api: KafkaApi, (lowest, highest): (i16, i16)| {
            let (_, (from, to)) = known.iter().find(|(number, _)| *number == api as i16)?;
            let best = highest.min(*to);
            (best >= lowest.max(*from)).then_some(best)
        };
        let Some(produce) = best(KafkaApi::Produce, PRODUCE) else {
            return Ok(Err("Produce 3 to 8"));
        };
        let Some(metadata) = best(KafkaApi::Metadata, METADATA) else {
            return Ok(Err("Metadata 4 to 8"));
        };
        let authenticate = best(KafkaApi::SaslAuthenticate, AUTHENTICATE);
        if has_login && authenticate.is_none() {
            return Ok(Err("SaslAuthenticate"));
        }
        Ok(Ok(Self {
            produce,
            metadata,
            authenticate: authenticate.unwrap_or_default(),
        }))
    }
}

/// What a request begins with, its length before it.
pub(super) fn put_request(
    (api, version): (KafkaApi, i16),
    number: i32,
    client: &str,
    body: &[u8],
    output: &mut BytesMut,
) {
    let mut head = BytesMut::new();
    head.put_i16(api as i16);
    head.put_i16(version);
    head.put_i32(number);
    put_text(client, &mut head);
    put_count(head.len() + body.len(), output);
    output.put_slice(&head);
    output.put_slice(body);
}

/// Asks where brokers are, and about these topics. None of them is made by that: the flag that says so is why no older version is spoken.
pub(super) fn metadata(topics: &[&str], version: i16) -> BytesMut {
    let mut body = BytesMut::new();
    put_count(topics.len(), &mut body);
    for topic in topics {
        put_text(topic, &mut body);
    }
    body.put_u8(0);
    if version >= 8 {
        body.put_u8(0);
        // What we may do with each.
        body.put_u8(1);
    }
    body
}

/// What is known of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TopicView {
    /// What the broker says instead.
    pub(super) code: i16,
    /// The broker of each partition; `None` while it has none.
    pub(super) leaders: Vec<Option<i32>>,
    /// Whether we may write, where the broker says so.
    pub(super) may_write: Option<bool>,
}

/// What a cluster says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ClusterView {
    /// Where each broker is.
    pub(super) brokers: BTreeMap<i32, (String, u16)>,
    pub(super) topics: BTreeMap<String, TopicView>,
    /// For how long the broker wants to be left alone, milliseconds.
    pub(super) rest: i32,
}

/// The right to write, among what we may do with a topic.
const WRITE: i32 = 1 << 4;
/// The broker says nothing of rights.
const NO_RIGHTS: i32 = i32::MIN;

impl ClusterView {
    /// Keeps what was `asked` about: whatever else an answer holds, it takes no room here.
    pub(super) fn read(answer: &[u8], version: i16, asked: &[&str]) -> Result<Self, CutOff> {
        let mut reading = AnswerReading(answer);
        let rest = reading.i32()?;
        let mut view = Self {
            rest,
            ..Self::default()
        };
        reading.each(|one| {
            let id = one.i32()?;
            let host = words::line_of_bytes(one.text()?.unwrap_or_default(), 255);
            let port = u16::try_from(one.i32()?).unwrap_or_default();
            one.text()?;
            if view.brokers.len() < MOST_BROKERS {
                view.brokers.insert(id, (host, port));
            }
            Ok(())
        })?;
        reading.text()?;
        reading.i32()?;
        reading.each(|one| {
            let code = one.i16()?;
            let name = one.text()?.unwrap_or_default();
            one.flag()?;
            let leaders = leaders(&one.each(|one| partition(one, version))?);
            let rights = if version >= 8 { one.i32()? } else { NO_RIGHTS };
            let may_write = (rights != NO_RIGHTS).then_some(rights & WRITE != 0);
            let told = TopicView {
                code,
                leaders,
                may_write,
            };
            if let Some(name) = asked.iter().find(|asked| asked.as_bytes() == name) {
                view.topics.insert((*name).to_owned(), told);
            }
            Ok(())
        })?;
        Ok(view)
    }
}

/// Number and leader of a partition.
fn partition(one: &mut AnswerReading<'_>, version: i16) -> Result<(i32, i32), CutOff> {
    one.i16()?;
    let (number, leader) = (one.i32()?, one.i32()?);
    if version >= 7 {
        one.i32()?;
    }
    one.each(AnswerReading::i32)?;
    one.each(AnswerReading::i32)?;
    if version >= 5 {
        one.each(AnswerReading::i32)?;
    }
    Ok((number, leader))
}

/// The leaders by the numbers of their partitions, which go from 0 on.
fn leaders(told: &[(i32, i32)]) -> Vec<Option<i32>> {
    let mut leaders = vec![None; told.len()];
    for (number, leader) in told {
        let place = usize::try_from(*number).ok();
        if let Some(known) = place.and_then(|place| leaders.get_mut(place)) {
            *known = Some(*leader).filter(|leader| *leader >= 0);
        }
    }
    leaders
}

/// One partition of a topic.
pub(super) type PartitionName = (String, i32);

/// Writes these batches; the answer comes once all replicas that are in step have them, or after `within` milliseconds.
pub(super) fn produce(batches: &[(&PartitionName, &Bytes)], within: i32) -> BytesMut {
    let size: usize = batches.iter().map(|(_, batch)| batch.len() + 300).sum();
    let mut body = BytesMut::with_capacity(size);
    // No transaction; all replicas.
    body.put_i16(-1);
    body.put_i16(-1);
    body.put_i32(within);
    let mut topics: BTreeMap<&str, Vec<(i32, &Bytes)>> = BTreeMap::new();
    for ((topic, partition), batch) in batches {
        topics.entry(topic).or_default().push((*partition, batch));
    }
    put_count(topics.len(), &mut body);
    for (topic, partitions) in topics {
        put_text(topic, &mut body);
        put_count(partitions.len(), &mut body);
        for (partition, batch) in partitions {
            body.put_i32(partition);
            put_count(batch.len(), &mut body);
            body.put_slice(batch);
        }
    }
    body
}

/// What became of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BatchAnswer {
    pub(super) code: i16,
    /// The broker's own words, fit to be shown.
    pub(super) words: String,
}

/// What became of all batches of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ProduceAnswer {
    pub(super) batches: Vec<(PartitionName, BatchAnswer)>,
    /// For how long the broker wants to be left alone, milliseconds.
    pub(super) rest: i32,
}

impl ProduceAnswer {
    pub(super) fn read(answer: &[u8], version: i16) -> Result<Self, CutOff> {
        let mut reading = AnswerReading(answer);
        let topics = reading.each(|one| {
            let topic = String::from_utf8_lossy(one.text()?.unwrap_or_default()).into_owned();
            one.each(|one| {
                let partition = one.i32()?;
                Ok(((topic.clone(), partition), batch_answer(one, version)?))
            })
        })?;
        Ok(Self {
            batches: topics.into_iter().flatten().collect(),
            rest: reading.i32()?,
        })
    }

    /// What it says that it cannot know, in words: what became of a batch that was not `sent` to this broker, or of one twice. Nothing of
    /// such an answer is believed: what it is about may be another half of what is in hand, which nobody has been sent yet.
    pub(super) fn oddity(&self, sent: &[&PartitionName]) -> Option<String> {
        let mut told = BTreeSet::new();
        let mut names = self.batches.iter().map(|(name, _)| name);
        let odd = names.find(|name| !sent.contains(name) || !told.insert(*name));
        let (topic, partition) = odd?;
        let topic = words::line(topic, 200);
        Some(format!(
            "it says what became of partition {partition} of `{topic}`, of which it was not asked, or says it twice"
        ))
    }

    /// The first of those that were `sent` of which it says nothing.
    pub(super) fn lacks<'a>(
        &self,
        mut sent: impl Iterator<Item = &'a PartitionName>,
    ) -> Option<&'a PartitionName> {
        let is_told = |name: &PartitionName| self.batches.iter().any(|(told, _)| told == name);
        sent.find(|name| !is_told(name))
    }
}

fn batch_answer(one: &mut AnswerReading<'_>, version: i16) -> Result<BatchAnswer, CutOff> {
    let code = one.i16()?;
    one.i64()?;
    one.i64()?;
    if version >= 5 {
        one.i64()?;
    }
    let mut said = Vec::new();
    if version >= 8 {
        let records = one.each(|one| {
            one.i32()?;
            Ok(one.text()?.unwrap_or_default())
        })?;
        said.extend(one.text()?);
        // What is said of a record says more, where there is one.
        said.extend(records.first().copied());
    }
    let mut words: Vec<_> = said
        .iter()
        .map(|text| words::line_of_bytes(text, WORDS))
        .collect();
    words.retain(|words| !words.is_empty());
    words.dedup();
    Ok(BatchAnswer {
        code,
        words: words.join(": "),
    })
}

/// What a broker answers in a login; the code is 0 where it goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LoginAnswer {
    pub(super) code: i16,
    /// What the broker takes, or says; fit to be shown.
    pub(super) words: String,
    /// Of the exchange that the two ends have.
    pub(super) bytes: Bytes,
    /// For how long the login counts, milliseconds; 0 is for ever.
    pub(super) lifetime: i64,
}

impl LoginAnswer {
    /// The answer to which way we log in.
    pub(super) fn of_handshake(answer: &[u8]) -> Result<Self, CutOff> {
        let mut reading = AnswerReading(answer);
        let code = reading.i16()?;
        let ways = reading.each(|one| Ok(one.text()?.unwrap_or_default()))?;
        let ways: Vec<_> = ways
            .iter()
            .map(|way| words::line_of_bytes(way, 40))
            .collect();
        Ok(Self {
            code,
            words: words::line(&ways.join(", "), WORDS),
            ..Self::default()
        })
    }

    /// The answer to a step of it.
    pub(super) fn read(answer: &[u8], version: i16) -> Result<Self, CutOff> {
        let mut reading = AnswerReading(answer);
        let code = reading.i16()?;
        let said = reading.text()?.unwrap_or_default();
        let bytes = Bytes::copy_from_slice(reading.blob()?);
        Ok(Self {
            code,
            words: words::line_of_bytes(said, WORDS),
            bytes,
            lifetime: if version >= 1 { reading.i64()? } else { 0 },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn versions(told: &[(i16, i16, i16)]) -> Result<SpokenVersions, &'static str> {
        let mut answer = BytesMut::new();
        answer.put_i16(0);
        put_count(told.len(), &mut answer);
        for (api, from, to) in told {
            answer.put_i16(*api);
            answer.put_i16(*from);
            answer.put_i16(*to);
        }
        SpokenVersions::read(&answer, true).unwrap()
    }

    #[test]
    fn the_newest_version_is_spoken_that_both_know() {
        let found = versions(&[(0, 0, 13), (3, 0, 13), (36, 0, 2)]);
        let newest = SpokenVersions {
            produce: 8,
            metadata: 8,
            authenticate: 1,
        };
        assert_eq!(found, Ok(newest));
        let found = versions(&[(0, 0, 5), (3, 0, 4), (36, 0, 0)]);
        let old = SpokenVersions {
            produce: 5,
            metadata: 4,
            authenticate: 0,
        };
        assert_eq!(found, Ok(old));
        assert_eq!(versions(&[(0, 0, 2), (3, 0, 9)]), Err("Produce 3 to 8"));
        assert_eq!(versions(&[(0, 9, 12), (3, 0, 9)]), Err("Produce 3 to 8"));
        assert_eq!(versions(&[(0, 3, 9), (3, 0, 3)]), Err("Metadata 4 to 8"));
        assert_eq!(versions(&[(0, 3, 9), (3, 0, 9)]), Err("SaslAuthenticate"));
    }

    #[test]
    fn a_topic_is_asked_about_and_never_made() {
        let body = metadata(&["tele"], 8);
        assert_eq!(&*body, b"\0\0\0\x01\0\x04tele\0\0\x01");
        assert_eq!(&*metadata(&[], 4), b"\0\0\0\0\0");
    }

    #[test]
    fn partitions_have_their_leaders_whatever_order_they_come_in() {
        assert_eq!(
            leaders(&[(2, 5), (0, -1), (1, 3), (9, 1), (-1, 1)]),
            [None, Some(3), Some(5), None, None]
        );
    }

    #[test]
    fn batches_of_one_topic_share_its_name() {
        let names = [
            ("a".to_owned(), 1),
            ("b".to_owned(), 0),
            ("a".to_owned(), 0),
        ];
        let batch = Bytes::from_static(b"x");
        let batches: Vec<_> = names.iter().map(|name| (name, &batch)).collect();
        let body = produce(&batches, 7);
        let expected = b"\xff\xff\xff\xff\0\0\0\x07\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\x01\0\0\0\x01x\0\0\0\0\0\0\0\x01x\0\x01b\0\0\0\x01\0\0\0\0\0\0\0\x01x";
        assert_eq!(&*body, expected);
    }

    #[test]
    fn what_is_said_of_a_record_is_kept_and_cleaned() {
        let mut answer = BytesMut::new();
        put_count(1, &mut answer);
        put_text("a", &mut answer);
        put_count(1, &mut answer);
        answer.put_i32(3);
        answer.put_i16(87);
        answer.put_slice(&[0xff; 24]);
        put_count(1, &mut answer);
        answer.put_i32(0);
        put_text("no key\u{1b}[31m", &mut answer);
        put_text("refused", &mut answer);
        answer.put_i32(5);
        let read = ProduceAnswer::read(&answer, 8).unwrap();
        assert_eq!(read.rest, 5);
        let (name, told) = &read.batches[0];
        assert_eq!((name, told.code), (&("a".to_owned(), 3), 87));
        assert_eq!(told.words, "refused: no key\u{fffd}[31m");
        assert!(ProduceAnswer::read(&answer[..answer.len() - 1], 8).is_err());
        let sent = [("a".to_owned(), 3), ("a".to_owned(), 4)];
        assert_eq!(read.lacks(sent.iter()), Some(&sent[1]));
        assert_eq!(read.lacks(sent[..1].iter()), None);
    }

    proptest! {
        #[test]
        fn whatever_a_broker_answers_is_read_or_told(noise in proptest::collection::vec(any::<u8>(), 0..300), version in 3_i16..9) {
            let _ = ClusterView::read(&noise, version, &["tele"]);
            let _ = ProduceAnswer::read(&noise, version);
            let _ = LoginAnswer::read(&noise, version.min(1));
            let _ = LoginAnswer::of_handshake(&noise);
            let _ = SpokenVersions::read(&noise, false);
        }
    }
}
