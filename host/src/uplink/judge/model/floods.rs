//! Upstreams that take only so many in a time, and devices of which thousands are not taken.

use proptest::prelude::*;

use super::super::*;
use super::uplink::ModelUplink;
use super::upstream::{Grant, Nature};

const SECOND: Duration = Duration::from_secs(1);

/// These take longer than others.
fn long() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: usual.cases / 8,
        ..usual
    }
}

fn good(count: usize, keys: u64) -> Vec<(u64, Nature)> {
    (0..count)
        .map(|index| (index as u64 % keys, Nature::Good))
        .collect()
}

fn delivered_before(uplink: &ModelUplink, time: Duration) -> usize {
    uplink.delivered.values().filter(|at| **at <= time).count()
}

fn grant() -> impl Strategy<Value = (Grant, f64)> {
    prop_oneof![
        (20_u32..150).prop_map(|rate| (Grant::OfEachSecond(rate), f64::from(rate))),
        (20.0_f64..150.0, 1.0_f64..30.0)
            .prop_map(|(rate, depth)| (Grant::Bucket(depth, rate), rate)),
    ]
}

proptest! {
    #![proptest_config(long())]

    #[test]
    fn an_upstream_that_takes_so_many_a_second_gets_nearly_as_many_and_nothing_is_parked(
        (grant, rate) in grant(), keys in 4_u64..40, window in 4_usize..200,
    ) {
        let seconds = 40_u32;
        let count = (rate * f64::from(seconds)) as usize * 3;
        let mut uplink = ModelUplink::new(&good(count, keys), Duration::ZERO, window);
        (uplink.grant, uplink.every) = (grant, SECOND.div_f64(rate * 3.0));
        uplink.run(SECOND * seconds);
        prop_assert!(uplink.parked.is_empty(), "{:?}", uplink.parked);
        let granted = rate * f64::from(seconds);
        let got = delivered_before(&uplink, SECOND * seconds) as f64;
        prop_assert!(got >= 0.8 * granted.min(keys as f64 * 50.0 * f64::from(seconds)), "{got} of {granted}");
        // What was under way when it was refused for the first time is the exception that MQTT makes.
        prop_assert!(uplink.disorder() <= window, "{} of {}", uplink.disorder(), uplink.order.len());
        let late: Vec<_> = uplink.delivered.iter().map(|(index, at)| at.saturating_sub(uplink.every * *index as u32)).collect();
        let backlog = SECOND * seconds;
        prop_assert!(late.iter().all(|late| *late <= backlog), "{:?}", late.iter().max());
    }
}

