//! Settings of plugins that the config changes.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::{Broker, Gateway, Setup, Watch, cases, wait_until};

use super::{SHORT, about, transitions};
use crate::scene::{Scene, UP};
use crate::swap::filter_above;
use crate::tools::told;

pub fn cases() -> Vec<Trial> {
    cases![
        a_setting_that_is_changed_back_on_probation_is_what_it_was,
        a_reload_shows_what_changes,
    ]
}

/// A setting is changed in the config, and changed back while the new one is on probation; then once more, from behind a change that waits.
/// Guarantee: what the config says runs at once, the other one is never confirmed, and a start afterwards runs it, too.
fn a_setting_that_is_changed_back_on_probation_is_what_it_was() -> Result<()> {
    let filter =
        |limit| filter_above(limit).put("flow.all.plugin.0", "probation = { time = \"1h\" }");
    let scene = Scene::with(&filter(20), &[])?;
    let folder = scene.gateway.folder().to_owned();
    let config = |limit| scene.here(&filter(limit));
    scene.gateway.rewrite_config(config(90))?;
    wait_until("it is on probation", || {
        transitions(&scene.gateway, "on-probation") >= 1.0
    })?;
    let (out, _) = scene
        .gateway
        .rewrite_for(config(20), || told(&folder, &["reload"], 0))??;
    ensure!(
        out.contains("taken back") || out.contains("unchanged"),
        "{out}"
    );
    wait_until("the first one runs again", || {
        let shown = about(&folder);
        shown.is_ok_and(|shown| {
            shown["settings"].to_string().contains("20") && shown["candidate"].is_null()
        })
    })?;
    scene
        .field
        .publish("devices/d1/telemetry", r#"{"temperature":25}"#)?;
    wait_until("25 passes", || scene.watch.total() == 1)?;
    ensure!(transitions(&scene.gateway, "confirmed") == 0.0);
    // The same once more, now by another value that waits behind the first.
    scene.gateway.rewrite_config(config(80))?;
    wait_until("it is on probation", || {
        transitions(&scene.gateway, "on-probation") >= 2.0
    })?;
    scene.gateway.rewrite_config(config(70))?;
    scene.gateway.lines().wait_for(&["a change waits"])?;
    scene.gateway.rewrite_config(config(20))?;
    wait_until("the first one runs again", || {
        let shown = about(&folder);
        shown.is_ok_and(|shown| {
            shown["settings"].to_string().contains("20") && shown["candidate"].is_null()
        })
    })?;
    Ok(())
}

/// The config gets another setting of a plugin, another keep-alive and another level of the log, then a mistake; each time it is
/// read again by command.
/// Guarantee: it is shown what changes live and what needs a restart; all mistakes are shown with exit code 3.
fn a_reload_shows_what_changes() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let config = |limit: i64| {
        filter_above(limit)
            .between(&field.url(), &cloud.url())
            .put("flow.all.plugin.0", SHORT)
    };
    let setup: Setup = Gateway::with(config(20));
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = setup.start()?;
    let folder = gateway.folder().to_owned();
    let (out, _) = told(&folder, &["reload"], 0)?;
    ensure!(out.contains("unchanged"), "{out}");
    let changed = config(30)
        .set("source.field.keep_alive", "7s")
        .add("log", "level = \"debug\"");
    let (out, _) = gateway.rewrite_for(changed, || told(&folder, &["reload"], 0))??;
    for part in ["changes live: source.field", "needs a restart: log"] {
        ensure!(out.contains(part), "{part} is not in {out}");
    }
    wait_until("the settings are in", || {
        about(&folder).is_ok_and(|about| about["settings"].to_string().contains("30"))
    })?;
    field.publish("devices/d1/telemetry", r#"{"temperature":25}"#)?;
    field.publish("devices/d1/telemetry", r#"{"temperature":35}"#)?;
    wait_until("35 passes", || watch.total() == 1)?;
    gateway.rewrite_config(config(40).put("flow.all", "lanes = 0\nmistake = 1"))?;
    let (_, said) = told(&folder, &["reload"], 3)?;
    ensure!(
        said.contains("mistake") && said.contains("lanes") && said.contains("nothing was changed"),
        "{said}"
    );
    ensure!(
        about(&folder)?["settings"].to_string().contains("30"),
        "{}",
        about(&folder)?
    );
    told(&folder, &["rollback", "filter"], 0)?;
    ensure!(
        about(&folder)?["settings"].to_string().contains("20"),
        "{}",
        about(&folder)?
    );
    Ok(())
}
