//! What the gateway answers to whom: every route there is, at the loopback port and at the control socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate::gateway::api;
use tidegate_tests::{Config, Gateway, cases};

use crate::scene::Scene;

pub fn cases() -> Vec<Trial> {
    cases![
        what_operates_is_refused_at_the_port_and_answered_at_the_socket,
        what_is_for_reading_is_answered_at_the_port_and_at_the_socket,
        whoever_takes_dead_letters_out_stands_in_the_log,
    ]
}

/// It does not end by itself for a while: `page` looks at it.
const STREAM: &str = "/api/events";

/// An answer may wait for news of a change.
const PATIENCE: Duration = Duration::from_secs(60);

/// Without a body: whoever takes an order says that this is none.
fn at_port(gateway: &Gateway, method: &str, path: &str) -> Result<(u16, String)> {
    let stream = TcpStream::connect(gateway.admin())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    ask(stream, method, path, "")
}

fn at_socket(gateway: &Gateway, method: &str, path: &str) -> Result<(u16, String)> {
    ask(socket(gateway)?, method, path, "")
}

fn socket(gateway: &Gateway) -> Result<UnixStream> {
    let stream = UnixStream::connect(gateway.folder().join("data/admin.sock"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn ask(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    body: &str,
) -> Result<(u16, String)> {
    // There is a first change once something was ordered: a reload stands before it in the list.
    let path = path.replace("{change}", "1");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok((code.context("no HTTP status")?, body.to_owned()))
}

/// Each route for operators, asked at the loopback port and at the control socket.
/// Guarantee: the port gives nothing of it away and changes nothing, and says where it is asked; the socket answers.
fn what_operates_is_refused_at_the_port_and_answered_at_the_socket() -> Result<()> {
    let scene = Scene::with(&Config::forwarding(), &[])?;
    let routes = api::operating();
    ensure!(routes.len() >= 12, "only {} routes", routes.len());
    for route in &routes {
        let (method, path) = (route.method, route.path);
        let (code, words) = at_port(&scene.gateway, method, path)?;
        ensure!(
            code == 404 && words.contains("control socket"),
            "{method} {path} at the port: {code} {words}"
        );
    }
    let events = at_socket(&scene.gateway, "GET", "/v1/history")?.1;
    let events: Vec<Value> = serde_json::from_str(&events)?;
    ensure!(
        events.iter().all(|event| event["by"] != "operator"),
        "somebody at the port did something: {events:?}"
    );
    for route in &routes {
        // No tap is open.
        let (method, path) = (route.method, &*route.path.replace("{tap}", "1"));
        let (code, words) = at_socket(&scene.gateway, method, path)?;
        let answer: Value = serde_json::from_str(&words)
            .with_context(|| format!("{method} {path} at the socket: {code} {words}"))?;
        let is_refusal = code == 409 && answer["error"].is_string();
        let may_refuse = method == "POST" || path != route.path;
        ensure!(
            code == 200 || (may_refuse && is_refusal),
            "{method} {path} at the socket: {code} {words}"
        );
    }
    Ok(())
}

/// Each route for reading, asked at both.
/// Guarantee: what anybody on the machine may read, the operator may read, too.
fn what_is_for_reading_is_answered_at_the_port_and_at_the_socket() -> Result<()> {
    let scene = Scene::with(&Config::forwarding(), &[])?;
    for route in api::reading() {
        let (method, path) = (route.method, route.path);
        if path == STREAM {
            continue;
        }
        for asked in [at_port, at_socket] {
            let (code, words) = asked(&scene.gateway, method, path)?;
            ensure!(
                code == 200 && !words.is_empty(),
                "{method} {path}: {code} {words}"
            );
        }
    }
    Ok(())
}

/// Dead letters are taken out at the control socket, by this very process.
/// Guarantee: the log names who did it, as the kernel knows the other end.
fn whoever_takes_dead_letters_out_stands_in_the_log() -> Result<()> {
    let scene = Scene::with(&Config::forwarding(), &[])?;
    let order = r#"{"do": "forget", "ids": []}"#;
    let (code, words) = ask(socket(&scene.gateway)?, "POST", "/v1/spool", order)?;
    ensure!(code == 200, "{code} {words}");
    let who = format!("process {}\"", std::process::id());
    let lines = scene.gateway.lines();
    lines.wait_for(&["an operator takes dead letters out", &who])
}
