//! The spool alone, on the disk the temporary folder lies on (`TMPDIR` chooses): append until safe while the link is
//! down, and drain. Readings of 130 bytes in batches of 256.

#[path = "common/store.rs"]
mod store;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tempfile::TempDir;
use tidegate::message::{Append, Backlog, Burst, Fetch, Message, QueueId, Seq, Settled};
use tidegate::spool::Spool;
use tidegate_tests::sample::messages;

const MESSAGES: usize = 200_000;
const BATCH: usize = 256;
const QUEUE: QueueId = QueueId(0);

struct Store {
    spool: Spool,
    backlog: Arc<dyn Backlog>,
    _folder: TempDir,
}

impl Store {
    fn open() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let spool = store::open(folder.path(), tidegate::spool::Sealer::default());
        let backlog = spool.owed("cloud").backlog;
        Self {
            spool,
            backlog,
            _folder: folder,
        }
    }

    /// Appends all and waits until the last receipt is released, which is when everything is on the disk.
    fn fill(&self, messages: &[Message]) {
        let outlet = self.spool.outlet();
        let mut bursts = Vec::new();
        for batch in messages.chunks(BATCH) {
            let burst = Burst::new(Arc::new(Settled::default()), vec![1; batch.len()]);
            let append = |(index, message): (u32, &Message)| Append {
                queue: QUEUE,
                message: message.clone(),
                receipt: Some(burst.receipt(index)),
            };
            outlet.append((0..).zip(batch).map(append).collect());
            bursts.push(burst);
        }
        while !bursts.iter().all(|burst| burst.all_settled()) {
            std::thread::park_timeout(Duration::from_micros(200));
        }
    }

    /// Takes everything out, as an uplink does whose broker accepts at once.
    fn drain(&self) -> usize {
        let (mut next, mut count) = (self.backlog.low(QUEUE), 0);
        loop {
            let found = match self.backlog.fetch(QUEUE, next, BATCH, 1 << 20) {
                Fetch::Ready(found) => found,
                Fetch::Spilled => self.backlog.read(QUEUE, next),
                Fetch::Empty => return count,
            };
            let Some(last) = found.last() else { continue };
            let to = Seq(last.seq.0 + 1);
            count += found.len();
            self.backlog.accept(QUEUE, next, to);
            next = to;
        }
    }
}

fn spool(criterion: &mut Criterion) {
    let messages = messages(MESSAGES);
    let mut group = criterion.benchmark_group("spool");
    group
        .throughput(Throughput::Elements(MESSAGES as u64))
        .sample_size(10);
    group.bench_function("append until safe", |bencher| {
        bencher.iter_custom(|rounds| {
            (0..rounds)
                .map(|_| timed(&Store::open(), |store| store.fill(&messages)))
                .sum()
        });
    });
    group.bench_function("drain from disk", |bencher| {
        bencher.iter_custom(|rounds| {
            let round = |_| {
                let store = Store::open();
                store.fill(&messages);
                timed(&store, |store| assert_eq!(store.drain(), MESSAGES))
            };
            (0..rounds).map(round).sum()
        });
    });
    group.finish();
}

fn timed(store: &Store, work: impl FnOnce(&Store)) -> Duration {
    let begun = Instant::now();
    work(store);
    begun.elapsed()
}

criterion_group!(benches, spool);
criterion_main!(benches);
