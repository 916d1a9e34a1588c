//! What `/livez` and `/healthz` say while something is wrong: each fault is brought about, seen, and over again.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::certificates::Authority;
use tidegate_tests::cut::Cuttable;
use tidegate_tests::disk::{Disk, can_mount};
use tidegate_tests::fake::{Deed, PickyBroker, Rule, Terms, Which};
use tidegate_tests::guests::component;
use tidegate_tests::{
    Broker, Config, Gateway, Mosquitto, cases, needs, wait_until, with_mosquitto,
};

use crate::clock::library;
use crate::scene::{Scene, plugin_file};
use crate::tools::{json, told};

pub fn cases() -> Vec<Trial> {
    let mounting = |name: &str, run| needs(name, "mount(8) for root", can_mount(), run);
    let timed = |name: &str, run| needs(name, "libfaketime", library().is_some(), run);
    let mut cases = cases![
        a_link_that_is_away_is_degraded_and_not_failed,
        a_certificate_is_told_before_and_after_its_end,
        a_plugin_that_traps_degrades_its_flow,
        dead_letters_without_room_are_told,
        every_loop_shows_that_it_turns,
    ];
    cases.extend(cases![with_mosquitto; a_wrong_password_is_degraded_with_its_reason]);
    cases.extend(cases![mounting; a_disk_that_takes_nothing_has_failed]);
    cases.extend(cases![timed; a_clock_that_was_never_set_is_told]);
    cases
}

/// The line of `tidegate health` about this part, and the code that `/healthz` answers with.
fn line(gateway: &Gateway, part: &str) -> Result<(u16, String)> {
    let (code, _) = gateway.get("/healthz")?;
    let (_, text) = gateway.health()?;
    let line = text
        .lines()
        .find(|line| line.get(4..).is_some_and(|line| line.starts_with(part)));
    Ok((
        code,
        line.with_context(|| format!("no {part}:\n{text}"))?
            .to_owned(),
    ))
}

/// Waits until the part is in this state (`+`, `~`, `-`) and its line has these words; only what has failed is a 503.
fn wait_for(gateway: &Gateway, part: &str, sign: char, words: &str) -> Result<()> {
    let begins = format!("[{sign}] {part}");
    wait_until(&format!("{part} is [{sign}] with `{words}`"), || {
        line(gateway, part).is_ok_and(|(code, line)| {
            line.starts_with(&begins) && line.contains(words) && (code == 503 || sign != '-')
        })
    })
}

