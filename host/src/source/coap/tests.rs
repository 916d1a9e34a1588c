//! What becomes of datagrams, and what is answered when.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prometheus::Registry;
use proptest::prelude::*;

use super::Config;
use super::datagram::{AnswerForm, answer, uint};
use super::desk::CoapDesk;
use crate::link::Backoff;
use crate::message::{
    Append, DeadLetter, Delivery, FlowId, Headers, Intake, Loss, Mint, Outlet, Pattern, legal,
};
use crate::source::http::PathTopic;
use crate::source::taker::Borders;
use crate::source::{Ack, FlowRoute, Metrics, SourceKind};

const POST: u8 = 2;
const BLOCK1: u16 = 27;

#[derive(Default)]
struct KeptPosts(Mutex<Vec<Delivery>>);

impl Intake for KeptPosts {
    fn deliver(&self, batch: Vec<Delivery>) {
        self.0.lock().unwrap().extend(batch);
    }

    fn has_room(&self) -> bool {
        true
    }
}

impl Outlet for KeptPosts {
    fn append(&self, _: Vec<Append>) {}
    fn park(&self, _: Vec<DeadLetter>) {}
    fn lose(&self, _: Vec<Loss>) {}
}

impl KeptPosts {
    fn payloads(&self) -> Vec<Vec<u8>> {
        let kept = self.0.lock().unwrap();
        kept.iter()
            .map(|delivery| delivery.message.payload.to_vec())
            .collect()
    }

    /// All that came is settled.
    fn release(&self) {
        for delivery in self.0.lock().unwrap().drain(..) {
            delivery.receipt.unwrap().release();
        }
    }
}

/// A source without a socket, and what it hands on.
struct Scene {
    desk: CoapDesk,
    kept: Arc<KeptPosts>,
    metrics: Metrics,
    now: Instant,
    // Held as long as anything may be handed on.
    _tasks: tokio_util::task::TaskTracker,
}

impl Scene {
    fn new(max_exchanges: usize) -> Self {
        let kept = Arc::new(KeptPosts::default());
        let own = Config {
            host: "127.0.0.1".to_owned(),
            port: 0,
            topic: PathTopic::any(),
            settle_within: Duration::from_secs(30),
            max_exchanges,
            backoff: Backoff::default(),
        };
        let config = crate::source::Config {
            name: "motes".into(),
            kind: SourceKind::Coap(Box::new(own.clone())),
            routes: vec![FlowRoute {
                flow: FlowId::FIRST,
                name: "all".into(),
                pattern: Pattern::parse("d/{device}").unwrap(),
                intake: Arc::clone(&kept) as _,
                ack: Ack::Safe,
                expires: None,
                dedup: None,
            }],
            late: Vec::new(),
            max_unsettled_bytes: 1 << 20,
            max_topic_bytes: 100,
            max_payload_bytes: 1_000,
            devices: None,
        };
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let tasks = tokio_util::task::TaskTracker::new();
        let borders = Borders {
            outlet: Arc::clone(&kept) as _,
            mint: Arc::new(Mint::new(1)),
            settled: Arc::default(),
            meters: Arc::new(metrics.of("motes")),
            taking: tasks.token(),
            trace: crate::source::trace::SourceTrace::new(&"s".into(), "test", Default::default()),
        };
        Self {
            desk: CoapDesk::new(&config, &own, borders, &metrics),
            kept,
            metrics,
            now: Instant::now(),
            _tasks: tasks,
        }
    }

    /// What is said after a datagram.
    fn send(&mut self, datagram: &[u8]) -> Vec<Said> {
        self.desk.receive(peer(), datagram, self.now);
        self.look()
    }

    /// What is said by now.
    fn look(&mut self) -> Vec<Said> {
        self.desk.settle(self.now, false);
        let said = self.desk.outgoing().into_iter();
        said.map(|(whom, datagram)| {
            assert_eq!(whom, peer());
            Said::of(datagram)
        })
        .collect()
    }

    fn pass(&mut self, time: Duration) -> Vec<Said> {
        self.now += time;
        self.look()
    }

    fn counted(&self, status: &str) -> u64 {
        self.metrics.requests("motes", status).get()
    }
}

fn peer() -> SocketAddr {
    ([127, 0, 0, 1], 40_000).into()
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    /// 0: it is to be acknowledged, 1: it is not, 2: it acknowledges, 3: it resets.
    kind: u8,
    code: String,
    id: u16,
    datagram: Vec<u8>,
}

