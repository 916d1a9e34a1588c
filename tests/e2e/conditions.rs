//! What stands still, or goes otherwise than it should, although every connection stands: told while it lasts, and no longer.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate_tests::fake::{Deed, PickyBroker, Rule, Terms, Which};
use tidegate_tests::{Broker, Config, Gateway, cases, wait_until};

use crate::tools::{json, told};

pub fn cases() -> Vec<Trial> {
    cases![
        a_hold_is_told_while_it_lasts_and_no_longer,
        an_uplink_that_waits_for_room_among_the_dead_letters_says_so,
        a_second_client_with_our_id_is_told_once_and_stands_in_status,
    ]
}

/// A running gateway, as its operator asks about it.
struct Asked<'a>(&'a Gateway);

impl Asked<'_> {
    /// The condition of this kind of the uplink or source at `list`, and the text of `status`, which ends with `code`.
    fn condition(&self, list: &str, kind: &str, code: i32) -> Result<Option<Value>> {
        let status = json(self.0.folder(), &["status"], code)?;
        let conditions = status[list][0]["conditions"]
            .as_array()
            .context("no conditions")?;
        let found = conditions.iter().find(|found| found["kind"] == kind);
        Ok(found.cloned())
    }

    fn has(&self, list: &str, kind: &str, code: i32) -> bool {
        self.condition(list, kind, code)
            .is_ok_and(|found| found.is_some())
    }

    /// The line of health about this part; the gateway has to be ready.
    fn ready(&self, part: &str) -> Result<String> {
        let (code, text) = self.0.health()?;
        ensure!(code == 200, "{code}: {text}");
        let line = text.lines().find(|line| line[4..].starts_with(part));
        Ok(line
            .with_context(|| format!("no {part}:\n{text}"))?
            .to_owned())
    }
}

fn send(field: &Broker, device: &str, count: usize) -> Result<()> {
    (0..count).try_for_each(|number| {
        field.publish(
            &format!("devices/{device}/telemetry"),
            format!("{{\"n\":{number}}}"),
        )
    })
}

/// An upstream refuses whatever it is sent, with words that a terminal would act on, and is put right.
/// Guarantee: status (text, JSON, exit code), health and a gauge say so with its code and words and how many messages wait, as
/// long as it lasts and no longer.
fn a_hold_is_told_while_it_lasts_and_no_longer() -> Result<()> {
    let field = Broker::embedded()?;
    let deed = Deed::Answer(0x87, "tenant\x1b[2J closed");
    let cloud = PickyBroker::start(Terms::default(), vec![Rule(Which::all(), deed)])?;
    let gateway =
        Gateway::with(Config::forwarding().between(&field.url(), &cloud.url())).start()?;
    gateway.wait_online()?;
    let asked = Asked(&gateway);
    ensure!(
        asked.ready("uplink cloud")? == "[+] uplink cloud ok",
        "told before it is so"
    );
    send(&field, "d1", 3)?;
    wait_until("the hold is told", || {
        asked.has("uplinks", "refuses-everything", 7)
    })?;
    let hold = asked
        .condition("uplinks", "refuses-everything", 7)?
        .context("it is over by itself")?;
    let words = hold["words"].as_str().unwrap_or_default();
    ensure!(
        words.contains("0x87") && words.contains("closed") && !words.contains('\x1b'),
        "{hold}"
    );
    ensure!(
        hold["since_s"].is_u64() && hold["messages"].as_u64() > Some(0),
        "{hold}"
    );
    let line = asked.ready("uplink cloud")?;
    ensure!(
        line.starts_with("[~]") && line.contains("upstream refuses everything"),
        "{line}"
    );
    let (text, _) = told(gateway.folder(), &["status"], 7)?;
    ensure!(
        text.contains("upstream refuses") && text.contains("0x87"),
        "{text}"
    );
    let labels = [("uplink", "cloud"), ("condition", "refuses-everything")];
    ensure!(
        gateway.metric("tidegate_uplink_condition", &labels) == 1.0,
        "the gauge is silent"
    );
    cloud.change(Vec::new());
    wait_until("all has arrived", || cloud.taken().len() >= 3)?;
    wait_until("the uplink is well", || {
        asked
            .ready("uplink cloud")
            .is_ok_and(|line| line == "[+] uplink cloud ok")
    })?;
    ensure!(
        !asked.has("uplinks", "refuses-everything", 0),
        "status still tells of it"
    );
    ensure!(
        gateway.metric("tidegate_uplink_condition", &labels) == 0.0,
        "the gauge still tells of it"
    );
    Ok(())
}

/// Upstream refuses one device's messages, more than the dead letters have room for; an operator makes room.
/// Guarantee: status and health say that the rest stays in its queue and what to do, until there is room.
fn an_uplink_that_waits_for_room_among_the_dead_letters_says_so() -> Result<()> {
    let field = Broker::embedded()?;
    let rules = vec![Rule(Which::topic("bad"), Deed::Answer(0x90, ""))];
    let cloud = PickyBroker::start(Terms::default(), rules)?;
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .add("spool", "dead_letters = 2");
    let gateway = Gateway::with(config).start()?;
    gateway.wait_online()?;
    let asked = Asked(&gateway);
    send(&field, "bad", 4)?;
    send(&field, "good", 2)?;
    wait_until("it is told", || {
        asked.has("uplinks", "dead-letters-full", 0)
    })?;
    let line = asked.ready("uplink cloud")?;
    ensure!(
        line.contains("no room") && line.contains("tidegate parked"),
        "{line}"
    );
    ensure!(cloud.taken().len() == 2, "others wait for it");
    told(
        gateway.folder(),
        &["parked", "drop", "--reason", "refused", "--yes"],
        0,
    )?;
    wait_until("it is over", || {
        !asked.has("uplinks", "dead-letters-full", 0)
    })?;
    wait_until("nothing is owed", || {
        gateway.metric("tidegate_spool_messages", &[]) == 0.0
    })
}

/// An upstream says several times that another client with the uplink's client id has come, and then no more.
/// Guarantee: it is said once, with the id; status and health tell of it while the connection stands.
fn a_second_client_with_our_id_is_told_once_and_stands_in_status() -> Result<()> {
    let field = Broker::embedded()?;
    let rules = vec![Rule(Which::all().numbers(..5), Deed::Disconnect(0x8E))];
    let cloud = PickyBroker::start(Terms::default(), rules)?;
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .set("uplink.cloud.client_id", "barn-7");
    let gateway = Gateway::with(config).start()?;
    let asked = Asked(&gateway);
    send(&field, "d1", 1)?;
    send(&field, "d2", 1)?;
    wait_until("it was thrown out again and again", || {
        cloud.hang_ups() >= 5
    })?;
    wait_until("status tells of it, and the connection stands", || {
        asked.has("uplinks", "client-id-taken-over", 0)
    })?;
    let found = asked
        .condition("uplinks", "client-id-taken-over", 0)?
        .context("status says nothing")?;
    ensure!(
        found["words"]
            .as_str()
            .is_some_and(|words| words.contains("`barn-7`") && words.contains("thrown us out")),
        "{found}"
    );
    let line = asked.ready("uplink cloud")?;
    ensure!(line.contains("`barn-7`"), "{line}");
    let said = gateway.lines().all();
    let said = said
        .iter()
        .filter(|line| line.contains("has thrown us out"));
    ensure!(
        said.clone().count() == 1 && said.clone().all(|line| line.contains("WARN")),
        "{:?}",
        said.collect::<Vec<_>>()
    );
    Ok(())
}
