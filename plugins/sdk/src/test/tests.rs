use super::*;
use crate::prelude::*;
use serde_json::json;

/// Does what the payload's first word says.
#[derive(Debug)]
struct Puppet {
    every: Duration,
}

settings! { struct Strings { every_seconds: u64 } }

impl Transform for Puppet {
    type Settings = Strings;
    const PORTS: &'static [&'static str] = &["late", "side"];

    fn new(settings: Strings) -> Result<Self> {
        Ok(Self {
            every: Duration::from_secs(settings.every_seconds),
        })
    }

    fn process(&mut self, message: &Message<'_>, out: &mut Outputs<'_>) -> Result<()> {
        counter("seen", 1);
        if message.topic() == "read" {
            message.number("t")?;
        }
        match message.text()? {
            "heir" => out.message().topic("x").inherit().payload(b"")?,
            "again" => out.message().payload(b"again")?,
            "key" => host::info(message.key()),
            "pass" => out.pass(),
            "absorb" => out.absorb(),
            "double" => {
                out.emit(b"one");
                out.emit_json(&json!({ "two": 2 }))?;
            }
            "side" => out
                .message()
                .port("side")
                .topic("x/d7/y")
                .header("k", b"v")
                .retain(true)
                .qos(2)
                .payload(b"aside")?,
            "bare" => out.message().port("late").write(|_| Ok(()))?,
            "elsewhere" => out.message().topic("no/key/here").payload(b"")?,
            "late error" => {
                out.emit(b"does not count");
                return Err("changed my mind".into());
            }
            "half written" => out.emit_with(|payload| {
                payload.extend_from_slice(b"half");
                Err("ran out of ink".into())
            })?,
            "no port" => out.message().port("nowhere").payload(b"")?,
            _ => {}
        }
        Ok(())
    }

    fn tick_every(&self) -> Duration {
        self.every
    }
}

impl Timer for Puppet {
    fn tick(&mut self, tick: &mut Tick<'_, '_>) -> Result<()> {
        let now_us = tick.now_us();
        tick.message("ticks/d7", "d7").json(&now_us)?;
        Err("one is enough".into())
    }
}

crate::export!(Puppet: timer);

fn puppet() -> Plugin<Puppet> {
    Plugin::new(json!({ "every_seconds": 10 }))
}

fn says(word: &str) -> Outcome {
    puppet().feed(Input::new("d7", word).header("h", b"1"))
}

