//! The messages of one request, and what becomes of them: a batch that is not taken is halved until what is wrong is alone.
//! No sockets, no clock.

use std::ops::Range;
use std::time::Duration;

use super::super::carrier::{Answer, Refusal, Unsendable};

/// Messages refused alone, one after the other and none taken between them, after which the rest of a batch waits: it is
/// for the judge to say whether anything is taken.
const DOUBT: u32 = 16;

/// A request that is on its way for longer is too large for the link, unless it is no larger than this.
const SLOW: Duration = Duration::from_secs(2);
const LEAST_BYTES: usize = 4 << 10;

/// A message in hand.
#[derive(Debug)]
pub(in crate::uplink) struct BatchMessage<T> {
    pub(in crate::uplink) token: u64,
    /// Hash of its topic.
    pub(in crate::uplink) topic: u64,
    /// Upstream stood still over its topic: it shares a request with none.
    pub(in crate::uplink) is_alone: bool,
    /// What it adds to a request.
    pub(in crate::uplink) bytes: usize,
    /// What stands for it there.
    pub(in crate::uplink) what: T,
}

/// Messages that are answered before others are taken.
#[derive(Debug)]
pub(in crate::uplink) struct RequestBatch<T> {
    most: usize,
    most_bytes: usize,
    /// What the link carries in a second or two, as far as is known: an alarm waits for one request.
    paced_bytes: usize,
    held: Vec<BatchMessage<T>>,
    bytes: usize,
    /// What is still to be sent, the next one last.
    slices: Vec<Range<usize>>,
    /// Refused alone since one was taken.
    refused: u32,
    /// What `most_bytes` was before this batch was too large.
    before: Option<usize>,
}

