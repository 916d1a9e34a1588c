//! The page at the loopback port: what it shows, to whom, and what nobody can make it do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use tidegate::gateway::api;
use tidegate_tests::browser::{Browser, chromium};
use tidegate_tests::guests::component;
use tidegate_tests::{Config, Gateway, cases, needs, wait_until};

use crate::scene::{Scene, plugin_file};

pub fn cases() -> Vec<Trial> {
    let in_browser = |name: &str, run| needs(name, "chromium", chromium().is_some(), run);
    let mut cases = cases![
        it_tells_the_account_without_a_script,
        a_stream_tells_what_is_new_and_listeners_are_few,
        nobody_from_elsewhere_is_answered,
    ];
    cases.extend(cases![in_browser;
        a_browser_draws_the_gateway,
        a_browser_lists_the_devices_for_who_shows_a_token,
    ]);
    cases
}

const PATIENCE: Duration = Duration::from_secs(60);

/// A request with these headers, and the connection its answer comes over.
fn asked(gateway: &Gateway, method: &str, path: &str, headers: &[&str]) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(gateway.admin())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\n{lines}connection: close\r\ncontent-length: 0\r\n\r\n"
    )?;
    Ok(stream)
}

fn code(stream: TcpStream) -> Result<u16> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let code = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.with_context(|| format!("no HTTP: {line}"))
}

/// One flow with a plugin, and a message through it and one that it traps on.
fn scene() -> Result<Scene> {
    let plugin = plugin_file("trap", "trap.wasm");
    let scene = Scene::with(
        &Config::forwarding().step("all", &plugin),
        &[("trap.wasm", component("trap")?)],
    )?;
    scene.field.publish("devices/d1/telemetry", "harmless")?;
    scene.field.publish("devices/<b>zebra/telemetry", "trap")?;
    wait_until("both are through", || {
        scene.watch.total() >= 1 && scene.gateway.metric("tidegate_dead_letters_kept", &[]) == 1.0
    })?;
    Ok(scene)
}

/// The page and what it is made of.
/// Guarantee: numbers and names stand in it as it comes, with a policy that lets a browser load nothing else; nothing of what
/// devices and operators keep to themselves does.
fn it_tells_the_account_without_a_script() -> Result<()> {
    let scene = scene()?;
    let gateway = &scene.gateway;
    let mut answer = String::new();
    asked(gateway, "GET", "/", &["host: localhost"])?.read_to_string(&mut answer)?;
    let (head, page) = answer.split_once("\r\n\r\n").context("no HTTP")?;
    for policy in ["default-src 'self'", "frame-ancestors 'none'", "nosniff"] {
        ensure!(head.contains(policy), "no {policy}: {head}");
    }
    for part in [
        "field",
        "cloud:telemetry",
        "all/trap",
        "poison",
        "plugin all/trap",
        "<table id=\"queues\"",
    ] {
        ensure!(page.contains(part), "no {part}: {page}");
    }
    ensure!(!page.contains("{{"), "a place is left over: {page}");
    let view: Value = serde_json::from_str(&gateway.get("/api/view")?.1)?;
    let flow = &view["status"]["flows"][0];
    ensure!(
        flow["from"][0] == "field"
            && flow["to"][0] == "cloud:telemetry"
            && flow["bytes_in"].as_u64() > Some(20),
        "{flow}"
    );
    ensure!(
        flow["plugins"][0]["memory_bytes"].as_u64() > Some(0),
        "{flow}"
    );
    let data = gateway.folder().display().to_string();
    let [ready, healthy] = ["/readyz?verbose", "/healthz?verbose"].map(|path| gateway.get(path));
    for text in [page.to_owned(), view.to_string(), ready?.1, healthy?.1] {
        for secret in ["zebra", "harmless", "127.0.0.1", &*data] {
            ensure!(!text.contains(secret), "it tells {secret}: {text}");
        }
    }
    for file in [
        "page.css",
        "main.js",
        "devices.js",
        "drawing.js",
        "tables.js",
        "words.js",
        "icon.svg",
    ] {
        let (code, text) = gateway.get(&format!("/page/{file}"))?;
        ensure!(code == 200 && !text.is_empty(), "{file}: {code}");
    }
    Ok(())
}

