//! Guesses at what keeps a first connection from coming about: a wrong port, a wrong scheme, a password that is refused
//! without a word.

use super::{Config, Error};
use crate::clock::Now;
use crate::link::FailureKind;
use crate::token;

/// What the first bytes of an answer say about one who does not speak MQTT.
pub(super) fn stranger(input: &[u8]) -> Option<Error> {
    const SIGNS: [(&[u8], &str); 4] = [
        (
            &[0x15, 0x03],
            "the port speaks TLS: write mqtts:// in the URL",
        ),
        (
            &[0x16, 0x03],
            "the port speaks TLS: write mqtts:// in the URL",
        ),
        (
            b"HTTP/",
            "the port speaks HTTP: check it, or write mqtt+ws:// in the URL where the broker takes WebSockets there",
        ),
        (b"SSH-", "the port speaks SSH: check it"),
    ];
    SIGNS
        .iter()
        .find(|(sign, _)| input.starts_with(sign))
        .map(|(_, what)| Error::Stranger { what })
}

/// The same error with what it may mean under these settings.
pub(super) fn explain(error: Error, config: &Config) -> Error {
    match error {
        Error::Closed {
            before_connack: true,
        } => Error::TurnedAway {
            hint: turned_away(config),
        },
        Error::Refused {
            code,
            reason,
            failure: FailureKind::Refused,
        } => Error::Refused {
            code,
            reason: doubted(reason, config),
            failure: FailureKind::Refused,
        },
        error => error,
    }
}

/// The reason with what the token's own times say, where the password is one; it is not shown again.
fn doubted(reason: String, config: &Config) -> String {
    let login = config.login.as_ref();
    let Some(password) = login.and_then(|login| login.password.as_ref()) else {
        return reason;
    };
    password.refused();
    match token::doubt(password.reveal(), Now::read()) {
        Some(doubt) => format!("{reason}; {doubt}"),
        None => reason,
    }
}

fn turned_away(config: &Config) -> String {
    let login = match &config.login {
        Some(_) => "check user name and password, some brokers say no more when they are wrong",
        None => "it may want a user name and password",
    };
    let secure = match config.websocket {
        None => "mqtts://",
        Some(_) => "mqtt+wss://",
    };
    match &config.tls {
        Some(tls) if tls.identity.is_none() => {
            format!("{login}, or a client certificate (`cert` and `key`)")
        }
        Some(_) => format!("{login}, and the client certificate"),
        None => format!(
            "{login}; or port {} speaks TLS: then write {secure} in the URL",
            config.port
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Login;
    use super::super::settings::tests::config;
    use super::*;
    use crate::link::Tls;

    #[test]
    fn who_closes_or_speaks_something_else_is_told_with_what_to_do() {
        let closed = || Error::Closed {
            before_connack: true,
        };
        let mut config = config();
        let plain = explain(closed(), &config).to_string();
        assert!(
            plain.contains("may want a user name") && plain.contains("mqtts://"),
            "{plain}"
        );
        config.login = Some(Login {
            user: "me".to_owned(),
            password: None,
        });
        let login = explain(closed(), &config).to_string();
        assert!(
            login.contains("check user name and password") && login.contains("mqtts://"),
            "{login}"
        );
        config.tls = Some(Tls::default());
        let tls = explain(closed(), &config).to_string();
        assert!(
            tls.contains("client certificate") && !tls.contains("mqtts://"),
            "{tls}"
        );
        assert!(matches!(
            explain(
                Error::Closed {
                    before_connack: false
                },
                &config
            ),
            Error::Closed { .. }
        ));
        // A TLS alert of a server that was sent CONNECT.
        let alert = stranger(&[0x15, 0x03, 0x01, 0, 2, 2, 70])
            .unwrap()
            .to_string();
        assert!(alert.contains("mqtts://"), "{alert}");
        assert!(stranger(b"HTTP/1.1 400 Bad Request").is_some());
        assert!(stranger(&[0x20, 2, 0, 0]).is_none() && stranger(&[]).is_none());
    }
}
