use super::*;

fn layers(file: &str, env: &[(&str, &str)], sets: &[&str]) -> Layers {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tidegate.toml");
    std::fs::write(&path, file).unwrap();
    let text = read_text(&path);
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
    Layers::read(&sources, text)
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