/// One listens, then many more than there is room for, none of which reads.
/// Guarantee: what is new is told; listeners beyond some are turned away; metrics are told all the while.
fn a_stream_tells_what_is_new_and_listeners_are_few() -> Result<()> {
    let scene = scene()?;
    let gateway = &scene.gateway;
    let listen = || asked(gateway, "GET", "/api/events", &["host: localhost"]);
    let first = BufReader::new(listen()?);
    let told = first.lines().map_while(Result::ok);
    let mut views =
        told.filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let received =
        |view: Option<Value>| view.map(|view| view["status"]["sources"][0]["received"].clone());
    let before = received(views.next()).context("nothing is told")?;
    scene.field.publish("devices/d3/telemetry", "harmless")?;
    let newer = views
        .by_ref()
        .map(|view| view["status"]["sources"][0]["received"].clone());
    ensure!(
        newer.take(20).any(|now| now != before),
        "what is new is not told"
    );
    let silent: Vec<TcpStream> = (0..5).map(|_| listen()).collect::<Result<_>>()?;
    wait_until("one more is turned away", || {
        listen().and_then(code).is_ok_and(|code| code == 503)
    })?;
    ensure!(gateway.get("/metrics")?.0 == 200, "no room for metrics");
    drop((silent, views));
    wait_until("there is room again", || {
        listen().and_then(code).is_ok_and(|code| code == 200)
    })
}

/// Each route, asked under a foreign name, and by a page from elsewhere.
/// Guarantee: none answers, so that no name that leads here and no page in a browser reads anything; no route takes anything
/// but GET.
fn nobody_from_elsewhere_is_answered() -> Result<()> {
    let scene = Scene::with(&Config::forwarding(), &[])?;
    let gateway = &scene.gateway;
    let routes = api::reading();
    ensure!(routes.len() > 10, "only {} routes", routes.len());
    for route in routes {
        let own = ["host: 127.0.0.1:9646", "origin: http://127.0.0.1:9646"];
        ensure!(
            code(asked(gateway, "GET", route.path, &own)?)? == 200,
            "{}",
            route.path
        );
        for host in [
            "evil.example",
            "evil.example:9646",
            "192.168.0.7",
            "localhost.evil.example",
        ] {
            let host = format!("host: {host}");
            ensure!(
                code(asked(gateway, "GET", route.path, &[&host])?)? == 421,
                "{} {host}",
                route.path
            );
        }
        for origin in [
            "http://evil.example",
            "null",
            "https://localhost.evil.example",
        ] {
            let origin = format!("origin: {origin}");
            let found = code(asked(
                gateway,
                "GET",
                route.path,
                &["host: localhost", &origin],
            )?)?;
            ensure!(found == 403, "{} {origin}: {found}", route.path);
        }
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let found = code(asked(gateway, method, route.path, &["host: localhost"])?)?;
            ensure!(found == 405, "{method} {}: {found}", route.path);
        }
        ensure!(route.method == "GET", "{} {}", route.method, route.path);
    }
    Ok(())
}

/// A browser opens the page, and gives back what it has made of it.
/// Guarantee: the drawing has a box for each part, with a name for who cannot see it, and a wire between those that lead to
/// each other.
fn a_browser_draws_the_gateway() -> Result<()> {
    let scene = scene()?;
    let folder = tempfile::tempdir()?;
    let address = format!("http://{}/", scene.gateway.admin());
    let mut dom = String::new();
    wait_until("the browser has drawn", || {
        let profile = format!("--user-data-dir={}", folder.path().display());
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            &profile,
            "--dump-dom",
            &address,
        ];
        let output = chromium().and_then(|name| Command::new(name).args(arguments).output().ok());
        dom = output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        dom.contains("class=\"gateway\"")
    })?;
    for part in [
        "data-key=\"source field\"",
        "data-key=\"flow all\"",
        "data-key=\"queue cloud:telemetry\"",
        "data-key=\"uplink cloud\"",
        "aria-label=\"flow all",
    ] {
        ensure!(dom.contains(part), "no {part}: {dom}");
    }
    ensure!(
        dom.matches("class=\"wire").count() >= 3,
        "boxes without wires: {dom}"
    );
    Ok(())
}