/// The upstream is cut off, then the devices' broker is away, too.
/// Guarantee: each is degraded with its reason and the next try, none has failed, and JSON and exit code say the same.
fn a_link_that_is_away_is_degraded_and_not_failed() -> Result<()> {
    let (mut field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let link = Cuttable::to(cloud.address())?;
    let gateway = Gateway::with(Config::forwarding().between(&field.url(), &link.url())).start()?;
    wait_for(&gateway, "uplink cloud", '+', "ok")?;
    wait_for(&gateway, "source field", '+', "ok")?;
    let report = json(gateway.folder(), &["health"], 0)?;
    ensure!(report["state"] == "ok", "{report}");
    link.go_dark();
    wait_for(&gateway, "uplink cloud", '~', "next try")?;
    let (code, _) = line(&gateway, "uplink cloud")?;
    ensure!(
        code == 200,
        "an upstream that is away is no failure: {code}"
    );
    field.go_dark()?;
    wait_for(&gateway, "source field", '~', "next try")?;
    let report = json(gateway.folder(), &["health"], 7)?;
    let parts = report["parts"].as_array().context("no parts")?;
    let of = |kind: &str| parts.iter().find(|part| part["kind"] == kind);
    for kind in ["source", "uplink"] {
        let part = of(kind).context("missing")?;
        ensure!(
            part["state"] == "degraded" && part["why"].is_string(),
            "{part}"
        );
    }
    ensure!(
        of("clock").is_some_and(|part| part["state"] == "ok"),
        "{report}"
    );
    link.back();
    field.back()?;
    wait_for(&gateway, "uplink cloud", '+', "ok")?;
    wait_for(&gateway, "source field", '+', "ok")?;
    told(gateway.folder(), &["health"], 0)?;
    Ok(())
}

/// Upstream wants a password, and the config has another one.
/// Guarantee: the uplink is degraded, with the broker's reason; the password is not shown.
fn a_wrong_password_is_degraded_with_its_reason() -> Result<()> {
    let field = Broker::embedded()?;
    let cloud = Mosquitto::new().login("me", "right").start()?;
    let login = "user = \"me\"\npassword = { env = \"CLOUD_PASSWORD\" }";
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .put("uplink.cloud", login);
    let gateway = Gateway::with(config)
        .env("CLOUD_PASSWORD", "wrong-and-secret")
        .start()?;
    wait_for(&gateway, "uplink cloud", '~', "refused")?;
    let address = cloud.url();
    let address = address.rsplit('/').next().unwrap_or_default();
    for text in [gateway.get("/healthz?verbose")?.1, gateway.health()?.1] {
        ensure!(!text.contains("wrong-and-secret"), "{text}");
    }
    let open = gateway.get("/healthz?verbose")?.1;
    ensure!(
        !open.contains(address) && open.contains("`tidegate health` says more"),
        "{open}"
    );
    Ok(())
}

/// An uplink's own certificate ends in some days; another one has ended.
/// Guarantee: the first is degraded with its day, the second has failed; one that lasts is well.
fn a_certificate_is_told_before_and_after_its_end() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path(), "authority")?;
    let in_days = |days: u64| tidegate_tests::load::now_us() + days * 86_400_000_000;
    let (soon, gone, lasts) = (
        authority.client_until("soon", in_days(5))?,
        authority.client_until("gone", 1_600_000_000_000_000)?,
        authority.client_until("lasts", in_days(300))?,
    );
    let field = Broker::embedded()?;
    let config = Config::forwarding().between(&field.url(), "mqtts://127.0.0.1:1");
    for (identity, sign, words) in [
        (soon, '~', "expires in"),
        (gone, '-', "has expired on 2020-09-13"),
        (lasts, '+', "ok"),
    ] {
        let tls = format!(
            "tls = {{ ca = \"{}\", cert = \"{}\", key = \"{}\" }}",
            authority.ca.display(),
            identity.certificate.display(),
            identity.key.display()
        );
        let gateway = Gateway::with(config.clone().put("uplink.cloud", &tls)).start()?;
        wait_for(&gateway, "certificate cert of uplink cloud", sign, words)?;
        wait_for(&gateway, "certificate ca of uplink cloud", '+', "ok")?;
        let until = gateway.metric(
            "tidegate_certificate_expiry_timestamp_seconds",
            &[("key", "cert"), ("name", "cloud")],
        );
        ensure!(until > 1_599_000_000.0, "the metric says {until}");
    }
    Ok(())
}

/// The data folder's disk is filled, and freed; then it turns read-only.
/// Guarantee: spool and disk have failed with the reason, and are well again by themselves.
fn a_disk_that_takes_nothing_has_failed() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let setup = Gateway::with(Config::forwarding().between(&field.url(), &cloud.url()));
    let disk = Disk::tmpfs(&setup.data(), 24)?;
    let gateway = setup.start()?;
    wait_for(&gateway, "disk", '+', "ok")?;
    disk.fill()?;
    wait_for(&gateway, "disk", '-', "disk-full")?;
    wait_for(&gateway, "spool", '-', "disk-full")?;
    told(gateway.folder(), &["health"], 1)?;
    disk.free()?;
    wait_for(&gateway, "spool", '+', "ok")?;
    let setup = gateway.kill()?;
    disk.turn_read_only()?;
    let gateway = setup.start()?;
    // There is no place for the control socket, so the port has to tell it.
    for part in ["disk", "spool"] {
        let says = |line: &str| {
            line.starts_with(&format!("[-] {part}")) && line.contains("store-read-only")
        };
        wait_until(&format!("the port tells it of {part}"), || {
            let told = gateway.get("/healthz?verbose");
            told.is_ok_and(|(code, text)| code == 503 && text.lines().any(says))
        })?;
    }
    Ok(())
}

