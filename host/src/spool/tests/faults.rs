//! Each call to the disk fails once: nothing is acknowledged that is not safe.

use super::disk::{EIO, ENOSPC, EROFS};
use super::*;
use crate::message::Burst;
use crate::message::Settled;

/// What a run with one fault must keep to.
struct Faulty {
    bench: Option<Bench>,
    bursts: Vec<Arc<Burst>>,
    accepted: Vec<bool>,
    letters: Vec<Arc<Burst>>,
}

impl Faulty {
    fn step(&mut self, step: u64) {
        let (from, bench) = (self.bursts.len() as u64, self.bench.as_mut().unwrap());
        let burst = bench.append_with_receipts(from..from + 3);
        self.bursts.extend((0..3).map(|_| Arc::clone(&burst)));
        self.accepted.extend([false; 3]);
        if step.is_multiple_of(3) {
            let parked = Burst::new(Arc::new(Settled::default()), [1]);
            bench
                .shared
                .park(vec![letter(from, Some(parked.receipt(0)))]);
            self.letters.push(parked);
        }
        let before = self.settled();
        let bench = self.bench.as_mut().unwrap();
        // A commit on a failed handle is not what the writer does.
        let may_commit = step.is_multiple_of(2) && !bench.shared.health.is_in_trouble();
        let is_done = !may_commit || bench.commit();
        if !may_commit {
            bench.turn();
        }
        if !is_done {
            assert_eq!(
                self.settled(),
                before,
                "a commit that failed has released something"
            );
        }
        let bench = self.bench.as_mut().unwrap();
        for number in bench.accept(2) {
            self.accepted[usize::try_from(number).unwrap()] = true;
        }
    }

    fn settled(&self) -> Vec<bool> {
        (0..self.bursts.len())
            .map(|number| self.bursts[number].is_settled(number % 3))
            .collect()
    }

    /// After a kill: everything that was acknowledged is there.
    fn kill(mut self, path: &Path) -> u64 {
        let settled = self.settled();
        self.bench.take().unwrap().kill();
        let reopened = Bench::open(config(path));
        let found = reopened.numbers();
        let letters = self
            .letters
            .iter()
            .filter(|letter| letter.all_settled())
            .count() as u64;
        let kept = reopened.shared.dead_letters(1_000).len() as u64;
        assert!(
            kept >= letters,
            "{kept} letters are there, {letters} were acknowledged"
        );
        assert_eq!(kept, reopened.shared.account().dead_letters());
        let is_missing = |number: &usize| {
            settled[*number]
                && !self.accepted[*number]
                && found.binary_search(&(*number as u64)).is_err()
        };
        assert_eq!(
            (0..settled.len()).filter(is_missing).collect::<Vec<_>>(),
            Vec::<usize>::new(),
            "acknowledged and gone"
        );
        settled.iter().filter(|settled| **settled).count() as u64
    }
}

/// Each of the first 200 calls to the disk fails in turn, with each kind of error, once followed by a kill at once and
/// once by more work.
#[test]
fn whichever_call_to_the_disk_fails_nothing_is_acknowledged_that_is_not_safe() {
    let mut acknowledged = 0;
    for n in 1..=200 {
        let folder = tempdir();
        let errno = [EIO, ENOSPC, EROFS][usize::try_from(n % 3).unwrap()];
        let handle = DataFolder::lock(folder.path()).unwrap();
        handle.fault_injection.script.fail(n, errno);
        let bench = Bench::open_in(handle, config(folder.path()));
        let (script, shared) = (Arc::clone(&bench.script), Arc::clone(&bench.shared));
        let mut run = Faulty {
            bench: Some(bench),
            bursts: Vec::new(),
            accepted: Vec::new(),
            letters: Vec::new(),
        };
        let mut steps = 0;
        while script.calls() <= n || steps < 2 {
            run.step(steps);
            steps += 1;
        }
        if n % 2 == 0 {
            (0..4).for_each(|more| run.step(steps + more));
            assert!(shared.account().is_well(), "call {n}: the store is back");
        }
        drop(shared);
        acknowledged += run.kill(folder.path());
    }
    assert!(
        acknowledged > 5_000,
        "{acknowledged} acknowledged show little"
    );
}
