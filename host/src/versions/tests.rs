use std::fs;

use super::*;

const FLOW: &str = "climate";
const PLUGIN: &str = "rule";

fn spot(written: &StoredVersion) -> Spot<'_> {
    Spot {
        flow: FLOW,
        plugin: PLUGIN,
        written,
    }
}

fn version(name: &str) -> StoredVersion {
    StoredVersion {
        digest: trust::digest(name.as_bytes()),
        settings: "{}".to_owned(),
    }
}

fn code(name: &str) -> IncomingComponent<'_> {
    IncomingComponent {
        component: name.as_bytes(),
        signature: None,
        signed: None,
    }
}

fn with_settings(name: &str, settings: &str) -> StoredVersion {
    StoredVersion {
        settings: settings.to_owned(),
        ..version(name)
    }
}

fn start(versions: &Versions, name: &str, written: &StoredVersion) {
    versions.started(
        spot(written),
        &version(name),
        Some(code(name)),
        Start::Decided,
    );
}

fn confirm(versions: &Versions, name: &str, written: &StoredVersion) {
    versions.begin(spot(written), &version(name), true);
    versions.confirmed(spot(written), &version(name), Some(code(name)));
}

/// What a restart would try, best first.
fn restart(folder: &Path, written: &StoredVersion) -> Choices {
    Versions::open(folder).choices(FLOW, PLUGIN, written)
}

fn refusal(version: StoredVersion, rolled_back: bool) -> RefusedVersion {
    RefusedVersion::now(version, "it trapped".to_owned(), rolled_back)
}

#[test]
fn the_newest_instruction_wins() {
    let folder = tempfile::tempdir().unwrap();
    let versions = Versions::open(folder.path());
    assert_eq!(
        restart(folder.path(), &version("a")).versions,
        [version("a")],
        "nothing is known"
    );
    start(&versions, "a", &version("a"));
    confirm(&versions, "b", &version("a"));
    let choices = restart(folder.path(), &version("a"));
    assert_eq!(
        choices.versions,
        [version("b"), version("a")],
        "the operator was last"
    );
    assert_eq!(choices.passed_over, Some(PassedOver::ByOperator));
    assert_eq!(
        restart(folder.path(), &version("c")).versions[..2],
        [version("c"), version("b")],
        "the file was"
    );
    let changed = restart(folder.path(), &with_settings("a", "1"));
    assert_eq!(
        changed.versions[0],
        with_settings("b", "1"),
        "of component and settings each by itself"
    );
}

#[test]
fn what_a_start_changes_of_many_plugins_is_written_once_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let (versions, written) = (Versions::open(folder.path()), version("a"));
    versions.together(|| {
        for number in 0..600 {
            let plugin = format!("p{number}");
            let spot = Spot {
                flow: FLOW,
                plugin: &plugin,
                written: &written,
            };
            versions.started(spot, &written, Some(code("a")), Start::Decided);
        }
        assert!(
            Versions::look(folder.path()).unwrap().is_empty(),
            "nothing is written meanwhile"
        );
        assert!(versions.entry(FLOW, "p0").is_some(), "and all is shown");
    });
    let kept = Versions::look(folder.path()).unwrap();
    assert_eq!(
        (kept.len(), &*kept[0].plugin, &*kept[599].plugin),
        (600, "p0", "p599"),
        "of more plugins than a few hundred"
    );
    assert!(versions.component(&written.digest).is_some());
}

#[test]
fn what_was_refused_does_not_run_after_a_restart() {
    for rolled_back in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let versions = Versions::open(folder.path());
        start(&versions, "good", &version("good"));
        versions.begin(spot(&version("bad")), &version("bad"), false);
        versions.refused(spot(&version("bad")), refusal(version("bad"), rolled_back));
        let choices = restart(folder.path(), &version("bad"));
        assert_eq!(choices.versions, [version("good")]);
        assert!(
            matches!(choices.passed_over, Some(PassedOver::Unproven(why)) if why.contains("it trapped"))
        );
        // The config was changed and changed back.
        start(&versions, "other", &version("other"));
        let choices = restart(folder.path(), &version("bad"));
        assert_eq!(choices.versions, [version("other"), version("good")]);
        assert!(
            matches!(choices.passed_over, Some(PassedOver::Unproven(why)) if why.contains("it trapped"))
        );
        // Refused settings are another version, whatever the component.
        versions.refused(
            spot(&with_settings("other", "bad")),
            refusal(with_settings("other", "bad"), rolled_back),
        );
        assert_eq!(
            restart(folder.path(), &with_settings("other", "bad")).versions[0],
            version("other")
        );
        // Whoever asks for it gets it.
        confirm(&versions, "bad", &version("other"));
        assert_eq!(
            restart(folder.path(), &version("other")).versions[0],
            version("bad")
        );
    }
}

