//! An uplink that is a table: rows in place of publishes, behind the same promise.

use std::fs;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::certificates::Authority;
use tidegate_tests::postgres::{Postgres, has_postgres};
use tidegate_tests::tally::Sent;
use tidegate_tests::{Broker, Gateway, Load, Plan, Setup, cases, needs, rounds, wait_until};

use crate::scene::unnamed;
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    cases![
        |name: &str, run| needs(name, "PostgreSQL", has_postgres(), run);
        twenty_thousand_readings_are_rows_in_order,
        a_gateway_that_is_killed_again_and_again_loses_nothing,
        a_database_that_is_killed_or_frozen_has_everything_once,
        a_bad_row_among_five_hundred_is_parked_alone_with_its_sqlstate,
        a_wrong_password_holds_and_a_renewed_one_is_used,
        a_table_that_is_missing_or_forbidden_holds_until_it_is_there,
        a_row_that_a_policy_refuses_holds_up_nobody,
        a_row_that_is_locked_elsewhere_holds_up_nobody,
        what_another_server_says_of_a_row_holds_up_nobody,
        what_a_device_says_is_a_value_and_never_a_statement,
        a_table_is_made_where_that_is_asked_for_and_tls_is_asked_for_first,
    ]
}

/// Rows in the order of their arrival.
const TABLE: &str = "CREATE TABLE readings (nr bigserial, id text PRIMARY KEY, ts timestamptz NOT NULL, device text, topic text, payload jsonb); \
     GRANT INSERT, SELECT ON readings TO barn; GRANT USAGE ON SEQUENCE readings_nr_seq TO barn";

/// One flow of all readings into a table; the password lies beside the config.
fn gateway(field: &Broker, url: &str, postgres: &str, keys: &str) -> Result<Setup> {
    let config = unnamed()
        .between(&field.url(), url)
        .put("uplink.cloud", "password = { file = \"password\" }")
        .put("uplink.cloud", &format!("postgres = {{ {postgres} }}"))
        .put("uplink.cloud", keys);
    let setup = Gateway::with(config);
    set_password(&setup, "secret")?;
    Ok(setup)
}

fn set_password(setup: &Setup, password: &str) -> Result<()> {
    let path = setup.folder().join("password");
    fs::write(&path, password)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    Ok(fs::set_permissions(path, mode)?)
}

fn plan(total: Option<usize>, rate: Option<u32>) -> Plan {
    Plan {
        devices: 20,
        rate,
        total,
        ..Plan::default()
    }
}

fn parked(gateway: &Gateway) -> f64 {
    gateway.metric("tidegate_messages_refused_total", &[("uplink", "cloud")])
}

/// Waits until all that was acknowledged is there, in order; how many came twice.
fn expect_all(sent: &Sent, database: &Postgres) -> Result<u64> {
    let all = sent.count() as u64;
    // A time-out here is not the finding: the comparison says how much is missing.
    let _ = wait_until("all has arrived", || {
        database
            .tally("readings")
            .is_ok_and(|tally| tally.count() >= all)
    });
    let tally = database.tally("readings")?;
    let verdict = sent.against(&tally, |_, _| true);
    ensure!(verdict.sent > 0 && verdict.is_at_least_once(), "{verdict}");
    Ok(tally.doubled())
}

/// A load of 20,000, with the way tried out beside it.
/// Guarantee: all are rows, once, in order per device; `check --connect` says how repeats are known; the password is in no log.
fn twenty_thousand_readings_are_rows_in_order() -> Result<()> {
    let (field, database) = (Broker::embedded()?, Postgres::start()?);
    database.ask(TABLE)?;
    let gateway = gateway(&field, &database.url(), "table = \"readings\"", "")?.start()?;
    let begun = std::time::Instant::now();
    let sent = Load::start(field.address(), plan(Some(20_000), None)).wait()?;
    let doubled = expect_all(&sent, &database)?;
    eprintln!("20,000 rows after {:.1?}", begun.elapsed());
    ensure!(doubled == 0, "{doubled} came twice");
    let said = json(gateway.folder(), &["check", "--connect"], 0)?.to_string();
    ensure!(said.contains("repeats are known by `id`"), "{said}");
    ensure!(database.count("readings") == 20_000 && parked(&gateway) == 0.0);
    ensure!(
        !gateway.lines().has(&["secret"]),
        "the password is in the log"
    );
    ensure!(gateway.stop()?.0.success(), "it did not stop well");
    Ok(())
}

