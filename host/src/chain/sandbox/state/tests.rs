use super::*;

fn page(next: Option<u64>, entries: &[(&str, Option<&str>)]) -> StatePage {
    let mut page = StatePage {
        next,
        ..StatePage::default()
    };
    for (key, value) in entries {
        page.words.extend([
            key.len() as u32,
            value.map_or(GONE, |value| value.len() as u32),
        ]);
        page.data.extend_from_slice(key.as_bytes());
        page.data
            .extend_from_slice(value.unwrap_or_default().as_bytes());
    }
    page
}

#[test]
fn what_lanes_hold_is_shared_out_by_key_and_the_disk_gets_what_it_lacks() {
    let snapshot = |entries: &[(&str, Option<&str>)]| {
        let mut snapshot = Snapshot::default();
        snapshot.replace(SaveScope::Complete, 3, vec![page(None, entries)]);
        snapshot
    };
    let (one, two) = (
        snapshot(&[("d1", Some("1")), ("d2", Some("2"))]),
        snapshot(&[("d3", Some("3"))]),
    );
    let lane_of = |key: &[u8]| usize::from(key.ends_with(b"2"));
    let keys = |part: &Snapshot| {
        part.pages()
            .flat_map(StatePage::entries)
            .map(|(key, _)| key.to_vec())
            .collect::<Vec<_>>()
    };
    for is_kept in [true, false] {
        let mut parts =
            Snapshot::share_out(&[&Snapshot::default(), &one, &two], is_kept, 2, lane_of);
        assert_eq!(
            (keys(&parts[0]), keys(&parts[1])),
            (vec![b"d1".to_vec(), b"d3".to_vec()], vec![b"d2".to_vec()])
        );
        assert_eq!((parts[0].version, parts[1].version), (3, 3));
        assert_eq!(
            parts
                .iter_mut()
                .map(|part| part.take_unkept().len())
                .sum::<usize>(),
            if is_kept { 0 } else { 3 }
        );
    }
}

#[test]
fn pages_are_asked_for_by_their_cursor_until_the_last() {
    let saved = [
        page(Some(7), &[("d1", Some("3"))]),
        page(None, &[("d2", None)]),
    ];
    let mut asked = Vec::new();
    let pages = collect(1_000, |cursor| {
        asked.push(cursor);
        Ok(saved[asked.len() - 1].clone())
    });
    assert_eq!((pages.unwrap(), asked), (saved.to_vec(), vec![0, 7]));
}

#[test]
fn state_that_lies_or_never_ends_is_a_fault() {
    let lying = StatePage {
        words: vec![1, 1],
        data: vec![0; 3],
        next: None,
    };
    assert_eq!(
        collect(1_000, |_| Ok(lying.clone())).unwrap_err().kind,
        FaultKind::Contract
    );
    let odd = StatePage {
        words: vec![1],
        data: vec![0],
        next: None,
    };
    assert_eq!(
        collect(1_000, |_| Ok(odd.clone())).unwrap_err().kind,
        FaultKind::Contract
    );
    assert_eq!(
        collect(1_000, |cursor| Ok(page(
            Some(cursor + 1),
            &[("k", Some("v"))]
        )))
        .unwrap_err()
        .kind,
        FaultKind::State
    );
    assert_eq!(
        collect(1_000, |cursor| Ok(page(Some(cursor + 1), &[])))
            .unwrap_err()
            .kind,
        FaultKind::State
    );
    assert_eq!(
        collect(1_000, |_| Ok(page(Some(0), &[]))).unwrap_err().kind,
        FaultKind::Contract
    );
}

#[test]
fn changes_are_added_until_they_are_half_of_the_whole() {
    let mut snapshot = Snapshot::default();
    assert!(snapshot.is_empty() && snapshot.next_extent(1) == SaveScope::Complete);
    snapshot.replace(
        SaveScope::Complete,
        1,
        vec![page(
            None,
            &[("k1", Some("a")), ("k2", Some("b")), ("k3", Some("c"))],
        )],
    );
    assert_eq!(
        (snapshot.next_extent(1), snapshot.next_extent(2)),
        (SaveScope::Changes, SaveScope::Complete)
    );
    snapshot.replace(
        SaveScope::Changes,
        1,
        vec![page(None, &[("k1", Some("x"))])],
    );
    snapshot.replace(
        SaveScope::Changes,
        1,
        vec![page(None, &[("k1", Some("x")), ("k2", None)])],
    );
    assert_eq!(
        snapshot
            .pages()
            .map(|page| page.words.len() / 2)
            .collect::<Vec<_>>(),
        [3, 1, 2],
        "in the order they came"
    );
    assert_eq!(snapshot.next_extent(1), SaveScope::Complete);
}

/// What a disk has after these checkpoints.
fn apply(disk: &mut std::collections::BTreeMap<String, (u32, String)>, changes: Vec<Remembered>) {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    for Remembered {
        key,
        version,
        value,
    } in changes
    {
        match value {
            Some(value) => drop(disk.insert(text(&key), (version, text(&value)))),
            None => drop(disk.remove(&text(&key))),
        }
    }
}

#[test]
fn checkpoints_bring_the_disk_to_what_the_plugin_saved_whatever_the_saves_were() {
    let (mut snapshot, mut disk) = (Snapshot::default(), std::collections::BTreeMap::new());
    snapshot.replace(
        SaveScope::Complete,
        1,
        vec![
            page(Some(1), &[("a", Some("1")), ("b", Some("1"))]),
            page(None, &[("c", Some("1"))]),
        ],
    );
    apply(&mut disk, snapshot.take_unkept());
    assert_eq!(disk.len(), 3);
    assert!(!snapshot.has_unkept() && snapshot.take_unkept().is_empty());
    snapshot.replace(
        SaveScope::Changes,
        1,
        vec![page(
            None,
            &[("a", Some("2")), ("b", None), ("d", Some(""))],
        )],
    );
    snapshot.replace(SaveScope::Changes, 1, vec![page(None, &[("d", None)])]);
    snapshot.replace(
        SaveScope::Complete,
        2,
        vec![page(None, &[("a", Some("3")), ("e", Some("3"))])],
    );
    apply(&mut disk, snapshot.take_unkept());
    let expected = [("a", (2, "3")), ("e", (2, "3"))]
        .map(|(key, (version, value))| (key.to_owned(), (version, value.to_owned())));
    assert_eq!(
        disk,
        expected.into(),
        "`b`, `c` and `d` are gone, though the complete save does not say so"
    );
}

#[test]
fn what_is_remembered_comes_back_in_pages_of_one_version_each() {
    let remembered = |key: &str, version, value: &str| Remembered {
        key: Bytes::copy_from_slice(key.as_bytes()),
        version,
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    };
    let large = "x".repeat(PAGE_BYTES);
    let entries = [
        remembered("a", 2, "1"),
        remembered("b", 1, &large),
        remembered("c", 2, "3"),
        remembered("d", 1, "4"),
    ];
    let pages = pages(entries.iter().collect());
    let keys = |page: &StatePage| {
        page.entries()
            .map(|(key, _)| String::from_utf8(key.to_vec()).unwrap())
            .collect::<String>()
    };
    let shape: Vec<_> = pages
        .iter()
        .map(|(version, page)| (*version, keys(page)))
        .collect();
    assert_eq!(
        shape,
        [
            (1, "b".to_owned()),
            (1, "d".to_owned()),
            (2, "ac".to_owned())
        ]
    );
    assert!(
        pages
            .iter()
            .all(|(_, page)| page.check().is_ok() && page.next.is_none())
    );
}
