//! What a request is answered, each outcome with its status, its words and what the operator hears of it.

use hyper::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RequestOutcome {
    /// Every message is settled.
    Settled,
    /// A WebSocket is opened: the key of the handshake, and the protocol that was chosen.
    Switched {
        accept: String,
        protocol: Option<&'static str>,
    },
    /// A WebSocket of another version.
    Version,
    /// Path, headers or body are not what they should be.
    Unfit(String),
    /// No token, or a wrong one.
    Stranger,
    /// A page in a browser, where no token is wanted.
    Page,
    /// No flow takes the topic.
    Unrouted(String),
    /// Neither POST nor PUT.
    Method,
    /// The body did not come in time.
    Slow,
    /// The body, or a message in it, is over a limit.
    TooLarge(String),
    /// The topic is over `max_topic`.
    LongTopic,
    /// The body is packed.
    Packed,
    /// It is coded on its way, and not in chunks.
    Coded,
    /// No room for more until something settles.
    Full,
    /// Not all is settled in time: of so many messages these are not.
    Unsettled {
        of: usize,
        left: Vec<usize>,
    },
    Leaving,
}

/// All statuses, for a metric.
pub(super) const STATUSES: [StatusCode; 14] = [
    StatusCode::SWITCHING_PROTOCOLS,
    StatusCode::ACCEPTED,
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::REQUEST_TIMEOUT,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::URI_TOO_LONG,
    StatusCode::UNSUPPORTED_MEDIA_TYPE,
    StatusCode::UPGRADE_REQUIRED,
    StatusCode::NOT_IMPLEMENTED,
    StatusCode::SERVICE_UNAVAILABLE,
];

impl RequestOutcome {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Settled => StatusCode::ACCEPTED,
            Self::Switched { .. } => StatusCode::SWITCHING_PROTOCOLS,
            Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::Unfit(_) => StatusCode::BAD_REQUEST,
            Self::Stranger => StatusCode::UNAUTHORIZED,
            Self::Page => StatusCode::FORBIDDEN,
            Self::Unrouted(_) => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::LongTopic => StatusCode::URI_TOO_LONG,
            Self::Packed => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Coded => StatusCode::NOT_IMPLEMENTED,
            Self::Full | Self::Unsettled { .. } | Self::Leaving => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What is wrong, in words; nothing where nothing is.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Settled | Self::Switched { .. } => String::new(),
            Self::Version => "only version 13 of WebSockets is known".to_owned(),
            Self::Unfit(why) | Self::Unrouted(why) | Self::TooLarge(why) => why.clone(),
            Self::Stranger => "show the token: Authorization: Bearer …".to_owned(),
            Self::Page => "a page in a browser may not post here without a token".to_owned(),
            Self::Method => "POST or PUT messages here".to_owned(),
            Self::Slow => "the body came too slowly".to_owned(),
            Self::LongTopic => "the topic is over `max_topic`".to_owned(),
            Self::Packed => "a packed body is not taken".to_owned(),
            Self::Coded => "no Transfer-Encoding is known but `chunked`".to_owned(),
            Self::Full => "as much is under way as may be; send it again later".to_owned(),
            Self::Unsettled { of, left } => {
                format!("{} of {of} messages are not safe yet", left.len())
            }
            Self::Leaving => "the gateway ends; send it again later".to_owned(),
        }
    }

    /// Whether the client got what it asked for.
    pub(super) fn is_good(&self) -> bool {
        matches!(self, Self::Settled | Self::Switched { .. })
    }

    /// As it goes to the client.
    pub(super) fn response(&self) -> Response<String> {
        let (kind, body) = match self {
            Self::Unsettled { of, left } => (
                "application/json",
                serde_json::json!({ "messages": of, "unsettled": left }).to_string(),
            ),
            Self::Settled | Self::Switched { .. } => ("text/plain", String::new()),
            _ => ("text/plain; charset=utf-8", format!("{}\n", self.words())),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        if let Self::Switched { accept, protocol } = self {
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            if let Ok(accept) = HeaderValue::from_str(accept) {
                headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
            }
            if let Some(protocol) = protocol {
                let chosen = HeaderValue::from_static(protocol);
                headers.insert(SEC_WEBSOCKET_PROTOCOL, chosen);
            }
        }
        if !self.is_good() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if let Some((name, value)) = self.advice() {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    fn advice(&self) -> Option<(HeaderName, &'static str)> {
        match self {
            Self::Stranger => Some((WWW_AUTHENTICATE, "Bearer")),
            Self::Method => Some((ALLOW, "POST, PUT")),
            Self::Version => Some((SEC_WEBSOCKET_VERSION, "13")),
            // What is full settles within a commit or a round trip; what has waited for long needs more.
            Self::Full => Some((RETRY_AFTER, "1")),
            Self::Unsettled { .. } | Self::Leaving => Some((RETRY_AFTER, "5")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_status_that_is_counted_and_says_what_to_do() {
        let why = || "why".to_owned();
        let unsettled = RequestOutcome::Unsettled {
            of: 3,
            left: vec![0, 2],
        };
        let all = [
            RequestOutcome::Settled,
            RequestOutcome::Switched {
                accept: why(),
                protocol: None,
            },
            RequestOutcome::Version,
            RequestOutcome::Unfit(why()),
            RequestOutcome::Stranger,
            RequestOutcome::Page,
            RequestOutcome::Unrouted(why()),
            RequestOutcome::Method,
            RequestOutcome::Slow,
            RequestOutcome::TooLarge(why()),
            RequestOutcome::LongTopic,
            RequestOutcome::Packed,
            RequestOutcome::Coded,
            RequestOutcome::Full,
            unsettled.clone(),
            RequestOutcome::Leaving,
        ];
        for answer in all {
            let response = answer.response();
            assert!(STATUSES.contains(&response.status()), "{answer:?}");
            assert_eq!(response.body().is_empty(), answer.is_good());
            let is_told_when = response.headers().contains_key(RETRY_AFTER);
            assert_eq!(
                is_told_when,
                response.status() == StatusCode::SERVICE_UNAVAILABLE
            );
        }
        assert_eq!(
            unsettled.response().body(),
            r#"{"messages":3,"unsettled":[0,2]}"#
        );
    }
}