impl<T> RequestBatch<T> {
    pub(in crate::uplink) fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            most: most.max(1),
            most_bytes,
            paced_bytes: most_bytes,
            held: Vec::new(),
            bytes: 0,
            slices: Vec::new(),
            refused: 0,
            before: None,
        }
    }

    /// How many more messages it takes.
    pub(in crate::uplink) fn room(&self) -> usize {
        if !self.slices.is_empty() || self.bytes >= self.limit() {
            return 0;
        }
        self.most - self.held.len()
    }

    /// Bytes that go at once, at most.
    pub(in crate::uplink) fn limit(&self) -> usize {
        self.most_bytes.min(self.paced_bytes)
    }

    /// What was sent was on its way for so long.
    pub(in crate::uplink) fn pace(&mut self, sending: Duration) {
        if sending > SLOW {
            self.paced_bytes = (self.bytes.min(self.paced_bytes) / 2).max(LEAST_BYTES);
        } else if sending.is_zero() {
            self.paced_bytes = self.paced_bytes.saturating_mul(2).min(self.most_bytes);
        }
    }

    /// Whether it takes one of so many bytes beside the first one, and not too much in all. One alone is always taken.
    pub(in crate::uplink) fn takes(
        &self,
        bytes: usize,
        is_alone: bool,
        goes_with: impl FnOnce(&T) -> bool,
    ) -> bool {
        let is_beside =
            |first: &BatchMessage<T>| !first.is_alone && !is_alone && goes_with(&first.what);
        let is_sent_together = self.held.first().is_none_or(is_beside);
        let fits = self.held.is_empty() || self.bytes + bytes <= self.limit();
        self.room() > 0 && is_sent_together && fits
    }

    pub(in crate::uplink) fn add(&mut self, held: BatchMessage<T>) {
        self.bytes += held.bytes;
        self.held.push(held);
    }

    /// Takes one where it may be sent with the first one, and is not too much in all.
    pub(in crate::uplink) fn offer(
        &mut self,
        message: BatchMessage<T>,
        goes_with: impl FnOnce(&T, &T) -> bool,
    ) -> Result<(), Unsendable> {
        let BatchMessage {
            bytes,
            is_alone,
            what,
            ..
        } = &message;
        if !self.takes(*bytes, *is_alone, |first| goes_with(first, what)) {
            return Err(Unsendable::Full);
        }
        self.add(message);
        Ok(())
    }

    /// All that is in hand.
    #[cfg(feature = "kafka")]
    pub(in crate::uplink) fn held(&self) -> &[BatchMessage<T>] {
        &self.held
    }

    /// All that is in hand, to be sent in another way; until [`Self::clear`] its bytes count as before.
    #[cfg(feature = "kafka")]
    pub(in crate::uplink) fn take(&mut self) -> Vec<BatchMessage<T>> {
        std::mem::take(&mut self.held)
    }

    /// What was taken is done with.
    #[cfg(feature = "kafka")]
    pub(in crate::uplink) fn clear(&mut self) {
        self.slices.clear();
        self.close();
    }

    /// What the next request is made of.
    pub(in crate::uplink) fn next(&mut self) -> Option<&[BatchMessage<T>]> {
        if self.slices.is_empty() && !self.held.is_empty() {
            self.slices.push(0..self.held.len());
        }
        self.slices.last().map(|slice| &self.held[slice.clone()])
    }

    /// The topics of what was sent.
    pub(in crate::uplink) fn topics(&self) -> Vec<u64> {
        let sent = self.slices.last().cloned().unwrap_or_default();
        let mut topics: Vec<_> = self.held[sent].iter().map(|held| held.topic).collect();
        topics.dedup();
        topics
    }

    /// Whether what was sent is one message.
    pub(in crate::uplink) fn is_one(&self) -> bool {
        self.slices.last().is_some_and(|sent| sent.len() == 1)
    }

    /// Upstream has what was sent.
    pub(in crate::uplink) fn accepted(&mut self, answers: &mut Vec<Answer>) {
        self.refused = 0;
        let sent = self.slices.pop().unwrap_or_default();
        answers.extend(
            self.held[sent]
                .iter()
                .map(|held| Answer::Accepted { token: held.token }),
        );
        self.close();
    }

    /// Upstream did not take what was sent: one is refused, several are halved.
    pub(in crate::uplink) fn refused(&mut self, reason: &str, answers: &mut Vec<Answer>) {
        if self.halve() {
            return;
        }
        let refused = |held: &BatchMessage<T>, kind| Answer::Refused {
            token: held.token,
            kind,
            reason: reason.to_owned(),
        };
        self.grow_back();
        let alone = self.slices.pop().unwrap_or_default();
        answers.extend(
            self.held[alone]
                .iter()
                .map(|held| refused(held, Refusal::Final)),
        );
        self.refused += 1;
        if self.refused >= DOUBT {
            for rest in std::mem::take(&mut self.slices).into_iter().rev() {
                answers.extend(
                    self.held[rest]
                        .iter()
                        .map(|held| refused(held, Refusal::Untried)),
                );
            }
        }
        self.close();
    }

    /// Upstream does not take what was sent for now: several are halved, one waits by itself. `false` where so many were not taken
    /// one after the other that it is not about them.
    pub(in crate::uplink) fn busy(&mut self, reason: &str, answers: &mut Vec<Answer>) -> bool {
        if self.halve() {
            return true;
        }
        self.refused += 1;
        if self.refused >= DOUBT {
            return false;
        }
        let alone = self.slices.pop().unwrap_or_default();
        answers.extend(self.held[alone].iter().map(|held| Answer::Refused {
            token: held.token,
            kind: Refusal::Busy,
            reason: reason.to_owned(),
        }));
        self.close();
        true
    }

    /// Sends what was sent in two halves instead; whether there were two to be had.
    pub(in crate::uplink) fn halve(&mut self) -> bool {
        let Some(sent) = self.slices.pop_if(|sent| sent.len() > 1) else {
            return false;
        };
        let middle = sent.start + sent.len() / 2;
        self.slices.push(middle..sent.end);
        self.slices.push(sent.start..middle);
        true
    }

    /// Bytes of what was sent.
    pub(in crate::uplink) fn sent_bytes(&self) -> usize {
        let sent = self.slices.last().cloned().unwrap_or_default();
        self.held[sent].iter().map(|held| held.bytes).sum()
    }

    /// Later batches are smaller than what was sent.
    pub(in crate::uplink) fn shrink(&mut self) {
        if self.slices.last().is_some_and(|sent| sent.len() > 1) {
            self.shrink_to(self.sent_bytes() / 2);
        }
    }

    /// Later batches have no more than so many bytes.
    pub(in crate::uplink) fn shrink_to(&mut self, bytes: usize) {
        self.before.get_or_insert(self.most_bytes);
        self.most_bytes = bytes.min(self.most_bytes).max(1);
    }

    /// It was one message, and not how many went together.
    pub(in crate::uplink) fn grow_back(&mut self) {
        if let Some(before) = self.before.take() {
            self.most_bytes = before;
        }
    }

    fn close(&mut self) {
        if self.slices.is_empty() {
            self.held.clear();
            self.bytes = 0;
            self.before = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What goes with what has the same letter.
    fn held(token: u64) -> BatchMessage<char> {
        BatchMessage {
            token,
            topic: 0,
            is_alone: false,
            bytes: 8,
            what: 'a',
        }
    }

    fn filled(count: u64) -> RequestBatch<char> {
        let mut batch = RequestBatch::new(1_000, 1 << 20);
        (0..count).for_each(|token| batch.add(held(token)));
        batch
    }

    /// Sends all of a batch to a server that takes a request unless one of these is in it.
    fn exchange(
        batch: &mut RequestBatch<char>,
        is_bad: impl Fn(u64) -> bool,
    ) -> (Vec<Answer>, usize) {
        let (mut answers, mut requests) = (Vec::new(), 0);
        while let Some(sent) = batch.next() {
            requests += 1;
            if sent.iter().any(|held| is_bad(held.token)) {
                batch.refused("400 Bad Request", &mut answers);
            } else {
                batch.accepted(&mut answers);
            }
        }
        (answers, requests)
    }

    #[test]
    fn a_bad_one_among_five_hundred_is_found_in_a_few_requests() {
        let (answers, requests) = exchange(&mut filled(500), |token| token == 321);
        let refused: Vec<u64> = answers
            .iter()
            .filter_map(|answer| match answer {
                Answer::Refused {
                    token,
                    kind: Refusal::Final,
                    ..
                } => Some(*token),
                _ => None,
            })
            .collect();
        assert_eq!((refused, answers.len()), (vec![321], 500));
        assert!(requests <= 20, "{requests} requests");
    }

    #[test]
    fn where_nothing_is_taken_the_rest_waits_and_is_not_refused_for_good() {
        let (answers, requests) = exchange(&mut filled(500), |_| true);
        let is_final = |answer: &&Answer| {
            matches!(
                answer,
                Answer::Refused {
                    kind: Refusal::Final,
                    ..
                }
            )
        };
        assert_eq!(
            (answers.len(), answers.iter().filter(is_final).count()),
            (500, 16)
        );
        assert!(requests <= 50, "{requests} requests");
    }

    #[test]
    fn one_that_passes_later_waits_by_itself_and_where_none_is_taken_it_is_about_all() {
        let mut batch = filled(500);
        let mut answers = Vec::new();
        while let Some(sent) = batch.next() {
            if sent.iter().any(|held| held.token == 321) {
                assert!(batch.busy("55P03", &mut answers));
            } else {
                batch.accepted(&mut answers);
            }
        }
        let is_busy = |answer: &&Answer| {
            matches!(
                answer,
                Answer::Refused {
                    token: 321,
                    kind: Refusal::Busy,
                    ..
                }
            )
        };
        assert_eq!(
            (answers.len(), answers.iter().filter(is_busy).count()),
            (500, 1)
        );
        let mut batch = filled(500);
        let mut statements = 0;
        while batch.next().is_some() && batch.busy("53100", &mut answers) {
            statements += 1;
        }
        assert!(
            (DOUBT as usize..60).contains(&statements),
            "{statements} statements"
        );
    }

    #[test]
    fn one_that_does_not_belong_with_the_others_waits() {
        let takes = |batch: &RequestBatch<char>, what, bytes, is_alone| {
            batch.takes(bytes, is_alone, |first| *first == what)
        };
        let mut batch = RequestBatch::new(3, 20);
        assert!(takes(&batch, 'a', 1_000, false));
        batch.add(held(1));
        assert!(
            takes(&batch, 'a', 12, false)
                && !takes(&batch, 'a', 13, false)
                && !takes(&batch, 'b', 1, false)
        );
        assert_eq!(batch.room(), 2);
        assert!(takes(&batch, 'a', 1, false) && !takes(&batch, 'a', 1, true));
        batch.next();
        assert!(batch.room() == 0 && !takes(&batch, 'a', 1, false));
        let mut batch = RequestBatch::new(3, 20);
        assert!(takes(&batch, 'a', 1, true));
        batch.add(BatchMessage {
            is_alone: true,
            ..held(1)
        });
        assert!(!takes(&batch, 'a', 1, false));
    }

    #[test]
    fn a_request_that_was_too_large_makes_later_ones_smaller() {
        let mut batch = filled(100);
        batch.next();
        batch.shrink();
        assert!(batch.halve());
        exchange(&mut batch, |_| false);
        let mut taken = 0;
        while batch.takes(held(taken).bytes, false, |_| true) {
            batch.add(held(taken));
            taken += 1;
        }
        assert!((40..=60).contains(&taken), "{taken}");
    }

    #[test]
    fn one_that_is_too_large_by_itself_makes_no_others_smaller() {
        let mut batch = filled(100);
        let (whole, mut answers) = (batch.limit(), Vec::new());
        while let Some(sent) = batch.next() {
            if sent.iter().any(|held| held.token == 77) {
                batch.shrink();
                batch.refused("413 Payload Too Large", &mut answers);
            } else {
                batch.accepted(&mut answers);
            }
        }
        let is_refused = |answer: &&Answer| matches!(answer, Answer::Refused { .. });
        assert_eq!(answers.iter().filter(is_refused).count(), 1);
        assert_eq!((answers.len(), batch.limit()), (100, whole));
    }

    #[test]
    fn on_a_thin_link_requests_become_small_and_large_again_when_it_is_not() {
        let mut batch = filled(100);
        let whole = batch.bytes;
        batch.next();
        for second in 3..9 {
            batch.pace(Duration::from_secs(second));
        }
        assert_eq!(batch.limit(), LEAST_BYTES.min(whole.max(LEAST_BYTES)));
        batch.pace(Duration::from_secs(1));
        assert_eq!(batch.limit(), LEAST_BYTES);
        for _ in 0..20 {
            batch.pace(Duration::ZERO);
        }
        assert_eq!(batch.limit(), 1 << 20);
    }

    proptest! {
        #[test]
        fn every_message_is_answered_once_in_order_and_only_bad_ones_are_refused_for_good(
            count in 1_u64..200, bad in proptest::collection::hash_set(0_u64..200, 0..12),
        ) {
            let (answers, _) = exchange(&mut filled(count), |token| bad.contains(&token));
            let mut tokens = Vec::new();
            for answer in &answers {
                match answer {
                    Answer::Accepted { token } => {
                        prop_assert!(!bad.contains(token));
                        tokens.push(*token);
                    }
                    Answer::Refused { token, kind, .. } => {
                        prop_assert!(*kind == Refusal::Final && bad.contains(token));
                        tokens.push(*token);
                    }
                }
            }
            prop_assert_eq!(tokens, (0..count).collect::<Vec<_>>());
        }
    }
}