/// The gateway is killed again and again under load.
/// Guarantee: nothing that was acknowledged is missing, order holds, and what was sent again is one row still.
fn a_gateway_that_is_killed_again_and_again_loses_nothing() -> Result<()> {
    let (field, database) = (Broker::embedded()?, Postgres::start()?);
    database.ask(TABLE)?;
    let setup = gateway(&field, &database.url(), "table = \"readings\"", "")?;
    let mut gateway = setup.start()?;
    let load = Load::start(field.address(), plan(None, Some(2_000)));
    for _ in 0..rounds(5, 20) {
        let before = database.count("readings");
        wait_until("traffic flows", || {
            database.count("readings") > before + 500
        })?;
        gateway = gateway.kill()?.start()?;
    }
    let sent = load.stop()?;
    let doubled = expect_all(&sent, &database)?;
    // What the field broker gives out a second time, as its acknowledgement died with us, is another message with another id.
    eprintln!(
        "{} sent, {doubled} taken from the field broker twice",
        sent.count()
    );
    let places = "SELECT count(*) - count(DISTINCT id) FROM readings";
    ensure!(database.ask(places)? == "0" && parked(&gateway) == 0.0);
    Ok(())
}

/// The server is killed in the middle of its work, and later stopped for longer than an answer may take.
/// Guarantee: each reading is one row, in order per device, and nothing is parked: a statement of which nobody knows what became of it is
/// repeated under the same ids.
fn a_database_that_is_killed_or_frozen_has_everything_once() -> Result<()> {
    let (field, mut database) = (Broker::embedded()?, Postgres::start()?);
    database.ask(TABLE)?;
    let keys = "deadlines = { answer = \"2s\" }\n";
    let gateway = gateway(&field, &database.url(), "table = \"readings\"", keys)?.start()?;
    let load = Load::start(field.address(), plan(None, Some(2_000)));
    for _ in 0..rounds(2, 8) {
        let before = database.count("readings");
        wait_until("traffic flows", || {
            database.count("readings") > before + 500
        })?;
        let mark = gateway.lines().count();
        database.kill()?;
        wait_until("that is noticed", || {
            gateway
                .lines()
                .has_since(mark, &["no way into the database"])
        })?;
        database.start_again()?;
        let before = database.count("readings");
        wait_until("traffic flows again", || {
            database.count("readings") > before + 500
        })?;
        ensure!(
            !gateway.lines().has_since(mark, &["did not answer within"]),
            "a connection that ends is not waited for"
        );
        let mark = gateway.lines().count();
        database.freeze()?;
        wait_until("that is noticed by our own deadline", || {
            gateway
                .lines()
                .has_since(mark, &["no way into the database"])
        })?;
        database.thaw()?;
    }
    let sent = load.stop()?;
    let doubled = expect_all(&sent, &database)?;
    ensure!(doubled == 0, "{doubled} came twice");
    ensure!(parked(&gateway) == 0.0, "{} parked", parked(&gateway));
    Ok(())
}

