//! Torn and flipped bytes in every file of a closed store: the index and all else in sled, and the files of chunks.

use super::*;
use crate::clock::RunningTime;
use crate::spool::disk::sealing::sealer::Sealer;
use crate::spool::settings::Config;

/// Enough to hit each file often; `TIDEGATE_SOAK` goes on for thousands.
fn trials() -> usize {
    if std::env::var_os("TIDEGATE_SOAK").is_some() {
        4_000
    } else {
        150
    }
}

/// A generator for a test that must be repeatable.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides.max(1)
    }
}

/// A closed store with something owed and some letters.
struct Victim {
    folder: tempfile::TempDir,
    config: Config,
    size: usize,
    count: u64,
}

impl Victim {
    /// Some small messages in each chunk.
    fn small() -> Self {
        Self::new(0, 300, 400, Sealer::default())
    }

    /// Large ones are a chunk each.
    fn large() -> Self {
        Self::new(120_000, 60, 200_000, Sealer::default())
    }

    /// As small ones, and nobody reads them without the key.
    fn sealed() -> Self {
        Self::new(
            0,
            300,
            400,
            crate::spool::disk::sealing::sealer::tests::sealer(&[1]),
        )
    }

    fn new(size: usize, count: u64, chunk_bytes: usize, sealer: Sealer) -> Self {
        let folder = tempdir();
        let config = Config {
            chunk_bytes,
            sealer,
            head_bytes: 64 << 20,
            ..config(folder.path())
        };
        let mut bench = Bench::open(config.clone());
        for number in 0..count {
            bench.shared.append(vec![Append {
                queue: QUEUE,
                message: sized(number, size),
                receipt: None,
            }]);
            // Ten commits: what one has written stands or falls together.
            assert!((number + 1) % (count / 10) > 0 || bench.commit());
        }
        bench
            .shared
            .park((0..20).map(|number| letter(number, None)).collect());
        assert!(bench.commit());
        bench.kill();
        Self {
            folder,
            config,
            size,
            count,
        }
    }

    /// A copy in which one file of a folder is hurt.
    fn hurt(
        &self,
        part: &str,
        dice: &mut Dice,
        hurt: impl Fn(&mut Vec<u8>, &mut Dice),
    ) -> tempfile::TempDir {
        let copy = tempdir();
        copy_folder(self.folder.path(), copy.path());
        let names: Vec<_> = files(&copy.path().join(part))
            .into_iter()
            .filter(|(_, (length, ..))| *length > 0)
            .collect();
        let (path, (_, _, mut bytes)) = names[dice.roll(names.len())].clone();
        hurt(&mut bytes, dice);
        fs::write(&path, &bytes).unwrap();
        copy
    }

    /// Opens a copy, compares what comes out, and writes to it.
    fn look(&self, copy: &Path) -> Found {
        let mut bench = Bench::open(Config {
            path: copy.to_owned(),
            ..self.config.clone()
        });
        let found = bench.owed(9);
        assert!(
            found
                .iter()
                .all(|stored| stored.message == sized(stored.message.id.seq, self.size)),
            "altered bytes"
        );
        assert!(
            found.is_sorted_by(|one, next| one.message.id.seq < next.message.id.seq),
            "out of order, or twice"
        );
        let letters = bench.shared.dead_letters(99);
        assert!(
            letters
                .iter()
                .all(|record| record.message.payload == message(record.message.id.seq).payload)
        );
        let (account, faults) = (bench.shared.account(), bench.shared.metrics.faults.get());
        let missing = self.count - found.len() as u64;
        bench.append(1_000, None);
        let _ = bench.commit() || {
            bench.writer.turn(RunningTime(u64::MAX));
            bench.commit()
        };
        let numbers: Vec<u64> = bench
            .owed(9)
            .iter()
            .map(|stored| stored.message.id.seq)
            .collect();
        assert_eq!(
            numbers.last(),
            Some(&1_000),
            "a damaged store is in use again"
        );
        bench.kill();
        let (is_opened, damaged) = (account.damaged_store.is_none(), account.queues[0].damaged);
        Found {
            missing,
            is_opened,
            is_told: damaged >= missing || faults > 0,
        }
    }
}

