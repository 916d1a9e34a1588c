//! Flows that others lead to.

use super::*;

/// `climate` leads to `rules` and to the cloud, `rules` to `means`, which leads to the cloud.
const THREE: &str = r#"
[source.field]
url = "mqtt://127.0.0.1:1883"
[uplink.cloud]
url = "mqtt://127.0.0.1:1884"
[flow.climate]
from = "field"
topics = ["devices/{device}"]
to = ["cloud:telemetry", "flow.rules"]
[flow.rules]
to = { out = "flow.means", alarms = "cloud:alarm" }
expires = "60s"
[flow.means]
topics = ["sites/{site}/{device}"]
key = "{site}"
to = "cloud:telemetry"
"#;

#[test]
fn a_flow_that_others_lead_to_needs_no_source_and_takes_all_but_what_its_topics_leave_out() {
    let config = Case::new(THREE).good();
    let [climate, rules, means] = &config.flows[..] else {
        panic!("{:?}", config.flows);
    };
    let flow = |name: &str| Destination::Flow(name.into());
    assert_eq!(climate.ports["out"][1], flow("rules"));
    assert_eq!(rules.ports["out"], [flow("means")]);
    assert_eq!((rules.patterns.len(), rules.expires), (0, Some(60)));
    assert_eq!(means.patterns[0].key(), Some("site"));
    assert_eq!(config.sources[0].routes.len(), 1);
    assert_eq!(
        ["climate", "rules", "means"].map(|name| config.depth(name)),
        [2, 1, 0]
    );
    assert!(
        config.warnings.is_empty(),
        "{}",
        config.warnings.render(false)
    );
}

#[test]
fn what_may_wait_between_two_flows_is_part_of_the_memory() {
    let room = |text: &str| Case::new(text).good().spool.memory_bytes;
    let apart = THREE.replace(", \"flow.rules\"]", "]").replace(
        "\n[flow.rules]",
        "\n[flow.rules]\nfrom=\"field\"\ntopics=[\"r/{device}\"]",
    );
    assert_eq!(room(&apart) - room(THREE), crate::chain::ROOM_BYTES);
}

#[test]
fn a_flow_with_other_topics_for_what_others_lead_to_it_gets_other_messages_and_keeps_its_chain() {
    let other = THREE.replace("sites/{site}/{device}", "rooms/{site}/{device}");
    let found = difference(&Case::new(THREE).good(), &Case::new(&other).good());
    let fate = FlowFate::Changed {
        chain: false,
        routes: true,
    };
    assert_eq!(found.flows, [changed("means", fate)]);
    assert_eq!(
        found.other,
        ["gateway"],
        "each case has a folder of its own"
    );
}

#[test]
fn a_route_into_a_flow_comes_and_goes_without_a_restart() {
    let without = THREE.replace(", \"flow.rules\"]", "]").replace(
        "[flow.rules]",
        "[flow.rules]\nfrom = \"field\"\ntopics = [\"r/{device}\"]",
    );
    let mut running = Case::new(&without).good();
    let new = Case::new(THREE).good();
    assert_eq!(difference(&running, &new).other, ["gateway"]);
    assert_eq!(running.adopt(&new, "climate"), 0);
    assert_eq!(
        running.flows[0].ports["out"][1],
        Destination::Flow("rules".into())
    );
    assert!(running.has_flow("means"));
    running.remove("means");
    assert!(!running.has_flow("means"));
}
