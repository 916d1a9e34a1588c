//! An uplink that is a database which takes Influx lines.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::tally::Sent;
use tidegate_tests::timeseries::{Database, Kind};
use tidegate_tests::{Broker, Gateway, Load, Plan, Setup, needs, rounds, wait_until};

use crate::scene::{send_all, unnamed};
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    let mut cases = Vec::new();
    for kind in [Kind::Influx, Kind::Victoria] {
        let name = kind.name();
        let mut add = |what: &str, run: fn(Kind) -> Result<()>| {
            let case = format!("influx::{name}_{what}");
            cases.push(needs(&case, name, kind.is_there(), move || run(kind)));
        };
        add("has_everything_over_kills", everything_over_kills);
        add("gets_numbers_as_they_were", numbers_as_they_were);
        // The other makes a database by itself, and takes what it cannot read without a word.
        if kind == Kind::Influx {
            add("refuses_one_of_many_alone", one_of_many);
            add("without_its_database_parks_nothing", without_its_database);
        }
    }
    cases
}

/// One flow of all readings to the database, in lines.
fn gateway(field: &Broker, database: &Database, keys: &str) -> Setup {
    let config = unnamed()
        .between(&field.url(), &database.url())
        .set("uplink.cloud.pack", "influx")
        .put("uplink.cloud", keys);
    Gateway::with(config)
}

/// Waits until all that was acknowledged is there.
fn expect_all(sent: &Sent, database: &Database) -> Result<()> {
    let all = sent.count() as u64;
    // A time-out here is not the finding: the comparison says how much is missing.
    let _ = wait_until("all has arrived", || {
        database.tally().is_ok_and(|tally| tally.count() >= all)
    });
    let verdict = sent.against(&database.tally()?, |_, _| true);
    ensure!(verdict.sent > 0 && verdict.lost == 0, "{verdict}");
    Ok(())
}

/// Under load the gateway is killed again and again, and the database is frozen; one that keeps what it took is killed and started
/// again, too.
/// Guarantee: every reading that was acknowledged is in the database.
fn everything_over_kills(kind: Kind) -> Result<()> {
    let field = Broker::embedded()?;
    let mut database = Database::start(kind)?;
    database.create()?;
    let mut gateway = gateway(&field, &database, "compress = \"gzip\"\n").start()?;
    let plan = Plan {
        devices: 20,
        rate: Some(1_000),
        ..Plan::default()
    };
    let load = Load::start(field.address(), plan);
    for round in 0..rounds(4, 20) {
        let before = database.tally()?.count();
        wait_until("traffic flows", || {
            database
                .tally()
                .is_ok_and(|tally| tally.count() > before + 300)
        })?;
        if round % 2 == 0 {
            gateway = gateway.kill()?.start()?;
        } else {
            database.freeze()?;
            let received = || gateway.metric("tidegate_messages_received_total", &[]);
            let before = received();
            wait_until("more has come in", || received() > before + 300.0)?;
            database.thaw()?;
            // The other one says yes a second before it has it on its disk, and forgets that when it is killed.
            if kind == Kind::Influx {
                database.kill()?;
                database.back()?;
            }
        }
    }
    let sent = load.stop()?;
    expect_all(&sent, &database)?;
    ensure!(gateway.metric("tidegate_messages_refused_total", &[]) == 0.0);
    Ok(())
}

/// Readings with numbers of all kinds, under names and tags that lines must not be broken by.
/// Guarantee: each number is there as it was sent, under its device.
fn numbers_as_they_were(kind: Kind) -> Result<()> {
    let field = Broker::embedded()?;
    let database = Database::start(kind)?;
    database.create()?;
    let keys = "influx = { tags = [\"room\"] }\n";
    let _gateway = gateway(&field, &database, keys).start()?;
    let numbers = [
        "21.5",
        "-0.1",
        "1e-3",
        "9007199254740991",
        "0",
        "123456.789",
    ];
    let devices = ["d 1", "d,2", "d=3", "d\\4", "d\"5", "dé6"];
    for (device, number) in devices.iter().zip(numbers) {
        let payload = format!(
            "{{\"t\":{number},\"room\":\"living room, \\\\ = \\n x\",\"text\":\"left out\"}}"
        );
        field.publish(&format!("devices/{device}/telemetry"), payload)?;
    }
    wait_until("all are there", || {
        database
            .values("t")
            .is_ok_and(|values| values.len() == devices.len())
    })?;
    let values = database.values("t")?;
    for (device, number) in devices.iter().zip(numbers) {
        let device = device.replace('\\', "_");
        let found = values.iter().find(|(name, _)| *name == device);
        let wanted: f64 = number.parse()?;
        ensure!(
            found.is_some_and(|(_, numbers)| *numbers == [wanted]),
            "{device}: {number} is not in {values:?}"
        );
    }
    Ok(())
}

/// Among many good readings one has true where all others have a number, and one has no number at all.
/// Guarantee: these two are dead letters, the first with the database's own words, and all others are there.
fn one_of_many(kind: Kind) -> Result<()> {
    let field = Broker::embedded()?;
    let database = Database::start(kind)?;
    database.create()?;
    let gateway = gateway(&field, &database, "").start()?;
    let first = send_all(&field, 500)?;
    expect_all(&first, &database)?;
    database.freeze()?;
    let bad = [r#"{"temperature":true}"#, r#"{"text":"no number"}"#];
    for payload in bad {
        field.publish("devices/bad/telemetry", payload)?;
    }
    for seq in 0..200 {
        field.publish(
            "devices/good/telemetry",
            format!("{{\"seq\":{seq},\"temperature\":{seq}}}"),
        )?;
    }
    database.thaw()?;
    wait_until("two are parked", || {
        gateway.metric("tidegate_dead_letters_kept", &[]) == 2.0
    })?;
    wait_until("the others are there", || {
        let values = database.values("seq").unwrap_or_default();
        let good = values.iter().find(|(device, _)| device == "good");
        good.is_some_and(|(_, numbers)| numbers.len() == 200)
    })?;
    let letters = json(gateway.folder(), &["parked", "list"], 0)?.to_string();
    for part in ["field type conflict", "there is no number in its payload"] {
        ensure!(letters.contains(part), "{part} is not in {letters}");
    }
    Ok(())
}

/// The database that the URL names is not there, and is made later.
/// Guarantee: nothing is parked, `tidegate health` says why, and all goes on by itself.
fn without_its_database(kind: Kind) -> Result<()> {
    let field = Broker::embedded()?;
    let database = Database::start(kind)?;
    let gateway = gateway(&field, &database, "").start()?;
    let sent = send_all(&field, 300)?;
    wait_until("it is said", || {
        gateway.health().is_ok_and(|(_, text)| text.contains("404"))
    })?;
    ensure!(gateway.metric("tidegate_dead_letters_kept", &[]) == 0.0);
    database.create()?;
    expect_all(&sent, &database)?;
    ensure!(gateway.metric("tidegate_dead_letters_kept", &[]) == 0.0);
    Ok(())
}
