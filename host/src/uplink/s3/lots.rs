//! Objects that gather, in the order in which they go. What a device sends later never goes before what it sent earlier, whatever hour
//! either belongs to. No sockets; time is an argument.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::super::batch::BatchMessage;
use super::object::{ObjectLine, ObjectPlace};

/// Objects that gather at once: a few classes, and an hour that ends in each of them.
const MOST: usize = 32;

/// What gathers for one object.
#[derive(Debug)]
struct ObjectLot {
    place: ObjectPlace,
    since: Instant,
    /// It waits for no more.
    is_due: bool,
    /// It takes no more.
    is_closed: bool,
    /// Hashes of the devices in it.
    devices: HashSet<u64>,
    held: Vec<BatchMessage<ObjectLine>>,
    bytes: usize,
}

/// How large objects are.
#[derive(Clone, Copy, Debug)]
pub(super) struct ObjectLimits {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

/// Everything that gathers, oldest first.
#[derive(Debug, Default)]
pub(super) struct ObjectLots {
    lots: VecDeque<ObjectLot>,
    messages: usize,
    bytes: usize,
}

impl ObjectLots {
    /// How many messages gather.
    pub(super) fn len(&self) -> usize {
        self.messages
    }

    /// Takes a message of a device, by its hash, unless something has to go first. One that goes `at_once` waits for no other.
    pub(super) fn add(
        &mut self,
        message: BatchMessage<ObjectLine>,
        device: u64,
        at_once: bool,
        (limits, now): (ObjectLimits, Instant),
    ) -> Result<(), BatchMessage<ObjectLine>> {
        if self.bytes >= limits.bytes {
            self.press();
            return Err(message);
        }
        let is_alone = message.is_alone || at_once;
        let index = match self.place_of(&message, (device, is_alone), limits) {
            Some(index) => index,
            None if self.lots.len() >= MOST => {
                self.press();
                return Err(message);
            }
            None => {
                self.lots.push_back(ObjectLot {
                    place: message.what.place.clone(),
                    since: now,
                    is_due: is_alone,
                    is_closed: is_alone,
                    devices: HashSet::new(),
                    held: Vec::new(),
                    bytes: 0,
                });
                self.lots.len() - 1
            }
        };
        self.messages += 1;
        self.bytes += message.bytes;
        let Some(lot) = self.lots.get_mut(index) else {
            return Err(message);
        };
        lot.devices.insert(device);
        lot.bytes += message.bytes;
        lot.held.push(message);
        if lot.bytes >= limits.bytes || lot.held.len() >= limits.messages {
            (lot.is_due, lot.is_closed) = (true, true);
        }
        Ok(())
    }

    /// The lot that takes it, if one does: the newest of its kind, with nothing of its device behind that.
    fn place_of(
        &mut self,
        message: &BatchMessage<ObjectLine>,
        (device, is_alone): (u64, bool),
        limits: ObjectLimits,
    ) -> Option<usize> {
        for (index, lot) in self.lots.iter_mut().enumerate().rev() {
            if !lot.place.is_beside(&message.what.place) {
                continue;
            }
            let fits = lot.bytes + message.bytes <= limits.bytes;
            if lot.place == message.what.place && !lot.is_closed {
                if fits && !is_alone {
                    return Some(index);
                }
                (lot.is_due, lot.is_closed) = (true, true);
                return None;
            }
            if lot.place == message.what.place || lot.devices.contains(&device) {
                return None;
            }
        }
        None
    }

    /// Nothing waits for more to come.
    pub(super) fn press(&mut self) {
        self.lots.iter_mut().for_each(|lot| lot.is_due = true);
    }

    /// When the first of them goes.
    pub(super) fn due_at(&self, wait: Duration) -> Option<Instant> {
        let first = self.lots.front()?;
        // Those before it go first.
        if self.lots.iter().any(|lot| lot.is_due) {
            return Some(first.since);
        }
        Some(first.since + wait)
    }

