//! Tokens in place of passwords: fetched, shown, and renewed before they end.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::fake::{PickyBroker, Terms};
use tidegate_tests::process::Process;
use tidegate_tests::{Broker, Config, Gateway, Load, Plan, WebServer, cases, needs, wait_until};

use crate::tools::told;

pub fn cases() -> Vec<Trial> {
    let has_python = Command::new("python3").arg("--version").output().is_ok();
    let with_python = |name: &str, run| needs(name, "python3", has_python, run);
    cases![with_python;
        a_connection_goes_on_with_the_next_token_and_nothing_is_lost_or_doubled,
        a_key_that_is_none_and_a_token_that_says_nothing_are_found_by_check,
    ]
}

/// What the endpoint knows the gateway by.
const SECRET: &str = "S3CR3T: of the client";

/// A token endpoint that nobody of the gateway wrote: `tests/web/tokens.py`.
struct TokenGiver {
    process: Process,
    url: String,
}

impl TokenGiver {
    /// Gives tokens that are good for so many seconds, once it has answered with these.
    fn start(seconds: u32, statuses: &[&str]) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/tokens.py");
        let mut python = Command::new("python3");
        python
            .arg(script)
            .args(["barn-7", SECRET, &seconds.to_string()]);
        let process = Process::start("the token endpoint", python.args(statuses))?;
        process.lines().wait_for(&["listening"])?;
        let port = process
            .lines()
            .find(|line| Some(line.strip_prefix("listening ")?.to_owned()));
        let url = format!("http://127.0.0.1:{}/oauth2/token", port.context("no port")?);
        Ok(Self { process, url })
    }

    /// How a secret is fetched there.
    fn reference(&self, scope: &str) -> String {
        let url = &self.url;
        format!(
            "{{ fetch = {{ url = \"{url}\", client = \"barn-7\", secret = {{ env = \"CLIENT_PASSWORD\" }}, scope = \"{scope}\" }} }}"
        )
    }

    fn given(&self) -> BTreeSet<String> {
        let lines = self.process.lines().all();
        let given = lines.iter().filter_map(|line| line.strip_prefix("given "));
        given.map(str::to_owned).collect()
    }
}

/// Devices send while a source, an uplink to a broker and one to a server each show tokens that are good for five seconds; the endpoint
/// fails and refuses at first.
/// Guarantee: each connection is opened with a token that the endpoint gave, and again with another one before that ends; every message
/// arrives at both ends, once and in order; neither secret nor tokens are in what the gateway says.
fn a_connection_goes_on_with_the_next_token_and_nothing_is_lost_or_doubled() -> Result<()> {
    let tokens = TokenGiver::start(5, &["500", "503"])?;
    let (field, server) = (Broker::embedded()?, WebServer::start()?);
    let cloud = PickyBroker::start(Terms::default(), Vec::new())?;
    let login = |scope: &str| {
        let password = tokens.reference(scope);
        format!("user = \"barn-7\"\npassword = {password}\nbackoff = {{ first = \"100ms\" }}")
    };
    let bearer = format!(
        "token = {}\npack = \"json-array\"\nbackoff = {{ first = \"100ms\" }}",
        tokens.reference("http")
    );
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .uplink("server", &server.url())
        .put("source.field", &login("field"))
        .put("uplink.cloud", &login("cloud"))
        .put("uplink.server", &bearer)
        .put(
            "flow.all",
            "to = [\"cloud:telemetry\", \"server:telemetry\"]",
        );
    let gateway = Gateway::with(config)
        .env("CLIENT_PASSWORD", SECRET)
        .start()?;
    let plan = Plan {
        rate: Some(200),
        ..Plan::default()
    };
    let load = Load::start(field.address(), plan);
    let shown_there = || -> BTreeSet<String> {
        let requests = server.requests();
        let words = requests.iter().flat_map(|request| request.split(' '));
        // `Authorization=Bearer` and the token are two words.
        words
            .filter(|word| word.starts_with("token-"))
            .map(str::to_owned)
            .collect()
    };
    wait_until("each connection has shown three tokens", || {
        cloud.passwords().len() >= 3
            && shown_there().len() >= 3
            && gateway.metric("tidegate_source_reconnects_total", &[]) >= 2.0
    })?;
    let sent = load.stop()?;
    let all = sent.count();
    wait_until("all has arrived", || {
        server.tally().count() >= all as u64 && cloud.taken().len() >= all
    })?;
    let verdict = sent.against(&server.tally(), |_, _| true);
    ensure!(verdict.is_exactly_once(), "{verdict}");
    let taken = cloud.taken();
    let payloads: BTreeSet<&[u8]> = taken
        .iter()
        .map(|noted| &*noted.published.payload)
        .collect();
    ensure!(
        taken.len() == all && payloads.len() == all,
        "{} of {all} came, {} different ones",
        taken.len(),
        payloads.len()
    );
    let given = tokens.given();
    let shown: BTreeSet<String> = cloud.passwords().into_iter().chain(shown_there()).collect();
    ensure!(shown.is_subset(&given), "{shown:?} of {given:?}");
    ensure!(
        gateway.metric("tidegate_uplink_failures_total", &[]) <= 4.0,
        "renewals count as failures"
    );
    let (status, _) = told(gateway.folder(), &["status"], 0)?;
    let said = gateway.lines().all().join("\n") + &status;
    ensure!(
        !said.contains("S3CR3T") && !given.iter().any(|token| said.contains(token)),
        "a secret is said"
    );
    ensure!(
        said.contains("the token endpoint answers 500 (not_now)"),
        "{said}"
    );
    Ok(())
}

