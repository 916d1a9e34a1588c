use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn all<T: Serialize + DeserializeOwned>(state: &mut State<T>, changed_only: bool) -> Vec<Page> {
    let mut pages = vec![state.save(changed_only, 0)];
    while let Some(next) = pages.last().and_then(|page| page.next) {
        pages.push(state.save(changed_only, next));
    }
    pages
}

fn take_in<T: Serialize + DeserializeOwned>(state: &mut State<T>, pages: &[Page]) {
    pages
        .iter()
        .for_each(|page| state.restore(page, State::<T>::read).unwrap());
}

#[test]
fn what_was_saved_is_restored_in_pages_of_64_kib() {
    let mut state = State::default();
    for device in 0..5_000 {
        state.set(
            &format!("d{device}"),
            format!("{device}: {}", "x".repeat(40)),
        );
    }
    state.set("large", "y".repeat(100_000));
    let pages = all(&mut state, false);
    assert!(pages.len() > 3, "{} pages", pages.len());
    let large = |page: &Page| page.words.len() == 2;
    assert!(
        pages
            .iter()
            .all(|page| page.data.len() <= PAGE_BYTES || large(page))
    );
    let mut restored = State::<String>::default();
    take_in(&mut restored, &pages);
    assert!(state.iter().eq(restored.iter()) && restored.len() == 5_001);
}

#[test]
fn beyond_the_most_keys_the_longest_quiet_one_goes_and_the_host_hears_of_it() {
    let mut state = State::<u32>::at_most(3, |_| 4);
    for device in ["d1", "d2", "d3", "d1", "d4"] {
        *state.of(device) += 1;
    }
    assert_eq!(
        state.iter().collect::<Vec<_>>(),
        [("d1", &2), ("d3", &1), ("d4", &1)]
    );
    all(&mut state, false);
    state.set("d5", 7);
    assert_eq!(
        (state.len(), state.forgotten(), state.get("d3")),
        (3, 2, None)
    );
    let gone = all(&mut state, true);
    assert_eq!(
        gone[0]
            .words
            .iter()
            .filter(|length| **length == GONE)
            .count(),
        1,
        "and the disk forgets it too"
    );
    let mut restored = State::<u32>::at_most(2, |_| 4);
    take_in(&mut restored, &all(&mut state, false));
    assert_eq!(restored.len(), 2);
    for device in 0..100_000 {
        state.set(&format!("made-up-{device}"), 1);
        if device % 1_000 == 0 {
            all(&mut state, true);
        }
    }
    assert!(
        state.len() == 3 && state.slots.len() < 1_100,
        "{} slots",
        state.slots.len()
    );
}

#[test]
fn reading_changes_nothing_and_writing_is_saved_once() {
    let mut state = State::<f64>::default();
    *state.of("d7") = 0.1 + 0.2;
    assert_eq!(all(&mut state, true)[0].words.len(), 2);
    assert_eq!((*state.of("d7")).to_bits(), (0.1_f64 + 0.2).to_bits());
    assert!(all(&mut state, true)[0].words.is_empty());
    *state.of("d7") += 1.0;
    assert_eq!(all(&mut state, true)[0].words.len(), 2);
}

#[test]
fn a_key_that_is_gone_is_said_to_be_gone_and_then_forgotten() {
    let mut state = State::default();
    state.set("d7", 1);
    state.set("d8", 2);
    let base = all(&mut state, false);
    assert_eq!(state.remove("d7"), Some(1));
    let delta = all(&mut state, true);
    assert_eq!(delta[0].words, [2, GONE]);
    let mut restored = State::<i32>::default();
    take_in(&mut restored, &base);
    take_in(&mut restored, &delta);
    assert_eq!(restored.iter().collect::<Vec<_>>(), [("d8", &2)]);
    assert_eq!(state.free.len(), 1);
    state.set("d9", 3);
    assert_eq!(
        (state.free.len(), state.slots.len()),
        (0, 2),
        "the room is used again"
    );
}

#[test]
fn a_change_between_two_pages_is_in_the_next_save() {
    let mut state = State::default();
    for device in 0..2_000 {
        state.set(&format!("d{device}"), "x".repeat(60));
    }
    let first = state.save(false, 0);
    state.set("d0", "changed".to_owned());
    let mut next = first.next;
    while let Some(cursor) = next {
        next = state.save(false, cursor).next;
    }
    assert_eq!(all(&mut state, true)[0].words[0], 2, "only d0");
}

#[test]
fn damaged_pages_are_refused_in_words() {
    let refused = |words: &[u32], data: &[u8]| {
        let page = Page {
            next: None,
            words: words.to_vec(),
            data: data.to_vec(),
        };
        State::<u32>::default()
            .restore(&page, State::<u32>::read)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        refused(&[2, 9], b"d7"),
        "a page of saved state ends inside an entry"
    );
    assert_eq!(
        refused(&[1, 0], b"\xff"),
        "a key of the saved state is not text"
    );
    assert!(refused(&[2, 1], b"d7\xc1").starts_with("key `d7`: saved state cannot be read"));
}