/// Three devices, one of which goes on sending, in a browser that is operated by its keys: with a wrong token, with the right one,
/// with a part of a name, and hidden again.
/// Guarantee: without a token of scope read no device is named; with it the register is listed, silent ones first, with nothing of a
/// device's name as markup; the token is in nothing that the page shows or keeps.
fn a_browser_lists_the_devices_for_who_shows_a_token() -> Result<()> {
    const TOKEN: &str = "tok-read-S3CR3T-0123456789";
    let config = Config::forwarding()
        .add("devices", "heartbeat = \"1s\"")
        .add(
            "admin",
            "access.ops = { scope = \"read\", token = { file = \"ops.token\" } }",
        );
    let scene = Scene::with(&config, &[("ops.token", TOKEN.into())])?;
    for device in ["d1", "<b>zebra"] {
        scene
            .field
            .publish(&format!("devices/{device}/telemetry"), "1")?;
    }
    wait_until("two are silent", || {
        scene
            .gateway
            .metric("tidegate_devices", &[("state", "silent")])
            == 2.0
    })?;
    let mut page = Browser::open(&format!("http://{}/", scene.gateway.admin()))?;
    wait_until("the page has its form", || {
        is_so(
            &mut page,
            "document.querySelector('#devices')?.hidden === false",
        )
    })?;
    // From the begin of the page to the field, as somebody without a mouse gets there.
    let has_focus = "document.activeElement.name === 'token'";
    for _ in 0..40 {
        if !is_so(&mut page, has_focus) {
            page.press("Tab", 9)?;
        }
    }
    ensure!(is_so(&mut page, has_focus), "the field is not reached");
    page.write("tok-wrong-0123456789")?;
    page.press("Enter", 13)?;
    let said = "document.querySelector('#devices-words').textContent";
    wait_until("it is told that the token is none", || {
        is_so(
            &mut page,
            &format!("{said}.includes('no token of this gateway')"),
        )
    })?;
    ensure!(!text(&mut page)?.contains("zebra"), "a device is named");
    page.evaluate("document.querySelector('#devices input').focus()")?;
    page.write(TOKEN)?;
    page.press("Enter", 13)?;
    scene.field.publish("devices/d3/telemetry", "1")?;
    let cells = "[...document.querySelectorAll('#devices-table td:first-child')].map((one) => one.textContent)";
    wait_until("the silent ones are listed first", || {
        let shown = page.evaluate(cells).unwrap_or_default();
        let shown: Vec<&str> = shown
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        shown.len() >= 2 && shown[..2].contains(&"d1") && shown[..2].contains(&"<b>zebra")
    })?;
    let html = text(&mut page)?;
    ensure!(html.contains("&lt;b&gt;zebra"), "{html}");
    ensure!(!html.contains(TOKEN), "the token is shown");
    let kept = page.evaluate(
        "JSON.stringify([localStorage, sessionStorage, document.cookie, location.href])",
    )?;
    ensure!(
        !kept.to_string().contains("S3CR3T"),
        "the token is kept: {kept}"
    );
    page.evaluate("document.querySelector('#devices [name=part]').focus()")?;
    page.write("zeb")?;
    page.press("Tab", 9)?;
    wait_until("one is left", || {
        page.evaluate(cells)
            .is_ok_and(|shown| shown == serde_json::json!(["<b>zebra"]))
    })?;
    page.press("Enter", 13)?;
    wait_until("nothing is left", || {
        page.evaluate(cells)
            .is_ok_and(|shown| shown == serde_json::json!([]))
    })?;
    Ok(())
}

fn is_so(page: &mut Browser, script: &str) -> bool {
    page.evaluate(script).is_ok_and(|value| value == true)
}

fn text(page: &mut Browser) -> Result<String> {
    let html = page.evaluate("document.documentElement.outerHTML")?;
    Ok(html.as_str().unwrap_or_default().to_owned())
}