/// A plugin that traps on what one device sends, while another one sends what is good; then one that traps on all.
/// Guarantee: the devices are degraded by the quarantine, the flow by its breaker, each with its reason.
fn a_plugin_that_traps_degrades_its_flow() -> Result<()> {
    let guarded = |after: u32| -> Result<Scene> {
        let breaker = format!("breaker = {{ after = {after}, retry = \"10m\" }}");
        let guard = "lanes = 1\nquarantine = { after = 3, retry = \"10m\" }";
        let config = Config::forwarding()
            .put("flow.all", guard)
            .step("all", &plugin_file("trap", "trap.wasm"))
            .put("flow.all.plugin.0", &breaker);
        Scene::with(&config, &[("trap.wasm", component("trap")?)])
    };
    let scene = guarded(1_000)?;
    // The batch in which a device is first seen to be bad counts as one, however many of it lie in that batch: one of its
    // messages after the other is rejected before the next is sent.
    for number in 1..=3 {
        scene
            .field
            .publish("devices/sane/telemetry", format!("harmless {number}"))?;
        scene.field.publish("devices/mad/telemetry", "trap")?;
        wait_until("it is rejected", || {
            let poison = &[("reason", "poison")];
            let letters = scene.gateway.metric("tidegate_dead_letters_total", poison);
            letters == f64::from(number)
        })?;
    }
    wait_for(&scene.gateway, "devices all", '~', "in quarantine")?;
    told(scene.gateway.folder(), &["health"], 7)?;
    let scene = guarded(5)?;
    for device in 0..12 {
        let topic = format!("devices/d{device}/telemetry");
        scene.field.publish(&topic, "trap")?;
    }
    let words = "plugin `trap` fails on so many messages that it is not asked for now";
    wait_for(&scene.gateway, "flow all", '~', words)
}

/// A board without a battery clock starts in 1970.
/// Guarantee: the clock is degraded, and the words say what depends on it.
fn a_clock_that_was_never_set_is_told() -> Result<()> {
    let library = library().context("no libfaketime")?;
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let gateway = Gateway::with(Config::forwarding().between(&field.url(), &cloud.url()))
        .env("LD_PRELOAD", &library.display().to_string())
        .env("FAKETIME", "@1971-01-01 00:00:00")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start()?;
    wait_for(&gateway, "clock", '~', "never set")
}

/// Upstream refuses one device's messages, and two dead letters are all there is room for.
/// Guarantee: the dead letters are degraded, and so is the uplink whose refused messages wait for room.
fn dead_letters_without_room_are_told() -> Result<()> {
    let field = Broker::embedded()?;
    let rules = vec![Rule(Which::topic("bad"), Deed::Answer(0x90, ""))];
    let cloud = PickyBroker::start(Terms::default(), rules)?;
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .add("spool", "dead_letters = 2");
    let gateway = Gateway::with(config).start()?;
    wait_for(&gateway, "dead-letters", '+', "ok")?;
    for device in ["bad", "bad", "bad", "good", "good"] {
        field.publish(&format!("devices/{device}/telemetry"), "{}")?;
    }
    wait_for(
        &gateway,
        "dead-letters",
        '~',
        "100 % of what there is room for",
    )?;
    wait_for(&gateway, "uplink cloud", '~', "no room")?;
    told(
        gateway.folder(),
        &["parked", "drop", "--reason", "refused", "--yes"],
        0,
    )?;
    wait_for(&gateway, "dead-letters", '+', "ok")
}

/// A gateway that runs, and one that was stopped as a whole for a while, as by a debugger.
/// Guarantee: `/livez` names source, uplink, lanes, writer and the port's own loop, each turning; a stop as a whole is no
/// reason to start it again.
fn every_loop_shows_that_it_turns() -> Result<()> {
    let scene = Scene::with(&Config::forwarding(), &[])?;
    let gateway = &scene.gateway;
    let turns = || -> Result<()> {
        let (code, text) = gateway.get("/livez?verbose")?;
        ensure!(code == 200 && text.ends_with("ok\n"), "{code}: {text}");
        for name in [
            "source field",
            "uplink cloud",
            "lanes",
            "spool writer",
            "network and admin",
        ] {
            ensure!(
                text.contains(&format!("[+] {name} ok")),
                "no {name}: {text}"
            );
        }
        Ok(())
    };
    turns()?;
    gateway.freeze()?;
    gateway.thaw()?;
    turns()
}