/// Five hundred readings of which one has a word in place of a number, all owed before the first statement.
/// Guarantee: it alone is parked, with the server's code and words; the others are rows, with numbers exactly as they were written.
fn a_bad_row_among_five_hundred_is_parked_alone_with_its_sqlstate() -> Result<()> {
    let (field, database) = (Broker::embedded()?, Postgres::start()?);
    database.ask("CREATE TABLE typed (id text PRIMARY KEY, device text, t numeric CHECK (t < 1000)); GRANT INSERT, SELECT ON typed TO barn")?;
    let columns = "table = \"typed\", columns = { id = \"{id}\", device = \"{device}\", t = \"{payload.t}\" }";
    let gateway = gateway(&field, &database.url(), columns, "")?.start()?;
    gateway.wait_online()?;
    database.freeze()?;
    for number in 0..500 {
        let value = if number == 321 {
            "\"hot\\u001b[31m\"".to_owned()
        } else {
            format!("{number}.100000000000000000000000000001")
        };
        let payload = format!("{{\"t\":{value}}}");
        field.publish(&format!("devices/d{number}/telemetry"), &payload)?;
    }
    database.thaw()?;
    wait_until("all others are there", || database.count("typed") == 499)?;
    wait_until("the bad one is parked", || parked(&gateway) == 1.0)?;
    let exact = "SELECT t FROM typed WHERE device = 'd7'";
    ensure!(database.ask(exact)? == "7.100000000000000000000000000001");
    wait_until("the letter is on disk", || {
        gateway.metric("tidegate_dead_letters_kept", &[]) == 1.0
    })?;
    let told = json(gateway.folder(), &["parked", "list"], 0)?;
    let detail = told["letters"][0]["detail"].as_str().unwrap_or_default();
    ensure!(
        detail.contains("22P02 invalid input syntax for type numeric")
            && !detail.contains('\u{1b}'),
        "{told}"
    );
    field.publish("devices/d600/telemetry", "{\"t\":1000}")?;
    wait_until("one against a rule of the table is parked", || {
        parked(&gateway) == 2.0
    })?;
    Ok(())
}

/// The password is wrong, and is put right in its file.
/// Guarantee: nothing is parked, the cause is told, and all are rows once the file has the right one; nobody restarts anything.
fn a_wrong_password_holds_and_a_renewed_one_is_used() -> Result<()> {
    let (field, database) = (Broker::embedded()?, Postgres::start()?);
    database.ask(TABLE)?;
    let setup = gateway(&field, &database.url(), "table = \"readings\"", "")?;
    set_password(&setup, "guessed")?;
    let gateway = setup.launch()?;
    gateway.wait_online()?;
    let sent = Load::start(field.address(), plan(Some(200), None)).wait()?;
    gateway
        .lines()
        .wait_for(&["28P01", "check the user in `url`, `password`"])?;
    let said = json(gateway.folder(), &["check", "--connect"], 7)?.to_string();
    ensure!(said.contains("28P01"), "{said}");
    ensure!(parked(&gateway) == 0.0 && database.count("readings") == 0);
    fs::write(gateway.folder().join("password"), "secret\n")?;
    expect_all(&sent, &database)?;
    Ok(())
}

/// The table is not there, then may not be written, then may.
/// Guarantee: meanwhile nothing is parked and each cause is told with what to do; then all are rows.
fn a_table_that_is_missing_or_forbidden_holds_until_it_is_there() -> Result<()> {
    let (field, database) = (Broker::embedded()?, Postgres::start()?);
    let gateway = gateway(&field, &database.url(), "table = \"readings\"", "")?.launch()?;
    gateway.wait_online()?;
    let sent = Load::start(field.address(), plan(Some(200), None)).wait()?;
    gateway
        .lines()
        .wait_for(&["42P01", "make the table, or set `create = true`"])?;
    let (table, grants) = TABLE.split_once("; ").unwrap_or_default();
    database.ask(table)?;
    gateway
        .lines()
        .wait_for(&["42501", "grant the user INSERT"])?;
    ensure!(parked(&gateway) == 0.0);
    database.ask(grants)?;
    expect_all(&sent, &database)?;
    // It goes in the middle, and comes back.
    database.ask("ALTER TABLE readings RENAME TO away")?;
    let mark = gateway.lines().count();
    field.publish("devices/d1/telemetry", "{\"seq\":10}")?;
    wait_until("that is told", || {
        gateway.lines().has_since(mark, &["42P01"])
    })?;
    database.ask("ALTER TABLE away RENAME TO readings")?;
    wait_until("it is there", || database.count("readings") == 201)?;
    ensure!(parked(&gateway) == 0.0);
    Ok(())
}

