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
    let mut state = State::<u32>::at_most(3);
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
    let mut restored = State::<u32>::at_most(2);
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

proptest! {
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
