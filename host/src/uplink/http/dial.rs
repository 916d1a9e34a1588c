//! What every request has, which is read at a dial, and whether a server is there.

use hyper::HeaderMap;
use hyper::header::{HOST, HeaderName, HeaderValue};

use super::super::web::HttpConnection;
use super::settings::HeaderText;
use super::{Config, Error};
use crate::clock::Now;
use crate::link::{Secret, TokenLife};
use crate::token;

/// Opens a connection to the server and leaves it.
pub(in super::super) async fn reach(config: &Config) -> Result<String, Error> {
    ShownHeaders::of_today(config).await?;
    HttpConnection::open(config.target()).await?.close().await;
    let tls = if config.tls.is_some() {
        "a connection stands, and its certificate is good"
    } else {
        "a connection stands, without TLS"
    };
    Ok(format!("{tls}; no request was made"))
}

/// What every request has, as it is at a dial.
#[derive(Debug)]
pub(super) struct ShownHeaders {
    pub(super) map: HeaderMap,
    /// The token among them.
    token: Option<Secret>,
}

impl ShownHeaders {
    pub(super) async fn of_today(config: &Config) -> Result<Self, Error> {
        let mut map = HeaderMap::new();
        let authority = HeaderValue::from_str(&config.authority());
        map.insert(
            HOST,
            authority.map_err(|_| Error::Header("url".to_owned()))?,
        );
        let mut token = None;
        for (name, value) in &config.headers {
            let (text, is_secret) = match value {
                HeaderText::Open(text) => (text.clone(), false),
                HeaderText::Secret(secret) => (secret.todays().await?.reveal().to_owned(), true),
                HeaderText::Token(secret) => {
                    let todays = token.insert(secret.todays().await?);
                    (format!("Bearer {}", todays.reveal()), true)
                }
            };
            let wrong = || Error::Header(name.clone());
            let mut value = HeaderValue::from_str(&text).map_err(|_| wrong())?;
            value.set_sensitive(is_secret);
            let name: HeaderName = name.parse().map_err(|_| wrong())?;
            map.insert(name, value);
        }
        Ok(Self { map, token })
    }

    /// How long the token is used, where it is one that ends.
    pub(super) fn life(&self) -> Option<TokenLife> {
        self.token.as_ref()?.life()
    }

    /// The server did not take who asks: what the token's own times say of that. It is not shown again.
    pub(super) fn refused(&self) -> Option<String> {
        let token = self.token.as_ref()?;
        token.refused();
        token::doubt(token.reveal(), Now::read())
    }
}
