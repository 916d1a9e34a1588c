//! Bodies that come in blocks and are not whole yet (RFC 7959, 2.5), within bounds. No sockets; time is an argument.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::block::Block;
use super::outcome::CoapOutcome;

/// So long a body waits for its next block: whoever sends one tries no longer (MAX_TRANSMIT_WAIT, RFC 7252, 4.8.2).
pub(super) const BLOCK_WITHIN: Duration = Duration::from_secs(93);
/// One that has waited for less does not give way to another.
const YOUNG: Duration = Duration::from_secs(10);
/// Bodies at a time, over all and of one sender. A host has as many senders as it has ports: beyond this number, or where the bytes are
/// used up, the host that has most gives way to one that has less.
const MOST: usize = 256;
const MOST_OF_ONE: usize = 4;

/// Whose it is, and what its blocks have in common.
pub(super) type BodyKey = (SocketAddr, u128);

#[derive(Debug)]
struct UnfinishedBody {
    data: Vec<u8>,
    format: Option<u16>,
    /// When its last block came.
    touched: Instant,
}

pub(super) struct UnfinishedBodies {
    most_bytes: usize,
    bytes: usize,
    bodies: BTreeMap<BodyKey, UnfinishedBody>,
}

impl UnfinishedBodies {
    /// So many bytes in all.
    pub(super) fn new(most_bytes: usize) -> Self {
        Self {
            most_bytes,
            bytes: 0,
            bodies: BTreeMap::new(),
        }
    }

    /// Adds a block; the body, once that was the last one. They come in order: one that does not fit ends its body, and the first one
    /// begins it anew.
    ///
    /// # Errors
    /// What it is answered instead.
    pub(super) fn add(
        &mut self,
        key: BodyKey,
        (block, payload): (Block, Vec<u8>),
        format: Option<u16>,
        now: Instant,
    ) -> Result<Option<Vec<u8>>, CoapOutcome> {
        self.forget_late(now);
        let begun = self.remove(&key);
        let mut body = match block.number {
            0 => UnfinishedBody {
                data: Vec::new(),
                format,
                touched: now,
            },
            _ => begun
                .filter(|body| body.data.len() == block.offset() && body.format == format)
                .ok_or(CoapOutcome::Incomplete)?,
        };
        body.data.extend_from_slice(&payload);
        if !block.has_more {
            return Ok(Some(body.data));
        }
        if !self.make_room(key.0, body.data.len(), now) {
            return Err(CoapOutcome::Full);
        }
        body.touched = now;
        self.bytes += body.data.len();
        self.bodies.insert(key, body);
        Ok(None)
    }

    fn remove(&mut self, key: &BodyKey) -> Option<UnfinishedBody> {
        let body = self.bodies.remove(key)?;
        self.bytes -= body.data.len();
        Some(body)
    }

    fn forget_late(&mut self, now: Instant) {
        let bytes = &mut self.bytes;
        self.bodies.retain(|_, body| {
            let is_kept = now.saturating_duration_since(body.touched) < BLOCK_WITHIN;
            *bytes -= if is_kept { 0 } else { body.data.len() };
            is_kept
        });
    }

    /// Whether there is room for one more of `bytes`: of its own sender the one that has waited longest gives way, of others one that is old
    /// enough.
    fn make_room(&mut self, sender: SocketAddr, bytes: usize, now: Instant) -> bool {
        let of_one = (sender, 0)..=(sender, u128::MAX);
        if self.bodies.range(of_one.clone()).count() >= MOST_OF_ONE {
            let own = self.bodies.range(of_one);
            let oldest = own.min_by_key(|(_, body)| body.touched);
            let oldest = oldest.map(|(key, _)| *key);
            oldest.and_then(|key| self.remove(&key));
        }
        while self.bodies.len() >= MOST || self.bytes + bytes > self.most_bytes {
            let oldest = self.bodies.iter().min_by_key(|(_, body)| body.touched);
            let old_enough = oldest.filter(|(_, body)| {
                let age = now.saturating_duration_since(body.touched);
                age >= YOUNG
            });
            let Some(key) = old_enough
                .map(|(key, _)| *key)
                .or_else(|| self.of_the_greediest(host(sender), bytes))
            else {
                return false;
            };
            self.remove(&key);
        }
        true
    }

    /// The body that has waited longest of the host that has most of what is short, if that is more than `own` would have with one more of
    /// `bytes`: whoever begins many and ends none takes room from nobody but itself.
    fn of_the_greediest(&self, own: IpAddr, bytes: usize) -> Option<BodyKey> {
        let is_by_number = self.bodies.len() >= MOST;
        let mut shares = BTreeMap::<IpAddr, usize>::new();
        for ((sender, _), body) in &self.bodies {
            let share = if is_by_number { 1 } else { body.data.len() };
            *shares.entry(host(*sender)).or_default() += share;
        }
        let more = if is_by_number { 1 } else { bytes };
        let own = shares.get(&own).copied().unwrap_or(0) + more;
        let (greediest, share) = shares.into_iter().max_by_key(|(_, share)| *share)?;
        let its = self
            .bodies
            .iter()
            .filter(|((sender, _), _)| host(*sender) == greediest && share > own);
        its.min_by_key(|(_, body)| body.touched)
            .map(|(key, _)| *key)
    }
}