/// A private key for the wrong algorithm, one that is none, claims that nobody can read, and a fetch that lacks something.
/// Guarantee: `check` finds each at its place, and shows nothing of a key.
fn a_key_that_is_none_and_a_token_that_says_nothing_are_found_by_check() -> Result<()> {
    let config = || Config::forwarding().between("mqtt://127.0.0.1:1883", "mqtt://127.0.0.1:1884");
    let setup = Gateway::with(config());
    let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    std::fs::write(setup.folder().join("ed25519.pem"), key)?;
    std::fs::write(setup.folder().join("none.pem"), "S3CR3T\n")?;
    let jwt = |key: &str, rest: &str| {
        format!(
            "user = \"me\"\npassword = {{ jwt = {{ key = {{ file = \"{key}\" }}, algorithm = {rest} }} }}"
        )
    };
    let good = "claims = { aud = \"farm\", sub = \"{gateway}\" }";
    let check = |lines: &str, code: i32| -> Result<String> {
        setup.rewrite(config().put("uplink.cloud", lines))?;
        let (out, error) = told(setup.folder(), &["check"], code)?;
        Ok(out + &error)
    };
    check(&jwt("ed25519.pem", &format!("\"EdDSA\", {good}")), 0)?;
    for (lines, words) in [
        (
            jwt("ed25519.pem", &format!("\"ES256\", {good}")),
            "none for ES256",
        ),
        (
            jwt("none.pem", &format!("\"RS256\", {good}")),
            "private key in PEM form",
        ),
        (
            jwt("ed25519.pem", &format!("\"HS256\", {good}")),
            "HS256 takes a text",
        ),
        (
            jwt("ed25519.pem", &format!("\"RS255\", {good}")),
            "one of \"HS256\"",
        ),
        (jwt("ed25519.pem", "\"EdDSA\""), "has no `claims`"),
        (
            jwt("ed25519.pem", "\"EdDSA\", claims = {}"),
            "says nothing of who connects",
        ),
        (
            jwt("ed25519.pem", "\"EdDSA\", claims = { exp = 7 }"),
            "is made for each token",
        ),
        (
            jwt("ed25519.pem", "\"EdDSA\", claims = { sub = \"{device}\" }"),
            "something else in braces",
        ),
        (
            jwt("ed25519.pem", &format!("\"EdDSA\", lives = \"1s\", {good}")),
            "1m",
        ),
        (
            "user = \"me\"\npassword = { fetch = { url = \"https://a/b\", client = \"c\" } }"
                .to_owned(),
            "has no `secret`",
        ),
        (
            "user = \"me\"\npassword = { file = \"none.pem\", jwt = {} }".to_owned(),
            "needs exactly one reference",
        ),
    ] {
        let said = check(&lines, 3)?;
        ensure!(said.contains(words), "{lines}\n{said}");
        ensure!(
            !said.contains("S3CR3T") && !said.contains("MC4CAQ"),
            "{said}"
        );
        let has_place = said
            .lines()
            .any(|line| line.trim_start().starts_with("--> ") && line.split(':').count() >= 3);
        ensure!(has_place, "no place: {said}");
    }
    Ok(())
}