proptest! {
    #![proptest_config(long())]

    /// Nothing is taken for a while, since it is too much, and then so many a second.
    #[test]
    fn where_the_quota_is_used_up_nothing_is_parked_and_all_goes_on_afterwards(
        (grant, _) in grant(), seconds in 1_u64..400, keys in 1_u64..20, window in 1_usize..100, before in 0_usize..3,
    ) {
        let mut uplink = ModelUplink::new(&good(200, keys), Duration::ZERO, window);
        uplink.every = Duration::from_millis(10);
        for _ in 0..before {
            uplink.turn();
        }
        (uplink.grant, uplink.starves_until) = (grant, SECOND * u32::try_from(seconds).unwrap());
        uplink.run(uplink.starves_until.saturating_sub(SECOND));
        let is_told = uplink.delivered.len() == 200 || seconds < 5 || uplink.judge.is_alarming();
        prop_assert!(is_told && uplink.parked.is_empty(), "{uplink:?}");
        let held = uplink.delivered.len();
        prop_assert!(uplink.refusals < 600, "{} refused", uplink.refusals);
        uplink.run(uplink.starves_until + SECOND * 60);
        prop_assert!(uplink.parked.is_empty() && uplink.delivered.len() == 200, "{uplink:?}");
        let first = uplink.delivered.values().filter(|at| **at >= uplink.starves_until).min();
        prop_assert!(held == 200 || first.is_some_and(|first| *first <= uplink.starves_until + SECOND * 11), "{first:?}");
    }

    /// One device is always refused as too much, all others are taken.
    #[test]
    fn a_device_that_alone_is_refused_as_too_much_holds_up_no_other(
        keys in 3_u64..20, bad in 1_usize..4, window in 2_usize..100, every in prop_oneof![2_u64..50, 500_u64..3_000], before in 0_usize..2,
    ) {
        let mut messages = good(if every < 100 { 600 } else { 100 }, keys);
        for (index, (key, nature)) in messages.iter_mut().enumerate() {
            if index < before || *key == 1 && bad < 3 || *key == 0 && bad > 1 {
                *nature = Nature::TooMuch;
            }
        }
        let is_good = |index: usize| messages[index].1 == Nature::Good;
        let mut uplink = ModelUplink::new(&messages, Duration::ZERO, window);
        uplink.every = Duration::from_millis(every);
        uplink.run(SECOND * 1_000);
        prop_assert!(uplink.parked.keys().all(|index| !is_good(*index)), "{:?}", uplink.parked);
        let has_bad = |key: u64| messages.contains(&(key, Nature::TooMuch));
        let others = uplink.longest(|index| is_good(index) && !has_bad(messages[index].0));
        prop_assert!(others.is_some_and(|late| late <= SECOND * 10), "{others:?}");
        // Those of its own key wait until it is clear that it is not the pace.
        let late = uplink.longest(is_good);
        prop_assert!(late.is_some_and(|late| late <= SECOND * 20), "{late:?}");
    }

    /// Thousands of one device are refused in one way or the other, those of the others are taken.
    #[test]
    fn a_device_of_which_thousands_are_not_taken_holds_up_no_other_for_more_than_ten_seconds(
        nature in prop_oneof![Just(Nature::HangUp), Just(Nature::Silent), Just(Nature::Final), Just(Nature::Busy(30))],
        count in 300_usize..800, window in 4_usize..200, has_many_topics: bool, every in 0_u64..3,
    ) {
        // They are owed already; then others come among some more of them.
        let mut messages = vec![(0, nature); count];
        for index in 0..400_u64 {
            let is_bad = index % 5 == 0;
            messages.push(if is_bad { (0, nature) } else { (1 + index % 7, Nature::Good) });
        }
        let is_good = |index: usize| messages[index].1 == Nature::Good;
        let mut uplink = ModelUplink::new(&messages, Duration::ZERO, window);
        uplink.has_many_topics = has_many_topics;
        uplink.every = Duration::from_millis(every);
        uplink.run(SECOND * 100);
        let late = uplink.longest(is_good);
        prop_assert!(late.is_some_and(|late| late <= SECOND * 10), "{late:?} {:?}", uplink.delivered.len());
        prop_assert!(uplink.parked.keys().all(|index| !is_good(*index)));
    }

    /// What is not fit to be sent says nothing about upstream, which refuses everything for a while.
    #[test]
    fn what_is_not_sent_leaves_the_probes_of_a_hold_alone(
        seconds in 1_u64..100, bad in 1_usize..300, kind in prop_oneof![Just(Nature::Unfit), Just(Nature::Limit)], window in 1_usize..50,
    ) {
        let mut messages = good(30, 6);
        messages.extend((0..bad as u64).map(|index| (10 + index % 50, kind)));
        messages.extend(good(30, 6));
        let until = SECOND * u32::try_from(seconds).unwrap();
        let mut uplink = ModelUplink::new(&messages, until, window);
        uplink.run(until);
        let is_bad = |index: &usize| messages[*index].1 == kind;
        prop_assert!(uplink.parked.keys().all(|index| is_bad(index) && kind == Nature::Unfit), "{:?}", uplink.parked);
        uplink.run(until + SECOND * 60);
        prop_assert!(uplink.parked.keys().all(is_bad), "{:?}", uplink.parked);
        prop_assert_eq!((uplink.delivered.len(), uplink.parked.len()), (60, bad));
        let first = uplink.delivered.values().min();
        prop_assert!(first.is_some_and(|first| *first <= until + SECOND * 11), "{first:?} {until:?}");
    }

    /// The dead letters have no room, and hundreds are refused for good.
    #[test]
    fn where_the_dead_letters_are_full_the_others_go_on_and_what_is_refused_goes_when_there_is_room(
        count in 300_usize..1_500, one_in in 2_usize..9, room in 0_usize..40, window in 1_usize..50,
    ) {
        let nature = |index: usize| if index.is_multiple_of(one_in) { Nature::Good } else { Nature::Final };
        let messages: Vec<_> = (0..count).map(|index| (index as u64 % 20, nature(index))).collect();
        let is_good = |index: usize| messages[index].1 == Nature::Good;
        let mut uplink = ModelUplink::new(&messages, Duration::ZERO, window);
        uplink.room = room;
        uplink.run(SECOND * 60);
        let late = uplink.longest(is_good);
        prop_assert!(late.is_some_and(|late| late <= SECOND * 40), "{late:?} of {}", uplink.delivered.len());
        prop_assert!(uplink.judge.is_crowded());
        uplink.room = usize::MAX;
        uplink.run(SECOND * 120);
        prop_assert!((0..count).all(|index| uplink.is_done(index)), "{uplink:?}");
    }

    /// A link that is cut every few seconds, over which an answer takes half a second.
    #[test]
    fn a_link_that_is_cut_again_and_again_parks_nothing(
        every in 2_000_u64..6_000, round_trip in 20_u64..600, keys in 1_u64..12, window in 1_usize..200, pause in 50_u64..300,
    ) {
        let mut uplink = ModelUplink::new(&good(400, keys), Duration::ZERO, window);
        (uplink.cut_every, uplink.round_trip) = (Some(Duration::from_millis(every)), Duration::from_millis(round_trip));
        uplink.every = Duration::from_millis(pause);
        uplink.run(SECOND * 600);
        prop_assert!(uplink.parked.is_empty(), "{:?}", uplink.parked);
    }

    /// Upstream ends the connection over what is too much, and says so.
    #[test]
    fn an_upstream_that_ends_connections_over_a_rate_gets_most_of_what_it_grants_and_nothing_is_parked(
        rate in 1.0_f64..500.0, depth in 1.0_f64..200.0, keys in 1_u64..40, window in 1_usize..100, round_trip in 20_u64..200,
    ) {
        let seconds = 120_u32;
        // What it owes grows all the time.
        let demand = rate * 1.5;
        let count = (demand * f64::from(seconds)) as usize;
        let mut uplink = ModelUplink::new(&good(count, keys), Duration::ZERO, window);
        (uplink.grant, uplink.every) = (Grant::Bucket(depth, rate), SECOND.div_f64(demand));
        (uplink.ends_over_grant, uplink.round_trip) = (true, Duration::from_millis(round_trip));
        uplink.run(SECOND * seconds);
        prop_assert!(uplink.parked.is_empty(), "{:?}", uplink.parked);
        let carries = window as f64 * 1_000.0 / round_trip as f64;
        let granted = rate.min(carries) * f64::from(seconds);
        let got = delivered_before(&uplink, SECOND * seconds) as f64;
        prop_assert!(got >= 0.7 * granted, "{got} of {granted}, {} ends", uplink.ends);
        prop_assert!(uplink.ends < 24, "{} ends", uplink.ends);
        prop_assert_eq!(uplink.disorder(), 0);
    }

    /// The same, while it does so over some messages always.
    #[test]
    fn what_an_upstream_always_says_is_too_much_and_hangs_up_on_is_parked_and_holds_up_no_other(
        places in proptest::collection::vec(0_usize..60, 1..4), window in 2_usize..100, every in 20_u64..200, is_limited: bool,
    ) {
        let mut messages = good(400, 10);
        for (place, key) in places.iter().zip(100..) {
            messages.insert(*place, (key, Nature::HangUp));
        }
        let bad = |index: usize| messages[index].1 != Nature::Good;
        let mut uplink = ModelUplink::new(&messages, Duration::ZERO, window);
        (uplink.every, uplink.ends_over_grant) = (Duration::from_millis(every), true);
        if is_limited {
            uplink.grant = Grant::Bucket(20.0, 5_000.0 / every as f64);
        }
        uplink.run(SECOND * 1_000);
        prop_assert!(uplink.parked.keys().all(|index| bad(*index)) && uplink.parked.len() == places.len(), "{uplink:?}");
        let late = uplink.longest(|index| !bad(index));
        // Each costs the others two connections before it is passed, and some half a second more while it is tried.
        let bound = SECOND * (10 + 5 * (places.len() as u32 - 1)) * if is_limited { 2 } else { 1 };
        prop_assert!(late.is_some_and(|late| late <= bound), "{late:?} {uplink:?}");
    }

    /// It grants nothing for a while.
    #[test]
    fn where_the_quota_is_used_up_and_connections_end_for_it_nothing_is_parked_and_all_goes_on_afterwards(
        (grant, _) in grant(), seconds in 1_u64..400, keys in 1_u64..20, window in 1_usize..100, before in 0_usize..30,
    ) {
        let mut uplink = ModelUplink::new(&good(200, keys), Duration::ZERO, window);
        uplink.every = Duration::from_millis(10);
        for _ in 0..before {
            uplink.turn();
        }
        (uplink.grant, uplink.starves_until, uplink.ends_over_grant) = (grant, SECOND * u32::try_from(seconds).unwrap(), true);
        uplink.run(uplink.starves_until.saturating_sub(SECOND));
        let is_told = uplink.delivered.len() == 200 || seconds < 30 || uplink.judge.is_alarming();
        prop_assert!(is_told && uplink.parked.is_empty(), "{uplink:?}");
        let held = uplink.delivered.len();
        uplink.run(uplink.starves_until + SECOND * 120);
        let first = uplink.delivered.values().filter(|at| **at >= uplink.starves_until).min();
        prop_assert!(uplink.parked.is_empty() && uplink.delivered.len() == 200, "{uplink:?}");
        // It is tried at least once in a minute, over ever fewer connections.
        prop_assert!(held == 200 || first.is_some_and(|first| *first <= uplink.starves_until + SECOND * 66), "{first:?}");
        prop_assert!(uplink.ends < 100, "{} ends", uplink.ends);
    }

    /// Each connection ends after so many messages, whatever they are.
    #[test]
    fn an_upstream_that_takes_so_many_over_each_connection_parks_nothing(
        most in 3_usize..60, keys in 1_u64..12, window in 1_usize..60, pause in 0_u64..30,
    ) {
        let mut uplink = ModelUplink::new(&good(400, keys), Duration::ZERO, window);
        (uplink.ends_after, uplink.every) = (Some(most), Duration::from_millis(pause));
        uplink.run(SECOND * 1_000);
        prop_assert!(uplink.parked.is_empty(), "{:?}", uplink.parked);
        prop_assert_eq!(uplink.delivered.len(), 400);
    }
}
