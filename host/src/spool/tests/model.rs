//! Random steps on two queues against plain lists, over kills.
//!
//! A case is one sequence of steps on a store of its own, in memory where that is to be had, with a kill at its end.

use std::collections::HashMap;

use super::steps::{FRESH, QUEUES, Step, keys_up_to, step};
use super::*;
use crate::message::Burst;
use crate::message::Settled;
use crate::spool::disk::sealing::sealer::Sealer;
use crate::spool::settings::{Config, QueueConfig};

/// The writer is turned by hand, with a clock so far ahead that whatever lingers is due while the link is down.
const LINGER: Duration = Duration::from_secs(3_600);
const LATER_US: u64 = 7_200_000_000;

/// One of the claims of a burst.
struct Claim(Arc<Burst>, usize);

impl Claim {
    fn is_settled(&self) -> bool {
        self.0.is_settled(self.1)
    }
}

fn claims(count: u32) -> (Arc<Burst>, Vec<Claim>) {
    let burst = Burst::new(Arc::new(Settled::default()), (0..count).map(|_| 1));
    let claims = (0..burst.len())
        .map(|index| Claim(Arc::clone(&burst), index))
        .collect();
    (burst, claims)
}

/// What plain lists say about message `number`.
struct Known {
    queue: QueueId,
    claim: Option<Claim>,
    durable: bool,
    accepted: bool,
    refused: bool,
    /// It was only in RAM when the process was killed.
    lost: bool,
}

impl Known {
    fn is_in_ram(&self) -> bool {
        !self.durable && !self.accepted && !self.lost
    }
}

struct Parked {
    claim: Claim,
    durable: bool,
    lost: bool,
}

struct Model {
    bench: Option<Bench>,
    folders: Vec<tempfile::TempDir>,
    is_up: bool,
    known: Vec<Known>,
    parked: Vec<Parked>,
    refusals: u64,
    places: HashMap<(QueueId, Seq), u64>,
    last_accepted: Option<(QueueId, Seq)>,
    /// After an acceptance out of order a kill makes the number on disk an estimate.
    is_exact: [bool; 3],
    appended: [u64; 3],
    /// All queues, and how many of them there are for now.
    queues: Vec<QueueConfig>,
    present: usize,
    /// Today's key, of a store that is sealed; each start brings a new one.
    key: Option<u8>,
}

impl Model {
    fn new(key: Option<u8>, present: usize) -> Self {
        let folder = tempdir();
        let mut config = Config {
            commit_every: LINGER,
            sealer: keys_up_to(key),
            ..config(folder.path())
        };
        let fresh = QueueConfig {
            class: "fresh".into(),
            is_fresh_first: true,
            ..config.queues[0].clone()
        };
        config.queues.push(fresh);
        let queues = config.queues.clone();
        config.queues.truncate(present);
        Self {
            bench: Some(Bench::open(config)),
            folders: vec![folder],
            is_up: false,
            known: Vec::new(),
            parked: Vec::new(),
            refusals: 0,
            places: HashMap::new(),
            last_accepted: None,
            is_exact: [true; 3],
            appended: [0; 3],
            queues,
            present,
            key,
        }
    }

    fn bench(&mut self) -> &mut Bench {
        self.bench.as_mut().unwrap()
    }

