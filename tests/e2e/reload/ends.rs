//! Sources and uplinks that come, go and change in the config of a running gateway.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::{
    Broker, Config, Gateway, Load, Plan, Watch, cases, wait_until, with_mosquitto,
};

use super::reload;
use crate::scene::{Scene, UP, expect_exactly_once};
use crate::tools::{json, told};

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        a_source_comes_and_goes_under_load,
        an_uplink_that_moves_takes_what_is_owed_along,
        a_source_that_moves_takes_from_the_other_broker,
        a_class_that_may_keep_less_gives_up_what_is_too_much,
    ];
    cases.extend(cases![with_mosquitto; a_password_is_mended_without_a_restart, a_reload_tries_at_once_what_was_refused]);
    cases
}

fn load() -> Plan {
    Plan {
        devices: 30,
        rate: Some(1_500),
        ..Plan::default()
    }
}

/// A second source with a flow of its own is added, taken out and added again, under load on the first.
/// Guarantee: what is published there arrives while it is there; it is in status and metrics then and only then; nothing of the
/// first is lost, doubled or out of order.
fn a_source_comes_and_goes_under_load() -> Result<()> {
    let annex = Broker::embedded()?;
    let scene = Scene::with(&Config::forwarding(), &[])?;
    let flow = "from = \"annex\"\ntopics = [\"other/{device}\"]\nto = \"cloud:telemetry\"\ntopic = \"up/{topic}\"";
    let both = Config::forwarding()
        .source("annex", &annex.url())
        .add("flow.other", flow);
    let other = Watch::start(scene.cloud.address(), "up/other/+")?;
    let load = scene.load(load());
    for _ in 0..2 {
        let before = scene.watch.count();
        wait_until("traffic flows", || scene.watch.count() > before + 300)?;
        let out = scene.reload(&both, 0)?;
        ensure!(out.contains("changes live: source.annex"), "{out}");
        let before = other.total();
        wait_until("something comes of it", || {
            annex.publish("other/x1", "{}").is_ok() && other.total() > before
        })?;
        let shown = |is_shown: bool| -> Result<()> {
            let status = json(scene.gateway.folder(), &["status"], 0)?.to_string();
            let metrics = scene.gateway.get("/metrics")?.1;
            let ready = scene.gateway.get("/readyz?verbose")?.1;
            ensure!(status.contains("annex") == is_shown, "{status}");
            ensure!(
                metrics.contains("source=\"annex\"") == is_shown,
                "{metrics}"
            );
            ensure!(ready.contains("source annex") == is_shown, "{ready}");
            Ok(())
        };
        shown(true)?;
        let out = scene.reload(&Config::forwarding(), 0)?;
        ensure!(out.contains("changes live: source.annex"), "{out}");
        // What its broker may still hold for it is taken first.
        wait_until("it is gone", || shown(false).is_ok())?;
    }
    let sent = load.stop()?;
    expect_exactly_once(&sent, scene.watch).map(drop)
}

/// The uplink's broker goes away for good under load, and the config names another one.
/// Guarantee: what was owed goes to the other in its order, and nothing is lost; no restart is asked for.
fn an_uplink_that_moves_takes_what_is_owed_along() -> Result<()> {
    let mut scene = Scene::with(&Config::forwarding(), &[])?;
    let elsewhere = Broker::embedded()?;
    let there = Watch::start(elsewhere.address(), UP)?;
    let load = scene.load(load());
    wait_until("traffic flows", || scene.watch.count() > 300)?;
    scene.cloud.go_dark()?;
    let settled = || {
        scene
            .gateway
            .metric("tidegate_messages_received_total", &[])
    };
    let before = settled();
    wait_until("more is owed", || settled() > before + 1_500.0)?;
    let config = Config::forwarding().between(&scene.field.url(), &elsewhere.url());
    let out = reload(&scene.gateway, &config, 0)?;
    ensure!(out.contains("changes live: uplink.cloud"), "{out}");
    ensure!(!out.contains("restart"), "{out}");
    let sent = load.stop()?;
    wait_until("all is there", || {
        (scene.watch.count() + there.count()) as usize >= sent.count()
    })?;
    let verdict = sent.against(&scene.watch.stop()?.with(&there.stop()?), |_, _| true);
    ensure!(verdict.sent > 0 && verdict.lost == 0, "{verdict}");
    Ok(())
}

