//! Disks that are full, read-only, failing or slow.

use super::*;
use crate::message::Burst;
use crate::message::Settled;
use crate::spool::disk::error::StoreError;
use crate::spool::disk::folder::DataFolder;
use crate::spool::error::Error;
use crate::spool::settings::Config;
use crate::spool::shared::Shared;
use crate::spool::space::Space;
use crate::spool::space::condition::StoreCondition;
use crate::spool::start::OpenPurpose;
use crate::spool::writer::work::Demand;

pub(super) const MIB: u64 = 1 << 20;
pub(super) const EIO: i32 = 5;
pub(super) const ENOSPC: i32 = 28;
pub(super) const EROFS: i32 = 30;

fn space(free: u64) -> Option<Space> {
    Some(Space {
        free,
        total: 8_000 * MIB,
        read_only: false,
    })
}

/// A bench with a reserve of 64 MiB on a disk that seems to have `free` bytes.
fn bench_with(folder: &Path, free: u64) -> Bench {
    let folder_handle = DataFolder::lock(folder).unwrap();
    folder_handle.fault_injection.script.believe(space(free));
    Bench::open_in(
        folder_handle,
        Config {
            reserve_bytes: 64 * MIB,
            ..config(folder)
        },
    )
}

impl Bench {
    pub(super) fn append_with_receipts(&self, numbers: std::ops::Range<u64>) -> Arc<Burst> {
        let burst = Burst::new(Arc::new(Settled::default()), numbers.clone().map(|_| 1));
        for (index, number) in (0..).zip(numbers) {
            self.append(number, Some(burst.receipt(index)));
        }
        burst
    }

    pub(super) fn turn(&mut self) {
        let later = self.shared.clock.now().plus_us(5_000_000);
        self.writer.turn(later);
    }

    pub(super) fn accept(&self, count: usize) -> Vec<u64> {
        let owed: Vec<Stored> = self.owed(9).into_iter().take(count).collect();
        for stored in &owed {
            self.backlog.accept(QUEUE, stored.seq, stored.seq.next());
        }
        owed.iter().map(|stored| stored.message.id.seq).collect()
    }

    fn condition(&self) -> StoreCondition {
        self.shared.account().condition
    }
}

#[test]
fn below_the_mark_nothing_is_spilled_what_is_on_disk_drains_and_it_goes_on_by_itself() {
    let folder = tempdir();
    let mut bench = bench_with(folder.path(), 4_000 * MIB);
    assert!(folder.path().join("ballast").exists());
    bench.append_with_receipts(0..50);
    assert!(bench.commit());
    bench.script.believe(space(20 * MIB));
    bench.turn();
    assert_eq!(bench.condition(), StoreCondition::DiskFull);
    let held = bench.append_with_receipts(50..60);
    assert!(
        bench.commit(),
        "deletes and `low` need no room worth speaking of"
    );
    assert!(!held.is_settled(0));
    assert_eq!((bench.queue().on_disk, bench.queue().in_ram), (50, 10));
    assert_eq!(bench.accept(30), (0..30).collect::<Vec<_>>());
    bench.turn();
    assert_eq!(
        (bench.queue().on_disk, bench.condition()),
        (20, StoreCondition::DiskFull)
    );
    bench.script.believe(space(4_000 * MIB));
    bench.turn();
    assert_eq!(bench.condition(), StoreCondition::Well);
    assert!(bench.commit() && held.all_settled());
    bench.script.believe(None);
    assert_eq!(bench.reopen().numbers(), (30..60).collect::<Vec<_>>());
}

#[test]
fn the_alarm_is_raised_once_and_room_a_little_above_the_mark_does_not_end_it() {
    let folder = tempdir();
    let mut bench = bench_with(folder.path(), 4_000 * MIB);
    let mut seen = Vec::new();
    // The reserve file, 16 MiB, counts as free.
    for free in [60, 47, 49, 55, 57, 49, 47] {
        bench.script.believe(space(free * MIB));
        bench.turn();
        seen.push(bench.condition() == StoreCondition::DiskFull);
    }
    assert_eq!(seen, [false, true, true, true, false, false, true]);
    assert!(bench.shared.health.is_reported());
}

