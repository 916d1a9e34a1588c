//! A data folder on a disk that is full, read-only or broken.

use std::time::Instant;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::disk::{Disk, can_mount, has_loop_ext4};
use tidegate_tests::tally::device_name;
use tidegate_tests::{Broker, Config, Gateway, Load, Plan, Setup, Watch, cases, needs, wait_until};

use crate::scene::{UP, compare, expect_at_least_once, send_all};
use crate::tools::told;

pub fn cases() -> Vec<Trial> {
    let tmpfs = |name: &str, run| needs(name, "mount(8) for root", can_mount(), run);
    let ext4 = |name: &str, run| {
        let what = "mkfs.ext4 with loop devices for root";
        needs(name, what, has_loop_ext4(), run)
    };
    let mut cases = cases![tmpfs;
        full_in_the_middle_of_a_spill_then_freed,
        full_to_the_last_byte_killed_started_drained,
        read_only_at_the_start_then_writable,
        full_before_the_first_start,
        nearly_full_classes_make_room_and_the_ledger_is_exact,
    ];
    cases.extend(cases![ext4; turned_read_only_while_running]);
    cases
}

/// Alarms beside the readings, heads that are soon full, and little memory.
fn with_alarms() -> Config {
    let config = Config::forwarding()
        .add("spool", "head = \"1MiB\"")
        .add("gateway", "memory = \"46MiB\"")
        .put("source.field", "max_unsettled = \"4MiB\"");
    config.add(
        "flow.alarms",
        "from = \"field\"\ntopics = [\"devices/{device}/alarm\"]\nto = \"cloud:alarm\"\nlanes = 1",
    )
}

/// A gateway between two brokers, with a disk of its own.
struct Stand {
    field: Broker,
    link: Cuttable,
    watch: Watch,
    disk: Disk,
    cloud: Broker,
}

impl Stand {
    fn new(disk: impl FnOnce(&Setup) -> Result<Disk>) -> Result<(Self, Setup)> {
        Self::with(Config::forwarding(), disk)
    }

    fn with(config: Config, disk: impl FnOnce(&Setup) -> Result<Disk>) -> Result<(Self, Setup)> {
        let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
        let link = Cuttable::to(cloud.address())?;
        let watch = Watch::start(cloud.address(), UP)?;
        let setup = Gateway::with(config.between(&field.url(), &link.url()));
        let disk = disk(&setup)?;
        Ok((
            Self {
                field,
                link,
                watch,
                disk,
                cloud,
            },
            setup,
        ))
    }

    fn load(&self, plan: Plan) -> Load {
        Load::start(self.field.address(), plan)
    }
}

fn small(setup: &Setup) -> Result<Disk> {
    Disk::tmpfs(&setup.data(), 24)
}

fn says(gateway: &Gateway, code: u16, word: &str) -> bool {
    gateway
        .get("/readyz")
        .is_ok_and(|(found, text)| found == code && text.contains(word))
}

fn on_disk(gateway: &Gateway) -> f64 {
    gateway.metric("tidegate_spool_disk_messages", &[])
}

/// The disk is filled to the last byte by somebody else while the uplink is dark and 1,000 msg/s are being spilled; then
/// it is freed, and the link comes back.
/// Guarantee: readiness says `disk-full`, the process lives, it writes again by itself, nothing is lost.
fn full_in_the_middle_of_a_spill_then_freed() -> Result<()> {
    let (stand, setup) = Stand::new(small)?;
    let mut gateway = setup.start()?;
    stand.link.go_dark();
    let load = stand.load(Plan::default());
    wait_until("a spill is under way", || on_disk(&gateway) > 500.0)?;
    let filled = stand.disk.fill()?;
    wait_until("it is told that the disk is full", || {
        says(&gateway, 503, "disk-full")
    })?;
    let before = load.acknowledged();
    wait_until("devices go on for a while", || {
        load.acknowledged() > before + 1_000
    })?;
    ensure!(gateway.is_running(), "the gateway ended");
    let written = on_disk(&gateway);
    let freed = Instant::now();
    stand.disk.free()?;
    wait_until("it is ready again", || says(&gateway, 200, ""))?;
    let ready = freed.elapsed();
    wait_until("it writes again", || on_disk(&gateway) > written + 500.0)?;
    stand.link.back();
    let sent = load.stop()?;
    let verdict = compare(&sent, stand.watch)?;
    eprintln!(
        "{filled} bytes filled, ready {:.1} s after they were freed: {verdict}",
        ready.as_secs_f64()
    );
    expect_at_least_once(&verdict)
}

