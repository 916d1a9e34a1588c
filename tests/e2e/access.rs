//! Who may ask what over the network: every route, whoever asks and however.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tidegate::admin::Scope::{self, Deploy, Open, Operate, Read as Reading};
use tidegate::gateway::api;
use tidegate_tests::{Broker, Config, Gateway, Setup, cases};

mod command_line;
mod hostile;

pub fn cases() -> Vec<Trial> {
    let mut all = cases![each_route_has_its_scope_and_is_nobody_s_from_elsewhere];
    all.extend(command_line::cases());
    all.extend(hostile::cases());
    all
}

/// What each route needs. One that is not here makes the case fail.
const TABLE: &[(&str, &str, Scope)] = &[
    ("GET", "/", Open),
    ("GET", "/api/view", Open),
    ("GET", "/api/events", Open),
    ("GET", "/page/page.css", Open),
    ("GET", "/page/main.js", Open),
    ("GET", "/page/devices.js", Open),
    ("GET", "/page/drawing.js", Open),
    ("GET", "/page/tables.js", Open),
    ("GET", "/page/words.js", Open),
    ("GET", "/page/icon.svg", Open),
    ("GET", "/metrics", Open),
    ("GET", "/livez", Open),
    ("GET", "/readyz", Open),
    ("GET", "/healthz", Open),
    ("GET", "/v1/status", Reading),
    ("GET", "/v1/health", Reading),
    ("POST", "/v1/devices", Reading),
    ("GET", "/v1/log", Reading),
    ("POST", "/v1/log", Operate),
    ("POST", "/v1/spool", Operate),
    ("POST", "/v1/backup", Operate),
    ("POST", "/v1/parked/retry", Operate),
    ("POST", "/v1/recordings", Operate),
    ("POST", "/v1/taps", Operate),
    ("GET", "/v1/taps/{tap}", Operate),
    ("POST", "/v1/taps/{tap}/close", Operate),
    ("GET", "/v1/plugins", Reading),
    ("POST", "/v1/plugins/swap", Deploy),
    ("POST", "/v1/plugins/rollback", Deploy),
    ("POST", "/v1/plugins/promote", Deploy),
    ("POST", "/v1/plugins/follow", Reading),
    ("POST", "/v1/reload", Operate),
    ("GET", "/v1/changes/{change}", Reading),
    ("GET", "/v1/history", Reading),
];

/// A token for each scope; what stands in it is searched for elsewhere.
const TOKENS: [(Scope, &str); 3] = [
    (Reading, "tok-read-S3CR3T-0123456789"),
    (Operate, "tok-operate-S3CR3T-0123456789"),
    (Deploy, "tok-deploy-S3CR3T-0123456789"),
];

fn token(scope: Scope) -> &'static str {
    TOKENS
        .iter()
        .find(|(own, _)| *own == scope)
        .map_or("", |(_, token)| token)
}

/// The usual config with a token for each scope, in files beside it, and these lines in `[admin]`.
fn with_tokens(field: &Broker, cloud: &Broker, lines: &str) -> Result<Setup> {
    let access: String = TOKENS
        .iter()
        .map(|(scope, _)| {
            let name = scope.word();
            format!(
                "access.{name} = {{ scope = \"{name}\", token = {{ file = \"{name}.token\" }} }}\n"
            )
        })
        .collect();
    let config = Config::forwarding()
        .between(&field.url(), &cloud.url())
        .add("admin", &format!("{lines}\n{access}"));
    let setup = Gateway::with(config);
    for (scope, token) in TOKENS {
        put(setup.folder(), scope, token)?;
    }
    Ok(setup)
}

/// Writes a token's file as its owner would: for nobody else.
fn put(folder: &Path, scope: Scope, token: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(format!("{}.token", scope.word()));
    fs::write(&path, format!("{token}\n"))?;
    Ok(fs::set_permissions(
        &path,
        fs::Permissions::from_mode(0o600),
    )?)
}

/// A request from another address of the loopback, so that wrong tokens of one case are not those of another.
fn connect(to: SocketAddr, from: u8) -> Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::new(127, 0, 1, from), 0).into())?;
        socket.connect(to).await?.into_std()
    })?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

/// Status of a request with this target and these lines of a head.
fn asked(mut stream: TcpStream, method: &str, target: &str, lines: &[&str]) -> Result<u16> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\n{lines}connection: close\r\ncontent-length: 0\r\n\r\n"
    )?;
    status(&mut stream)
}

