//! Who has shown a wrong token too often of late: that one waits, whatever it shows next. The table is bounded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// So many wrong tokens from one place within [`WITHIN`] may be a mistake.
const MOST: u32 = 10;
const WITHIN: Duration = Duration::from_secs(60);
/// Places that are remembered; the one that began first makes way.
const PLACES: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct FailedTries {
    places: HashMap<IpAddr, FailedPlace>,
}

#[derive(Debug)]
struct FailedPlace {
    since: Instant,
    tries: u32,
}

impl FailedTries {
    /// How long whoever asks from there has still to wait.
    pub(super) fn wait(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let place = self.places.get(&network(from))?;
        let left = (place.since + WITHIN).saturating_duration_since(now);
        (place.tries >= MOST && !left.is_zero()).then_some(left)
    }

    /// A wrong token came from there.
    pub(super) fn note(&mut self, from: IpAddr, now: Instant) {
        let from = network(from);
        if let Some(place) = self.places.get_mut(&from) {
            if now.saturating_duration_since(place.since) < WITHIN {
                place.tries += 1;
            } else {
                (place.since, place.tries) = (now, 1);
            }
            return;
        }
        if self.places.len() >= PLACES {
            self.make_room(now);
        }
        let place = FailedPlace {
            since: now,
            tries: 1,
        };
        self.places.insert(from, place);
    }

    fn make_room(&mut self, now: Instant) {
        self.places
            .retain(|_, place| now.saturating_duration_since(place.since) < WITHIN);
        if self.places.len() < PLACES {
            return;
        }
        let oldest = self.places.iter().min_by_key(|(_, place)| place.since);
        if let Some(oldest) = oldest.map(|(from, _)| *from) {
            self.places.remove(&oldest);
        }
    }
}

/// Whoever has one address of IPv6 has all that share its first half.
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => {
            let bits = u128::from(address) >> 64 << 64;
            IpAddr::V6(bits.into())
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn whoever_fails_too_often_waits_and_nobody_else_does() {
        let now = Instant::now();
        let mut tries = FailedTries::default();
        for _ in 0..MOST {
            assert_eq!(tries.wait(from("10.0.0.1"), now), None);
            tries.note(from("10.0.0.1"), now);
        }
        assert_eq!(tries.wait(from("10.0.0.1"), now), Some(WITHIN));
        assert_eq!(tries.wait(from("::ffff:10.0.0.1"), now), Some(WITHIN));
        assert_eq!(tries.wait(from("10.0.0.2"), now), None);
        assert_eq!(tries.wait(from("10.0.0.1"), now + WITHIN), None);
        tries.note(from("10.0.0.1"), now + WITHIN);
        assert_eq!(tries.wait(from("10.0.0.1"), now + WITHIN), None);
    }

    #[test]
    fn one_network_of_ipv6_is_one_place() {
        let now = Instant::now();
        let mut tries = FailedTries::default();
        for host in 0..u128::from(MOST) {
            let host = u128::from("2001:db8::".parse::<std::net::Ipv6Addr>().unwrap()) + host;
            tries.note(IpAddr::V6(host.into()), now);
        }
        assert!(tries.wait(from("2001:db8::ffff"), now).is_some());
        assert!(tries.wait(from("2001:db8:0:1::1"), now).is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let mut tries = FailedTries::default();
        for host in 0..4 * u32::try_from(PLACES).unwrap() {
            let at = now + Duration::from_micros(u64::from(host));
            tries.note(IpAddr::V4(host.into()), at);
            assert!(tries.places.len() <= PLACES);
        }
        // The newest of them is there.
        let newest = IpAddr::V4((4 * u32::try_from(PLACES).unwrap() - 1).into());
        assert!(tries.places.contains_key(&newest));
    }
}
