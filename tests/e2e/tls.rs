//! TLS with client certificates on both sides.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::certificates::{Authority, Identity};
use tidegate_tests::{
    Broker, Config, Gateway, Load, Mosquitto, Plan, Watch, cases, wait_until, with_mosquitto,
};

use crate::scene::{UP, compare, expect_exactly_once, send_all};

pub fn cases() -> Vec<Trial> {
    cases![with_mosquitto;
        client_certificates_on_both_sides,
        a_broker_of_another_authority_is_refused,
        a_stopped_upstream_over_tls_loses_nothing,
        a_damaged_key_at_a_start_costs_its_uplink_until_it_is_mended,
    ]
}

fn secured(authority: &Authority) -> Result<Broker> {
    Mosquitto::new()
        .tls(&authority.ca, authority.broker()?)
        .start()
}

fn tls_table(authority: &Authority, identity: &Identity) -> String {
    let (ca, cert, key) = (
        authority.ca.display(),
        identity.certificate.display(),
        identity.key.display(),
    );
    format!("tls = {{ ca = \"{ca}\", cert = \"{cert}\", key = \"{key}\" }}\n")
}

/// The usual config between these two, both of which want this identity.
fn between(
    field: &Broker,
    cloud: &Broker,
    authority: &Authority,
    identity: &Identity,
) -> Result<Config> {
    let tls = tls_table(authority, identity);
    let config = Config::forwarding()
        .between(&field.tls_url()?, &cloud.tls_url()?)
        .put("source.field", &tls)
        .put("uplink.cloud", &tls);
    Ok(config)
}

/// Two mosquittos that ask for client certificates of an authority made for this case, and a load between them.
/// Guarantee: each message arrives once and in order.
fn client_certificates_on_both_sides() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path(), "authority")?;
    let (field, cloud) = (secured(&authority)?, secured(&authority)?);
    let watch = Watch::start(cloud.address(), UP)?;
    let identity = authority.client("gateway")?;
    let config = between(&field, &cloud, &authority, &identity)?;
    let _gateway = Gateway::with(config).start()?;
    let sent = send_all(&field, 3_000)?;
    expect_exactly_once(&sent, watch).map(drop)
}

/// The key of the uplink is empty at a start, as a power cut in a renewal leaves it.
/// Guarantee: the gateway starts and takes what comes, says what is wrong, and goes on by itself once the key is there.
fn a_damaged_key_at_a_start_costs_its_uplink_until_it_is_mended() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path(), "authority")?;
    let (field, cloud) = (Mosquitto::new().start()?, secured(&authority)?);
    let watch = Watch::start(cloud.address(), UP)?;
    let identity = authority.client("gateway")?;
    let key = std::fs::read(&identity.key)?;
    std::fs::write(&identity.key, "")?;
    let config = Config::forwarding()
        .between(&field.url(), &cloud.tls_url()?)
        .put("uplink.cloud", &tls_table(&authority, &identity));
    let gateway = Gateway::with(config).start()?;
    field.publish("devices/d1/telemetry", "kept")?;
    wait_until("the message is owed", || {
        gateway.metric("tidegate_spool_messages", &[]) == 1.0
    })?;
    wait_until("it says which file", || {
        let told = gateway.health();
        told.is_ok_and(|(_, text)| text.contains("cloud degraded") && text.contains("private key"))
    })?;
    std::fs::write(&identity.key, key)?;
    wait_until("the message arrives", || !watch.arrivals().is_empty())
}

/// The upstream broker's certificate comes from an authority the gateway was not told to trust.
/// Guarantee: not a byte of a message is sent to it; the log says that the certificate is the reason; devices go on.
fn a_broker_of_another_authority_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (ours, theirs) = (
        Authority::new(folder.path(), "ours")?,
        Authority::new(folder.path(), "theirs")?,
    );
    let identity = ours.client("gateway")?;
    let (field, cloud) = (secured(&ours)?, secured(&theirs)?);
    let watch = Watch::start(cloud.address(), UP)?;
    let config = between(&field, &cloud, &ours, &identity)?;
    let gateway = Gateway::with(config).start()?;
    field.publish("devices/d1/telemetry", "secret")?;
    wait_until("the message is owed", || {
        gateway.metric("tidegate_spool_messages", &[]) == 1.0
    })?;
    wait_until("the log names the certificate", || {
        gateway.lines().has(&["cloud", "certificate"])
    })?;
    ensure!(
        watch.total() == 0,
        "something was sent to a broker that is not trusted"
    );
    Ok(())
}

/// The upstream broker is stopped under load and started again, over TLS.
/// Guarantee: as without TLS: nothing is lost, the backlog arrives in order per device.
fn a_stopped_upstream_over_tls_loses_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path(), "authority")?;
    let (field, mut cloud) = (secured(&authority)?, secured(&authority)?);
    let watch = Watch::start(cloud.address(), UP)?;
    let identity = authority.client("gateway")?;
    let config = between(&field, &cloud, &authority, &identity)?;
    let gateway = Gateway::with(config).start()?;
    let load = Load::start(field.address(), Plan::default());
    wait_until("traffic flows", || watch.count() > 500)?;
    cloud.go_dark()?;
    wait_until("much is owed", || {
        gateway.metric("tidegate_spool_messages", &[("uplink", "cloud")]) >= 2_000.0
    })?;
    cloud.back()?;
    let sent = load.stop()?;
    let verdict = compare(&sent, watch)?;
    ensure!(verdict.is_at_least_once(), "{verdict}");
    Ok(())
}