impl Said {
    fn of(datagram: Vec<u8>) -> Self {
        Self {
            kind: datagram[0] >> 4 & 3,
            code: super::outcome::written(datagram[1]),
            id: u16::from_be_bytes([datagram[2], datagram[3]]),
            datagram,
        }
    }
}

/// Kind and code of each.
fn short(said: &[Said]) -> Vec<(u8, &str)> {
    said.iter().map(|said| (said.kind, &*said.code)).collect()
}

/// A request; a path is levels with slashes between.
fn request(
    form: AnswerForm,
    code: u8,
    path: &str,
    options: &[(u16, Vec<u8>)],
    payload: &[u8],
) -> Vec<u8> {
    let levels = path.split('/').map(|level| (11, level.as_bytes().to_vec()));
    let options = options.iter().cloned();
    let mut datagram = answer(form, code, b"tok", levels.chain(options));
    if !payload.is_empty() {
        datagram.push(0xFF);
        datagram.extend_from_slice(payload);
    }
    datagram
}

fn post(id: u16, payload: &[u8]) -> Vec<u8> {
    request(AnswerForm::Confirmable(id), POST, "d/1", &[], payload)
}

#[test]
fn what_is_safe_soon_is_confirmed_with_the_acknowledgement_and_a_repeat_gets_the_same() {
    let mut scene = Scene::new(10);
    let json = (12, uint(50));
    let datagram = request(AnswerForm::Confirmable(7), POST, "d/1", &[json], b"a");
    for _ in 0..3 {
        assert_eq!(scene.send(&datagram), []);
    }
    {
        let kept = scene.kept.0.lock().unwrap();
        let message = &kept[0].message;
        let kind = Headers(&message.headers).get(legal::CONTENT_TYPE);
        assert_eq!(kind, Some(&b"application/json"[..]));
        assert_eq!((kept.len(), &message.topic[..]), (1, &b"d/1"[..]));
    }
    scene.kept.release();
    let said = scene.look();
    assert_eq!(said, [Said::of(b"\x63\x44\x00\x07tok".to_vec())]);
    assert_eq!(scene.send(&datagram), said);
    assert!(scene.kept.payloads().is_empty());
    assert_eq!(scene.counted("2.04"), 1);
    assert_eq!(scene.metrics.of("motes").repeated.get(), 3);
}

#[test]
fn what_takes_longer_is_told_first_and_confirmed_behind_until_somebody_has_it() {
    let mut scene = Scene::new(10);
    assert_eq!(scene.send(&post(7, b"a")), []);
    let told = Said::of(b"\x60\x00\x00\x07".to_vec());
    let alone = std::slice::from_ref(&told);
    assert_eq!(scene.pass(Duration::from_secs(1)), alone);
    assert_eq!(scene.send(&post(7, b"a")), alone);
    scene.kept.release();
    let said = scene.look();
    assert_eq!(short(&said), [(0, "2.04")]);
    assert_eq!(&said[0].datagram[4..], b"tok");
    // Nobody acknowledges it: it comes again.
    scene.now = scene.desk.look_at().unwrap();
    assert_eq!(scene.look(), said);
    let again = [told, said[0].clone()];
    assert_eq!(scene.send(&post(7, b"a")), again);
    let [high, low] = said[0].id.to_be_bytes();
    assert_eq!(scene.send(&[0x60, 0, high, low]), []);
    assert!(scene.desk.is_heard() && scene.desk.look_at().is_none());
}

#[test]
fn one_that_wants_no_acknowledgement_is_answered_once_it_is_safe_and_not_before() {
    let mut scene = Scene::new(10);
    let datagram = request(AnswerForm::NonConfirmable(7), POST, "d/1", &[], b"a");
    assert_eq!(scene.send(&datagram), []);
    assert_eq!(scene.pass(Duration::from_secs(5)), []);
    scene.kept.release();
    let said = scene.look();
    assert_eq!(short(&said), [(1, "2.04")]);
    assert_eq!(scene.send(&datagram), said);
    assert!(scene.desk.is_heard());
}

#[test]
fn what_is_not_safe_in_time_is_never_confirmed_whatever_comes_later() {
    let mut scene = Scene::new(10);
    assert_eq!(scene.send(&post(7, b"a")), []);
    let said = scene.pass(Duration::from_secs(30));
    // It was told that it is here, all at this moment.
    assert!(short(&said).contains(&(2, "5.03")) || short(&said).contains(&(0, "5.03")));
    scene.kept.release();
    assert!(scene.look().iter().all(|said| said.code != "2.04"));
    let again = scene.send(&post(7, b"a"));
    assert!(!again.is_empty() && again.iter().all(|said| said.code != "2.04"));
    assert_eq!((scene.counted("2.04"), scene.counted("5.03")), (0, 1));
}

