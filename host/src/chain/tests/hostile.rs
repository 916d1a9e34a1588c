//! A plugin that does a random series of all that plugins can do.

use super::*;

/// What a message may have the probe do: right, wrong, and wrong in ways that only show later.
const COMMANDS: [&str; 40] = [
    "a",
    "b",
    "drop",
    "absorb",
    "reject",
    "lacks",
    "pass",
    "two",
    "both",
    "alarm",
    "topic",
    "log",
    "long-log",
    "print",
    "name:x",
    "gauges",
    "headers",
    "many-headers",
    "cut-headers",
    "no-name",
    "nul-header",
    "reserved",
    "marks",
    "key",
    "no-key",
    "far-key",
    "other-key",
    "short",
    "action",
    "nobody",
    "back-one",
    "trap",
    "grow",
    "recurse",
    "exit",
    "flood",
    "wild",
    "port",
    "more",
    "pose",
];

/// What the plugin is like as a whole.
const SETTINGS: [&str; 15] = [
    "ports",
    "ports tick",
    "ports leak",
    "ports trap-save",
    "ports big-state",
    "ports tick trap-tick",
    "ports tick wild-tick",
    "ports tick input-tick",
    "ports tick bare-tick",
    "ports tick flood-tick",
    "ports odd-page",
    "ports short-page",
    "ports gone-page",
    "ports other-page",
    "ports leak many-pages trap-restore",
];

/// Some hundred messages of a few devices through two plugins, in bursts.
fn series(seed: u64, settings: &str) {
    let mut random = fastrand::Rng::with_seed(seed);
    let on_error = [OnError::Park, OnError::Drop, OnError::Pass][random.usize(..3)];
    let checkpoint = random.bool().then_some(Duration::from_millis(1));
    let limits = Limits {
        memory_bytes: 8 << 20,
        recycle_bytes: 4 << 20,
        ..limits()
    };
    let probe = |name, settings| PluginConfig {
        on_error,
        checkpoint,
        limits,
        ..plugin(name, settings)
    };
    let quarantine = random.bool().then(QuarantineConfig::default);
    let lanes = random.usize(1..4);
    let rig = Rig::new(Config {
        lanes,
        quarantine,
        ..config(vec![probe("first", settings), probe("second", "ports")])
    });
    let mut sent = 0;
    for _ in 0..12 {
        let messages: Vec<_> = (0..random.usize(1..30))
            .map(|_| {
                (
                    KEYS[random.usize(..KEYS.len())],
                    COMMANDS[random.usize(..COMMANDS.len())],
                )
            })
            .collect();
        sent += messages.len();
        rig.settle(&rig.send(&messages));
        let fates: f64 = ["filtered", "absorbed", "dropped", "parked", "forwarded"]
            .iter()
            .map(|fate| rig.fate(fate))
            .sum();
        assert_eq!(
            (fates, rig.settled.faults()),
            (sent as f64, 0),
            "seed {seed}, {settings}, {on_error:?}: {messages:?}"
        );
    }
    assert_eq!(rig.chain.failure().why(), None, "seed {seed}");
    assert_eq!(
        rig.metric("tidegate_lane_restarts_total", &[]),
        0.0,
        "seed {seed}"
    );
    assert_eq!(rig.chain.stop(PATIENCE), 0, "seed {seed}");
}

#[test]
fn whatever_a_plugin_does_every_message_is_accounted_for() {
    for (seed, settings) in (0..).zip(SETTINGS) {
        series(seed, settings);
    }
}