/// The table has a policy that keeps one device out, which the server words as a missing right.
/// Guarantee: the others are rows at once, and that device's readings are parked with what was said of them.
fn a_row_that_a_policy_refuses_holds_up_nobody() -> Result<()> {
    let (field, database) = (Broker::embedded()?, Postgres::start()?);
    database.ask(TABLE)?;
    database.ask("ALTER TABLE readings ENABLE ROW LEVEL SECURITY; CREATE POLICY all_may ON readings USING (true) WITH CHECK (device <> 'd666')")?;
    let gateway = gateway(&field, &database.url(), "table = \"readings\"", "")?.start()?;
    for device in ["d1", "d666", "d2"] {
        let topic = format!("devices/{device}/telemetry");
        field.publish(&topic, "{\"seq\":0}")?;
    }
    let mut number = 0;
    wait_until("the others are there, and that one is parked", || {
        number += 1;
        let topic = format!("devices/d{}/telemetry", number % 50);
        field.publish(&topic, "{\"seq\":1}").is_ok() && parked(&gateway) == 1.0
    })?;
    ensure!(
        database.ask(
            "SELECT count(*) FROM readings WHERE device IN ('d1', 'd2') AND payload->>'seq' = '0'"
        )? == "2"
    );
    Ok(())
}

/// Waits until each of the 2,000 that were sent is a row or a letter.
fn all_are_rows_or_parked(database: &Postgres, gateway: &Gateway, sent: &Sent) -> Result<()> {
    ensure!(sent.count() == 2_000);
    wait_until("all are rows or parked", || {
        let rows = database.ask("SELECT count(*) FROM readings");
        rows.is_ok_and(|rows| {
            rows.parse()
                .is_ok_and(|rows: f64| rows + parked(gateway) == 2_000.0)
        })
    })
}

/// One device's row refers to one that somebody else has locked; the server gives up after a moment, each time.
/// Guarantee: the others are rows meanwhile, and that device's are there once the lock is gone, or parked if that took long.
fn a_row_that_is_locked_elsewhere_holds_up_nobody() -> Result<()> {
    let (field, database) = (Broker::embedded()?, Postgres::start()?);
    database.ask(TABLE)?;
    database.ask("CREATE TABLE known (device text PRIMARY KEY); INSERT INTO known SELECT 'd' || n FROM generate_series(0, 99) n; GRANT SELECT, UPDATE ON known TO barn")?;
    database.ask("ALTER TABLE readings ADD FOREIGN KEY (device) REFERENCES known; ALTER ROLE barn SET lock_timeout = '50ms'")?;
    let holder = database.hold("SELECT 1 FROM known WHERE device = 'd7' FOR UPDATE")?;
    let gateway = gateway(&field, &database.url(), "table = \"readings\"", "")?.start()?;
    let sent = Load::start(field.address(), plan(Some(2_000), None)).wait()?;
    wait_until("the others are there", || {
        database
            .ask("SELECT count(*) FROM readings WHERE device <> 'd7'")
            .is_ok_and(|count| count == "1900")
    })?;
    ensure!(database.ask("SELECT count(*) FROM readings WHERE device = 'd7'")? == "0");
    database.release(holder)?;
    // On a slow machine the lock may have been there for longer than one that is busy is tried.
    all_are_rows_or_parked(&database, &gateway, &sent)
}

/// Rows of three devices are handed on to another server, which is a standby, full or just shut down, and says so over ours.
/// Guarantee: the others are rows meanwhile, and those are there once the other server is well, or parked if that took long.
fn what_another_server_says_of_a_row_holds_up_nobody() -> Result<()> {
    let (field, database) = (Broker::embedded()?, Postgres::start()?);
    database.ask(TABLE)?;
    database.ask("CREATE TABLE codes (device text, code text); INSERT INTO codes VALUES ('d7', '25006'), ('d8', '53300'), ('d9', '57P01'); GRANT SELECT ON codes TO barn")?;
    database.ask("CREATE FUNCTION hand_on() RETURNS trigger LANGUAGE plpgsql AS $$ DECLARE said text; BEGIN SELECT code INTO said FROM codes WHERE device = NEW.device; IF said IS NOT NULL THEN RAISE EXCEPTION 'said elsewhere' USING ERRCODE = said; END IF; RETURN NEW; END $$")?;
    database.ask(
        "CREATE TRIGGER hand_on BEFORE INSERT ON readings FOR EACH ROW EXECUTE FUNCTION hand_on()",
    )?;
    let gateway = gateway(&field, &database.url(), "table = \"readings\"", "")?.start()?;
    let sent = Load::start(field.address(), plan(Some(2_000), None)).wait()?;
    wait_until("the others are there", || {
        let rows = database.ask("SELECT count(*) FROM readings");
        rows.is_ok_and(|rows| rows == "1700")
    })?;
    database.ask("DELETE FROM codes")?;
    all_are_rows_or_parked(&database, &gateway, &sent)
}