#[test]
fn what_a_kill_interrupts_is_tried_once_more_beside_the_good_one() {
    let folder = tempfile::tempdir().unwrap();
    start(&Versions::open(folder.path()), "good", &version("good"));
    for round in 1..=2 {
        Versions::open(folder.path()).begin(spot(&version("new")), &version("new"), false);
        let versions = Versions::open(folder.path());
        let choices = versions.choices(FLOW, PLUGIN, &version("new"));
        assert_eq!(
            (&*choices.versions, choices.is_tried_again),
            (&[version("good")][..], round == 1),
            "kill {round}"
        );
        let begun = if choices.is_tried_again {
            Start::TryAgain
        } else {
            Start::Decided
        };
        versions.started(
            spot(&version("new")),
            &version("good"),
            Some(code("good")),
            begun,
        );
    }
    let entry = Versions::open(folder.path()).entry(FLOW, PLUGIN).unwrap();
    assert!(
        entry.trying.is_none() && entry.refusal(&version("new")).unwrap().rolled_back,
        "{entry:?}"
    );
    assert_eq!(
        restart(folder.path(), &version("new")).versions,
        [version("good")]
    );
}

#[test]
fn an_orderly_stop_is_no_failure_of_what_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    start(&Versions::open(folder.path()), "good", &version("good"));
    for _ in 0..5 {
        let versions = Versions::open(folder.path());
        versions.begin(spot(&version("new")), &version("new"), false);
        versions.suspended(spot(&version("new")));
        assert!(restart(folder.path(), &version("new")).is_tried_again);
    }
}

#[test]
fn what_an_operator_asked_for_and_a_kill_interrupted_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let versions = Versions::open(folder.path());
    start(&versions, "good", &version("good"));
    versions.begin(spot(&version("good")), &version("new"), true);
    let versions = Versions::open(folder.path());
    let choices = versions.choices(FLOW, PLUGIN, &version("good"));
    assert_eq!(
        (choices.versions, choices.is_tried_again),
        (vec![version("good")], false)
    );
    start(&versions, "good", &version("good"));
    let entry = versions.entry(FLOW, PLUGIN).unwrap();
    assert!(
        entry.trying.is_none() && entry.refused.is_empty(),
        "{entry:?}"
    );
}

#[test]
fn a_config_that_cannot_be_used_is_looked_at_again_at_every_start() {
    let folder = tempfile::tempdir().unwrap();
    let versions = Versions::open(folder.path());
    start(&versions, "good", &version("good"));
    versions.started(
        spot(&version("broken")),
        &version("good"),
        Some(code("good")),
        Start::FellBack,
    );
    assert_eq!(
        restart(folder.path(), &version("broken")).versions,
        [version("broken"), version("good")]
    );
}

#[test]
fn good_components_are_kept_and_their_number_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let versions = Versions::open(folder.path());
    for name in ["a", "b", "c", "d", "e", "f"] {
        confirm(&versions, name, &version("a"));
    }
    let is_kept = |name: &str| {
        versions
            .component(&version(name).digest)
            .is_some_and(|(_, bytes)| bytes == name.as_bytes())
    };
    let kept: String = ["a", "b", "c", "d", "e", "f"]
        .into_iter()
        .filter(|name| is_kept(name))
        .collect();
    assert_eq!(kept, "cdef");
    let path = files::component(&versions.folder, &version("f").digest);
    fs::write(&path, "g").unwrap();
    assert!(
        !is_kept("f") && !path.exists(),
        "a damaged one is not used, and makes room for a whole one"
    );
}

