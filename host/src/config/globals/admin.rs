//! The table `[admin]`: where the gateway is asked over the network, by whom, and under which names.

use std::net::SocketAddr;

use crate::admin::{AccessToken, Config, Scope, is_host_name};
use crate::config::fields::Fields;
use crate::config::problem::code::ProblemCode;
use crate::config::secret;
use crate::config::sources::server_tls;
use crate::config::tree::Node;
use crate::link::{Secret, ServerTls};

/// So many tokens at most.
const MOST_TOKENS: usize = 32;
/// A shorter token could be guessed, however few tries there are.
const LEAST_TOKEN_BYTES: usize = 16;

pub(in crate::config) fn read(fields: &mut Fields<'_>) -> Config {
    let listen = listen(fields);
    let tls = tls(fields);
    let tokens = tokens(fields);
    let anybody_may_read = fields.flag("anybody_may_read");
    // One that cannot be read is told of where it stands.
    let has_tokens = !tokens.is_empty() || fields.has("access");
    let is_local = listen.ip().to_canonical().is_loopback();
    let config = Config {
        listen,
        hosts: hosts(fields),
        reads_openly: if fields.has("anybody_may_read") {
            anybody_may_read
        } else {
            is_local
        },
        tls,
        tokens,
    };
    let guard = WrittenGuard {
        without_tls: fields.flag("without_tls"),
        has_tokens,
    };
    if !is_local {
        beyond_this_machine(fields, &config, guard);
    } else if !config.reads_openly && !has_tokens {
        fields.problem(
            ProblemCode::Conflict,
            "anybody_may_read",
            "reading wants a token, and there is none",
            HOW_TO_LET_IN.to_owned(),
        );
    }
    config
}

/// What the config says of strangers, whether or not it can be used.
#[derive(Clone, Copy)]
struct WrittenGuard {
    without_tls: bool,
    has_tokens: bool,
}

const HOW_TO_LET_IN: &str = "add [admin.access.NAME] with scope = \"read\", \"operate\" or \"deploy\" and token = { file = \"…\" }";

/// What keeps strangers out has to be there, or be left out in so many words.
fn beyond_this_machine(fields: &Fields<'_>, config: &Config, guard: WrittenGuard) {
    let (ip, port) = (config.listen.ip(), config.listen.port());
    if config.tls.is_none() && !fields.has("tls") && !guard.without_tls {
        fields.problem(
            ProblemCode::Exposed,
            "listen",
            format!("`{ip}` can be reached from the network, and tokens would go over it in the clear"),
            format!(
                "write \"127.0.0.1:{port}\"; or add tls = {{ cert = \"gateway.pem\", key = \"gateway.key\" }}, or say `without_tls = true`"
            ),
        );
    }
    if !guard.has_tokens && !config.reads_openly {
        fields.problem(
            ProblemCode::Exposed,
            "listen",
            format!(
                "`{ip}` can be reached from the network, and there is no token to let anybody in"
            ),
            format!(
                "write \"127.0.0.1:{port}\"; or {HOW_TO_LET_IN}, or say `anybody_may_read = true`"
            ),
        );
    }
    if ip.is_unspecified() && config.hosts.is_empty() {
        fields.problem(
            ProblemCode::Missing,
            "listen",
            format!("`{ip}` is all addresses: under which names it is asked has to be said"),
            "add: hosts = [\"barn-7.example\", \"10.0.0.7\"]".to_owned(),
        );
    }
}

fn listen(fields: &mut Fields<'_>) -> SocketAddr {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    if let Some(port) = fields
        .number("listen")
        .filter(|port| (0..=65_535).contains(port))
    {
        fields.problem(
            ProblemCode::WrongType,
            "listen",
            "`admin.listen` is an integer, but must be an address and a port",
            format!("write \"127.0.0.1:{port}\""),
        );
        return nowhere;
    }
    if let Some(flag) = fields.find("listen").and_then(|item| {
        if let Node::Flag(flag) = item.node {
            Some(flag)
        } else {
            None
        }
    }) {
        let hint =
            "write \"127.0.0.1:9646\"; it cannot be turned off, but only this machine reaches it"
                .to_owned();
        let message = format!("`admin.listen` is {flag}, but must be an address and a port");
        fields.problem(ProblemCode::WrongType, "listen", message, hint);
        return nowhere;
    }
    let Some(written) = fields.text("listen") else {
        return nowhere;
    };
    let spelled = written
        .strip_prefix("localhost:")
        .map_or_else(|| written.to_owned(), |port| format!("127.0.0.1:{port}"));
    spelled.parse().unwrap_or_else(|_| {
        let hint = "write \"127.0.0.1:9646\"; port 0 takes a free one".to_owned();
        fields.problem(
            ProblemCode::Url,
            "listen",
            format!("`{written}` is not an address and a port"),
            hint,
        );
        nowhere
    })
}

fn tls(fields: &mut Fields<'_>) -> Option<ServerTls> {
    let written = fields.table("tls")?;
    Some(server_tls(written))
}

fn hosts(fields: &mut Fields<'_>) -> Vec<String> {
    let written = fields.texts("hosts");
    if let Some((host, place)) = written.iter().find(|(host, _)| !is_host_name(host)) {
        let message = format!("`{host}` is neither a host name nor an address");
        let hint = "write names without scheme and port: hosts = [\"barn-7.example\"]".to_owned();
        fields
            .check
            .problem(ProblemCode::Url, *place, message, hint);
    }
    let names = written.iter();
    names.map(|(host, _)| (*host).to_owned()).collect()
}

fn tokens(fields: &mut Fields<'_>) -> Vec<AccessToken> {
    let mut tokens: Vec<AccessToken> = Vec::new();
    for (name, mut access) in fields.named("access") {
        access.require("scope", "\"read\"");
        access.require("token", "{ file = \"NAME.token\" }");
        let words = [Scope::Read, Scope::Operate, Scope::Deploy].map(|scope| (scope.word(), scope));
        let scope = access.choice("scope", &words);
        if let (Some(scope), Some(secret)) = (scope, token(&mut access)) {
            let is_same = |other: &&AccessToken| other.secret.is_shown(secret.reveal().as_bytes());
            if let Some(other) = tokens.iter().find(is_same) {
                access.problem(
                    ProblemCode::Conflict,
                    "token",
                    format!("`{}` and `{name}` have one token", other.name),
                    "whoever does something is known by its token: make another".to_owned(),
                );
            }
            tokens.push(AccessToken {
                name: name.into(),
                scope,
                secret,
            });
        }
        access.done();
    }
    if tokens.len() > MOST_TOKENS {
        let message = format!("at most {MOST_TOKENS} tokens let in");
        fields.problem(ProblemCode::OutOfRange, "access", message, None);
    }
    tokens
}

fn token(access: &mut Fields<'_>) -> Option<Secret> {
    let token = secret::read(access, "token")?;
    if !token.is_read() {
        return Some(token);
    }
    let text = token.reveal();
    if text.len() < LEAST_TOKEN_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        access.problem(
            ProblemCode::OutOfRange,
            "token",
            format!(
                "a token has {LEAST_TOKEN_BYTES} letters and digits or more, and nothing else in its file"
            ),
            "make one: (umask 077; openssl rand -hex 32 > ops.token)".to_owned(),
        );
    }
    Some(token)
}