fn sized(number: u64, size: usize) -> Message {
    if size == 0 {
        return message(number);
    }
    // Nothing that LZ4 makes small.
    let mut dice = Dice(number);
    let payload: Vec<u8> = (0..size)
        .map(|_| u8::try_from(dice.roll(256)).unwrap())
        .collect();
    Message {
        payload: Bytes::from(payload),
        ..message(number)
    }
}

struct Found {
    missing: u64,
    is_opened: bool,
    is_told: bool,
}

#[derive(Default)]
struct Figures {
    trials: u64,
    opened: u64,
    owed: u64,
    missing: u64,
    silent: u64,
}

impl Figures {
    fn note(&mut self, victim: &Victim, found: &Found) {
        self.trials += 1;
        self.opened += u64::from(found.is_opened);
        self.owed += victim.count;
        self.missing += found.missing;
        self.silent += u64::from(!found.is_told);
    }

    fn show(&self, name: &str) {
        let percent = |part: u64, of: u64| part as f64 * 100.0 / of as f64;
        eprintln!(
            "{name}: {} stores, opened {:.1} %, the others set aside; salvaged {:.1} %, silent gaps {}",
            self.trials,
            percent(self.opened, self.trials),
            percent(self.owed - self.missing, self.owed),
            self.silent
        );
    }
}

/// What one trial may cost, in messages.
const FLIPS: usize = 3;
/// Small messages in one chunk, at the most.
const IN_CHUNK: u64 = 10;

fn hurt_all(
    name: &str,
    part: &str,
    seed: u64,
    most: impl Fn(&Victim) -> u64,
    hurt: impl Fn(&mut Vec<u8>, &mut Dice),
) {
    for (size, victim) in [
        ("small", Victim::small()),
        ("large", Victim::large()),
        ("sealed", Victim::sealed()),
    ] {
        let (mut figures, mut dice) = (Figures::default(), Dice(seed));
        for _ in 0..trials() {
            let copy = victim.hurt(part, &mut dice, &hurt);
            let found = victim.look(copy.path());
            assert!(
                found.is_told,
                "{} messages are missing without a word",
                found.missing
            );
            assert!(
                found.missing <= most(&victim),
                "{} messages are missing",
                found.missing
            );
            figures.note(&victim, &found);
        }
        figures.show(&format!("{name} in {part}, {size} messages"));
    }
}

fn flip(bytes: &mut [u8], dice: &mut Dice) {
    // Behind the last byte in use lie segments of zeros.
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(bytes.len(), |last| last + 1);
    for _ in 0..=dice.roll(FLIPS) {
        let at = dice.roll(used);
        bytes[at] ^= 1 << dice.roll(8);
    }
}

fn tear(bytes: &mut Vec<u8>, dice: &mut Dice) {
    // 1 B to 8 MiB, each size as likely as its double.
    let most = 1 << dice.roll(24);
    let cut = 1 + dice.roll(most);
    bytes.truncate(bytes.len().saturating_sub(cut));
}

#[test]
fn flipped_bytes_in_a_file_of_chunks_cost_the_chunks_they_hit_and_are_told() {
    hurt_all(
        "flipped bytes",
        "chunks",
        7,
        |victim| FLIPS as u64 * if victim.size == 0 { IN_CHUNK } else { 1 },
        |bytes, dice| flip(bytes, dice),
    );
}

#[test]
fn a_torn_file_of_chunks_costs_no_more_than_itself_and_is_told() {
    hurt_all("torn files", "chunks", 11, |victim| victim.count, tear);
}

#[test]
fn whatever_happens_to_the_index_no_message_is_lost_by_it() {
    hurt_all(
        "flipped bytes",
        "store",
        13,
        |_| 0,
        |bytes, dice| flip(bytes, dice),
    );
    hurt_all("torn files", "store", 17, |_| 0, tear);
}
