//! Torn and flipped bytes in every file of a closed store.

use super::*;

/// Enough to hit each file often; `TIDEGATE_SOAK` goes on for thousands.
fn trials() -> usize {
    if std::env::var_os("TIDEGATE_SOAK").is_some() { 4_000 } else { 150 }
}

/// A generator for a test that must be repeatable.
struct Dice(u64);

impl Dice {
    /// Below `sides`.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
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
    /// Small messages lie in the log itself.
    fn small() -> Self {
        Self::new(0, 300, 400)
    }

    /// Large ones make values that the store keeps in files of their own, a chunk each.
    fn large() -> Self {
        Self::new(120_000, 60, 200_000)
    }

    fn new(size: usize, count: u64, chunk_bytes: usize) -> Self {
        let folder = tempdir();
        let config = Config { chunk_bytes, head_bytes: 64 << 20, ..config(folder.path()) };
        let mut bench = Bench::open(config.clone());
        for number in 0..count {
            bench.shared.append(vec![Append { queue: QUEUE, message: sized(number, size), receipt: None }]);
            // Ten commits: what one has written stands or falls together.
            assert!((number + 1) % (count / 10) > 0 || bench.commit());
        }
        bench.shared.park((0..20).map(|number| letter(number, None)).collect());
        assert!(bench.commit());
        bench.kill();
        Self { folder, config, size, count }
    }

    /// A copy in which one file is hurt.
    fn hurt(&self, dice: &mut Dice, hurt: impl Fn(&mut Vec<u8>, &mut Dice)) -> tempfile::TempDir {
        let copy = tempdir();
        copy_folder(self.folder.path(), copy.path());
        let names: Vec<_> = files(&copy.path().join("store")).into_iter().filter(|(_, (length, ..))| *length > 0).collect();
        let (path, (_, _, mut bytes)) = names[dice.roll(names.len())].clone();
        hurt(&mut bytes, dice);
        fs::write(&path, &bytes).unwrap();
        copy
    }

    /// Opens a copy, compares what comes out, and writes to it.
    fn look(&self, copy: &Path) -> Found {
        let mut bench = Bench::open(Config { path: copy.to_owned(), ..self.config.clone() });
        let found = bench.owed(9);
        assert!(found.iter().all(|stored| stored.message == sized(stored.message.id.seq, self.size)), "altered bytes");
        assert!(found.is_sorted_by(|one, next| one.message.id.seq < next.message.id.seq), "out of order, or twice");
        let letters = bench.shared.dead_letters(99);
        assert!(letters.iter().all(|record| record.message.payload == message(record.message.id.seq).payload));
        let (account, faults) = (bench.shared.account(), bench.shared.metrics.faults.get());
        let missing = self.count - found.len() as u64;
        bench.append(1_000, None);
        let _ = bench.commit() || {
            bench.keeper.turn(u64::MAX);
            bench.commit()
        };
        let numbers: Vec<u64> = bench.owed(9).iter().map(|stored| stored.message.id.seq).collect();
        assert_eq!(numbers.last(), Some(&1_000), "a damaged store is in use again");
        bench.kill();
        let (is_opened, damaged) = (account.damaged_store.is_none(), account.queues[0].damaged);
        Found { missing, is_opened, is_told: !is_opened || damaged >= missing || faults > 0 }
    }
}

fn sized(number: u64, size: usize) -> Message {
    if size == 0 {
        return message(number);
    }
    // Nothing that LZ4 makes small.
    let mut dice = Dice(number);
    let payload: Vec<u8> = (0..size).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect();
    Message { payload: Bytes::from(payload), ..message(number) }
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

fn flip(bytes: &mut [u8], dice: &mut Dice) {
    // Behind the last byte in use lie segments of zeros.
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(used);
        bytes[at] ^= 1 << dice.roll(8);
    }
}

#[test]
fn flipped_bytes_anywhere_in_the_store_never_panic_and_never_alter_or_reorder_messages() {
    for (name, victim) in [("small", Victim::small()), ("large", Victim::large())] {
        let (mut figures, mut dice) = (Figures::default(), Dice(7));
        for _ in 0..trials() {
            let copy = victim.hurt(&mut dice, |bytes, dice| flip(bytes, dice));
            figures.note(&victim, &victim.look(copy.path()));
        }
        figures.show(&format!("flipped bytes, {name} messages"));
    }
}

#[test]
fn torn_files_never_panic_and_never_alter_or_reorder_messages() {
    for (name, victim) in [("small", Victim::small()), ("large", Victim::large())] {
        let (mut figures, mut dice) = (Figures::default(), Dice(11));
        for _ in 0..trials() {
            let copy = victim.hurt(&mut dice, |bytes, dice| {
                // 1 B to 8 MiB, each size as likely as its double.
                let most = 1 << dice.roll(24);
                let cut = 1 + dice.roll(most);
                bytes.truncate(bytes.len().saturating_sub(cut));
            });
            figures.note(&victim, &victim.look(copy.path()));
        }
        figures.show(&format!("torn files, {name} messages"));
    }
}