#[test]
fn another_request_under_a_number_of_before_is_another_message() {
    let mut scene = Scene::new(10);
    scene.send(&post(7, b"a"));
    scene.kept.release();
    assert_eq!(short(&scene.look()), [(2, "2.04")]);
    assert_eq!(scene.send(&post(7, b"b")), []);
    assert_eq!(scene.kept.payloads(), [b"b"]);
}

#[test]
fn without_room_and_at_the_end_nothing_is_taken_and_that_is_said() {
    let mut scene = Scene::new(2);
    for id in 0..2 {
        assert_eq!(scene.send(&post(id, b"a")), []);
    }
    let said = scene.send(&post(2, b"a"));
    assert_eq!(short(&said), [(2, "5.03")]);
    // Max-Age of a second.
    assert!(said[0].datagram.ends_with(&[0xD1, 1, 1]));
    assert_eq!(scene.send(&post(2, b"a")), said);
    assert_eq!(scene.kept.payloads().len(), 2);
    scene.kept.release();
    assert_eq!(short(&scene.look()), [(2, "2.04"), (2, "2.04")]);
    scene.desk.cease();
    let said = scene.send(&post(3, b"a"));
    assert_eq!(short(&said), [(2, "5.03")]);
    assert!(scene.kept.payloads().is_empty());
}

/// The code of the answer; method, path, options and payload.
type WrongRequest<'a> = (&'a str, u8, &'a str, &'a [(u16, Vec<u8>)], &'a [u8]);

#[test]
fn what_is_wrong_is_told_by_its_code_and_never_taken() {
    let mut scene = Scene::new(10);
    let con = AnswerForm::Confirmable;
    let block = |value: u32| (BLOCK1, uint(value));
    let long = [7; 1_001];
    let cases: [WrongRequest<'_>; 20] = [
        ("4.04", POST, "e/1", &[], b"a"),
        ("4.04", 1, ".well-known/core", &[], b""),
        ("4.05", 1, "d/1", &[], b""),
        ("4.05", 4, "d/1", &[], b""),
        ("4.05", 31, "d/1", &[], b""),
        ("4.00", POST, "d/..", &[], b"a"),
        ("4.00", POST, "d/#", &[], b"a"),
        ("4.00", POST, &"d".repeat(101), &[], b"a"),
        // If-Match, OSCORE and one that nobody knows.
        ("4.02", POST, "d/1", &[(1, vec![])], b"a"),
        ("4.02", POST, "d/1", &[(9, vec![])], b"a"),
        ("4.02", POST, "d/1", &[(65_001, vec![])], b"a"),
        // Twice, and too long.
        ("4.02", POST, "d/1", &[block(0), block(0)], b"a"),
        ("4.02", POST, "d/1", &[(17, vec![1; 3])], b"a"),
        ("5.05", POST, "d/1", &[(35, b"coap://x".to_vec())], b"a"),
        ("4.15", POST, "d/1", &[(12, uint(11_050))], b"a"),
        ("4.00", POST, "d/1", &[block(7)], b"a"),
        ("4.00", POST, "d/1", &[block(8)], b"too short"),
        ("4.08", POST, "d/1", &[block(1 << 4)], b"a"),
        ("4.13", POST, "d/1", &[], &long),
        (
            "4.13",
            POST,
            "d/1",
            &[block(8), (60, uint(1_001))],
            &[7; 16],
        ),
    ];
    for (number, (code, method, path, options, payload)) in (0..).zip(cases) {
        let datagram = request(con(number), method, path, options, payload);
        let said = scene.send(&datagram);
        assert_eq!(short(&said), [(2, code)], "{path} {options:?}");
        assert_eq!(scene.send(&datagram), said, "{path} {options:?}");
    }
    // Whoever does not wait is left alone where a critical option is not known.
    let datagram = request(
        AnswerForm::NonConfirmable(90),
        POST,
        "d/1",
        &[(9, vec![])],
        b"a",
    );
    assert_eq!(scene.send(&datagram), []);
    // Somebody looks whether we are there.
    assert_eq!(short(&scene.send(&[0x40, 0, 0, 91])), [(3, "0.00")]);
    assert!(scene.kept.payloads().is_empty());
    let counted = ["4.02", "4.08", "reset"].map(|status| scene.counted(status));
    assert_eq!(counted, [11, 1, 1]);
}