#[test]
fn each_word_has_its_output() {
    assert!(says("pass").passed() && says("absorb").absorbed() && says("nothing").filtered());
    let texts: Vec<_> = says("double")
        .on("out")
        .iter()
        .map(|emitted| emitted.text().to_owned())
        .collect();
    assert_eq!(texts, ["one", r#"{"two":2}"#]);
}

#[test]
fn a_message_of_ones_own_has_what_it_was_given_and_the_key() {
    let side = says("side").on("side")[0].clone();
    assert_eq!(
        (&*side.topic, &*side.key, side.retain, side.qos),
        ("x/d7/y", "d7", true, 2)
    );
    assert_eq!(side.headers, [("k".to_owned(), b"v".to_vec())]);
    let bare = says("bare").on("late")[0].clone();
    assert_eq!(
        (&*bare.topic, &*bare.key, bare.headers.len(), bare.qos),
        ("devices/d7/telemetry", "d7", 0, 1)
    );
    assert_eq!(
        says("elsewhere").emitted().key,
        "d7",
        "though it is no level of the new topic"
    );
}

#[test]
fn what_is_no_form_of_the_message_at_hand_inherits_its_trace_and_no_expiry() {
    let cause = |word: &str| {
        Input::new("d7", word)
            .qos(0)
            .retained()
            .header(":message-expiry", b"2")
            .header("traceparent", b"00")
    };
    let names = |emitted: &Emitted| {
        emitted
            .headers
            .iter()
            .map(|(name, _)| name.clone())
            .collect::<Vec<_>>()
    };
    let side = puppet().feed(cause("bare")).on("late")[0].clone();
    assert_eq!(
        (names(&side), side.retain, side.qos),
        (vec!["traceparent".to_owned()], false, 1)
    );
    let all = vec![":message-expiry".to_owned(), "traceparent".to_owned()];
    for word in ["heir", "again"] {
        let heir = puppet().feed(cause(word)).emitted().clone();
        assert_eq!(
            (names(&heir), heir.retain, heir.qos),
            (all.clone(), true, 0),
            "{word}"
        );
    }
}

#[test]
fn a_key_that_no_topic_holds_is_told_and_kept() {
    let inputs = ["pass", "absorb"].map(|word| Input::new("d7", word).topic("up"));
    let mut plugin = puppet();
    plugin.feed_all(inputs.into_iter().chain([
        Input::new("d8", "key").topic("elsewhere"),
        Input::new("d9", "key"),
    ]));
    assert_eq!(
        plugin
            .log()
            .into_iter()
            .map(|(_, line)| line)
            .collect::<Vec<_>>(),
        ["d8", "d9"]
    );
}

#[test]
fn an_empty_retained_payload_passes_what_reads_payloads() {
    let deleted = puppet().feed(Input::new("d7", "").retained().topic("read"));
    assert!(deleted.passed());
    assert!(
        puppet()
            .feed(Input::new("d7", "").topic("read"))
            .rejected()
            .is_some()
    );
    assert!(
        puppet()
            .feed(Input::new("d7", "{}").retained().topic("read"))
            .excused()
    );
}

fn rejection(reason: &str) -> Output {
    Output::Reject {
        reason: reason.to_owned(),
        excused: false,
    }
}

#[test]
fn an_error_takes_back_what_was_said() {
    assert_eq!(says("late error").0, [rejection("changed my mind")]);
    assert_eq!(says("half written").0, [rejection("ran out of ink")]);
    assert_eq!(
        says("no port").0,
        [rejection("port `nowhere` is not one of the plugin's")]
    );
}

#[test]
fn outputs_of_a_batch_name_their_inputs() {
    let words = [
        "pass",
        "nothing",
        "late error",
        "double",
        "half written",
        "side",
        "pass",
    ];
    let together = puppet().feed_all(words.map(|word| Input::new("d7", word).header("h", b"1")));
    assert_eq!(together, words.map(says));
}

#[test]
fn counters_are_told_once_a_batch() {
    let mut plugin = puppet();
    plugin.feed_all(["a", "b", "c"].map(|word| Input::new("d7", word)));
    assert_eq!(plugin.counters()["seen"], 3);
}

#[test]
fn ticks_come_when_they_are_due_and_their_errors_are_logged() {
    let mut plugin = puppet();
    assert!(plugin.run_for(Duration::from_secs(9)).filtered());
    let outcome = plugin.run_for(Duration::from_secs(11));
    let times: Vec<u64> = outcome.on("out").iter().map(|tick| tick.json()).collect();
    assert_eq!(times, [START_US + 10_000_000, START_US + 20_000_000]);
    assert_eq!(
        plugin.log()[0],
        (Level::Error, "tick failed: one is enough".to_owned())
    );
}

#[test]
fn a_batch_of_a_later_host_is_read_by_its_stride() {
    let (mut instance, _) = Instance::<Puppet>::configure(r#"{"every_seconds":0}"#).unwrap();
    let (mut words, mut data) = (Vec::new(), Vec::new());
    for word in ["pass", "nothing", "pass"] {
        Input::new("d7", word).pack(START_US, &mut words, &mut data);
        words.extend_from_slice(&[77, 78]);
    }
    let packed = instance.process(&Batch {
        now_us: START_US,
        stride: 12,
        words: &words,
        data: &data,
    });
    let inputs: Vec<_> = packed
        .words
        .chunks(STRIDE_OUT)
        .map(|entry| entry[OUT_INPUT])
        .collect();
    assert_eq!(inputs, [0, 2]);
}

#[test]
fn settings_name_what_is_wrong_with_them() {
    let refused = |settings: Value| Plugin::<Puppet>::try_new(settings).unwrap_err();
    assert_eq!(
        refused(json!({ "every_second": 1 })),
        "there is no setting `every_second`; there are: `every_seconds`"
    );
    assert_eq!(
        refused(json!(null)),
        "the setting `every_seconds` is missing"
    );
    assert_eq!(
        refused(json!({ "every_seconds": "1" })),
        "`every_seconds` must be a whole number from 0 on, not the text \"1\""
    );
}
