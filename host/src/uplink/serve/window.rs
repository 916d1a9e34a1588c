//! How many publishes may be under way: what the connection allows, less where upstream was seen to end a connection over
//! their number or over one among them. No clock, no messages.
//!
//! A connection after one that ended with something under way begins with one publish, so that what upstream dislikes is
//! soon alone, and with each that is accepted one more may be: twice as many each round trip. Over MQTT 3.1.1, which cannot
//! announce a limit, a number at which upstream hangs up again and again is one (20 in mosquitto, 16 in rmqtt): it is passed
//! ever more seldom.

/// Publishes of QoS 2 under way over MQTT 3.1.1, which cannot announce a limit: what the most widely used broker takes.
pub(super) const UNANNOUNCED: usize = 20;
/// Accepted publishes at that number before a higher one is tried.
const TRY: u64 = 1_000;
/// The least after a higher one has failed, and how much more after each further time.
const AGAIN: u64 = 64;
const SELDOMER: u64 = 16;
/// Hang-ups in a row at a number that upstream has taken before: it takes less now.
const BREAKS: u32 = 3;

/// How it is known what upstream takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Announced,
    /// It cannot, and is tried: all that the connection allows, until it hangs up over that.
    Sought,
    /// The same with QoS 2, where the most widely used broker takes few.
    SoughtFromBelow,
}

/// The window of one connection and those after it.
#[derive(Debug)]
pub(super) struct Window {
    /// What may be under way now; grows with every accepted publish.
    open: usize,
    ceiling: usize,
    /// What the connection allows.
    limit: usize,
    /// The largest number under way that upstream was seen to take.
    proven: usize,
    /// Accepted with the window full, and how many of them lift the ceiling.
    accepted: u64,
    price: u64,
    breaks: u32,
    /// Upstream says how many it takes, so nothing is sought.
    can_announce: bool,
}

impl Window {
    /// One that nothing limits.
    pub(super) fn new() -> Self {
        let most = usize::MAX;
        Self {
            open: most,
            ceiling: most,
            limit: most,
            proven: 0,
            accepted: 0,
            price: 0,
            breaks: 0,
            can_announce: true,
        }
    }

    /// A connection begins that allows `most`.
    pub(super) fn begin(&mut self, most: usize, limit: Limit) {
        self.limit = most.max(1);
        self.can_announce = limit == Limit::Announced;
        if self.can_announce {
            self.ceiling = usize::MAX;
        } else if limit == Limit::SoughtFromBelow
            && self.ceiling == usize::MAX
            && self.proven < self.limit
        {
            (self.ceiling, self.price) = (UNANNOUNCED, TRY);
        }
    }

    /// Whether it is narrow since the connection is new.
    pub(super) fn is_opening(&self) -> bool {
        self.open < self.ceiling.min(self.limit)
    }

    /// Twice as many may be under way: answers are late.
    pub(super) fn widen(&mut self) {
        self.open = self.open.saturating_mul(2);
    }

    /// How many may be under way.
    pub(super) fn size(&self) -> usize {
        self.open.min(self.ceiling).min(self.limit).max(1)
    }

    /// Upstream accepted a publish while `under_way` were, itself included.
    pub(super) fn accepted(&mut self, under_way: usize) {
        if self.is_opening() {
            self.open += 1;
            return;
        }
        if self.can_announce || (self.proven >= self.limit && self.breaks == 0) {
            return;
        }
        // One that is not full says nothing about a larger one.
        let size = self.size();
        if under_way < size {
            return;
        }
        self.accepted += 1;
        if self.accepted < self.price.max(size as u64) {
            return;
        }
        (self.accepted, self.breaks, self.proven) = (0, 0, self.proven.max(size));
        if size < self.limit {
            self.ceiling = size + (size / 8).max(1);
            self.open = self.ceiling;
        } else {
            (self.ceiling, self.open) = (usize::MAX, usize::MAX);
        }
    }