/// Somebody else leaves 26 MiB of a disk, of which 8 are the reserve. 32 MB of readings come while the uplink is dark, with
/// alarms before and after them; the gateway is killed, and the link is back.
/// Guarantee: it says `disk-full` and goes on taking; all alarms arrive, the oldest readings do not, and the ledger says
/// exactly how many.
fn nearly_full_classes_make_room_and_the_ledger_is_exact() -> Result<()> {
    let (stand, setup) = Stand::with(with_alarms(), |setup| Disk::tmpfs(&setup.data(), 64))?;
    let gateway = setup.start()?;
    let alarms = Watch::start(stand.cloud.address(), "devices/+/alarm")?;
    stand.link.go_dark();
    stand.disk.leave(26 << 20)?;
    for number in 0..10 {
        stand
            .field
            .publish("devices/d1/alarm", format!("early {number}"))?;
    }
    let sent = stand
        .load(Plan {
            rate: None,
            total: Some(16_000),
            padding: 2_000,
            ..Plan::default()
        })
        .wait()?;
    for number in 0..10 {
        stand
            .field
            .publish("devices/d1/alarm", format!("late {number}"))?;
    }
    let appended = || gateway.metric("tidegate_spool_appended_total", &[]) as usize;
    wait_until("all was taken", || appended() == sent.count() + 20)?;
    wait_until("it is told that the disk is full", || {
        says(&gateway, 503, "disk-full")
    })?;
    let (owed, free) = (on_disk(&gateway), stand.disk.room()?);
    let setup = gateway.kill()?;
    let gateway = setup.start()?;
    stand.link.back();
    wait_until("nothing is owed any more", || {
        gateway.metric("tidegate_spool_messages", &[]) == 0.0
    })?;
    wait_until("the alarms have arrived", || alarms.total() >= 20)?;
    let given_up = gateway.metric("tidegate_ledger_messages", &[("reason", "quota-oldest")]) as u64;
    wait_until("all that is left has arrived", || {
        stand.watch.count() + given_up >= sent.count() as u64
    })?;
    let arrived = stand.watch.stop()?;
    let missing = sent.count() as u64 - arrived.count();
    ensure!(
        missing > 0 && given_up == missing,
        "{missing} are missing, the ledger says {given_up}"
    );
    let oldest: Vec<u64> = (0..sent.devices)
        .map(|device| (sent.count_of(device) - arrived.count_of(&device_name(device))) as u64)
        .collect();
    let verdict = sent.against(&arrived, |device, number| number >= oldest[device]);
    ensure!(
        verdict.is_at_least_once(),
        "not the oldest are missing: {verdict}"
    );
    eprintln!(
        "{owed} were on disk with {free} bytes free; {given_up} of {} given up; {verdict}",
        sent.count()
    );
    Ok(())
}

/// 3,000 messages are owed, the disk is filled to the last byte, the gateway killed and started with the disk full.
/// Guarantee: it starts, says `disk-full`, forwards what is owed and what is new, and is well once there is room.
fn full_to_the_last_byte_killed_started_drained() -> Result<()> {
    let (stand, setup) = Stand::new(small)?;
    let gateway = setup.start()?;
    stand.link.go_dark();
    let sent = send_all(&stand.field, 3_000)?;
    wait_until("all is on disk", || on_disk(&gateway) == 3_000.0)?;
    stand.disk.fill()?;
    let setup = gateway.kill()?;
    let gateway = setup.start()?;
    wait_until("it is told that the disk is full", || {
        says(&gateway, 503, "disk-full")
    })?;
    stand.link.back();
    wait_until("what was owed has arrived", || stand.watch.count() == 3_000)?;
    stand
        .field
        .publish("devices/new/telemetry", r#"{"device":"new","seq":0}"#)?;
    wait_until("what is new arrives", || {
        stand.watch.tally().count_of("new") == 1
    })?;
    ensure!(says(&gateway, 503, "disk-full"), "the disk is still full");
    stand.disk.free()?;
    wait_until("it is ready again", || says(&gateway, 200, ""))?;
    let (status, setup) = gateway.stop()?;
    ensure!(status.success(), "the gateway ended with {status}");
    let text = std::fs::read_dir(setup.data().join("spool"))?.filter_map(Result::ok);
    let aside = text
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("store.damaged")
        })
        .count();
    ensure!(aside == 0, "a full disk passed for a damaged store");
    expect_at_least_once(&compare(&sent, stand.watch)?)
}

