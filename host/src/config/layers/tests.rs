use super::*;

fn layers(file: &str, env: &[(&str, &str)], sets: &[&str]) -> Layers {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.toml");
    std::fs::write(&path, file).unwrap();
    let written = WrittenConfig::read(&path, folder.path());
    let sources = Sources {
        path,
        env: env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
        data_dir: None,
        cores: 1,
        secrets: Secrets::default(),
    };
    Layers::read(&sources, written)
}

fn json(layers: &Layers) -> serde_json::Value {
    Node::Table(layers.tree.clone()).to_json()
}

#[test]
fn a_variable_overrides_the_file_and_an_argument_overrides_both() {
    let file = "[gateway]\nname = \"a\"\nmemory = \"1MiB\"\n[uplink.Cloud-EU]\nqos = 1\n";
    let env = [
        ("TIDEGATE_GATEWAY__NAME", "b"),
        ("TIDEGATE_GATEWAY__MEMORY", "\"2MiB\""),
        ("TIDEGATE_UPLINK__CLOUD_EU__QOS", "2"),
        ("TIDEGATE_CONFIG", "x"),
        ("HOME", "/root"),
    ];
    let layers = layers(
        file,
        &env,
        &[
            "gateway.name=c",
            "log.level = \"debug\"",
            "flow.\"a.b\".lanes=3",
        ],
    );
    assert!(layers.problems.is_empty(), "{:?}", layers.problems);
    assert_eq!(
        json(&layers),
        serde_json::json!({
            "gateway": {"name": "c", "memory": "2MiB"},
            "uplink": {"Cloud-EU": {"qos": 2}},
            "log": {"level": "debug"},
            "flow": {"a.b": {"lanes": 3}},
        })
    );
}

#[test]
fn an_override_that_cannot_be_applied_is_a_problem_of_its_own_text() {
    let env = [
        ("TIDEGATE_GATEWAY_NAME", "x"),
        ("TIDEGATE_LOG__LEVEL__X", "[1"),
    ];
    let layers = layers(
        "[gateway]\nname = \"a\"\n",
        &env,
        &["nothing", "gateway.name.x=1"],
    );
    let found: Vec<_> = layers
        .problems
        .iter()
        .map(|problem| (problem.code, layers.texts[problem.place.text].name.as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (
                ProblemCode::Override,
                "environment variable TIDEGATE_GATEWAY_NAME"
            ),
            (
                ProblemCode::Syntax,
                "environment variable TIDEGATE_LOG__LEVEL__X"
            ),
            (ProblemCode::Override, "argument --set"),
            (ProblemCode::Override, "argument --set"),
        ]
    );
}

#[test]
fn parts_stand_side_by_side_and_nothing_stands_in_two_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.toml");
    std::fs::write(
        &path,
        "[gateway]\nname = \"a\"\n[source.field]\nurl = \"x\"\n",
    )
    .unwrap();
    let parts = folder.path().join("conf.d");
    std::fs::create_dir(&parts).unwrap();
    let write = |name: &str, text: &str| std::fs::write(parts.join(name), text).unwrap();
    write(
        "20-b.toml",
        "[gateway]\nmemory = \"1MiB\"\n[source.field]\nqos = 2\n",
    );
    write("10-a.toml", "[source.other]\nurl = \"y\"\n");
    write("notes.txt", "no part");
    write(".20-b.toml.swp", "no part either");
    let written = WrittenConfig::read(&path, folder.path());
    let kept = WrittenConfig::from_kept(&written.to_kept(), folder.path()).unwrap();
    let sources = Sources {
        path,
        env: BTreeMap::new(),
        sets: vec!["source.other.qos=1".to_owned()],
        data_dir: None,
        cores: 1,
        secrets: Secrets::default(),
    };
    for written in [written, kept] {
        let layers = Layers::read(&sources, written);
        assert_eq!(
            json(&layers),
            serde_json::json!({
                "gateway": { "name": "a", "memory": "1MiB" },
                "source": { "field": { "url": "x" }, "other": { "url": "y", "qos": 1 } },
            })
        );
        assert_eq!(layers.files, 1..4);
        let [twice] = &*layers.problems else {
            panic!("{:?}", layers.problems);
        };
        assert!(
            twice.message.starts_with("`source.field` stands in"),
            "{}",
            twice.message
        );
        assert!(
            layers.texts[twice.place.text]
                .name
                .ends_with("conf.d/20-b.toml")
        );
        assert_eq!(
            layers.texts[twice.place.text].line(twice.place.span.unwrap().0),
            2
        );
    }
    let odd = format!("{}not a list\n", "# with conf.d: ");
    assert!(WrittenConfig::from_kept(&odd, folder.path()).is_none());
    let odd = WrittenConfig::alone("# with conf.d: a note of the operator's\n");
    let kept = WrittenConfig::from_kept(&odd.to_kept(), folder.path()).unwrap();
    assert_eq!((kept.file, kept.parts), (odd.file, odd.parts));
}
