//! The judge against random refusers: a small uplink around it, in time of its own.

mod floods;
mod uplink;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use self::uplink::{ModelUplink, REDIAL};
use self::upstream::Nature;
use super::case::ROUND;
use super::next::TRIAL;
use super::*;
use crate::message::Seq;

fn nature() -> impl Strategy<Value = Nature> {
    prop_oneof![
        30 => Just(Nature::Good),
        1 => Just(Nature::Final),
        1 => Just(Nature::FinalAndHangUp),
        1 => (1_u32..30).prop_map(Nature::Busy),
        1 => Just(Nature::HangUp),
        1 => Just(Nature::Silent),
    ]
}

/// Milliseconds: just before others go on without the answer to a suspect, or just after it.
fn about_a_trial() -> impl Strategy<Value = u64> {
    let trial = u64::try_from(TRIAL.as_millis()).unwrap();
    trial - 100..trial + 40
}

fn bad() -> impl Strategy<Value = Nature> {
    prop_oneof![
        Just(Nature::Final),
        (1_u32..30).prop_map(Nature::Busy),
        Just(Nature::HangUp),
        Just(Nature::Silent),
    ]
}

/// One at a time, so many go between two trials that each connection would end after as many answers as the one before.
#[test]
fn where_one_is_under_way_at_a_time_twelve_that_upstream_hangs_up_on_hold_up_no_other_for_more_than_ten_seconds()
 {
    let bad = (100..112).map(|key| (key, Nature::HangUp));
    let good = (0..160).map(|index| (index % 10, Nature::Good));
    let mut uplink = ModelUplink::new(&bad.chain(good).collect::<Vec<_>>(), Duration::ZERO, 1);
    uplink.run(Duration::from_secs(200));
    let late = uplink.longest(|index| index >= 12);
    assert!(
        late.is_some_and(|late| late <= Duration::from_secs(10)),
        "{late:?}"
    );
    assert_eq!(
        uplink.parked.keys().copied().collect::<Vec<_>>(),
        (0..12).collect::<Vec<_>>()
    );
}

/// The longest wait of the good ones, ten a second, where so many others have no answer, each of a key of its own: one a second, or all
/// behind one another.
fn longest_beside_silent_ones(window: usize, count: usize, is_at_once: bool) -> Duration {
    let good = (0..1_200).map(|index| (index % 10, Nature::Good));
    let mut messages: Vec<_> = good.collect();
    for number in 0..count {
        let place = 20 + number * if is_at_once { 1 } else { 10 };
        messages[place] = (100 + number as u64, Nature::Silent);
    }
    let mut uplink = ModelUplink::new(&messages, Duration::ZERO, window);
    uplink.every = Duration::from_millis(if is_at_once { 50 } else { 100 });
    uplink.run(Duration::from_secs(20_000));
    let is_good = |index: usize| messages[index].1 == Nature::Good;
    let late = uplink.longest(is_good);
    assert_eq!(uplink.parked.len(), count, "{uplink:?}");
    assert!(uplink.parked.keys().all(|index| !is_good(*index)));
    late.unwrap_or(Duration::MAX)
}

#[test]
fn forty_without_an_answer_hold_up_no_other_for_more_than_ten_seconds() {
    for window in [1, 2, 5, 10, 20] {
        for count in [1, 5, 20, 40] {
            let late = longest_beside_silent_ones(window, count, false);
            assert!(late <= Duration::from_secs(10), "{window} {count} {late:?}");
        }
    }
}

/// Where they come behind one another there is nothing to be sent between them: each is found by what answers take, and costs a dial, half a
/// second at most.
#[test]
fn without_an_answer_behind_one_another_each_costs_what_is_found_out_by_and_no_more() {
    for window in [1, 2, 5, 10, 20] {
        for count in [1, 5, 20, 40] {
            let late = longest_beside_silent_ones(window, count, true);
            let first = Duration::from_secs(6);
            let each = Duration::from_millis(500) * u32::try_from(count).unwrap();
            assert!(late <= first + each, "{window} {count} {late:?}");
        }
    }
}

/// Of a device whose first messages have no answer, so that its next ones are taken for such; one of those ends connections instead.
#[test]
fn one_that_is_taken_for_one_without_an_answer_and_ends_connections_is_parked() {
    use Nature::{Busy, Good, HangUp, Silent};
    let mut messages = vec![(9, Good)];
    messages.extend([(0, Good); 6]);
    messages.extend([(2, Silent), (2, Silent), (4, HangUp), (2, Busy(6))]);
    messages.extend([(2, Silent), (2, Busy(2)), (2, HangUp)]);
    messages.extend([(0, Good), (0, Good), (1, Good)]);
    messages.extend([(0, Good); 3]);
    let mut uplink = ModelUplink::new(&messages, Duration::ZERO, 6);
    uplink.run(Duration::from_secs(3_600));
    let owed = (0..messages.len()).find(|index| !uplink.is_done(*index));
    assert_eq!(owed, None, "{uplink:?}");
}