/// 2,000 messages are owed; the gateway is killed and started on a disk that is read-only, with the link up; later the
/// disk is writable again.
/// Guarantee: it starts, says `store-read-only`, forwards what it owes and then what is new, in order, and goes on by
/// itself once it can write. Meanwhile commands say that it runs, and why they do not reach it.
fn read_only_at_the_start_then_writable() -> Result<()> {
    let (stand, setup) = Stand::new(small)?;
    let gateway = setup.start()?;
    stand.link.go_dark();
    let sent = send_all(&stand.field, 2_000)?;
    wait_until("all is on disk", || on_disk(&gateway) == 2_000.0)?;
    let setup = gateway.kill()?;
    stand.disk.turn_read_only()?;
    stand.link.back();
    let gateway = setup.start()?;
    wait_until("it is told that the disk is read-only", || {
        says(&gateway, 503, "store-read-only")
    })?;
    for command in ["status", "reload"] {
        let (_, why) = told(gateway.folder(), &[command], 1)?;
        ensure!(
            why.contains("a gateway runs on") && why.contains("its disk is read-only"),
            "{command}: {why}"
        );
    }
    stand
        .field
        .publish("devices/new/telemetry", r#"{"device":"new","seq":0}"#)?;
    wait_until("what is new arrives", || {
        stand.watch.tally().count_of("new") == 1
    })?;
    wait_until(
        "what was owed arrives from the disk that can only be read",
        || stand.watch.count() > 2_000,
    )?;
    let writable = Instant::now();
    stand.disk.turn_writable()?;
    wait_until("it is ready again", || says(&gateway, 200, ""))?;
    let ready = writable.elapsed();
    wait_until("commands find it", || {
        told(gateway.folder(), &["reload"], 0).is_ok()
    })?;
    let verdict = compare(&sent, stand.watch)?;
    eprintln!(
        "ready {:.1} s after the disk was writable: {verdict}",
        ready.as_secs_f64()
    );
    expect_at_least_once(&verdict)
}

/// The first start of a gateway finds a disk without a free byte, and room comes later.
/// Guarantee: it forwards from memory meanwhile, and makes its store when it can.
fn full_before_the_first_start() -> Result<()> {
    let (stand, setup) = Stand::new(small)?;
    stand.disk.fill()?;
    let gateway = setup.start()?;
    wait_until("it is told that the disk is full", || {
        says(&gateway, 503, "disk-full")
    })?;
    stand
        .field
        .publish("devices/new/telemetry", r#"{"device":"new","seq":0}"#)?;
    wait_until("what is new arrives", || {
        stand.watch.tally().count_of("new") == 1
    })?;
    stand.disk.free()?;
    wait_until("it is ready", || says(&gateway, 200, ""))?;
    stand.link.go_dark();
    let sent = send_all(&stand.field, 500)?;
    wait_until("all is on disk", || on_disk(&gateway) == 500.0)?;
    stand.link.back();
    expect_at_least_once(&compare(&sent, stand.watch)?)
}

/// An ext4 turns read-only under the running gateway, with messages owed on it; the link comes back, and later the
/// machine restarts.
/// Guarantee: it says `store-read-only`, sends what the disk holds and what is new, and nothing acknowledged is lost.
fn turned_read_only_while_running() -> Result<()> {
    let (stand, setup) = Stand::new(|setup| Disk::ext4(&setup.data(), 64))?;
    let mut gateway = setup.start()?;
    stand.link.go_dark();
    let load = stand.load(Plan::default());
    wait_until("a spill is under way", || on_disk(&gateway) > 500.0)?;
    stand.disk.break_it()?;
    wait_until("it is told that the disk is read-only", || {
        says(&gateway, 503, "store-read-only")
    })?;
    let before = load.acknowledged();
    wait_until("devices go on for a while", || {
        load.acknowledged() > before + 500
    })?;
    stand.link.back();
    let count = load.acknowledged();
    wait_until(
        "what was owed arrives from the disk that can only be read",
        || stand.watch.count() >= count,
    )?;
    ensure!(gateway.is_running(), "the gateway ended");
    let setup = gateway.kill()?;
    stand.disk.mount_again()?;
    let gateway = setup.start()?;
    wait_until("it is ready after the restart", || says(&gateway, 200, ""))?;
    let sent = load.stop()?;
    let verdict = compare(&sent, stand.watch)?;
    eprintln!("{verdict}");
    expect_at_least_once(&verdict)
}