/// Topics and payloads that would end a text, a statement or a row, and types of all kinds.
/// Guarantee: each is stored as it was said, and the table is still there.
fn what_a_device_says_is_a_value_and_never_a_statement() -> Result<()> {
    let (field, database) = (Broker::embedded()?, Postgres::start()?);
    database.ask("CREATE SCHEMA \"the farm\"; CREATE TABLE \"the farm\".\"read'ings\" (id text PRIMARY KEY, at bigint, dev varchar(40), raw bytea, said text, n int, f real, b boolean, doc json, place text); \
        GRANT USAGE ON SCHEMA \"the farm\" TO barn; GRANT INSERT, SELECT ON ALL TABLES IN SCHEMA \"the farm\" TO barn")?;
    let columns = "table = \"the farm.read'ings\", columns = { id = \"{id}\", at = \"{time}\", dev = \"{device}\", raw = \"{payload}\", said = \"{payload.s}\", n = \"{payload.n}\", f = \"{payload.f}\", b = \"{payload.b}\", doc = \"{payload}\", place = \"{gateway}/{class}: {device}\" }";
    let gateway = gateway(&field, &database.url(), columns, "")?.start()?;
    let device = "x'); DROP TABLE readings; --";
    let said =
        r#"{"s":"'); DROP TABLE \"the farm\".\"read'ings\"; -- $1 \\","n":4e2,"f":0.5,"b":true}"#;
    field.publish(&format!("devices/{device}/telemetry"), said)?;
    field.publish("devices/d2/telemetry", "no { json")?;
    let table = "\"the farm\".\"read'ings\"";
    wait_until("both are there", || database.count(table) == 2)?;
    let row = format!(
        "SELECT dev, said, n, f, b, doc->>'n', at > 1600000000000000 FROM {table} WHERE n IS NOT NULL"
    );
    let expected =
        format!("{device}|'); DROP TABLE \"the farm\".\"read'ings\"; -- $1 \\|400|0.5|t|4e2|t");
    ensure!(database.ask(&row)? == expected, "{}", database.ask(&row)?);
    let other = format!(
        "SELECT convert_from(raw, 'UTF8'), said IS NULL, doc->>'payload_base64' FROM {table} WHERE dev = 'd2'"
    );
    ensure!(
        database.ask(&other)? == "no { json|t|bm8geyBqc29u",
        "{}",
        database.ask(&other)?
    );
    // Longer than the column: it is refused, and not cut.
    let long = "y".repeat(41);
    field.publish(&format!("devices/{long}/telemetry"), "{}")?;
    wait_until("it is parked", || parked(&gateway) == 1.0)?;
    ensure!(database.count(table) == 2);
    Ok(())
}

/// A server that wants TLS, no table, and `create`.
/// Guarantee: the certificate is looked at, the table is made, and all are rows.
fn a_table_is_made_where_that_is_asked_for_and_tls_is_asked_for_first() -> Result<()> {
    let field = Broker::embedded()?;
    let place = tempfile::tempdir()?;
    let authority = Authority::new(place.path(), "ca")?;
    let database = Postgres::with_tls(&authority.broker()?)?;
    database.ask("GRANT CREATE ON SCHEMA public TO barn")?;
    let url = database.url();
    let place = url.strip_prefix("postgres").context("another protocol")?;
    let url = format!("postgres+tls{place}");
    let keys = format!("tls = {{ ca = \"{}\" }}\n", authority.ca.display());
    let setup = gateway(&field, &url, "create = true", &keys)?;
    let gateway = setup.start()?;
    let sent = Load::start(field.address(), plan(Some(200), None)).wait()?;
    wait_until("all are there", || {
        database.count("messages") == sent.count() as u64
    })?;
    let tls = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'barn'";
    ensure!(database.ask(tls)? == "t");
    ensure!(gateway.stop()?.0.success(), "it did not stop well");
    Ok(())
}