    fn run(&mut self, step: &Step) {
        if self.names_an_absent_queue(step) {
            return;
        }
        match *step {
            Step::Append(queue, count, receipts) => self.append(queue, count, receipts),
            Step::Commit => {
                assert!(self.bench().commit());
                self.committed();
            }
            Step::FailedCommit(comes) => self.failed_commit(comes),
            Step::Turn => {
                let later = self.bench().shared.clock.now().plus_us(LATER_US);
                self.bench().shared.write_low_marks().unwrap();
                self.bench().writer.turn(later);
                if self.is_up {
                    self.letters_committed()
                } else {
                    self.committed()
                }
            }
            Step::Link(state) => {
                self.bench().link.turn(state);
                self.is_up = state == LinkTurn::Up;
            }
            Step::Accept(queue, skip, count) => self.accept(queue, skip, count),
            Step::Overtake(count, spill, left) => self.overtake(count, spill, left),
            Step::AcceptAgain => {
                if let Some((queue, place)) = self.last_accepted {
                    self.bench().backlog.accept(queue, place, place.next());
                }
            }
            Step::Refuse(queue, skip) => self.refuse(queue, skip),
            Step::Park(count) => self.park(count),
            Step::Check(queue, max) => {
                let found = self.read(queue, max);
                assert_eq!(found, self.expected(queue));
            }
            Step::Kill => self.restart(Bench::reopen_with),
            Step::Crash => {
                let folder = tempdir();
                let path = folder.path().to_owned();
                self.restart(|bench, sealer| bench.crash(&path, sealer));
                self.folders.push(folder);
            }
            Step::Close => {
                assert!(self.bench().commit() && self.bench().commit());
                self.committed();
                self.restart(Bench::reopen_with);
            }
            Step::Come => self.come(),
            Step::Forget => self.forget(),
        }
        self.check();
    }

    fn names_an_absent_queue(&self, step: &Step) -> bool {
        let named = match *step {
            Step::Append(queue, ..)
            | Step::Accept(queue, ..)
            | Step::Refuse(queue, _)
            | Step::Check(queue, _) => queue,
            Step::Overtake(..) => FRESH,
            _ => return false,
        };
        usize::from(named.0) >= self.present
    }

    /// A queue comes while the spool is open: it owes what the store has of it.
    fn come(&mut self) {
        if let Some(queue) = self.queues.get(self.present).cloned() {
            self.bench().writer.add_queue(&queue).unwrap();
            self.present += 1;
            if self.bench().shared.account().is_well() {
                self.find(QUEUES[self.present - 1]);
            }
        }
    }

    fn forget(&mut self) {
        let present = (self.present - 1).max(1);
        self.is_exact[present..].fill(false);
        self.present = present;
        self.restart(|bench, sealer| {
            let mut config = Config {
                sealer,
                ..bench.shared.config_now()
            };
            config.queues.truncate(present);
            bench.kill();
            Bench::open(config)
        });
    }

    fn append(&mut self, queue: QueueId, count: u32, receipts: bool) {
        let (burst, claims) = claims(count);
        let batch = (0..count).map(|index| Append {
            queue,
            message: message(self.known.len() as u64 + u64::from(index)),
            receipt: receipts.then(|| burst.receipt(index)),
        });
        let batch = batch.collect();
        self.bench().shared.append(batch);
        self.appended[usize::from(queue.0)] += u64::from(count);
        let fresh = |claim| Known {
            queue,
            claim: receipts.then_some(claim),
            durable: false,
            accepted: false,
            refused: false,
            lost: false,
        };
        self.known.extend(claims.into_iter().map(fresh));
    }

    fn park(&mut self, count: u32) {
        let (burst, claims) = claims(count);
        let letters = (0..count)
            .map(|index| letter(u64::from(index), Some(burst.receipt(index))))
            .collect();
        self.bench().shared.park(letters);
        self.parked.extend(claims.into_iter().map(|claim| Parked {
            claim,
            durable: false,
            lost: false,
        }));
    }

    /// Everything in RAM has gone to disk. A refused message goes with the others, and its letter beside it.
    fn committed(&mut self) {
        for known in &mut self.known {
            known.durable |= !known.accepted && !known.lost;
        }
        self.letters_committed();
    }

    fn letters_committed(&mut self) {
        for known in self.known.iter_mut().filter(|known| known.refused) {
            (known.refused, known.accepted) = (false, true);
            self.refusals += 1;
        }
        for parked in &mut self.parked {
            parked.durable |= !parked.lost;
        }
    }