#[test]
fn letters_wait_below_the_mark_with_their_receipts() {
    let folder = tempdir();
    let mut bench = bench_with(folder.path(), MIB);
    let burst = Burst::new(Arc::new(Settled::default()), [1]);
    bench.shared.park(vec![letter(1, Some(burst.receipt(0)))]);
    bench.turn();
    assert!(!burst.all_settled() && bench.shared.account().letters_waiting == 1);
    bench.script.believe(space(4_000 * MIB));
    bench.turn();
    assert!(burst.all_settled() && bench.shared.account().dead_letters() == 1);
}

#[test]
fn a_write_that_finds_no_room_gives_up_the_ballast_and_opens_the_store_anew() {
    let folder = tempdir();
    let mut bench = bench_with(folder.path(), 4_000 * MIB);
    let first = bench.append_with_receipts(0..20);
    assert!(bench.commit() && first.all_settled());
    let burst = bench.append_with_receipts(20..40);
    bench.script.believe(space(0));
    bench.script.fail(1, ENOSPC);
    assert!(!bench.writer.commit(Demand::All) || bench.condition() == StoreCondition::DiskFull);
    bench
        .shared
        .report_trouble(&StoreError::Disk(std::io::Error::from_raw_os_error(ENOSPC)));
    bench.turn();
    assert!(!folder.path().join("ballast").exists());
    assert!(
        !bench.shared.health.is_in_trouble(),
        "opened again, for deletes"
    );
    assert_eq!(bench.condition(), StoreCondition::DiskFull);
    assert_eq!(bench.accept(20).len(), 20);
    bench.turn();
    assert!(!burst.is_settled(0));
    bench.script.believe(space(4_000 * MIB));
    bench.turn();
    assert!(bench.commit() && burst.all_settled() && folder.path().join("ballast").exists());
}

#[test]
fn a_disk_that_turned_read_only_is_read_and_not_written() {
    let folder = tempdir();
    let mut bench = bench_with(folder.path(), 4_000 * MIB);
    bench.append_with_receipts(0..20);
    assert!(bench.commit());
    bench.script.believe(Some(Space {
        read_only: true,
        ..space(4_000 * MIB).unwrap()
    }));
    bench
        .shared
        .report_trouble(&StoreError::Disk(std::io::Error::from_raw_os_error(EROFS)));
    let calls = bench.script.calls();
    let burst = bench.append_with_receipts(20..30);
    bench.turn();
    assert_eq!(
        (bench.condition(), bench.script.calls()),
        (StoreCondition::ReadOnly, calls)
    );
    assert_eq!(bench.accept(25).len(), 25);
    assert!(burst.is_settled(4) && !burst.is_settled(5));
    bench.script.believe(space(4_000 * MIB));
    bench.turn();
    assert!(bench.commit() && burst.all_settled() && bench.condition() == StoreCondition::Well);
    assert_eq!(bench.reopen().numbers(), (25..30).collect::<Vec<_>>());
}

/// A bench on what a killed one owes, 30 messages and a letter, whose first calls to the disk fail.
fn restart_in_trouble(folder: &Path, failing_calls: u64, errno: i32) -> Bench {
    let mut bench = Bench::open(config(folder));
    bench.append_with_receipts(0..30);
    bench.shared.park(vec![letter(1, None)]);
    assert!(bench.commit());
    let boot = bench.shared.boot;
    bench.kill();
    let handle = DataFolder::lock(folder).unwrap();
    (1..=failing_calls).for_each(|call| handle.fault_injection.script.fail(call, errno));
    let bench = Bench::open_in(handle, config(folder));
    assert!(bench.shared.boot > boot && !bench.shared.account().is_well());
    bench
}

