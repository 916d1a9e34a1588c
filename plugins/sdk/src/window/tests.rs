use super::*;
use proptest::prelude::*;

fn number(text: &str) -> Decimal {
    Decimal::parse(text.as_bytes()).unwrap()
}

fn shown(ended: &[Ended<Numbers>]) -> Vec<(i64, i64, u64)> {
    ended
        .iter()
        .map(|window| (window.from, window.to, window.value.count))
        .collect()
}

fn put(panes: &mut Panes<Numbers>, windows: Windows, at: i64) -> bool {
    panes
        .at(windows, at, 0)
        .map(|numbers| numbers.add(Decimal::from(1)))
        .is_some()
}

#[test]
fn windows_that_follow_each_other_end_once() {
    let windows = Windows::new(10, 10).unwrap();
    let mut panes = Panes::default();
    assert!(put(&mut panes, windows, 3) && put(&mut panes, windows, 9));
    assert!(panes.end(windows, 9).is_empty());
    assert_eq!(shown(&panes.end(windows, 10)), [(0, 10, 2)]);
    assert!(panes.is_empty() && panes.end(windows, 1_000).is_empty());
    assert!(put(&mut panes, windows, -5));
    assert_eq!(shown(&panes.end_all(windows)), [(-10, 0, 1)]);
}

#[test]
fn windows_that_overlap_share_their_panes() {
    let windows = Windows::new(30, 10).unwrap();
    let mut panes = Panes::default();
    put(&mut panes, windows, 5);
    put(&mut panes, windows, 15);
    assert_eq!(shown(&panes.end(windows, 15)), [(-20, 10, 1)]);
    assert_eq!(
        shown(&panes.end(windows, 1_000_000)),
        [(-10, 20, 2), (0, 30, 2), (10, 40, 1)],
        "as long as something lies in one"
    );
    assert!(panes.is_empty());
}

#[test]
fn what_comes_late_finds_its_window_while_that_is_open() {
    let windows = Windows::new(10, 10).unwrap();
    let mut panes = Panes::<Numbers>::default();
    panes.at(windows, 25, 10).unwrap().add(Decimal::from(1));
    panes.at(windows, 15, 10).unwrap().add(Decimal::from(1));
    assert!(panes.at(windows, 9, 10).is_none());
    assert_eq!(shown(&panes.end(windows, 20)), [(10, 20, 1)]);
    assert!(panes.at(windows, 19, 10).is_none(), "told already");
    assert_eq!(shown(&panes.end_all(windows)), [(20, 30, 1)]);
}

#[test]
fn a_leap_over_years_takes_no_time() {
    let windows = Windows::new(1_000_000, 10_000).unwrap();
    let mut panes = Panes::default();
    put(&mut panes, windows, 0);
    put(&mut panes, windows, i64::MAX / 4);
    assert_eq!(panes.end(windows, i64::MAX / 2).len(), 200);
    put(&mut panes, windows, i64::MIN / 2);
    assert_eq!(panes.end_all(windows).len(), 100);
}

#[test]
fn lengths_that_make_no_sense_are_refused() {
    for (size, every) in [(0, 1), (10, 0), (10, 3), (1_000, 1), (-5, -5)] {
        assert!(Windows::new(size, every).is_err(), "{size} {every}");
    }
}

#[test]
fn numbers_keep_their_digits_and_survive_what_is_too_large() {
    let mut numbers = Numbers::default();
    assert_eq!((numbers.sum(), numbers.mean()), (None, None));
    for text in ["0.1", "0.2", "-3", "9007199254740993"] {
        numbers.add(number(text));
    }
    let told = [
        numbers.min,
        numbers.max,
        numbers.first,
        numbers.last,
        numbers.sum(),
    ];
    let told = told.map(|number| number.unwrap().to_json());
    assert_eq!(
        told,
        [
            "-3",
            "9007199254740993",
            "0.1",
            "9007199254740993",
            "9007199254740990.3"
        ]
    );
    let mut huge = Numbers::default();
    for text in ["1e300", "5", "1e300"] {
        huge.add(number(text));
    }
    assert_eq!((huge.sum().unwrap().to_f64(), huge.count), (2e300, 3));
    for _ in 0..2 {
        huge.add(number("9e307").times(number("10")).unwrap());
    }
    assert_eq!(
        (huge.sum(), huge.mean()),
        (None, None),
        "beyond what numbers can say"
    );
}

proptest! {
    #[test]
    fn what_is_saved_weighs_no_more_than_is_said(
        numbers in prop::collection::vec((any::<i128>(), 0..128_u32, -300..300_i32), 1..40), size in 1..9_i64,
    ) {
        let windows = Windows::new(size, 1).unwrap();
        let mut panes = Panes::<Numbers>::default();
        for (at, (mantissa, shift, exponent)) in numbers.into_iter().enumerate() {
            // The smallest of all has no positive one, and what has more than 38 digits is no number.
            let text = format!("{}e{exponent}", mantissa.checked_shr(shift).unwrap_or_default());
            if let Some(number) = Decimal::parse(text.as_bytes()) {
                panes.at(windows, at as i64 / 2, 0).unwrap().add(number);
            }
        }
        prop_assert!(panes.weight(Numbers::weight) >= crate::weight(&panes));
    }

    #[test]
    fn every_number_is_told_once_for_each_window_it_lies_in(
        mut times in prop::collection::vec(0..2_000_i64, 1..60), panes_a_window in 1..8_i64, every in 1..50_i64,
    ) {
        times.sort_unstable();
        let windows = Windows::new(every * panes_a_window, every).unwrap();
        let (mut panes, mut ended) = (Panes::default(), Vec::new());
        for at in &times {
            ended.extend(panes.end(windows, *at));
            prop_assert!(put(&mut panes, windows, *at));
        }
        ended.extend(panes.end_all(windows));
        let told: u64 = ended.iter().map(|window| window.value.count).sum();
        prop_assert_eq!(told, times.len() as u64 * panes_a_window as u64);
        for window in &ended {
            let inside = times.iter().filter(|at| (window.from..window.to).contains(at)).count();
            prop_assert_eq!(window.value.count, inside as u64);
        }
    }

    #[test]
    fn state_reads_back_as_it_was(times in prop::collection::vec(0..2_000_i64, 1..20)) {
        let windows = Windows::new(100, 10).unwrap();
        let mut panes = Panes::default();
        for at in times {
            put(&mut panes, windows, at);
        }
        let saved = rmp_serde::to_vec_named(&panes).unwrap();
        prop_assert_eq!(rmp_serde::from_slice::<Panes<Numbers>>(&saved).unwrap(), panes);
    }
}