/// Who is behind a sender: a host of IPv6 mostly has a whole /64 to itself.
fn host(sender: SocketAddr) -> IpAddr {
    match sender.ip().to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: [u8; 70] = {
        let mut whole = [0; 70];
        let mut at = 0;
        while at < whole.len() {
            whole[at] = at as u8;
            at += 1;
        }
        whole
    };

    fn sender(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn a_host_that_begins_many_and_ends_none_keeps_no_room_from_others() {
        for (most_bytes, count) in [(1 << 20, MOST), (16 * 40, 40)] {
            let now = Instant::now();
            let mut bodies = UnfinishedBodies::new(most_bytes);
            let began = (0..2_000)
                .filter(|port| bodies.add((sender(*port), 1), part(0), None, now).is_ok())
                .count();
            assert_eq!(began, count);
            let other = (SocketAddr::from(([10, 0, 0, 7], 1)), 1);
            for number in 0..4 {
                // The hostile one goes on meanwhile.
                let _ = bodies.add((sender(3_000 + number), 1), part(0), None, now);
                let number = u32::from(number);
                assert!(matches!(
                    bodies.add(other, part(number), None, now),
                    Ok(None)
                ));
            }
            let whole = bodies.add(other, part(4), None, now).ok().flatten();
            assert_eq!(whole.as_deref(), Some(&WHOLE[..]));
            assert!(bodies.bytes <= most_bytes && bodies.bodies.len() <= MOST);
        }
    }

    /// Block `number` of [`WHOLE`], of 16 bytes each.
    fn part(number: u32) -> (Block, Vec<u8>) {
        let from = number as usize * 16;
        let to = WHOLE.len().min(from + 16);
        let value = number << 4 | u32::from(to < WHOLE.len()) << 3;
        let block = Block::parse(&super::super::datagram::uint(value)).unwrap();
        (block, WHOLE[from..to].to_vec())
    }

    #[test]
    fn a_body_without_its_first_block_of_another_format_or_too_late_is_incomplete() {
        let mut now = Instant::now();
        let mut bodies = UnfinishedBodies::new(1_000);
        let key = (sender(1), 7);
        assert_eq!(
            bodies.add(key, part(1), None, now),
            Err(CoapOutcome::Incomplete)
        );
        assert_eq!(bodies.add(key, part(0), None, now), Ok(None));
        assert_eq!(
            bodies.add(key, part(1), Some(50), now),
            Err(CoapOutcome::Incomplete)
        );
        assert_eq!(bodies.add(key, part(0), None, now), Ok(None));
        now += BLOCK_WITHIN;
        assert_eq!(
            bodies.add(key, part(1), None, now),
            Err(CoapOutcome::Incomplete)
        );
        assert_eq!((bodies.bodies.len(), bodies.bytes), (0, 0));
    }

    #[test]
    fn the_oldest_of_a_sender_gives_way_and_of_others_who_waits() {
        let now = Instant::now();
        let mut bodies = UnfinishedBodies::new(6 * 16);
        for name in 0..6 {
            assert_eq!(bodies.add((sender(1), name), part(0), None, now), Ok(None));
        }
        assert_eq!(bodies.bodies.len(), MOST_OF_ONE);
        for name in 0..2 {
            assert_eq!(bodies.add((sender(2), name), part(0), None, now), Ok(None));
        }
        let third = (sender(3), 0);
        assert_eq!(
            bodies.add(third, part(0), None, now),
            Err(CoapOutcome::Full)
        );
        assert_eq!(bodies.add(third, part(0), None, now + YOUNG), Ok(None));
        assert_eq!(bodies.bytes, 6 * 16);
    }

    proptest! {
        #[test]
        fn what_comes_whole_is_what_was_sent_and_never_more_is_kept_than_may_be(
            steps in proptest::collection::vec((0_u16..8, 0_u128..3, 0_u32..5, 0_u64..40), 1..200),
        ) {
            let mut bodies = UnfinishedBodies::new(300);
            let mut now = Instant::now();
            let mut came = BTreeMap::<BodyKey, u32>::new();
            for (port, name, number, seconds) in steps {
                now += Duration::from_secs(seconds / 10);
                let key = (sender(port), name);
                // Mostly the one that comes next.
                let next = came.get(&key).copied().unwrap_or_default();
                let number = if seconds < 30 { next } else { number };
                let added = bodies.add(key, part(number), None, now);
                came.insert(key, if added == Ok(None) { number + 1 } else { 0 });
                if let Ok(Some(whole)) = added {
                    prop_assert_eq!(&whole[..], &WHOLE[..]);
                }
                let sum: usize = bodies.bodies.values().map(|body| body.data.len()).sum();
                prop_assert!(sum == bodies.bytes && sum <= 300);
            }
        }
    }
}