#[test]
fn a_table_with_any_bit_flipped_or_cut_anywhere_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    confirm(&Versions::open(folder.path()), "a", &version("a"));
    let path = folder.path().join("plugins/running.json");
    let whole = fs::read(&path).unwrap();
    let is_believed = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        Versions::look(folder.path()).is_ok()
    };
    // The line end behind the checksum may be any white space.
    for bit in 0..(whole.len() - 1) * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!is_believed(&flipped), "bit {bit}");
    }
    for length in 0..whole.len() - 1 {
        assert!(!is_believed(&whole[..length]), "{length} bytes");
    }
    let versions = Versions::open(folder.path());
    assert!(
        versions.entry(FLOW, PLUGIN).is_none()
            && folder.path().join("plugins/running.json.damaged").exists()
    );
}

#[test]
fn a_folder_that_cannot_be_written_costs_no_more_than_a_restart_would_know() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("plugins"), "no folder").unwrap();
    let versions = Versions::open(folder.path());
    confirm(&versions, "a", &version("a"));
    assert_eq!(
        versions.entry(FLOW, PLUGIN).unwrap().confirmed,
        version("a")
    );
    fs::remove_file(folder.path().join("plugins")).unwrap();
    versions.refused(spot(&version("b")), refusal(version("b"), false));
    assert_eq!(
        restart(folder.path(), &version("b")).versions,
        [version("a")],
        "the next change writes all of it"
    );
}

#[test]
fn what_is_not_on_the_disk_yet_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let versions = Versions::open(folder.path());
    start(&versions, "a", &version("a"));
    // A pipe holds less than this, so that whoever writes it waits for the one who reads.
    let component = vec![0; 1 << 20];
    let code = IncomingComponent {
        component: &component,
        signature: None,
        signed: None,
    };
    let beside = folder
        .path()
        .join(format!("plugins/{}.wasm.new", version("b").digest));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &beside,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let shown = || versions.entry(FLOW, PLUGIN).unwrap().confirmed;
    std::thread::scope(|scope| {
        let writing =
            scope.spawn(|| versions.confirmed(spot(&version("a")), &version("b"), Some(code)));
        let mut pipe = fs::File::open(&beside).unwrap();
        assert_eq!(shown(), version("a"), "it is being written");
        std::io::copy(&mut pipe, &mut std::io::sink()).unwrap();
        writing.join().unwrap();
    });
    assert_eq!(
        shown(),
        version("b"),
        "a pipe cannot be synced: what runs is shown all the same"
    );
}

#[test]
fn what_two_write_at_once_is_both_kept() {
    let folder = tempfile::tempdir().unwrap();
    let versions = Versions::open(folder.path());
    let names = |writer: u32| (0..20).map(move |round| format!("{writer}-{round}"));
    let together = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (versions, together) = (&versions, &together);
            scope.spawn(move || {
                for name in names(writer) {
                    let (plugin, version) = (&*name, version(&name));
                    together.wait();
                    let spot = Spot {
                        flow: FLOW,
                        plugin,
                        written: &version,
                    };
                    versions.started(spot, &version, Some(code(plugin)), Start::Decided);
                }
            });
        }
    });
    for versions in [&versions, &Versions::open(folder.path())] {
        let is_lost = |name: &String| {
            let entry = versions.entry(FLOW, name);
            entry.is_none_or(|entry| versions.component(&entry.confirmed.digest).is_none())
        };
        assert_eq!(
            (0..2).flat_map(names).filter(is_lost).collect::<Vec<_>>(),
            [""; 0]
        );
    }
}

#[test]
fn a_verdict_that_cannot_be_written_down_says_so_and_is_written_later() {
    let data = tempfile::tempdir().unwrap();
    let versions = Versions::open(data.path());
    start(&versions, "a", &version("a"));
    let (place, away) = (folder(data.path()), data.path().join("away"));
    fs::rename(&place, &away).unwrap();
    fs::write(&place, "in the way").unwrap();
    confirm(&versions, "b", &version("a"));
    versions.write_again();
    assert!(versions.unwritten().is_some());
    fs::remove_file(&place).unwrap();
    fs::rename(&away, &place).unwrap();
    versions.write_again();
    assert_eq!(
        (
            versions.unwritten(),
            &restart(data.path(), &version("a")).versions[0]
        ),
        (None, &version("b"))
    );
    assert!(
        Versions::open(data.path())
            .component(&version("b").digest)
            .is_some()
    );
}