    /// The connection ended while `under_way` publishes were; upstream hung up, or it is no sign of a limit. The next one
    /// begins with one publish, since one of them may be the reason.
    pub(super) fn broke(&mut self, under_way: usize, is_hang_up: bool) {
        if under_way == 0 {
            return;
        }
        (self.open, self.accepted) = (1, 0);
        if self.can_announce || !is_hang_up || under_way == 1 {
            return;
        }
        self.breaks += 1;
        if under_way <= self.proven && self.breaks < BREAKS {
            return;
        }
        if under_way <= self.proven {
            (self.proven, self.breaks) = (0, 0);
        }
        // Where nothing is known to be taken, it is no limit that was passed.
        let was_known = self.ceiling < usize::MAX && self.proven > 0;
        self.price = if was_known {
            self.price.max(AGAIN).saturating_mul(SELDOMER)
        } else {
            0
        };
        self.ceiling = (under_way / 2).max(self.proven).max(1);
    }

    /// None of these is the reason: the next connection begins with half as many.
    pub(super) fn halve(&mut self, under_way: usize) {
        if under_way > 0 {
            self.open = (under_way / 2).max(1);
        }
    }

    /// From now on one at a time, until more are accepted.
    pub(super) fn shut(&mut self) {
        self.open = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An upstream that hangs up when more than `most` are under way: gives hang-ups among so many accepted publishes.
    fn drive(window: &mut Window, most: usize, count: u64) -> u32 {
        let (mut hang_ups, mut accepted) = (0, 0);
        while accepted < count {
            if window.size() > most {
                // All went out before it looked.
                window.broke(window.size(), true);
                hang_ups += 1;
                assert!(hang_ups < 1_000);
            } else {
                window.accepted(window.size());
                accepted += 1;
            }
        }
        hang_ups
    }

    #[test]
    fn over_3_1_1_the_window_of_qos_2_begins_with_what_brokers_take() {
        let mut window = Window::new();
        window.begin(1_000, Limit::SoughtFromBelow);
        assert_eq!(window.size(), UNANNOUNCED);
        assert!(drive(&mut window, 20, 100_000) <= 3);
        assert_eq!(window.size(), 20);
        // A broker with more room is given more.
        let mut window = Window::new();
        window.begin(1_000, Limit::SoughtFromBelow);
        assert_eq!(drive(&mut window, 1_000, 100_000), 0);
        assert!(window.size() > 500, "{}", window.size());
    }

    #[test]
    fn a_link_that_was_cut_has_its_whole_window_again_soon() {
        for limit in [Limit::Announced, Limit::Sought] {
            let mut window = Window::new();
            window.begin(1_000, limit);
            for cut in [1_000, 700, 50, 1, 900] {
                drive(&mut window, 1_000, 5_000);
                assert_eq!(window.size(), 1_000, "after {cut}");
                window.broke(cut, false);
                assert_eq!(window.size(), 1);
            }
        }
    }

    #[test]
    fn what_is_hung_up_on_where_limits_are_announced_is_no_limit() {
        let mut window = Window::new();
        window.begin(1_000, Limit::Announced);
        for under_way in [50, 40, 30, 20, 10] {
            window.broke(under_way, true);
        }
        (0..999).for_each(|_| window.accepted(1));
        assert_eq!(window.size(), 1_000);
    }

    proptest! {
        #[test]
        fn a_limit_that_upstream_does_not_announce_is_found_and_kept(most in 1_usize..600, has_qos_2: bool) {
            let mut window = Window::new();
            window.begin(1_000, if has_qos_2 { Limit::SoughtFromBelow } else { Limit::Sought });
            let first = drive(&mut window, most, 20_000);
            prop_assert!(first <= 20, "{first} hang-ups while it was found");
            let later = drive(&mut window, most, 100_000);
            prop_assert!(later <= 3, "{later} hang-ups afterwards");
            prop_assert!(window.size() * 3 >= most, "{} of {most}", window.size());
        }
    }
}
