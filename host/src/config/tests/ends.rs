//! Sources and uplinks that change while the gateway runs.

use super::*;

/// Two sources, two uplinks, of which the second stands in for the first.
const FOUR: &str = r#"
[source.field]
url = "mqtt://127.0.0.1:1883"
[source.annex]
url = "mqtt://127.0.0.1:1884"
[uplink.cloud]
url = "mqtt://127.0.0.1:1885"
fallback = "backup"
[uplink.backup]
url = "mqtt://127.0.0.1:1886"
[flow.climate]
from = ["field", "annex"]
topics = ["devices/{device}"]
to = ["cloud:telemetry", "backup:alarm"]
"#;

fn of(text: &str) -> Config {
    Case::new(text).good()
}

fn ends(put: &[&str], gone: &[&str]) -> EndpointChanges {
    let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
    EndpointChanges {
        put: names(put),
        gone: names(gone),
    }
}

#[test]
fn what_is_written_of_a_source_or_uplink_makes_it_another_and_what_it_stands_in_for() {
    let with = |from: &str, to: &str| difference(&of(FOUR), &of(&FOUR.replace(from, to)));
    let found = with("127.0.0.1:1884", "127.0.0.1:2884");
    assert_eq!(
        (found.sources, found.uplinks),
        (ends(&["annex"], &[]), EndpointChanges::default())
    );
    let found = with("127.0.0.1:1885\"", "127.0.0.1:2885\"\nrate = \"5/s\"");
    assert_eq!(
        (found.sources, found.uplinks),
        (EndpointChanges::default(), ends(&["cloud"], &[]))
    );
    let found = with("127.0.0.1:1886", "127.0.0.1:2886");
    assert_eq!(found.uplinks, ends(&["cloud", "backup"], &[]));
    assert_eq!(
        found.other,
        ["gateway"],
        "each case has a folder of its own"
    );
}

#[test]
fn a_source_comes_with_the_flow_that_takes_from_it_and_goes_after_it() {
    let without = FOUR
        .replace("[source.annex]\nurl = \"mqtt://127.0.0.1:1884\"\n", "")
        .replace("[\"field\", \"annex\"]", "\"field\"");
    let (mut running, with) = (of(&without), of(FOUR));
    let found = difference(&running, &with);
    assert_eq!(
        (&found.sources, found.flows.len()),
        (&ends(&["annex"], &[]), 1)
    );
    running.put_source(&with, "annex");
    assert!(running.sources[1].routes.is_empty());
    running.adopt(&with, "climate");
    assert_eq!(running.sources[1].routes.len(), 1);
    let found = difference(&running, &with);
    assert!(
        found.sources.is_empty() && found.flows.is_empty(),
        "{found:?}"
    );
    let back = of(&without);
    assert_eq!(difference(&running, &back).sources, ends(&[], &["annex"]));
    assert_eq!(
        running.remove_source(&back, "annex"),
        Err("climate".into()),
        "a flow takes from it"
    );
    running.adopt(&back, "climate");
    assert_eq!(running.remove_source(&back, "annex"), Ok(()));
    assert_eq!(running.sources.len(), 1);
    assert!(difference(&running, &back).sources.is_empty());
}