    fn failed_commit(&mut self, comes: bool) {
        let (shared, script) = (
            Arc::clone(&self.bench().shared),
            Arc::clone(&self.bench().script),
        );
        script.fail_syncs(1);
        if self.bench().commit() {
            // There was nothing to write.
            self.committed();
        } else {
            self.check();
            assert!(!shared.account().is_well());
            self.append(QUEUES[0], 2, true);
            let before = self.present;
            if comes {
                self.come();
                self.append(QUEUES[self.present - 1], 2, true);
            }
            if before == self.present {
                self.check();
            }
            self.bench().writer.turn(shared.clock.now());
            assert!(shared.account().is_well());
            for queue in &QUEUES[before..self.present] {
                self.find(*queue);
            }
            self.letters_committed();
        }
        script.fail_syncs(0);
    }

    /// Accepts what is owed, as the uplink does: by the places it was told.
    fn accept(&mut self, queue: QueueId, skip: usize, count: usize) {
        let owed = self.bench().owed_in(queue, 9);
        self.is_exact[usize::from(queue.0)] &= skip == 0;
        for stored in owed.iter().skip(skip).take(count) {
            self.bench()
                .backlog
                .accept(queue, stored.seq, stored.seq.next());
            self.last_accepted = Some((queue, stored.seq));
            self.known[usize::try_from(stored.message.id.seq).unwrap()].accepted = true;
        }
    }

    /// What goes ahead is not read from disk as well, wherever it lies by then.
    fn overtake(&mut self, count: usize, spill: bool, left: usize) {
        self.bench().link.turn(LinkTurn::Up);
        self.is_up = true;
        let ahead = match self
            .bench()
            .backlog
            .fetch_fresh(FRESH, Seq(0), count, 99_999)
        {
            Fetch::Ready(ahead) => ahead,
            Fetch::Spilled | Fetch::Empty => Vec::new(),
        };
        if spill {
            assert!(self.bench().commit());
            self.committed();
        }
        let replayed = self.bench().replayed(FRESH);
        assert!(
            replayed
                .iter()
                .all(|stored| ahead.iter().all(|ahead| ahead.seq != stored.seq)),
            "handed out on both ways"
        );
        assert_eq!(
            replayed.len() + ahead.len() + self.bench().fresh(FRESH, ahead.last()).len(),
            self.expected(FRESH).len()
        );
        self.is_exact[usize::from(FRESH.0)] = false;
        for stored in ahead.iter().skip(left) {
            self.bench()
                .backlog
                .accept(FRESH, stored.seq, stored.seq.next());
            self.known[usize::try_from(stored.message.id.seq).unwrap()].accepted = true;
        }
        // The connection is over.
        self.bench().link.turn(LinkTurn::Down);
        self.is_up = false;
    }

    fn refuse(&mut self, queue: QueueId, skip: usize) {
        if let Some(stored) = self.bench().owed_in(queue, 9).into_iter().nth(skip) {
            self.is_exact[usize::from(queue.0)] = false;
            self.known[usize::try_from(stored.message.id.seq).unwrap()].refused = true;
            self.bench()
                .backlog
                .refuse(queue, stored.clone(), "not allowed".into());
            self.bench().backlog.refuse(queue, stored, "again".into());
        }
    }

    /// Numbers of all messages owed, unaltered, each at a place that never held another.
    fn read(&mut self, queue: QueueId, max: usize) -> Vec<u64> {
        let found = self.bench().owed_in(queue, max);
        for stored in &found {
            let number = stored.message.id.seq;
            assert_eq!(stored.message, message(number));
            assert_eq!(
                *self.places.entry((queue, stored.seq)).or_insert(number),
                number,
                "a place was used twice"
            );
        }
        found.iter().map(|stored| stored.message.id.seq).collect()
    }

    fn expected(&self, queue: QueueId) -> Vec<u64> {
        let is_owed = |known: &Known| {
            known.queue == queue && !known.accepted && !known.refused && !known.lost
        };
        (0..)
            .zip(&self.known)
            .filter(|(_, known)| is_owed(known))
            .map(|(number, _)| number)
            .collect()
    }

