//! Traces of single messages: a collector of the tests' own is told what became of them.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::collector::{CollectorServer, SeenSpan, Taking};
use tidegate_tests::mosquitto::{heard, publish, subscribe};
use tidegate_tests::process::Process;
use tidegate_tests::{Broker, Config, Gateway, Watch, cases, port, wait_until, with_mosquitto};

use crate::http_in::{ask, post};
use crate::reload::reload;
use crate::scene::{UP, send_all, unnamed};
use crate::tools::json;

pub fn cases() -> Vec<Trial> {
    let mut cases = cases![
        a_collector_that_hangs_refuses_or_is_away_holds_nothing_up,
        a_share_changes_with_a_reload_and_none_tells_nothing,
        what_was_on_disk_begins_a_trace_with_a_link_to_its_arrival,
    ];
    cases.extend(cases![with_mosquitto; a_message_is_one_trace_from_its_sender_to_all_upstreams]);
    cases
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SENDER: &str = "00f067aa0ba902b7";
const FILTER: &str = "plugin = \"builtin:filter\"\nname = \"there\"\nsettings = { where = [{ field = \"seq\", op = \"exists\" }] }";
const READING: &str = "{\"device\":\"d1\",\"seq\":1}";

fn traced(config: Config, collector: &CollectorServer, share: f64) -> Config {
    config
        .add("telemetry", "")
        .set("telemetry.collector", collector.url())
        .set("telemetry.traces", share)
}

fn spans_of(gateway: &Gateway, fate: &str) -> f64 {
    gateway.metric("tidegate_trace_spans_total", &[("fate", fate)])
}

fn only(mut spans: Vec<SeenSpan>, what: &str) -> Result<SeenSpan> {
    ensure!(
        spans.len() == 1,
        "{} spans for {what}: {spans:?}",
        spans.len()
    );
    spans.pop().context("none")
}

/// Two brokers that nobody here wrote, a server, and the gateway between them, which traces next to none of its devices.
struct Traced {
    field: Broker,
    collector: CollectorServer,
    server: CollectorServer,
    subscriber: Process,
    port: u16,
    _gateway: Gateway,
    _cloud: Broker,
}

impl Traced {
    fn start() -> Result<Self> {
        let (field, cloud) = (Broker::mosquitto()?, Broker::mosquitto()?);
        let (collector, server) = (CollectorServer::start()?, CollectorServer::start()?);
        let port = port::free()?;
        let config = unnamed()
            .between(&field.url(), &cloud.url())
            .uplink("server", &format!("{}/in", server.url()))
            .put("uplink.server", "pack = \"raw\"")
            .source("posts", &format!("http://127.0.0.1:{port}"))
            .put(
                "flow.all",
                "from = [\"field\", \"posts\"]\nto = [\"cloud:telemetry\", \"server:telemetry\"]",
            )
            .step("all", FILTER);
        // With a share of 0 nothing would be traced.
        let gateway = Gateway::with(traced(config, &collector, 1e-12)).start()?;
        gateway.wait_online()?;
        let subscriber = subscribe(&cloud, "devices/#", "%p|%P", &["-V", "5"])?;
        Ok(Self {
            field,
            collector,
            server,
            subscriber,
            port,
            _gateway: gateway,
            _cloud: cloud,
        })
    }

    /// Publishes a reading that says this of its trace.
    fn send(&self, parent: &str) -> Result<()> {
        let property = |name, value| ["-D", "publish", "user-property", name, value];
        let both = [
            property("traceparent", parent),
            property("tracestate", "a=b"),
        ]
        .concat();
        let more = [&["-V", "5"][..], &both].concat();
        publish(&self.field, "devices/d1/telemetry", READING, &more)
    }

    fn sent_to(&self, uplink: &str) -> Result<SeenSpan> {
        let spans = self.collector.called("send").into_iter();
        let of = spans.filter(|span| span.attribute("tidegate.uplink") == uplink);
        only(of.collect(), uplink)
    }

    /// The spans of the one reading that is traced are whole, and each is below the one before.
    fn expect_one_trace(&self) -> Result<()> {
        let collector = &self.collector;
        let receive = only(collector.called("receive"), "the arrival")?;
        let plugin = only(collector.called("plugin there"), "the plugin")?;
        ensure!(receive.text("parentSpanId") == SENDER, "{receive:?}");
        ensure!(receive.attribute("messaging.destination.name") == "devices/d1/telemetry");
        ensure!(
            plugin.text("parentSpanId") == receive.text("spanId")
                && plugin.attribute("tidegate.verdict") == "passed",
            "{plugin:?}"
        );
        for uplink in ["cloud", "server"] {
            let sent = self.sent_to(uplink)?;
            let stores = collector.called("store");
            let mut stores = stores.iter();
            let above = stores.find(|span| span.text("spanId") == sent.text("parentSpanId"));
            let above = above.context("what was sent is under no store")?;
            ensure!(
                above.text("parentSpanId") == plugin.text("spanId")
                    && sent.attribute("tidegate.verdict") == "accepted",
                "{above:?} {sent:?}"
            );
        }
        let spans = collector.spans();
        ensure!(spans.len() == 6, "{} spans", spans.len());
        for span in &spans {
            let is_whole = span.text("traceId") == TRACE
                && span.text("traceState") == "a=b"
                && span.text("startTimeUnixNano") <= span.text("endTimeUnixNano");
            ensure!(is_whole, "{span:?}");
        }
        Ok(())
    }

    /// Both upstreams were told the span of what was sent to them.
    fn expect_handed_on(&self) -> Result<()> {
        let on = self.sent_to("cloud")?.parent_of_next();
        let said = heard(&self.subscriber).last().cloned().unwrap_or_default();
        ensure!(
            said.contains(&on) && said.contains("a=b") && !said.contains(SENDER),
            "{said}"
        );
        let posted = self.server.posted().pop().context("nothing was posted")?;
        let shown = |name: &str| posted.headers.get(name).cloned().unwrap_or_default();
        ensure!(
            shown("traceparent") == self.sent_to("server")?.parent_of_next()
                && shown("tracestate") == "a=b",
            "{posted:?}"
        );
        Ok(())
    }
}

/// Over MQTT 5 and by POST, each with a `traceparent` that says that the trace is kept, and a `tracestate`; through a plugin to a
/// broker over MQTT 5 and to a server. Of the devices none is traced.
/// Guarantee: the spans of each are one trace below its sender's span, every one under the one before; both upstreams are told the
/// span of what was sent to them, and the state as it came; one that is not kept, or is no `traceparent`, tells nothing.
fn a_message_is_one_trace_from_its_sender_to_all_upstreams() -> Result<()> {
    let scene = Traced::start()?;
    let parent = format!("00-{TRACE}-{SENDER}-01");
    scene.send(&format!("00-{TRACE}-{SENDER}-00"))?;
    scene.send("00-nonsense-01")?;
    scene.send(&parent)?;
    wait_until("both upstreams have all", || {
        heard(&scene.subscriber).len() == 3 && scene.server.posted().len() == 3
    })?;
    let sends = || scene.collector.called("send").len();
    wait_until("the collector was told", || sends() == 2)?;
    scene.expect_one_trace()?;
    scene.expect_handed_on()?;
    // The same by POST.
    let headers = format!("Content-Type: application/json\r\nTraceparent: {parent}\r\n");
    let request = post("/devices/d2/telemetry", &headers, READING);
    let (status, ..) = ask(scene.port, &request)?;
    ensure!(status == 202, "{status}");
    wait_until("the collector was told of that", || sends() == 4)?;
    let received = scene.collector.called("receive");
    let received = received.last().context("none")?;
    ensure!(
        received.text("parentSpanId") == SENDER && received.attribute("messaging.system") == "http",
        "{received:?}"
    );
    keep_for_a_look(&scene.collector)
}

/// Where `TIDEGATE_SPANS` names a file, the last body goes there, for a look with other eyes.
fn keep_for_a_look(collector: &CollectorServer) -> Result<()> {
    if let (Some(file), Some(posted)) =
        (std::env::var_os("TIDEGATE_SPANS"), collector.posted().pop())
    {
        std::fs::write(file, posted.body)?;
    }
    Ok(())
}

/// All is traced, and the collector reads and says nothing, says 503, and then takes all.
/// Guarantee: all readings arrive meanwhile; spans without room are counted, and status and log say why; the last ones come.
fn a_collector_that_hangs_refuses_or_is_away_holds_nothing_up() -> Result<()> {
    let (field, cloud, collector) = (
        Broker::embedded()?,
        Broker::embedded()?,
        CollectorServer::start()?,
    );
    let watch = Watch::start(cloud.address(), UP)?;
    let config = Config::forwarding().between(&field.url(), &cloud.url());
    let gateway = Gateway::with(traced(config, &collector, 1.0)).start()?;
    gateway.wait_online()?;
    collector.set(Taking::Hangs);
    let mut sent = 0;
    let mut all_arrive = |count: usize| -> Result<()> {
        sent += send_all(&field, count)?.count() as u64;
        wait_until("all has arrived", || watch.total() >= sent)
    };
    all_arrive(2_000)?;
    wait_until("spans are given up", || spans_of(&gateway, "dropped") > 0.0)?;
    ensure!(spans_of(&gateway, "sent") == 0.0);
    collector.set(Taking::No(503));
    let trouble = || -> Result<String> {
        let status = json(gateway.folder(), &["status"], 0)?;
        Ok(status["traces"]["trouble"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    };
    wait_until("the status says why", || {
        trouble().is_ok_and(|why| why.starts_with("503"))
    })?;
    all_arrive(100)?;
    collector.set(Taking::All);
    wait_until("what waits is taken", || {
        gateway.metric("tidegate_trace_spans_waiting", &[]) == 0.0
            && spans_of(&gateway, "sent") > 4_000.0
    })?;
    wait_until("all is well, and that is said", || {
        let is_said = |words| gateway.lines().has(&[words]);
        trouble().is_ok_and(|why| why.is_empty())
            && is_said("the collector takes no traces")
            && is_said("the collector takes traces again")
    })?;
    Ok(())
}

/// Nothing is traced, then all, then nothing, each by a reload.
/// Guarantee: without a share nobody dials the collector; nothing begins anew.
fn a_share_changes_with_a_reload_and_none_tells_nothing() -> Result<()> {
    let (field, cloud, collector) = (
        Broker::embedded()?,
        Broker::embedded()?,
        CollectorServer::start()?,
    );
    let watch = Watch::start(cloud.address(), UP)?;
    let config = Config::forwarding().between(&field.url(), &cloud.url());
    let config = |share: f64| traced(config.clone(), &collector, share);
    let gateway = Gateway::with(config(0.0)).start()?;
    gateway.wait_online()?;
    send_all(&field, 200)?;
    wait_until("all has arrived", || watch.count() >= 200)?;
    let said = reload(&gateway, &config(1.0), 0)?;
    ensure!(said.contains("changes live: telemetry"), "{said}");
    ensure!(collector.asked() == 0, "spans of what was not traced");
    field.publish("devices/d1/telemetry", READING)?;
    wait_until("it is traced", || !collector.called("send").is_empty())?;
    let receive = only(collector.called("receive"), "one reading")?;
    ensure!(
        receive.text("parentSpanId").is_empty() && receive.attribute("tidegate.device") == "d1"
    );
    reload(&gateway, &config(0.0), 0)?;
    // The same readings once more.
    let before = watch.total();
    send_all(&field, 50)?;
    wait_until("all has arrived", || watch.total() >= before + 50)?;
    ensure!(collector.called("receive").len() == 1);
    ensure!(
        !gateway.lines().has(&["begins anew"]),
        "something began anew"
    );
    Ok(())
}

/// A reading comes in while its upstream is away, the gateway is stopped and started, and upstream comes back.
/// Guarantee: what is sent then is a trace of its own with a link to the span of the reading's last step, and says how long it was
/// owed.
fn what_was_on_disk_begins_a_trace_with_a_link_to_its_arrival() -> Result<()> {
    let (field, mut cloud) = (Broker::embedded()?, Broker::embedded()?);
    let collector = CollectorServer::start()?;
    let config = Config::forwarding().between(&field.url(), &cloud.url());
    cloud.go_dark()?;
    let gateway = Gateway::with(traced(config, &collector, 1.0)).start()?;
    wait_until("its source is there", || {
        gateway.metric("tidegate_source_up", &[("source", "field")]) == 1.0
    })?;
    field.publish("devices/d1/telemetry", READING)?;
    wait_until("the collector was told", || {
        !collector.called("receive").is_empty()
    })?;
    let (_, setup) = gateway.stop()?;
    cloud.back()?;
    let gateway = setup.start()?;
    gateway.wait_online()?;
    wait_until("it is sent", || !collector.called("send").is_empty())?;
    let arrival = only(collector.called("receive"), "one reading")?;
    let sent = only(collector.called("send"), "one reading")?;
    let link = &sent.0["links"][0];
    ensure!(
        link["traceId"] == arrival.text("traceId") && link["spanId"] == arrival.text("spanId"),
        "{sent:?}"
    );
    ensure!(
        sent.text("traceId") != arrival.text("traceId") && sent.text("parentSpanId").is_empty()
    );
    ensure!(sent.attribute("tidegate.owed_us").parse::<u64>()? > 0);
    Ok(())
}
