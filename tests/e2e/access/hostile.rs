//! Whoever sends anything at all, or nothing, to the admin port: what it costs, and what it does not.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use libtest_mimic::Trial;
use tidegate::admin::Scope::{Deploy, Operate};
use tidegate_tests::usage::memory_once;
use tidegate_tests::{Broker, Gateway, Watch, cases, wait_until};

use super::{TABLE, TOKENS, asked, connect, token, with_tokens};
use crate::scene::{UP, compare, expect_at_least_once, send_all};
use crate::tools::command;

pub fn cases() -> Vec<Trial> {
    cases![
        whoever_guesses_tokens_waits_and_nobody_else,
        random_requests_end_nothing_and_cost_nothing,
        whoever_idles_or_reads_slowly_takes_no_descriptor_from_the_data,
        no_token_is_in_any_output,
    ]
}

/// Wrong tokens from one address, then the right one from there and from another.
/// Guarantee: after some of them that address waits, whatever it shows; nobody else does, and what is open stays so.
fn whoever_guesses_tokens_waits_and_nobody_else() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let gateway = with_tokens(&field, &cloud, "")?.start()?;
    let ask = |from: u8, shown: &str| {
        let shown = format!("authorization: Bearer {shown}");
        let stream = connect(gateway.admin(), from)?;
        asked(stream, "GET", "/v1/status", &["host: localhost", &shown])
    };
    let tried: Vec<u16> = (0..20)
        .map(|number| ask(9, &format!("guess-{number}-0123456789")))
        .collect::<Result<_>>()?;
    ensure!(
        tried.starts_with(&[401; 10]) && tried.ends_with(&[429; 5]),
        "{tried:?}"
    );
    ensure!(ask(9, token(Deploy))? == 429, "the right one counts again");
    ensure!(ask(8, token(Deploy))? == 200, "somebody else waits");
    let stream = connect(gateway.admin(), 9)?;
    let open = asked(stream, "GET", "/livez", &["host: localhost"])?;
    ensure!(open == 200, "what is open: {open}");
    Ok(())
}

/// Requests of a generator with a fixed seed, at the port and at the control socket, with every right there is.
/// Guarantee: the gateway lives, answers, and is no larger for it.
fn random_requests_end_nothing_and_cost_nothing() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let mut gateway = with_tokens(&field, &cloud, "")?.start()?;
    let mut rng = Rng::with_seed(0x7469_6465);
    let socket = gateway.folder().join("data/admin.sock");
    // What it takes once for the first of each kind is not what is looked for.
    for _ in 0..300 {
        over_port(&gateway, &request(&mut rng))?;
    }
    let before = memory_once(gateway.pid())?;
    for number in 0..3_000 {
        let request = request(&mut rng);
        if number % 3 == 0 {
            let stream = UnixStream::connect(&socket)?;
            stream.set_read_timeout(Some(BRIEFLY))?;
            sent(stream, &request);
        } else {
            over_port(&gateway, &request)?;
        }
    }
    ensure!(gateway.is_running(), "it has ended");
    ensure!(gateway.get("/livez")?.0 == 200, "not alive");
    let panics = gateway.lines().has(&["panicked"]);
    ensure!(!panics, "something panicked");
    let after = memory_once(gateway.pid())?;
    ensure!(
        after < before + (48 << 20),
        "from {before} to {after} bytes"
    );
    Ok(())
}

/// Some answers wait for news.
const BRIEFLY: Duration = Duration::from_millis(200);

fn over_port(gateway: &Gateway, request: &[u8]) -> Result<()> {
    let stream = TcpStream::connect(gateway.admin())?;
    stream.set_read_timeout(Some(BRIEFLY))?;
    sent(stream, request);
    Ok(())
}

/// What is answered, if anything, is not what is looked at.
fn sent(mut stream: impl Read + Write, request: &[u8]) {
    let _ = stream.write_all(request);
    let _ = stream.read(&mut [0; 4_096]);
}