#[test]
fn a_start_on_a_disk_that_takes_nothing_forwards_what_is_owed_before_what_comes() {
    for errno in [EIO, ENOSPC, EROFS] {
        let folder = tempdir();
        let mut bench = restart_in_trouble(folder.path(), 1, errno);
        let online = bench.append_with_receipts(30..40);
        assert_eq!(
            (bench.numbers(), bench.shared.account().dead_letters()),
            ((0..40).collect(), 1)
        );
        assert_eq!(bench.accept(9), (0..9).collect::<Vec<_>>());
        assert!(!online.is_settled(0));
        bench.turn();
        assert_eq!(
            (bench.condition(), bench.numbers()),
            (StoreCondition::Well, (9..40).collect::<Vec<_>>())
        );
        assert!(bench.commit() && online.all_settled());
        let bench = bench.reopen();
        assert_eq!(
            (bench.numbers(), bench.shared.account().dead_letters()),
            ((9..40).collect(), 1)
        );
    }
}

#[test]
fn a_start_without_the_store_forwards_from_ram_and_takes_up_what_is_owed_later() {
    for errno in [EIO, ENOSPC, EROFS] {
        let folder = tempdir();
        // Nor can it be read.
        let mut bench = restart_in_trouble(folder.path(), 2, errno);
        let online = bench.append_with_receipts(30..40);
        assert_eq!(bench.accept(4), (30..34).collect::<Vec<_>>());
        assert!(online.is_settled(3) && !online.is_settled(4));
        assert!(!bench.commit(), "there is no store");
        bench.turn();
        assert_eq!(bench.condition(), StoreCondition::Well);
        assert_eq!(bench.numbers(), (0..30).chain(34..40).collect::<Vec<_>>());
        assert!(bench.commit() && online.all_settled());
        let bench = bench.reopen();
        assert_eq!(
            (bench.numbers(), bench.shared.account().dead_letters()),
            ((0..30).chain(34..40).collect(), 1)
        );
    }
}

#[test]
fn a_start_that_cannot_even_lock_its_folder_goes_on_trying() {
    let folder = tempdir();
    let blocked = folder.path().join("mounted-later");
    let handle = DataFolder::lock_with(&blocked, |script| script.fail(1, EROFS)).unwrap();
    let mut bench = Bench::open_in(handle, config(&blocked));
    // The first try to open is the second to lock.
    assert!(
        bench.shared.account().is_well() || {
            bench.turn();
            bench.shared.account().is_well()
        }
    );
    bench.append(1, None);
    assert!(bench.commit());
}

#[test]
fn a_folder_of_somebody_else_is_refused_with_the_fix() {
    const EACCES: i32 = 13;
    let folder = tempdir();
    let error = DataFolder::lock_with(folder.path(), |script| script.fail(1, EACCES))
        .unwrap_err()
        .to_string();
    let user = rustix::process::geteuid().as_raw();
    let path = folder.path().display();
    assert!(
        error.starts_with(&format!("`{path}` may not be written by user {user}: ")),
        "{error}"
    );
    assert!(
        error.contains(&format!("`chown -R {user} {path}`")),
        "{error}"
    );
    let handle = DataFolder::lock(folder.path()).unwrap();
    handle.fault_injection.script.fail(1, EACCES);
    let error = Shared::open_in(handle, OpenPurpose::Run, config(folder.path()), metrics())
        .err()
        .unwrap();
    assert!(
        matches!(&error, Error::Denied { path, .. } if path.ends_with("store")),
        "{error}"
    );
}

#[test]
fn a_new_store_that_cannot_be_finished_leaves_nothing_behind() {
    let folder = tempdir();
    let handle = DataFolder::lock(folder.path()).unwrap();
    // Opening is the first call, the flush of the new store the next.
    handle.fault_injection.script.fail(2, ENOSPC);
    let mut bench = Bench::open_in(handle, config(folder.path()));
    assert!(!bench.shared.account().is_well());
    bench.turn();
    assert!(bench.shared.account().is_well() && bench.shared.account().damaged_store.is_none());
}