/// The source's url becomes that of another broker.
/// Guarantee: what the first had sent is delivered, and what is published at the other comes in from then on.
fn a_source_that_moves_takes_from_the_other_broker() -> Result<()> {
    let scene = Scene::with(&Config::forwarding(), &[])?;
    let elsewhere = Broker::embedded()?;
    let first = scene.load(load());
    wait_until("traffic flows", || scene.watch.count() > 300)?;
    let sent = first.stop()?;
    wait_until("all of it has arrived", || {
        scene.watch.count() as usize >= sent.count()
    })?;
    let mark = scene.gateway.lines().count();
    scene
        .gateway
        .rewrite_config(Config::forwarding().between(&elsewhere.url(), &scene.cloud.url()))?;
    wait_until("the source is at the other", || {
        let lines = scene.gateway.lines();
        lines.has_since(
            mark,
            &["online", "\"source\"", &elsewhere.address().to_string()],
        )
    })?;
    let before = scene.watch.total();
    wait_until("something comes from there", || {
        elsewhere.publish("devices/x/telemetry", "{}").is_ok() && scene.watch.total() > before
    })
}

/// The password of an uplink is wrong at the start, and right in the next config.
/// Guarantee: what was owed meanwhile arrives in order, without a restart.
fn a_password_is_mended_without_a_restart() -> Result<()> {
    let field = Broker::embedded()?;
    let cloud = tidegate_tests::broker::Mosquitto::new()
        .login("me", "right")
        .start()?;
    let config = |password: &str| {
        let login = format!("user = \"me\"\npassword = {{ env = \"{password}\" }}");
        Config::forwarding()
            .between(&field.url(), &cloud.url())
            .put("uplink.cloud", &login)
    };
    let gateway = Gateway::with(config("WRONG_ONE"))
        .env("WRONG_ONE", "wrong")
        .env("RIGHT_ONE", "right")
        .start()?;
    let plan = Plan {
        total: Some(500),
        ..load()
    };
    let sent = Load::start(field.address(), plan).wait()?;
    gateway.rewrite_config(config("RIGHT_ONE"))?;
    wait_until("the uplink is online", || gateway.is_online())?;
    wait_until("nothing is owed", || {
        gateway.metric("tidegate_messages_forwarded_total", &[]) >= sent.count() as f64
    })
}

/// The file with the password of an uplink is wrong, and an attempt comes an hour later only. It is mended, and the config, in which
/// nothing has changed, is read again.
/// Guarantee: the uplink dials at once.
fn a_reload_tries_at_once_what_was_refused() -> Result<()> {
    let field = Broker::embedded()?;
    let cloud = tidegate_tests::broker::Mosquitto::new()
        .login("me", "right")
        .start()?;
    let login = "user = \"me\"\npassword = { file = \"cloud.password\" }\nbackoff = { first = \"1s\", cap = \"1h\" }\n";
    let config = Config::forwarding().between(&field.url(), &cloud.url());
    let setup = Gateway::with(config.put("uplink.cloud", login));
    let password = setup.folder().join("cloud.password");
    std::fs::write(&password, "wrong")?;
    let gateway = setup.start()?;
    wait_until("it is refused", || {
        let state = [("uplink", "cloud"), ("state", "refused")];
        gateway.metric("tidegate_uplink_state", &state) == 1.0
    })?;
    std::fs::write(&password, "right")?;
    told(gateway.folder(), &["reload"], 0)?;
    wait_until("the uplink is online", || gateway.is_online())
}

/// While the upstream is away, its class gets a smaller limit.
/// Guarantee: what is too much is given up and is in the ledger, with its number; the rest is delivered; no restart is asked for.
fn a_class_that_may_keep_less_gives_up_what_is_too_much() -> Result<()> {
    let mut scene = Scene::with(&Config::forwarding(), &[])?;
    scene.cloud.go_dark()?;
    let plan = Plan {
        total: Some(12_000),
        rate: None,
        padding: 200,
        ..load()
    };
    let sent = scene.load(plan).wait()?;
    let owed = || scene.gateway.metric("tidegate_spool_messages", &[]);
    wait_until("all is owed", || owed() == sent.count() as f64)?;
    let less = Config::forwarding().add("class.telemetry", "max = \"1MiB\"");
    let out = scene.reload(&less, 0)?;
    ensure!(out.contains("changes live: class.telemetry"), "{out}");
    let given_up = || {
        scene.gateway.metric(
            "tidegate_messages_dropped_total",
            &[("reason", "quota-oldest")],
        )
    };
    wait_until("what is too much is given up", || {
        given_up() > 0.0 && owed() + given_up() == sent.count() as f64
    })?;
    scene.cloud.back()?;
    wait_until("the rest is delivered", || owed() == 0.0)?;
    let verdict = sent.against(&scene.watch.stop()?, |_, _| true);
    ensure!(
        verdict.lost as f64 == given_up(),
        "{verdict}, {} given up",
        given_up()
    );
    Ok(())
}