    fn restart(&mut self, restart: impl FnOnce(Bench, Sealer) -> Bench) {
        for known in &mut self.known {
            known.refused = false;
            known.lost |= !known.durable && !known.accepted;
        }
        for parked in &mut self.parked {
            parked.lost |= !parked.durable;
        }
        (self.is_up, self.last_accepted, self.appended) = (false, None, [0; 3]);
        self.key = self.key.map(|key| key + 1);
        let sealer = keys_up_to(self.key);
        self.bench = self.bench.take().map(|bench| restart(bench, sealer));
        for queue in &QUEUES[..self.present] {
            self.find(*queue);
        }
    }

    /// A queue was taken up: all that was safe is there, and perhaps what was accepted last.
    fn find(&mut self, queue: QueueId) {
        let required = self.expected(queue);
        let found = self.read(queue, 7);
        assert!(
            found.is_sorted_by(|one, next| one < next),
            "in order, each once: {found:?}"
        );
        assert!(
            required
                .iter()
                .all(|number| found.binary_search(number).is_ok()),
            "{required:?} in {found:?}"
        );
        for number in found {
            let known = &mut self.known[usize::try_from(number).unwrap()];
            assert!(
                known.queue == queue && !known.lost && (known.durable || !known.accepted),
                "{number} was never safe"
            );
            known.accepted = false;
        }
    }

    /// Receipts are released when they may be and not before; the account adds up.
    fn check(&mut self) {
        for (number, known) in self
            .known
            .iter()
            .enumerate()
            .filter(|(_, known)| !known.lost)
        {
            let is_settled = known
                .claim
                .as_ref()
                .is_none_or(|claim| claim.is_settled() == (known.durable || known.accepted));
            assert!(
                is_settled,
                "the receipt of {number}, durable {}, accepted {}",
                known.durable, known.accepted
            );
        }
        assert!(
            self.parked
                .iter()
                .all(|parked| parked.lost || parked.claim.is_settled() == parked.durable)
        );
        let account = self.bench().shared.account();
        let letters =
            self.refusals + self.parked.iter().filter(|parked| parked.durable).count() as u64;
        assert_eq!(account.dead_letters(), letters.min(100));
        for (index, queue) in QUEUES.into_iter().enumerate().take(self.present) {
            let (of, count) = (&account.queues[index], |is: &dyn Fn(&Known) -> bool| {
                self.known
                    .iter()
                    .filter(|known| known.queue == queue && is(known))
                    .count() as u64
            });
            assert_eq!(of.in_ram, count(&Known::is_in_ram));
            assert_eq!(
                of.unsettled,
                count(&|known| known.is_in_ram() && known.claim.is_some())
            );
            let in_ram = (0..)
                .zip(&self.known)
                .filter(|(_, known)| known.queue == queue && known.is_in_ram());
            assert_eq!(
                of.ram_bytes,
                in_ram
                    .map(|(number, _)| message(number).weight() as u64)
                    .sum::<u64>()
            );
            assert_eq!(
                (of.appended, of.dropped, of.damaged),
                (self.appended[index], 0, 0)
            );
            if self.is_exact[index] {
                assert_eq!(of.on_disk, count(&|known| known.durable && !known.accepted));
            }
        }
    }
}

fn check(steps: &[Step], key: Option<u8>) {
    // Those that are not there yet come.
    let present = if steps.len().is_multiple_of(2) { 3 } else { 1 };
    let mut model = Model::new(key, present);
    for step in steps {
        model.run(step);
    }
    while model.present < QUEUES.len() {
        model.run(&Step::Come);
    }
    model.run(&Step::Crash);
    for queue in QUEUES {
        model.run(&Step::Check(queue, 8));
    }
}

/// Eight times the usual: there are many series of steps.
fn many() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: usual.cases * 8,
        ..usual
    }
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn the_spool_behaves_like_plain_lists(steps in proptest::collection::vec(step(), 1..40)) {
        check(&steps, None);
    }
}

proptest! {
    #[test]
    fn a_sealed_spool_behaves_like_plain_lists_whatever_its_keys(steps in proptest::collection::vec(step(), 1..40)) {
        check(&steps, Some(1));
    }
}
