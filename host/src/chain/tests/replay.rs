use super::*;
use crate::clock::{Now, Uptime, WallTime};

const BEGIN: u64 = 1_700_000_000_000_000;

fn message(seq: u64, payload: &str) -> Message {
    let topic = format!("devices/d{}", seq % 40);
    Message {
        id: MessageId { boot: 1, seq },
        key: Span {
            offset: 8,
            len: (topic.len() - 8) as u16,
        },
        topic: topic.into(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        received: WallTime(BEGIN + seq),
        ..Message::default()
    }
}

fn at(after_us: u64) -> Now {
    Now {
        wall: WallTime(BEGIN + after_us),
        uptime: Uptime(5_000_000 + after_us),
    }
}

fn player(lanes: usize, recorded_ticks: Vec<Option<Duration>>) -> Player {
    let bounds = SampleBounds {
        samples: usize::MAX,
        payload_bytes: 200,
    };
    let queues = ["cloud:telemetry", "cloud:alarm", "backup:alarm"]
        .map(str::to_owned)
        .to_vec();
    Player {
        lanes,
        recorded_lanes: 3,
        recorded_ticks,
        queues,
        begins_us: BEGIN,
        bounds,
    }
}

fn chain_of(settings: &str) -> Config {
    config(vec![plugin("probe", settings)])
}

/// Runs batches, each a millisecond after the one before, and nothing else.
fn run(old: &Config, new: Option<&Config>, lanes: usize, batches: &[Vec<Message>]) -> Score {
    let play = || {
        let mut replay = Replay::new(player(lanes, vec![None]), old, new, engine()).unwrap();
        for (number, batch) in (0..).zip(batches) {
            replay.batch(at(number * 1_000), batch.clone()).unwrap();
        }
        replay.finish()
    };
    offline(engine(), play).unwrap()
}

/// `count` messages in batches of uneven size; every 997th has the payload `odd`.
fn recorded(count: u64, odd: &str) -> Vec<Vec<Message>> {
    let mut batches = Vec::new();
    let (mut next, mut size) = (0, 1);
    while next < count {
        let end = count.min(next + size);
        batches.push(
            (next..end)
                .map(|seq| message(seq, if seq % 997 == 5 { odd } else { "21.5" }))
                .collect(),
        );
        next = end;
        size = size * 7 % 251 + 1;
    }
    batches
}

#[test]
fn a_replay_of_100_000_messages_repeats_exactly_and_names_exactly_what_a_changed_plugin_changes() {
    let batches = recorded(100_000, "says");
    let (old, new) = (chain_of("one"), chain_of("two"));
    let begun = Instant::now();
    let first = run(&old, None, 1, &batches);
    println!(
        "replay: {:.0} messages/s, one chain",
        100_000.0 / begun.elapsed().as_secs_f64()
    );
    let second = run(&old, Some(&new), 1, &batches);
    assert_eq!((&first.old, first.old.repeatable), (&second.old, true));
    assert_eq!(
        (first.old.outputs, first.old.fates["forwarded"]),
        (100_000, 100_000)
    );
    let changed = second.new.unwrap();
    assert_ne!(changed.sha256, first.old.sha256);
    let comparison = second.comparison.unwrap();
    let named: Vec<u64> = comparison
        .samples
        .iter()
        .map(|sample| sample.at_us - BEGIN)
        .collect();
    let expected: Vec<u64> = (0..100_000).filter(|seq| seq % 997 == 5).collect();
    assert_eq!(named, expected);
    assert_eq!(
        (comparison.inputs.changed, comparison.inputs.same),
        (101, 99_899)
    );
    let sample = &comparison.samples[0];
    assert_eq!(
        (
            sample.old[0].payload.text.as_str(),
            sample.new[0].payload.text.as_str()
        ),
        ("\"one\"", "\"two\"")
    );
    assert_eq!(sample.old[0].port, "cloud:telemetry");
}

#[test]
fn clocks_and_random_numbers_repeat_and_are_those_of_the_recording() {
    let batches = vec![
        vec![message(0, "times"), message(1, "pass")],
        vec![message(2, "times")],
    ];
    let old = chain_of("one");
    let first = run(&old, Some(&chain_of("two")), 1, &batches);
    let second = run(&old, None, 1, &batches);
    assert_eq!(first.old, second.old);
    assert_eq!(
        first.comparison.unwrap().differing(),
        0,
        "two versions see the same clocks and numbers"
    );
    let against = run(
        &old,
        Some(&config(vec![plugin("other", "one")])),
        1,
        &batches,
    );
    let samples = against.comparison.unwrap().samples;
    let words = |shown: &[ShownEffect]| {
        shown[0]
            .payload
            .text
            .split(' ')
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (one, other) = (words(&samples[0].old), words(&samples[0].new));
    assert_eq!(
        one[..3],
        [BEGIN.to_string(), BEGIN.to_string(), "true".to_owned()]
    );
    assert_eq!(words(&samples[1].old)[0], (BEGIN + 1_000).to_string());
    assert_ne!(one[3], other[3], "another plugin draws other numbers");
}

#[test]
fn what_is_filtered_absorbed_rejected_or_failed_on_is_told_apart() {
    let batches = vec![
        ["pass", "drop", "absorb", "reject", "trap", "topic", "both"]
            .iter()
            .zip(0..)
            .map(|(payload, seq)| message(seq, payload))
            .collect(),
    ];
    let score = run(&chain_of("ports"), Some(&chain_of("ports")), 2, &batches);
    assert_eq!(
        score.comparison.unwrap().inputs,
        Counts {
            same: 7,
            ..Counts::default()
        }
    );
    let fates: Vec<_> = score.old.fates.into_iter().collect();
    assert_eq!(
        fates,
        [
            ("absorbed", 1),
            ("filtered", 1),
            ("forwarded", 3),
            ("parked", 2)
        ]
    );
    assert_eq!(
        (score.old.outputs, score.old.faults.contains_key("trap")),
        (5, true)
    );
    let without = run(&chain_of("ports"), Some(&chain_of("")), 1, &batches);
    let missing: Vec<_> = without
        .comparison
        .unwrap()
        .samples
        .iter()
        .map(|sample| (sample.kind, sample.at_us - BEGIN))
        .collect();
    assert_eq!(
        missing,
        [(DifferenceKind::Missing, 6)],
        "a port that was not declared is a fault"
    );
}

#[test]
fn a_limit_of_time_that_was_met_is_told() {
    let mut slow = chain_of("");
    slow.plugins[0].limits.call_time = Duration::from_millis(20);
    let score = run(
        &slow,
        None,
        1,
        &[vec![message(0, "spin"), message(1, "pass")]],
    );
    assert!(!score.old.repeatable, "{score:?}");
}

#[test]
fn ticks_come_as_recorded_and_a_version_with_others_gets_its_own() {
    let every = Some(Duration::from_millis(1));
    let play = |recorded: Option<Duration>, new: Option<&Config>| {
        let mut replay =
            Replay::new(player(1, vec![recorded]), &chain_of("tick"), new, engine()).unwrap();
        replay.batch(at(0), vec![message(0, "pass")]).unwrap();
        // The ticks of the other two lanes are not for the only one here.
        (0..3).for_each(|lane| replay.tick(lane, 0, at(1_200)).unwrap());
        replay.tick(0, 0, at(5_000)).unwrap();
        replay.finish()
    };
    let played = offline(engine(), || {
        (
            play(every, None),
            play(None, None),
            play(every, Some(&chain_of("tick by-ten"))),
        )
    })
    .unwrap();
    let (recorded, own, both) = played;
    assert_eq!(
        (recorded.old.outputs, own.old.outputs),
        (1 + 2, 1 + 5),
        "twice as recorded; five times by its own clock"
    );
    assert_eq!(
        both.comparison.unwrap().ticks,
        Counts {
            same: 2,
            ..Counts::default()
        }
    );
}

#[test]
fn what_lanes_are_told_is_taken_down_and_replays_to_what_left() {
    #[derive(Default)]
    struct Told(Mutex<Vec<(usize, Now, Vec<Message>)>>);
    impl crate::message::Tape for Told {
        fn batch(&self, lane: usize, now: Now, batch: &[Delivery]) {
            let messages = batch
                .iter()
                .map(|delivery| delivery.message.clone())
                .collect();
            self.0.lock().unwrap().push((lane, now, messages));
        }
        fn tick(&self, _: usize, _: usize, _: Now) {}
    }
    let (rig, told) = (Rig::of("one"), Arc::new(Told::default()));
    rig.chain.record(told.clone());
    for _ in 0..20 {
        one_each(&rig, "21.5");
        one_each(&rig, "says");
    }
    let told = told.0.lock().unwrap().clone();
    assert_eq!(
        told.iter()
            .map(|(.., messages)| messages.len())
            .sum::<usize>(),
        20 * 2 * KEYS.len()
    );
    assert!(told.iter().all(|(lane, _, batch)| {
        batch
            .iter()
            .all(|message| lane_of(message.key(), 3) == *lane)
    }));
    let batches: Vec<_> = told.into_iter().map(|(.., messages)| messages).collect();
    let score = run(&chain_of("one"), None, 3, &batches);
    assert_eq!(score.old.outputs as usize, rig.seen().appends.len());
}
