//! From one flow into another.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::message::{Headers, Pattern};

/// The flow behind, whatever its name: keeps what it is brought.
#[derive(Default)]
pub(super) struct Behind {
    is_full: AtomicBool,
    brought: Mutex<Vec<Delivery>>,
    changed: Condvar,
}

impl Behind {
    fn wait(&self, count: usize) -> Vec<Delivery> {
        let brought = self.brought.lock().unwrap();
        let too_few = |brought: &mut Vec<Delivery>| brought.len() < count;
        let waited = self.changed.wait_timeout_while(brought, PATIENCE, too_few);
        let (mut brought, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "{} of {count} came", brought.len());
        std::mem::take(&mut *brought)
    }
}

impl Intake for Behind {
    fn deliver(&self, batch: Vec<Delivery>) {
        self.brought.lock().unwrap().extend(batch);
        self.changed.notify_all();
    }

    fn has_room(&self) -> bool {
        !self.is_full.load(Ordering::Relaxed)
    }
}

impl Flows for Collector {
    fn flow(&self, _: &str) -> Arc<dyn Intake> {
        Arc::clone(&self.behind) as Arc<dyn Intake>
    }
}

/// A flow whose `out` leads to these places.
fn leads_to(targets: &[Destination], settings: &str) -> Config {
    let mut config = config(vec![plugin("probe", settings)]);
    config.ports.insert("out".to_owned(), targets.to_vec());
    config
}

fn next() -> Destination {
    Destination::Flow("next".into())
}

#[test]
fn a_message_settles_when_all_it_became_have_in_all_flows() {
    let rig = Rig::new(leads_to(&[Destination::Queue(OUT), next()], ""));
    let burst = rig.send(&KEYS.map(|key| (key, "a")));
    let brought = rig.outlet.behind.wait(KEYS.len());
    rig.wait("the other way out", |seen| seen.appends.len() == KEYS.len());
    assert!(!burst.all_settled(), "the next flow has them in hand");
    let receipts = brought.into_iter().filter_map(|delivery| delivery.receipt);
    receipts.for_each(Receipt::release);
    rig.settle(&burst);
    assert_eq!(
        (rig.fate("forwarded"), rig.settled.faults()),
        (KEYS.len() as f64, 0)
    );
}

#[test]
fn a_flow_takes_of_what_others_lead_to_it_what_its_topics_name_under_the_key_they_name() {
    let rig = Rig::new(Config {
        flow: FlowId::at(7).unwrap(),
        patterns: vec![
            Pattern::parse("devices/{device}").unwrap(),
            Pattern::parse("sites/{site}/{device}")
                .unwrap()
                .keyed("site")
                .unwrap(),
        ],
        expires: Some(60),
        ..config(vec![plugin("probe", "")])
    });
    let topics = ["devices/d1", "alarms/d1", "sites/barn/d1"];
    let burst = Burst::new(Arc::clone(&rig.settled), topics.map(|_| 1));
    let delivery = |(index, topic): (usize, &&str)| Delivery {
        message: Message {
            flow: FlowId::at(3),
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            device: Some(Arc::from(*b"another")),
            ..Message::default()
        },
        receipt: Some(burst.receipt(index as u32)),
    };
    rig.chain
        .deliver(topics.iter().enumerate().map(delivery).collect());
    rig.settle(&burst);
    let mut taken: Vec<_> = rig
        .seen()
        .appends
        .iter()
        .map(|(_, message)| {
            let key = String::from_utf8_lossy(message.key()).into_owned();
            let life = Headers(&message.headers).get(":message-expiry").is_some();
            (message.flow, message.topic_str().to_owned(), key, life)
        })
        .collect();
    taken.sort();
    let of = |topic: &str, key: &str| (FlowId::at(7), topic.to_owned(), key.to_owned(), true);
    assert_eq!(taken, [of("devices/d1", "d1"), of("sites/barn/d1", "barn")]);
    assert_eq!((rig.fate("forwarded"), rig.fate("filtered")), (2.0, 1.0));
    rig.chain.reroute(&Config {
        flow: FlowId::at(7).unwrap(),
        ..config(Vec::new())
    });
    let burst = Burst::new(Arc::clone(&rig.settled), [1]);
    rig.chain.deliver(vec![delivery((0, &"alarms/d1"))]);
    drop(burst);
    rig.wait("without topics it takes all", |seen| {
        seen.appends.len() == 3
    });
    assert_eq!(rig.seen().appends[2].1.key(), b"another");
}

