//! What becomes of ticks for which there is no room.

use std::sync::Mutex;

use prometheus::Registry;

use super::*;
use crate::clock::WallTime;
use crate::message::{
    Append, DeadLetter, Delivery, FlowId, Intake, Loss, Mint, Outlet, Pattern, Receipt,
};
use crate::source::{Ack, FlowRoute, Metrics, SourceKind};

#[derive(Default)]
struct Held {
    messages: Mutex<Vec<Delivery>>,
    losses: Mutex<Vec<Loss>>,
}

impl Intake for Held {
    fn deliver(&self, batch: Vec<Delivery>) {
        self.messages.lock().unwrap().extend(batch);
    }

    fn has_room(&self) -> bool {
        true
    }
}

impl Outlet for Held {
    fn append(&self, _: Vec<Append>) {}
    fn park(&self, _: Vec<DeadLetter>) {}
    fn lose(&self, losses: Vec<Loss>) {
        self.losses.lock().unwrap().extend(losses);
    }
}

/// A source of it, for one flow, with little room.
fn config(own: &Config, held: &Arc<Held>) -> crate::source::Config {
    crate::source::Config {
        name: "minute".into(),
        kind: SourceKind::Ticks(Box::new(own.clone())),
        routes: vec![FlowRoute {
            flow: FlowId::FIRST,
            name: "all".into(),
            pattern: Pattern::parse("clock/{device}").unwrap(),
            intake: Arc::clone(held) as _,
            ack: Ack::Safe,
            expires: None,
            dedup: None,
        }],
        late: Vec::new(),
        max_unsettled_bytes: 2_000,
        max_topic_bytes: 1 << 10,
        max_payload_bytes: 1 << 18,
        devices: None,
    }
}

#[test]
fn ticks_without_room_are_left_out_in_the_ledger_and_told_until_there_is_some() {
    let own = Config {
        rhythm: Rhythm::Every(Duration::from_secs(1)),
        zone: TickZone::find("utc").unwrap(),
        topic: Bytes::from_static(b"clock/minute"),
    };
    let held = Arc::new(Held::default());
    let config = config(&own, &held);
    let metrics = Metrics::new(&Registry::new()).unwrap();
    let borders = Borders {
        outlet: Arc::clone(&held) as _,
        mint: Arc::new(Mint::new(1)),
        settled: Arc::default(),
        meters: Arc::new(metrics.of("minute")),
        taking: tokio_util::task::TaskTracker::new().token(),
        trace: crate::source::trace::SourceTrace::new(&"s".into(), "test", Default::default()),
    };
    let mut source = TickSource::new(&config, &own, borders, &metrics);
    let due = DueTick {
        due: Some(WallTime(1_783_828_800_000_000)),
        missed: 0,
    };
    let words = || {
        let told = metrics.account("minute", Instant::now()).conditions;
        told.first().map(|one| (one.kind, one.messages))
    };
    while held.losses.lock().unwrap().is_empty() {
        source.tick(due, Now::read());
    }
    source.tick(due, Now::read());
    let left_out: Vec<_> = {
        let losses = held.losses.lock().unwrap();
        losses
            .iter()
            .map(|loss| (loss.reason, loss.count))
            .collect()
    };
    assert_eq!(left_out, [(LossReason::SourcePressed, 1); 2]);
    assert_eq!(words(), Some(("no-room", 2)));
    let told = held.messages.lock().unwrap().len() as u64;
    assert!(told > 1 && told == source.count);
    for delivery in held.messages.lock().unwrap().drain(..) {
        delivery.receipt.into_iter().for_each(Receipt::release);
    }
    source.settle(false);
    source.tick(due, Now::read());
    assert_eq!((source.count, words()), (told + 1, None));
}
