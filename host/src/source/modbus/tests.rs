//! The devices of a source over time: which is asked when, and what is told of them.

use std::time::Duration;

use crate::link::Backoff;
use std::sync::Mutex;

use bytes::Bytes;
use prometheus::Registry;
use serde_json::Value;

use super::desk::{NextPoll, PollScheduler};
use super::map::{Area, point};
use super::*;
use crate::message::{DeadLetter, Delivery, FlowId, Intake, Loss, Mint, Outlet, Pattern};
use crate::source::{Ack, FlowRoute, Metrics, SourceKind};

#[derive(Default)]
struct Kept {
    messages: Mutex<Vec<Delivery>>,
    losses: Mutex<Vec<Loss>>,
}

impl Intake for Kept {
    fn deliver(&self, batch: Vec<Delivery>) {
        self.messages.lock().unwrap().extend(batch);
    }

    fn has_room(&self) -> bool {
        true
    }
}

impl Outlet for Kept {
    fn append(&self, _: Vec<crate::message::Append>) {}
    fn park(&self, _: Vec<DeadLetter>) {}
    fn lose(&self, losses: Vec<Loss>) {
        self.losses.lock().unwrap().extend(losses);
    }
}

impl Kept {
    fn told(&self) -> Vec<(String, Value)> {
        let messages = self.messages.lock().unwrap();
        let told = |one: &Delivery| {
            let topic = one.message.topic_str().to_owned();
            (topic, serde_json::from_slice(&one.message.payload).unwrap())
        };
        messages.iter().map(told).collect()
    }
}

struct Scene {
    kept: Arc<Kept>,
    metrics: Metrics,
    desk: PollScheduler,
    start: Instant,
}

const EVERY: Duration = Duration::from_secs(10);

fn device(name: &str, report: ReportMode) -> Device {
    Device {
        name: name.into(),
        station: 1,
        stale_after: 3,
        gap: 0,
        max: 125,
        groups: vec![PointGroup {
            name: "power".into(),
            topic: Bytes::from(format!("m/{name}/power")),
            every: EVERY,
            within: EVERY,
            report,
            points: vec![point(
                "x",
                Area::Holding,
                0,
                ValueFormat::Unsigned(Size::One, ByteOrder::default()),
            )],
        }],
    }
}

fn scene(devices: &[&str], report: ReportMode, max_unsettled_bytes: usize) -> Scene {
    let second = Backoff {
        first: Duration::from_secs(5),
        cap: Duration::from_secs(60),
        jitter: 0.0,
    };
    let own = Config {
        address: ModbusAddress::Net {
            host: "10.0.0.7".to_owned(),
            port: 502,
            framing: Framing::Tcp,
        },
        timeout: Duration::from_secs(1),
        retries: 1,
        pause: Duration::ZERO,
        connect_pause: Duration::ZERO,
        backoff: second,
        probe: second,
        devices: devices.iter().map(|name| device(name, report)).collect(),
    };
    let kept = Arc::new(Kept::default());
    let config = crate::source::Config {
        name: "meters".into(),
        kind: SourceKind::Modbus(Box::new(own.clone())),
        routes: vec![FlowRoute {
            flow: FlowId::FIRST,
            name: "all".into(),
            pattern: Pattern::parse("m/{device}/+").unwrap(),
            intake: Arc::clone(&kept) as _,
            ack: Ack::Safe,
            expires: None,
            dedup: None,
        }],
        late: Vec::new(),
        max_unsettled_bytes,
        max_topic_bytes: 1 << 10,
        max_payload_bytes: 1 << 18,
        devices: None,
    };
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let borders = Borders {
        outlet: Arc::clone(&kept) as _,
        mint: Arc::new(Mint::new(1)),
        settled: Arc::default(),
        meters: Arc::new(metrics.of("meters")),
        taking: tokio_util::task::TaskTracker::new().token(),
        trace: crate::source::trace::SourceTrace::new(&"s".into(), "test", Default::default()),
    };
    let start = Instant::now();
    let desk = PollScheduler::new(&config, &own, borders, &metrics, start);
    Scene {
        kept,
        metrics,
        desk,
        start,
    }
}