#[test]
fn what_a_kill_sends_again_is_bounded_by_the_notes_and_they_cost_the_store_nothing() {
    let folder = tempdir();
    let mut bench = Bench::open(config(folder.path()));
    bench.append_with_receipts(0..60);
    assert!(bench.commit());
    let store = files(&folder.path().join("store"));
    assert_eq!(bench.accept(23).len(), 23);
    // Long before the store hears of it.
    bench.shared.write_low_marks().unwrap();
    assert_eq!(files(&folder.path().join("store")), store);
    let bench = bench.reopen();
    assert_eq!(bench.numbers(), (23..60).collect::<Vec<_>>());
    assert_eq!(
        (bench.queue().on_disk, bench.shared.account().owed()),
        (37, 37)
    );
}

#[test]
fn a_kill_while_a_sync_hangs_sends_nothing_again_that_was_noted() {
    let (folder, copy) = (tempdir(), tempdir());
    let mut bench = Bench::open(config(folder.path()));
    bench.append_with_receipts(0..20);
    assert!(bench.commit());
    bench.append_with_receipts(20..30);
    let Bench {
        shared,
        mut writer,
        backlog,
        link: _link,
        script,
    } = bench;
    let (hangs, go_on) = script.hold_sync();
    let committing = std::thread::spawn(move || writer.commit(Demand::All));
    hangs.recv().unwrap();
    // All that was on disk before, and half of what is written there and not safe.
    let low = backlog.low(QUEUE);
    backlog.accept(QUEUE, low, low.plus(25));
    shared.write_low_marks().unwrap();
    copy_folder(folder.path(), copy.path());
    let found = Bench::open(config(copy.path()));
    assert_eq!(
        (found.numbers(), found.queue().on_disk),
        ((25..30).collect(), 5)
    );
    drop(go_on);
    assert!(committing.join().unwrap());
}

#[test]
fn a_sync_that_hangs_holds_up_nothing_but_the_receipts_it_is_for() {
    let folder = tempdir();
    let handle = DataFolder::lock(folder.path()).unwrap();
    let mut bench = Bench::open_in(handle, config(folder.path()));
    let spilled = bench.append_with_receipts(0..20);
    assert!(bench.commit() && spilled.all_settled());
    let Bench {
        shared,
        mut writer,
        backlog,
        link: _link,
        script,
    } = bench;
    let pending = Burst::new(Arc::new(Settled::default()), [1, 1]);
    let append = |number, index| {
        let receipt = Some(pending.receipt(index));
        shared.append(vec![Append {
            queue: QUEUE,
            message: message(number),
            receipt,
        }]);
    };
    append(20, 0);
    let (hangs, go_on) = script.hold_sync();
    let committing = std::thread::spawn(move || writer.commit(Demand::All));
    hangs.recv().unwrap();
    append(21, 1);
    let from_disk = backlog.read(QUEUE, Seq(0));
    assert!(!from_disk.is_empty());
    backlog.accept(QUEUE, Seq(0), from_disk[from_disk.len() - 1].seq.next());
    let spilled_end = shared.slots[0].queue.lock().unwrap().disk_end();
    let Fetch::Ready(in_ram) = backlog.fetch(QUEUE, spilled_end, 9, 9_999) else {
        panic!("RAM is there")
    };
    assert_eq!(
        in_ram
            .iter()
            .map(|stored| stored.message.id.seq)
            .collect::<Vec<_>>(),
        [20, 21]
    );
    assert!(!pending.is_settled(0));
    backlog.accept(QUEUE, in_ram[1].seq, in_ram[1].seq.next());
    assert!(!pending.is_settled(0) && pending.is_settled(1));
    shared.park(vec![letter(1, None)]);
    drop(go_on);
    assert!(committing.join().unwrap() && pending.all_settled());
}