#[test]
fn an_uplink_keeps_the_queues_it_has_here_and_others_come() {
    let mut running = of(FOUR);
    // Read alone, the queues have other numbers.
    let other = of(&FOUR
        .replace(
            "[\"cloud:telemetry\", \"backup:alarm\"]",
            "[\"backup:alarm\", \"cloud:telemetry\"]",
        )
        .replace("1885", "2885"));
    assert_eq!(difference(&running, &other).uplinks.put, ["cloud".into()]);
    let before = running.uplinks[0].drains[0].queue;
    assert_ne!(other.uplinks[0].drains[0].queue, before);
    let put = running.put_uplink(&other, "cloud").unwrap();
    assert_eq!((put.drains.len(), put.drains[0].queue), (1, before));
    assert_eq!(put.fallback.as_ref().unwrap().drains[0].queue, before);
    let new = of(&FOUR.replace("\"backup:alarm\"", "\"backup:debug\""));
    let found = difference(&running, &new);
    assert_eq!(found.other, ["gateway"]);
    assert_eq!(
        (found.uplinks, found.flows.len()),
        (ends(&["cloud", "backup"], &[]), 1)
    );
    let coming = running.coming_queues(&new);
    assert_eq!((coming.len(), &*coming[0].class), (1, "debug"));
    assert!(!running.knows_queues(&new, &new.flows[0]));
    running.spool.queues.extend(coming);
    assert!(running.knows_queues(&new, &new.flows[0]) && running.coming_queues(&new).is_empty());
    let put = running.put_uplink(&new, "backup").unwrap();
    let classes: Vec<_> = put
        .drains
        .iter()
        .map(|drain| (&*drain.class, drain.queue.0))
        .collect();
    assert_eq!(
        classes,
        [("debug", 2), ("alarm", 1)],
        "it drains what it drained"
    );
    let third = "[uplink.third]\nurl = \"mqtt://127.0.0.1:1887\"\n[flow.more]\nfrom = \"field\"\ntopics = [\"m/{device}\"]\nto = \"third:alarm\"\n";
    let found = difference(&of(FOUR), &of(&format!("{FOUR}{third}")));
    assert_eq!(found.other, ["gateway"]);
    assert_eq!(found.uplinks, ends(&["third"], &[]));
    let urgent = third.replace("to =", "priority = true\nto =");
    let urgent = format!(
        "{FOUR}{urgent}[flow.slow]\nfrom = \"field\"\ntopics = [\"s/{{device}}\"]\nto = \"third:debug\"\n"
    );
    let found = difference(&of(FOUR), &of(&urgent));
    assert_eq!(
        found.other,
        ["flow.more", "flow.more.to", "flow.slow", "gateway"]
    );
}

#[test]
fn an_uplink_goes_when_no_flow_leads_to_it() {
    let mut running = of(FOUR);
    let without = FOUR
        .replace("[uplink.backup]\nurl = \"mqtt://127.0.0.1:1886\"\n", "")
        .replace("fallback = \"backup\"\n", "")
        .replace(
            "[\"cloud:telemetry\", \"backup:alarm\"]",
            "\"cloud:telemetry\"",
        );
    let new = of(&without);
    assert_eq!(
        difference(&running, &new).uplinks,
        ends(&["cloud"], &["backup"])
    );
    assert_eq!(
        running.remove_uplink(&new, "backup"),
        Err("climate".into()),
        "a flow leads to it"
    );
    running.adopt(&new, "climate");
    assert_eq!(running.remove_uplink(&new, "backup"), Ok(()));
    let drained: Vec<_> = running
        .drained()
        .map(|(_, is_drained)| is_drained)
        .collect();
    assert_eq!(drained, [true, false], "what is owed to it stays");
    assert!(running.uplink("backup").is_none());
}

#[test]
fn what_a_class_gives_up_and_how_and_its_share_and_order_change_live() {
    let class = |keys: &str| of(&format!("{FOUR}[class.telemetry]\n{keys}\n"));
    let mut running = of(FOUR);
    let new = class("max = \"1MiB\"\nmax_age = \"2d\"");
    let found = difference(&running, &new);
    assert_eq!(
        (found.classes, found.uplinks),
        (vec!["telemetry".to_owned()], EndpointChanges::default())
    );
    assert_eq!(found.other, ["gateway"]);
    running.put_class(&new, "telemetry");
    let put = running.put_policies(&new);
    assert_eq!((put.len(), put[0].1.max_bytes), (1, 1 << 20));
    assert!(running.put_policies(&new).is_empty());
    assert!(difference(&running, &new).classes.is_empty());
    let found = difference(
        &running,
        &class("max = \"1MiB\"\nmax_age = \"2d\"\nweight = 50"),
    );
    assert_eq!(found.uplinks.put, ["cloud".into()]);
    let found = difference(&running, &class("max = \"1MiB\"\ndrop = \"newest\""));
    assert_eq!(
        (found.classes, found.other),
        (vec!["telemetry".to_owned()], vec!["gateway".to_owned()])
    );
    let found = difference(&running, &class("order = \"fresh-first\""));
    assert_eq!(
        (found.uplinks.put, found.other),
        (vec!["cloud".into()], vec!["gateway".to_owned()])
    );
    let back = difference(&running, &of(FOUR));
    assert_eq!(back.classes, ["telemetry"]);
}