fn status(stream: &mut impl Read) -> Result<u16> {
    let mut head = [0; 12];
    stream.read_exact(&mut head).context("no HTTP answer")?;
    let head = String::from_utf8_lossy(&head);
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.with_context(|| format!("no HTTP: {head}"))
}

/// Every route, asked with no token, a wrong one, one in the URL, one of too small a scope, the right one, and with that under a
/// foreign name, as a page from elsewhere, and for a foreign target.
/// Guarantee: each answers whom it should, and a route that nobody has thought of here is found.
fn each_route_has_its_scope_and_is_nobody_s_from_elsewhere() -> Result<()> {
    let routes = api::reading().into_iter().chain(api::operating());
    let served: BTreeSet<_> = routes
        .map(|route| (route.method, route.path, route.scope))
        .collect();
    let known: BTreeSet<_> = TABLE.iter().copied().collect();
    ensure!(served == known, "not the table: {served:?}");
    let (field, cloud) = (Broker::embedded()?, Broker::embedded()?);
    let gateway = with_tokens(&field, &cloud, "")?.start()?;
    for ((method, path, scope), from) in TABLE.iter().zip(1..) {
        expect(&gateway, (method, path, *scope), from)?;
    }
    // Where reading wants a token, too.
    let closed = with_tokens(&field, &cloud, "anybody_may_read = false")?.launch()?;
    for (method, path, _) in TABLE {
        let found = asked(
            connect(closed.admin(), 1)?,
            method,
            path,
            &["host: localhost"],
        )?;
        ensure!(found == 401, "{method} {path} without a token: {found}");
        let shown = format!("authorization: Bearer {}", token(Reading));
        let lines = ["host: localhost", &shown];
        let found = asked(connect(closed.admin(), 1)?, "GET", "/livez", &lines)?;
        ensure!(found == 200, "/livez with a token: {found}");
    }
    Ok(())
}

fn expect(gateway: &Gateway, route: (&str, &str, Scope), from: u8) -> Result<()> {
    let (method, path, scope) = route;
    let path = path.replace("{tap}", "1").replace("{change}", "1");
    let shown = |token: &str| format!("authorization: Bearer {token}");
    let right = shown(token(scope.max(Reading)));
    let in_url = format!("{path}?token={t}&access_token={t}", t = token(Deploy));
    let evil = format!("http://evil.example{path}");
    let own = "host: localhost";
    let mut wanted: Vec<(&str, &str, Vec<&str>, &[u16])> = vec![
        (
            "foreign name",
            &path,
            vec!["host: evil.example", &right],
            &[421],
        ),
        (
            "other address",
            &path,
            vec!["host: 192.0.2.1", &right],
            &[421],
        ),
        ("no name", &path, vec![&right], &[400]),
        ("two names", &path, vec![own, own, &right], &[400]),
        (
            "page",
            &path,
            vec![own, "origin: http://evil.example", &right],
            &[403],
        ),
        (
            "page without a name",
            &path,
            vec![own, "origin: null", &right],
            &[403],
        ),
        ("foreign target", &evil, vec![own, &right], &[421]),
    ];
    let wrong = shown("tok-wrong-0123456789");
    let twice = shown(&format!("{0}, Bearer {0}", token(Deploy)));
    let basic = format!("authorization: Basic {}", token(Deploy));
    wanted.extend([
        ("wrong token", &*path, vec![own, &*wrong], &[401][..]),
        (
            "no token at all",
            &path,
            vec![own, "authorization: Bearer"],
            &[401],
        ),
        ("two tokens", &path, vec![own, &right, &right], &[401]),
        ("two in one", &path, vec![own, &twice], &[401]),
        ("no bearer", &path, vec![own, &basic], &[401]),
    ]);
    let good: &[u16] = &[200, 409];
    let open: &[u16] = if scope == Open { good } else { &[401] };
    wanted.extend([
        ("no token", &*path, vec![own], open),
        ("in the URL", &in_url, vec![own], open),
        ("right token", &path, vec![own, &right], good),
    ]);
    let less = TOKENS.iter().rev().find(|(own, _)| *own < scope);
    let less = less.map(|(_, token)| shown(token));
    if let Some(less) = &less {
        wanted.push(("too small a scope", &path, vec![own, less], &[403]));
    }
    for (case, target, lines, codes) in wanted {
        let found = asked(connect(gateway.admin(), from)?, method, target, &lines)?;
        ensure!(codes.contains(&found), "{method} {path}, {case}: {found}");
    }
    Ok(())
}