#[test]
fn while_the_next_flow_has_no_room_a_flow_takes_nothing_more() {
    let rig = Rig::new(leads_to(&[next()], ""));
    let behind = &rig.outlet.behind;
    behind.is_full.store(true, Ordering::Relaxed);
    let burst = rig.send(&KEYS.map(|key| (key, "a")));
    // The lanes have had turns since.
    assert!(rig.chain.copies(0).is_ok());
    let waiting = || rig.metric("tidegate_chain_waiting_messages", &[]);
    assert_eq!((behind.brought.lock().unwrap().len(), waiting()), (0, 9.0));
    behind.is_full.store(false, Ordering::Relaxed);
    let brought = behind.wait(KEYS.len());
    drop(brought);
    drop(burst);
    assert_eq!(
        rig.settled.faults(),
        1,
        "what the next flow drops comes again"
    );
}

#[test]
fn what_a_timer_makes_for_a_flow_without_room_is_given_up_and_counted() {
    let outlet = Arc::<Collector>::default();
    outlet.behind.is_full.store(true, Ordering::Relaxed);
    let rig = Rig::after(outlet, leads_to(&[next()], "tick")).unwrap();
    let is_counted = |seen: &Seen| {
        let mut reasons = seen.losses.iter().map(|loss| loss.reason);
        reasons.any(|reason| reason == LossReason::MemoryFull)
    };
    rig.wait("a loss", is_counted);
    assert!(rig.outlet.behind.brought.lock().unwrap().is_empty());
}

#[test]
fn an_inbox_has_room_until_a_mebibyte_waits() {
    let rig = Rig::of("");
    rig.outlet.is_full.store(true, Ordering::Relaxed);
    assert!(rig.chain.has_room());
    let large = "x".repeat(300 << 10);
    let burst = rig.send(&[("d1", &*large); 4]);
    assert!(!rig.chain.has_room());
    rig.outlet.is_full.store(false, Ordering::Relaxed);
    rig.settle(&burst);
    assert!(rig.chain.has_room());
}

/// Messages that wait in a flow since the one behind has no room.
fn waiting() -> (Rig, Arc<Burst>) {
    let rig = Rig::new(leads_to(&[next()], ""));
    rig.outlet.behind.is_full.store(true, Ordering::Relaxed);
    let burst = rig.send(&KEYS.map(|key| (key, "a")));
    // The lanes have had turns since.
    assert!(rig.chain.copies(0).is_ok());
    (rig, burst)
}

#[test]
fn what_waits_for_the_flow_behind_goes_to_the_chain_that_follows() {
    let (rig, burst) = waiting();
    let wiring = Wiring {
        outlet: rig.outlet.clone(),
        flows: rig.outlet.clone(),
        states: rig.outlet.clone(),
        mint: Arc::new(Mint::new(8)),
        metrics: Metrics::new(&Registry::new()).unwrap(),
        taps: Default::default(),
        tracer: Default::default(),
        failed: Arc::default(),
    };
    let config = Config {
        lanes: 2,
        ..leads_to(&[next()], "")
    };
    let next = rig.chain.rehearse(config, wiring).unwrap();
    let chain = next.follow(&rig.chain, &|| true).unwrap();
    assert!(!burst.all_settled());
    let behind = &rig.outlet.behind;
    assert!(behind.brought.lock().unwrap().is_empty());
    behind.is_full.store(false, Ordering::Relaxed);
    let brought = behind.wait(KEYS.len());
    brought
        .into_iter()
        .filter_map(|delivery| delivery.receipt)
        .for_each(Receipt::release);
    rig.settle(&burst);
    assert_eq!(rig.settled.faults(), 0);
    assert_eq!(chain.stop(PATIENCE), 0);
}

#[test]
fn a_stop_waits_while_the_flow_behind_has_no_room() {
    let (rig, burst) = waiting();
    rig.chain.begin_to_stop();
    assert!(rig.chain.copies(0).is_ok(), "the lanes are there still");
    let behind = &rig.outlet.behind;
    behind.is_full.store(false, Ordering::Relaxed);
    assert_eq!(rig.chain.stop(PATIENCE), 0);
    assert_eq!(behind.wait(KEYS.len()).len(), KEYS.len());
    drop(burst);
}

#[test]
fn what_is_left_when_the_time_of_a_flow_is_up_is_given_back_with_its_receipts() {
    let (rig, burst) = waiting();
    let left = rig.chain.end(Duration::from_millis(1));
    assert_eq!(left.len(), KEYS.len());
    left.into_iter()
        .filter_map(|delivery| delivery.receipt)
        .for_each(Receipt::release);
    rig.settle(&burst);
    assert_eq!(rig.settled.faults(), 0);
}