proptest! {
    #[test]
    fn no_other_message_waits_for_more_than_ten_seconds(
        bad in bad(), place in 0_usize..40, keys in 1_u64..6, window in 1_usize..60,
    ) {
        let mut messages: Vec<_> = (0..60).map(|index| (index % keys, Nature::Good)).collect();
        messages[place].1 = bad;
        let mut uplink = ModelUplink::new(&messages, Duration::ZERO, window);
        uplink.run(Duration::from_secs(200));
        let late = uplink.delivered.iter().filter(|(index, _)| **index != place).map(|(_, at)| *at).max();
        prop_assert!(late.is_some_and(|late| late <= Duration::from_secs(10)), "{late:?} {:?}", uplink);
        let is_kept = matches!(bad, Nature::Busy(times) if times < 4);
        prop_assert!(uplink.is_done(place), "{uplink:?}");
        prop_assert_eq!(uplink.parked.keys().copied().collect::<Vec<_>>(), if is_kept || uplink.delivered.contains_key(&place) { vec![] } else { vec![place] });
    }

    #[test]
    fn many_that_upstream_hangs_up_on_at_once_hold_up_no_other_for_more_than_ten_seconds(
        count in 1_usize..13, places in proptest::collection::vec(0_usize..60, 12), window in 1_usize..100,
        has_more in proptest::bool::ANY, every in 0_u64..100,
    ) {
        let mut messages: Vec<_> = (0..if has_more { 160 } else { 60 }).map(|index| (index % 10, Nature::Good)).collect();
        for (place, key) in places[..count].iter().zip(100..) {
            messages.insert(*place, (key, Nature::HangUp));
        }
        let bad = |index: usize| messages[index].1 != Nature::Good;
        let mut uplink = ModelUplink::new(&messages, Duration::ZERO, window);
        uplink.every = Duration::from_millis(every);
        uplink.run(Duration::from_secs(200));
        let late = uplink.longest(|index| !bad(index));
        prop_assert!(late.is_some_and(|late| late <= Duration::from_secs(10)), "{late:?} {uplink:?}");
        prop_assert!(uplink.parked.keys().all(|index| bad(*index)) && uplink.parked.len() == count, "{uplink:?}");
    }

    #[test]
    fn one_that_upstream_hangs_up_on_late_holds_up_no_other_for_more_than_ten_seconds(
        place in 0_usize..60, key in 0_u64..11, after in prop_oneof![20_u64..8_000, about_a_trial()], window in 2_usize..100,
    ) {
        let mut messages: Vec<_> = (0..250).map(|index| (index % 10, Nature::Good)).collect();
        messages.insert(place, (key, Nature::LateHangUp(Duration::from_millis(after))));
        let mut uplink = ModelUplink::new(&messages, Duration::ZERO, window);
        uplink.every = Duration::from_millis(200);
        uplink.run(Duration::from_secs(200));
        let late = uplink.longest(|index| index != place);
        prop_assert!(late.is_some_and(|late| late <= Duration::from_secs(10)), "{late:?} {:?}", uplink.parked);
        prop_assert_eq!(uplink.parked.keys().copied().collect::<Vec<_>>(), vec![place]);
    }

    #[test]
    fn what_comes_behind_those_that_upstream_hangs_up_on_arrives_though_nothing_was_accepted_before(
        count in 1_usize..13, every in 1_u64..40,
    ) {
        let bad = (0..count).map(|index| (100 + index as u64, Nature::HangUp));
        let messages: Vec<_> = bad.chain((0..60).map(|index| (index % 10, Nature::Good))).collect();
        let mut uplink = ModelUplink::new(&messages, Duration::ZERO, 100);
        uplink.every = Duration::from_secs(every);
        uplink.run(Duration::from_secs(100 * every));
        let late = uplink.longest(|index| index >= count);
        prop_assert!(late.is_some_and(|late| late <= Duration::from_secs(10)), "{late:?} {uplink:?}");
        prop_assert_eq!(uplink.parked.len(), count);
    }

    #[test]
    fn unanswered_messages_that_fill_the_window_are_passed_within_ten_seconds(
        window in 1_usize..60, more in 0_usize..3, before in 0_usize..3, keys in 1_u64..6,
    ) {
        let silent = window + more * window / 3;
        let mut messages: Vec<_> = (0..silent + 60).map(|index| (index as u64 % keys, Nature::Good)).collect();
        messages[before..before + silent].iter_mut().for_each(|(_, nature)| *nature = Nature::Silent);
        let mut uplink = ModelUplink::new(&messages, Duration::ZERO, window);
        uplink.run(Duration::from_secs(7_200));
        let late = uplink.delivered.values().max().copied();
        let rounds = u32::try_from(silent.div_ceil(window)).unwrap();
        prop_assert!(late.is_some_and(|late| late <= Duration::from_secs(10) * rounds), "{late:?}");
        prop_assert_eq!((uplink.delivered.len(), uplink.parked.len()), (60, silent));
    }

    #[test]
    fn every_message_is_delivered_or_parked_once_and_keys_keep_their_order(
        messages in proptest::collection::vec((0_u64..5, nature()), 2..120), window in 4_usize..40,
    ) {
        let mut messages = messages;
        // One that upstream takes, whatever else it refuses.
        messages.insert(0, (9, Nature::Good));
        let mut uplink = ModelUplink::new(&messages, Duration::ZERO, window);
        uplink.run(Duration::from_secs(3_600));
        for (index, (key, nature)) in messages.iter().enumerate() {
            prop_assert!(uplink.is_done(index), "{index} is owed: {uplink:?}");
            if *nature == Nature::Good {
                prop_assert!(uplink.delivered.contains_key(&index), "{index} of key {key} was parked");
            }
        }
        // First deliveries; what lay behind one without an answer in the window is the exception that MQTT makes.
        let mut last = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for index in uplink.order.iter().filter(|index| seen.insert(**index)) {
            let key = messages[*index].0;
            let has_busy = messages.iter().any(|(other, nature)| *other == key && matches!(nature, Nature::Busy(_)));
            if !has_busy {
                prop_assert!(last.insert(key, *index).is_none_or(|before| before < *index), "{:?}", uplink.order);
            }
        }
    }

    #[test]
    fn where_everything_is_refused_nothing_is_parked(
        messages in proptest::collection::vec((0_u64..5, nature()), 1..200), seconds in 0_u64..200, window in 1_usize..100,
    ) {
        let mut messages = messages;
        messages.iter_mut().for_each(|(_, nature)| *nature = if *nature == Nature::Silent { Nature::Good } else { *nature });
        messages.push((9, Nature::Good));
        let until = Duration::from_secs(seconds);
        let mut uplink = ModelUplink::new(&messages, until, window);
        uplink.run(until);
        prop_assert!(uplink.parked.is_empty() && uplink.delivered.values().all(|at| *at >= until), "{uplink:?}");
        uplink.run(until + Duration::from_secs(3_600));
        let is_lost = |index: &usize| messages[*index].1 == Nature::Good && !uplink.delivered.contains_key(index);
        prop_assert_eq!((0..messages.len()).find(is_lost), None, "{:?}", uplink);
        // The next round of probes comes within ten seconds. Of those that are refused anyway each may be tried three times
        // before the one behind it, and a hang-up costs a connection and a pause.
        let count = |is: fn(&Nature) -> bool| u32::try_from(messages.iter().filter(|(_, nature)| is(nature)).count()).unwrap();
        let bad = count(|nature| *nature != Nature::Good);
        let hang_ups = count(|nature| matches!(nature, Nature::HangUp | Nature::FinalAndHangUp));
        let first = uplink.delivered.values().min().copied().unwrap_or_default();
        let bound = Duration::from_secs(11) * (1 + 3 * bad / u32::try_from(ROUND).unwrap()) + (REDIAL + PROBE.1) * 4 * hang_ups;
        prop_assert!(first <= until + bound, "{first:?} and not {until:?} + {bound:?}");
    }

    #[test]
    fn nothing_is_parked_that_has_no_room(count in 20_usize..400, room in 0_usize..40, one_in in 2_usize..9) {
        let nature = |index| if index % one_in == 0 { Nature::Good } else { Nature::Final };
        let messages: Vec<_> = (0..count).map(|index| (index as u64, nature(index))).collect();
        let mut uplink = ModelUplink::new(&messages, Duration::ZERO, 20);
        uplink.room = room;
        uplink.run(Duration::from_secs(60));
        let refused = messages.iter().filter(|(_, nature)| *nature == Nature::Final).count();
        prop_assert_eq!(uplink.parked.len(), room.min(refused));
    }
}

#[test]
fn a_hold_has_the_words_of_the_last_refusal_however_few_there_were() {
    let now = Instant::now();
    let mut judge = Judge::new(now);
    judge.begin(now, |_| false);
    let face = Face {
        place: (0, Seq(0)),
        key: 0,
        topic: 0,
        is_own: false,
    };
    judge.sent(None, now);
    judge.refused(face, Refusal::Final, "not authorised".to_owned(), now);
    judge.cannot_compare(now);
    assert!(judge.held_since().is_some());
    assert_eq!(judge.why(), "not authorised");
}