/// Something like a request: most of it right, some of it anything.
fn request(rng: &mut Rng) -> Vec<u8> {
    const METHODS: [&str; 8] = [
        "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "G\u{1}T",
    ];
    const BODIES: [&str; 9] = [
        "{}",
        "null",
        "[]",
        "{\"do\": \"stat\"}",
        "{\"do\": \"forget\", \"ids\": [1, 2, 99999999999999999999]}",
        "\"Begin\"",
        "{\"Read\": {\"number\": 0, \"name\": \"../../../etc/passwd\", \"from\": 18446744073709551615}}",
        "{\"Change\": {\"level\": \"nonsense\", \"module\": \"\\u0000\", \"seconds\": 18446744073709551615}}",
        "{\"plugin\": \"all/none\", \"from_config\": true}",
    ];
    let (own_method, path, _) = TABLE[rng.usize(..TABLE.len())];
    let method = if rng.u8(..4) > 0 {
        own_method
    } else {
        METHODS[rng.usize(..METHODS.len())]
    };
    let mut path = path.to_owned();
    match rng.u8(..8) {
        0 => path.push_str("?from=-1&x=%00%ff"),
        1 => path.push_str("/../../x"),
        2 => path = path.replace(['{', '}'], "9"),
        3 => path = format!("http://localhost{path}"),
        4 => path = noise(rng, 200),
        _ => {}
    }
    let mut body = match rng.u8(..4) {
        0 => noise(rng, 4_000),
        _ => BODIES[rng.usize(..BODIES.len())].to_owned(),
    };
    if rng.u8(..4) == 0 {
        let at = (0..=body.len())
            .rev()
            .find(|at| body.is_char_boundary(rng.usize(..=*at)));
        body.truncate(at.filter(|at| body.is_char_boundary(*at)).unwrap_or(0));
    }
    let length = match rng.u8(..10) {
        0 => "transfer-encoding: chunked".to_owned(),
        1 => format!("content-length: {}", rng.u64(..)),
        2 => "content-length: -1".to_owned(),
        _ => format!("content-length: {}", body.len()),
    };
    let extra = match rng.u8(..6) {
        0 => format!("{}: {}", noise(rng, 20), noise(rng, 3_000)),
        1 => "expect: 100-continue".to_owned(),
        2 => "origin: http://localhost".to_owned(),
        _ => "accept: application/json".to_owned(),
    };
    let (_, token) = TOKENS[rng.usize(..TOKENS.len())];
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n{length}\r\n{extra}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn noise(rng: &mut Rng, most: usize) -> String {
    let length = rng.usize(..most);
    (0..length).map(|_| char::from(rng.u8(..))).collect()
}

/// Many connections that say nothing, half a head, half a body with a token, or do not read what they have asked for.
/// Guarantee: the oldest of them are closed, the gateway has few descriptors open for them, and messages pass.
fn whoever_idles_or_reads_slowly_takes_no_descriptor_from_the_data() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let watch = Watch::start(cloud.address(), UP)?;
    let gateway = with_tokens(&field, &cloud, "")?.start()?;
    let open = || -> Result<usize> {
        let listed = fs::read_dir(format!("/proc/{}/fd", gateway.pid()))?;
        Ok(listed.count())
    };
    let before = open()?;
    let body = format!(
        "POST /v1/spool HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-length: 30000000\r\n\r\n{{",
        token(Operate)
    );
    let says = [
        "",
        "GET /metrics HTTP/1.1\r\nhost: local",
        "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n",
        &body,
    ];
    let mut guests = Vec::new();
    for number in 0..400 {
        let mut stream = TcpStream::connect(gateway.admin())?;
        // One that is closed already takes nothing.
        let _ = stream.write_all(says[number % says.len()].as_bytes());
        guests.push(stream);
    }
    let sent = send_all(&field, 500)?;
    expect_at_least_once(&compare(&sent, watch)?)?;
    let during = open()?;
    ensure!(
        during < before + 32,
        "from {before} to {during} descriptors for 400 connections"
    );
    // Whoever said nothing first has made way.
    guests[0].set_read_timeout(Some(Duration::from_secs(60)))?;
    let read = guests[0].read(&mut [0; 8]);
    ensure!(
        read.as_ref().is_ok_and(|count| *count == 0)
            || read.is_err_and(|error| { error.kind() == std::io::ErrorKind::ConnectionReset }),
        "the first is open still"
    );
    drop(guests);
    wait_until("there is room again", || {
        gateway.get("/livez").is_ok_and(|(code, _)| code == 200)
    })
}

/// Each token, shown rightly and wrongly, with a log that says everything; then commands that say what there is.
/// Guarantee: none of it has a token, nor has any file of the data folder.
fn no_token_is_in_any_output() -> Result<()> {
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let setup = with_tokens(&field, &cloud, "")?.env("TIDEGATE_LOG__LEVEL", "trace");
    let gateway = setup.start()?;
    let mut shown = Vec::new();
    for (_, token) in TOKENS {
        let lines = [
            "host: localhost",
            &*format!("authorization: Bearer {token}"),
        ];
        for (method, path) in [
            ("POST", "/v1/reload"),
            ("POST", "/v1/spool"),
            ("GET", "/v1/nowhere"),
        ] {
            asked(connect(gateway.admin(), 1)?, method, path, &lines)?;
        }
        let mut order = connect(gateway.admin(), 1)?;
        let body = "{\"do\": \"forget\", \"ids\": []}";
        write!(
            order,
            "POST /v1/spool HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )?;
        order.read(&mut [0; 12]).context("no answer")?;
        let path = format!("/v1/status?token={token}");
        asked(
            connect(gateway.admin(), 1)?,
            "GET",
            &path,
            &["host: localhost"],
        )?;
        let wrong = format!("authorization: Basic {token}");
        asked(
            connect(gateway.admin(), 1)?,
            "GET",
            "/",
            &["host: localhost", &wrong],
        )?;
    }
    for arguments in [
        &["status", "-o", "json"][..],
        &["history", "-o", "json"],
        &["health"],
        &["config", "show", "--origin"],
        &["config", "show", "-o", "json"],
        &["check", "-vv"],
        &["doctor"],
    ] {
        let output = command(gateway.folder(), arguments)?.output()?;
        shown.extend(output.stdout);
        shown.extend(output.stderr);
    }
    for path in ["/metrics", "/", "/healthz?verbose"] {
        shown.extend(gateway.get(path)?.1.into_bytes());
    }
    gateway.lines().wait_for(&["a wrong token was shown"])?;
    let mut text = String::from_utf8_lossy(&shown).into_owned();
    text.push_str(&gateway.lines().all().join("\n"));
    let is_named = text.contains("token operate, from 127.0.1.1");
    ensure!(is_named, "nobody is named: {text}");
    let mut folders = vec![gateway.folder().join("data")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)?.flatten() {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let content = fs::read(entry.path()).context("a file of the data folder")?;
                text.push_str(&String::from_utf8_lossy(&content));
            }
        }
    }
    ensure!(!text.contains("S3CR3T"), "a token is shown");
    Ok(())
}