fn page_bytes(pages: &[Page]) -> usize {
    pages
        .iter()
        .map(|page| page.data.len() + page.words.len() * 4)
        .sum()
}

#[test]
fn long_names_make_no_state_too_large_and_the_one_that_speaks_stays() {
    let mut state = State::<u64>::at_most(20_000, weight);
    let mut good = 0;
    for number in 0..20_000 {
        *state.of(&format!("{}-{number}", "n".repeat(800))) += 1;
        if number % 100 == 0 {
            *state.of("good") += 1;
            good += 1;
        }
        if number % 1_500 == 0 {
            let bytes = page_bytes(&all(&mut state, true));
            assert!(bytes <= 4 << 20, "{bytes} bytes of changes");
        }
    }
    let pages = all(&mut state, false);
    let bytes = page_bytes(&pages);
    assert!((3 << 19..2 << 20).contains(&bytes), "{bytes} bytes");
    assert_eq!(state.get("good"), Some(&good));
    assert_eq!(state.forgotten(), 20_001 - state.len() as u64);
    assert!(state.slots.len() < 6_000, "{} slots", state.slots.len());
    let mut restored = State::<u64>::at_most(20_000, weight);
    take_in(&mut restored, &pages);
    assert_eq!(
        (restored.len(), restored.get("good")),
        (state.len(), Some(&good))
    );
}

#[test]
fn values_that_grow_make_room_too() {
    let mut state = State::<String>::at_most(20_000, String::len);
    for device in 0..100 {
        state.set(&format!("d{device}"), String::new());
    }
    for device in 0..100 {
        state
            .of(&format!("d{device}"))
            .push_str(&"x".repeat(50_000));
    }
    assert!(page_bytes(&all(&mut state, false)) < 2 << 20);
    assert!(state.len() > 30 && state.get("d99").is_some() && state.get("d0").is_none());
}

#[test]
fn what_a_plugin_takes_out_itself_is_not_forgotten() {
    let mut state = State::<u8>::at_most(2, |_| 1).by_hand();
    for device in ["d1", "d2", "d3"] {
        *state.of(device) += 1;
    }
    let (key, value) = state.overflow().unwrap();
    assert_eq!(
        (&*key, value, state.overflow(), state.forgotten()),
        ("d1", 1, None, 0)
    );
}

#[test]
fn a_number_of_keys_that_never_fits_is_refused_in_words() {
    assert!(check_most("max_devices", 20_000, 0).is_ok());
    let refused = check_most("max_devices", 1_000_000, 0).unwrap_err();
    let words = "`max_devices` is 1000000, and what a plugin keeps, 1920 KiB at most, never has room for more than 40960";
    assert!(refused.to_string().starts_with(words), "{refused}");
    assert!(check_most("max_groups", 0, 0).is_err());
}

proptest! {
    #[test]
    fn what_is_counted_is_what_is_there(steps in proptest::collection::vec((0..12_u8, 0..5_u8, 0..3_000_usize), 0..80)) {
        let mut state = State::<String>::at_most(8, String::len);
        for (key, what, length) in steps {
            let key = format!("{}{key}", "k".repeat(usize::from(key) * 40));
            match what {
                0 => state.set(&key, "x".repeat(length)),
                1 => *state.of(&key) = "x".repeat(length),
                2 => drop(state.remove(&key)),
                3 => state.iter_mut().for_each(|(_, mut value)| value.truncate(length)),
                _ => drop(all(&mut state, length % 2 == 0)),
            }
            let bytes: usize = state.iter().map(|(key, value)| EACH + key.len() + value.len()).sum();
            prop_assert_eq!(state.bytes.get(), bytes);
            prop_assert!(state.len() <= 8);
        }
    }

    #[test]
    fn a_base_and_the_changes_since_make_the_state(steps in proptest::collection::vec((0..12_u8, proptest::option::of(any::<i64>()), any::<bool>()), 0..60)) {
        let (mut state, mut copy, mut model) = (State::<i64>::default(), State::<i64>::default(), BTreeMap::new());
        for (key, value, save) in steps {
            let key = format!("d{key}");
            match value {
                Some(value) => {
                    state.set(&key, value);
                    model.insert(key, value);
                }
                None => prop_assert_eq!(state.remove(&key), model.remove(&key)),
            }
            if save {
                take_in(&mut copy, &all(&mut state, true));
                let copied: BTreeMap<_, _> = copy.iter().map(|(key, value)| (key.to_owned(), *value)).collect();
                prop_assert_eq!(&copied, &model);
            }
        }
        prop_assert_eq!(state.iter().map(|(key, value)| (key.to_owned(), *value)).collect::<BTreeMap<_, _>>(), model);
    }
}