impl Scene {
    fn second(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    /// Does what is due at that second; who is silent is said by the numbers of the devices.
    fn at(&mut self, second: u64, value: u16, silent: &[usize]) -> Vec<usize> {
        let now = self.second(second);
        let at = (now, Now::read());
        let mut asked = Vec::new();
        while let NextPoll::Poll(place) = self.desk.next(now, true) {
            let Some(mut round) = self.desk.begin(place, now) else {
                continue;
            };
            asked.push(place.0);
            if silent.contains(&place.0) {
                self.desk
                    .failed(place, &AnswerFault::Silent(Duration::from_secs(1)), at);
                continue;
            }
            while let Some(part) = round.next() {
                let points = self.desk.stations[place.0].device.groups[place.1]
                    .points
                    .clone();
                round.answered(&points, part, &value.to_be_bytes());
            }
            self.desk.answered(place, round, at);
        }
        asked
    }

    /// All that was told is safe.
    fn release(&mut self) {
        for delivery in self.kept.messages.lock().unwrap().drain(..) {
            delivery
                .receipt
                .into_iter()
                .for_each(crate::message::Receipt::release);
        }
        self.desk.settle(false);
    }

    fn conditions(&self) -> Vec<(&'static str, String)> {
        let account = self.metrics.account("meters", self.start);
        let all = account.conditions.into_iter();
        all.map(|one| (one.kind, one.words)).collect()
    }
}

#[test]
fn a_silent_device_is_told_once_asked_less_and_takes_no_time_of_the_others() {
    let mut scene = scene(&["a", "b"], ReportMode::Always, 1 << 20);
    let mut of_a = Vec::new();
    for second in 0..200 {
        let asked = scene.at(second, 230, if second < 3 { &[] } else { &[0] });
        of_a.extend(asked.contains(&0).then_some(second));
    }
    // Each ten seconds until the third failure, then 5, 10, 20, 40 behind each other.
    assert_eq!(of_a, [0, 10, 20, 30, 35, 45, 65, 105, 165]);
    let told = scene.kept.told();
    let of = |device: &str| {
        told.iter()
            .filter(|(topic, _)| topic.contains(device))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("/b/").len(), 20);
    let of_a = of("/a/");
    assert_eq!(of_a.len(), 2, "{of_a:?}");
    assert_eq!(of_a[1].1["values"]["x"], 230);
    assert_eq!(of_a[1].1["ts"], of_a[0].1["ts"]);
    assert!(
        of_a[1].1["stale"]["why"]
            .as_str()
            .unwrap()
            .contains("no answer")
    );
    let conditions = scene.conditions();
    assert_eq!(conditions.len(), 1);
    assert!(
        conditions[0].0 == "device-silent" && conditions[0].1.contains("station 1 at 10.0.0.7:502")
    );
}

#[test]
fn a_line_that_stands_again_hastens_those_it_cut_off_and_no_other() {
    let mut scene = scene(
        &["well", "cut off", "at fault"],
        ReportMode::Always,
        1 << 20,
    );
    let (fault, now) = (AnswerFault::Broken("closed".to_owned()), scene.start);
    for _ in 0..3 {
        scene.desk.cut_off((1, 0), &fault, (now, Now::read()));
        scene.desk.failed((2, 0), &fault, (now, Now::read()));
    }
    assert!(scene.desk.has_working_station());
    scene.desk.line_stands(scene.second(1));
    let next = |station: usize| scene.desk.stations[station].breaker.next_try();
    assert_eq!(next(1), Some(scene.second(1)));
    assert_eq!(next(2), Some(scene.second(5)));
    scene.desk.failed((0, 0), &fault, (now, Now::read()));
    assert!(!scene.desk.has_working_station());
}

#[test]
fn the_next_reading_of_a_silent_device_is_told_even_where_nothing_has_changed() {
    let mut scene = scene(&["a"], ReportMode::Change { at_least: None }, 1 << 20);
    for second in [0, 10, 20] {
        scene.at(second, 7, &[]);
    }
    assert_eq!(scene.kept.told().len(), 1);
    for second in [30, 40, 50] {
        scene.at(second, 7, &[0]);
    }
    assert_eq!(scene.kept.told().len(), 2);
    scene.at(55, 7, &[]);
    let told = scene.kept.told();
    assert!(told.len() == 3 && told[2].1.get("stale").is_none());
    assert_eq!(scene.conditions(), []);
}

#[test]
fn what_does_not_fit_is_left_out_and_in_the_ledger_and_what_is_late_is_never_queued() {
    let mut scene = scene(&["a"], ReportMode::Always, 1);
    assert_eq!(scene.at(0, 1, &[]), [0]);
    // The first is not settled, and there is no room for a second one.
    assert_eq!(scene.at(10, 1, &[]), [] as [usize; 0]);
    let losses: u64 = scene
        .kept
        .losses
        .lock()
        .unwrap()
        .iter()
        .map(|loss| loss.count)
        .sum();
    assert_eq!(losses, 1);
    assert_eq!(scene.conditions()[0].0, "no-room");
    scene.release();
    // Fifty seconds late: one poll, and four that are counted.
    assert_eq!(scene.at(70, 1, &[]), [0]);
    assert_eq!(scene.metrics.polls("meters", "late").get(), 5);
    assert_eq!(scene.metrics.polls("meters", "pressed").get(), 1);
    assert_eq!(scene.conditions()[0].0, "behind");
    scene.release();
    assert_eq!(scene.at(80, 1, &[]), [0]);
    assert_eq!(scene.conditions(), []);
}
