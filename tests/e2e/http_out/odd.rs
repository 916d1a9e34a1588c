//! A server that gives odd answers, or none, to some messages or to all.

use anyhow::{Result, ensure};
use libtest_mimic::Trial;
use tidegate_tests::{Broker, Gateway, WebServer, cases, wait_until};

use super::{KEYS, Scene, config};

pub fn cases() -> Vec<Trial> {
    cases![
        whatever_a_server_answers_about_one_message_it_is_parked_and_the_rest_goes_on,
        a_device_that_a_server_does_not_know_by_its_path_holds_up_no_other,
        where_every_path_is_refused_nothing_is_parked,
        a_message_without_an_answer_is_parked_and_the_rest_goes_on,
        a_server_that_never_speaks_http_parks_nothing,
    ]
}

impl Scene {
    /// Publishes one that the rule is about, and good ones until it is parked; then one more good one arrives.
    fn expect_one_parked(&self, device: &str) -> Result<()> {
        let before = self.parked();
        let mut seq = self.server.tally().count_of("good") as u64;
        self.reading(device, 0)?;
        wait_until("it is parked while others arrive", || {
            seq += 1;
            self.reading("good", seq).is_ok()
                && wait_until("a good one has arrived", || {
                    self.server.tally().count_of("good") as u64 == seq
                })
                .is_ok()
                && self.parked() > before
        })?;
        ensure!(self.parked() == before + 1.0, "a good one was parked");
        Ok(())
    }
}

/// Statuses that nobody foresees for one message, and answers that are no HTTP.
/// Guarantee: that message becomes a dead letter, no other one does, and all others arrive.
fn whatever_a_server_answers_about_one_message_it_is_parked_and_the_rest_goes_on() -> Result<()> {
    let scene = Scene::with(WebServer::start()?, KEYS)?;
    let many = "X: a\\r\\n".repeat(200);
    let rules = [
        r#""bad_status": 409"#.to_owned(),
        r#""bad_status": 414"#.to_owned(),
        r#""bad_status": 451"#.to_owned(),
        r#""bad_status": 501"#.to_owned(),
        r#""bad_status": 999"#.to_owned(),
        r#""bad_raw": "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n""#.to_owned(),
        r#""bad_raw": "220 mail ESMTP\r\n""#.to_owned(),
        format!(r#""bad_raw": "HTTP/1.1 400 Bad\r\n{many}\r\n""#),
    ];
    for (number, rule) in rules.iter().enumerate() {
        let device = format!("odd-{number}-");
        scene
            .server
            .rule(&format!(r#"{{"bad": "{device}", {rule}}}"#))?;
        scene.expect_one_parked(&device)?;
    }
    let letters = serde_json::to_string(&scene.letters()?)?;
    for told in ["409 Conflict", "is not HTTP"] {
        ensure!(letters.contains(told), "{told} is not in {letters}");
    }
    Ok(())
}

/// A path for each device; the server knows one of them not.
/// Guarantee: that device's message is parked with the server's words, and the others arrive.
fn a_device_that_a_server_does_not_know_by_its_path_holds_up_no_other() -> Result<()> {
    let scene = by_path()?;
    for status in [404, 401, 301] {
        let device = format!("unknown-{status}-");
        scene.server.rule(&format!(
            r#"{{"bad": "/{device}", "bad_status": {status}, "words": "no such device"}}"#
        ))?;
        scene.expect_one_parked(&device)?;
    }
    let letters = serde_json::to_string(&scene.letters()?)?;
    for told in ["404 Not Found: no such device", "check the path of `url`"] {
        ensure!(letters.contains(told), "{told} is not in {letters}");
    }
    Ok(())
}

fn by_path() -> Result<Scene> {
    let (field, server) = (Broker::embedded()?, WebServer::start()?);
    let config = config(&field, &server, KEYS)
        .change("uplink.cloud.url", format!("{}/{{device}}", server.url()));
    Ok(Scene {
        gateway: Gateway::with(config).start()?,
        field,
        server,
    })
}

/// A path for each device, and 403 for all of them; later the right is there.
/// Guarantee: nothing is parked, `tidegate health` says what to do, and all arrives.
fn where_every_path_is_refused_nothing_is_parked() -> Result<()> {
    let scene = by_path()?;
    scene
        .server
        .rule(r#"{"status": 403, "words": "token expired"}"#)?;
    let sent = scene.send(300)?;
    wait_until("the reason is told", || {
        scene
            .gateway
            .health()
            .is_ok_and(|(_, body)| body.contains("403 Forbidden: token expired"))
    })?;
    wait_until("it goes on to be tried", || scene.server.answered(403) > 10)?;
    ensure!(scene.parked() == 0.0, "letters were written");
    scene.server.rule("{}")?;
    super::expect_at_least_once(&sent, &scene.server)?;
    ensure!(scene.parked() == 0.0, "letters were written");
    Ok(())
}

/// One message has no answer, ever.
/// Guarantee: it is parked, and the others arrive.
fn a_message_without_an_answer_is_parked_and_the_rest_goes_on() -> Result<()> {
    let keys = format!("{KEYS}deadlines = {{ answer = \"2s\" }}\n");
    let scene = Scene::with(WebServer::start()?, &keys)?;
    scene
        .server
        .rule(r#"{"bad": "\"device\":\"mute\"", "bad_mute": true}"#)?;
    scene.expect_one_parked("mute")
}

/// What answers is no server that speaks HTTP; later it is.
/// Guarantee: nothing is parked, `tidegate health` says what it is, and all arrives.
fn a_server_that_never_speaks_http_parks_nothing() -> Result<()> {
    let server = WebServer::start()?;
    server.rule(r#"{"bad": "seq", "bad_raw": "220 mail ESMTP\r\n"}"#)?;
    let scene = Scene::with(server, KEYS)?;
    let sent = scene.send(300)?;
    wait_until("the reason is told", || {
        scene
            .gateway
            .health()
            .is_ok_and(|(_, body)| body.contains("what the server answers is not HTTP"))
    })?;
    wait_until("it goes on to be tried", || {
        scene.server.requests().len() > 10
    })?;
    ensure!(scene.parked() == 0.0, "letters were written");
    scene.server.rule("{}")?;
    super::expect_at_least_once(&sent, &scene.server)?;
    ensure!(scene.parked() == 0.0, "letters were written");
    Ok(())
}