    /// The messages of the first one.
    pub(super) fn take(&mut self) -> Vec<BatchMessage<ObjectLine>> {
        let lot = self.lots.pop_front();
        let held = lot.map(|lot| lot.held).unwrap_or_default();
        self.messages -= held.len();
        self.bytes -= held.iter().map(|held| held.bytes).sum::<usize>();
        held
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::clock::WallTime;
    use crate::message::Seq;

    const WAIT: Duration = Duration::from_secs(60);
    const LIMITS: ObjectLimits = ObjectLimits {
        messages: 4,
        bytes: 100,
    };

    fn message(class: &str, hour: u64, number: u64) -> BatchMessage<ObjectLine> {
        let prefix: Arc<str> = format!("g/s/u/{class}/").into();
        let arrived = Some(WallTime(hour * 3_600_000_000));
        BatchMessage {
            token: number,
            topic: 0,
            is_alone: false,
            bytes: 10,
            what: ObjectLine {
                place: ObjectPlace::of(&prefix, Seq(number), arrived),
                seq: Seq(number),
                bytes: Bytes::from_static(b"{}"),
                is_asked_anew: false,
            },
        }
    }

    fn tokens(lots: &mut ObjectLots) -> Vec<u64> {
        lots.take().iter().map(|held| held.token).collect()
    }

    #[test]
    fn classes_and_hours_gather_side_by_side_and_go_in_the_order_of_their_begin() {
        let (mut lots, now) = (ObjectLots::default(), Instant::now());
        let mut add = |class: &str, hour, number, device| {
            lots.add(message(class, hour, number), device, false, (LIMITS, now))
                .is_ok()
        };
        assert!(add("a", 1, 1, 9) && add("b", 1, 2, 9) && add("a", 1, 3, 8) && add("a", 2, 4, 9));
        // Of an hour that was: by another device that is one object, by the same one it must not go before.
        assert!(add("a", 1, 5, 8) && add("a", 1, 6, 9));
        assert_eq!(lots.due_at(WAIT), Some(now + WAIT));
        lots.press();
        assert_eq!(lots.due_at(WAIT), Some(now));
        let gone: Vec<_> = std::iter::repeat_with(|| tokens(&mut lots))
            .take(4)
            .collect();
        assert_eq!(gone, [vec![1, 3, 5], vec![2], vec![4], vec![6]]);
        assert_eq!((lots.len(), lots.due_at(WAIT)), (0, None));
    }

    #[test]
    fn what_is_full_goes_and_more_than_fits_waits() {
        let (mut lots, now) = (ObjectLots::default(), Instant::now());
        let mut add = |number, at_once| {
            lots.add(message("a", 1, number), number, at_once, (LIMITS, now))
                .is_ok()
        };
        assert!((1..=4).all(|number| add(number, false)) && add(5, true) && add(6, false));
        assert!((7..=10).all(|number| add(number, false)) && !add(11, false));
        let gone: Vec<_> = std::iter::repeat_with(|| tokens(&mut lots))
            .take(4)
            .collect();
        assert_eq!(
            gone,
            [vec![1, 2, 3, 4], vec![5], vec![6, 7, 8, 9], vec![10]]
        );
    }

    proptest! {
        #[test]
        fn whatever_comes_a_device_keeps_its_order(sent in proptest::collection::vec((0_u64..3, 0_u64..4), 1..80)) {
            let (mut lots, now) = (ObjectLots::default(), Instant::now());
            let mut gone = Vec::new();
            for (number, (hour, device)) in (0..).zip(sent.iter().copied()) {
                if lots.add(message("a", hour, number), device, false, (LIMITS, now)).is_err() {
                    while lots.len() > 0 {
                        gone.extend(tokens(&mut lots));
                    }
                    prop_assert!(lots.add(message("a", hour, number), device, false, (LIMITS, now)).is_ok());
                }
            }
            while lots.len() > 0 {
                gone.extend(tokens(&mut lots));
            }
            prop_assert_eq!(gone.len(), sent.len());
            for device in 0..4 {
                let own: Vec<u64> = gone.iter().copied().filter(|number| sent[usize::try_from(*number).unwrap()].1 == device).collect();
                prop_assert!(own.is_sorted(), "{own:?}");
            }
        }
    }
}