/// Part `number` of `body` in blocks of 16 bytes.
fn part(id: u16, body: &[u8], number: usize) -> Vec<u8> {
    let parts: Vec<_> = body.chunks(16).collect();
    let value = number << 4 | usize::from(number + 1 < parts.len()) << 3;
    let block = (BLOCK1, uint(u32::try_from(value).unwrap()));
    let form = AnswerForm::Confirmable(id);
    request(form, POST, "d/1", &[block], parts[number])
}

#[test]
fn a_body_that_comes_in_blocks_is_one_message() {
    let mut scene = Scene::new(10);
    let body: Vec<u8> = (0..40).collect();
    assert_eq!(short(&scene.send(&part(1, &body, 0))), [(2, "2.31")]);
    let said = scene.send(&part(2, &body, 1));
    assert_eq!(short(&said), [(2, "2.31")]);
    // The option comes back as it was.
    assert!(said[0].datagram.ends_with(&[0xD1, 27 - 13, 1 << 4 | 8]));
    assert_eq!(scene.send(&part(3, &body, 2)), []);
    assert_eq!(scene.kept.payloads(), [&body[..]]);
    scene.kept.release();
    let said = scene.look();
    assert_eq!(short(&said), [(2, "2.04")]);
    assert!(said[0].datagram.ends_with(&[0xD1, 27 - 13, 2 << 4]));
}

/// What the network does with datagrams of a client that sends the parts of one body and waits for the answer to each.
fn network() -> impl Strategy<Value = Vec<(u8, u8)>> {
    // Copies of one datagram that come, and which earlier one comes once more.
    proptest::collection::vec((0..4_u8, any::<u8>()), 40)
}

proptest! {
    #[test]
    fn however_blocks_come_again_there_is_one_message_and_one_answer_to_each(
        length in 1..200_usize,
        network in network(),
        is_slow in any::<bool>(),
    ) {
        let mut scene = Scene::new(10);
        let body: Vec<u8> = (0..length).map(|at| u8::try_from(at).unwrap()).collect();
        let parts = body.chunks(16).count();
        let mut answers = vec![None::<String>; parts];
        let mut sent: Vec<Vec<u8>> = Vec::new();
        let mut released = 0;
        for (number, (copies, earlier)) in network.into_iter().enumerate().take(parts) {
            sent.push(part(u16::try_from(number).unwrap(), &body, number));
            let earlier = usize::from(earlier) % sent.len();
            let order: Vec<usize> = std::iter::repeat_n(number, usize::from(copies) + 1).chain([earlier]).collect();
            let is_last = number + 1 == parts;
            for (turn, index) in order.into_iter().enumerate() {
                let mut said = scene.send(&sent[index]);
                if is_last && turn == 1 {
                    if is_slow {
                        said.extend(scene.pass(Duration::from_secs(1)));
                    }
                    released += scene.kept.payloads().len();
                    prop_assert_eq!(scene.kept.payloads(), [&body[..]]);
                    scene.kept.release();
                    said.extend(scene.look());
                }
                for said in said.iter().filter(|said| said.code != "0.00") {
                    // An answer that goes by itself is that to the last one.
                    let of = if said.kind == 2 { usize::from(said.id) } else { parts - 1 };
                    let first = answers[of].get_or_insert_with(|| said.code.clone());
                    prop_assert_eq!(&*first, &said.code);
                }
            }
        }
        prop_assert_eq!(released, 1);
        prop_assert!(scene.kept.payloads().is_empty());
        let expected: Vec<_> = (0..parts).map(|number| Some(if number + 1 < parts { "2.31" } else { "2.04" }.to_owned())).collect();
        prop_assert_eq!(answers, expected);
    }

    #[test]
    fn any_datagrams_are_looked_at_and_no_answer_is_much_longer_than_what_asked(
        datagrams in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 0..40), any::<bool>(), 0..60_u64),
            1..60,
        ),
    ) {
        let mut scene = Scene::new(4);
        for (mut datagram, is_near, seconds) in datagrams {
            if is_near && datagram.len() > 4 {
                // A request whose options are whatever comes.
                let head = [0x40 | datagram[0] & 0x10, POST, 0, datagram[3] & 3];
                datagram[..4].copy_from_slice(&head);
            }
            scene.now += Duration::from_secs(seconds);
            scene.look();
            for said in scene.send(&datagram) {
                if said.kind >= 2 && said.code != "0.00" {
                    prop_assert!(said.datagram.len() <= datagram.len() + 4, "{datagram:x?}: {said:?}");
                }
            }
            if seconds == 0 {
                scene.kept.release();
            }
        }
    }
}
