//! The request that opens a WebSocket. No sockets.

use hyper::header::{HeaderMap, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use hyper::{Method, Request};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use super::super::answer::RequestOutcome;

/// What a client may offer, and gets, as the protocol within: browsers want one of theirs to be taken.
const PROTOCOL: &str = "tidegate";
/// Stands before a token among the offers, since a page in a browser has no other place for one.
const TOKEN: &str = "bearer.";

/// Whether a request wants a WebSocket.
pub(in super::super) fn is_asked_for(method: &Method, headers: &HeaderMap) -> bool {
    let names =
        |value: &hyper::header::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
    *method == Method::GET && headers.get_all(UPGRADE).iter().any(names)
}

/// The answer that opens it.
pub(in super::super) fn switch<B>(request: &Request<B>) -> Result<RequestOutcome, RequestOutcome> {
    let response = create_response_with_body(request, || ()).map_err(|error| match error {
        Error::Protocol(ProtocolError::MissingSecWebSocketVersionHeader) => RequestOutcome::Version,
        error => RequestOutcome::Unfit(format!("no handshake of a WebSocket: {error}")),
    })?;
    let accept = response.headers().get(SEC_WEBSOCKET_ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    let protocol = offers(request.headers()).any(|offer| offer == PROTOCOL);
    Ok(RequestOutcome::Switched {
        accept: accept.unwrap_or_default().to_owned(),
        protocol: protocol.then_some(PROTOCOL),
    })
}

/// The token among the offers, as `Authorization` would have it.
pub(in super::super) fn shown_token(headers: &HeaderMap) -> Option<Vec<u8>> {
    let token = offers(headers).find_map(|offer| offer.strip_prefix(TOKEN))?;
    Some(format!("Bearer {token}").into_bytes())
}

fn offers(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri("/a");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    const GOOD: [(&str, &str); 4] = [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn the_example_of_the_standard_is_answered_as_there() {
        let good = request(&GOOD);
        assert!(is_asked_for(good.method(), good.headers()));
        let expected = RequestOutcome::Switched {
            accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned(),
            protocol: None,
        };
        assert_eq!(switch(&good), Ok(expected));
    }

    #[test]
    fn a_handshake_that_is_none_is_told_what_is_missing() {
        for (index, (name, _)) in GOOD.iter().enumerate().skip(1) {
            let without: Vec<_> = GOOD
                .iter()
                .filter(|(own, _)| own != name)
                .copied()
                .collect();
            let told = switch(&request(&without)).unwrap_err();
            let is_version = told == RequestOutcome::Version;
            assert_eq!(is_version, index == 2, "{name}: {told:?}");
        }
        let short = [GOOD[0], GOOD[1], GOOD[2], ("sec-websocket-key", "short")];
        assert!(matches!(
            switch(&request(&short)),
            Err(RequestOutcome::Unfit(_))
        ));
        let post = Request::post("/")
            .header("upgrade", "websocket")
            .body(())
            .unwrap();
        assert!(!is_asked_for(post.method(), post.headers()));
    }

    #[test]
    fn a_page_shows_its_token_among_the_protocols_it_offers() {
        let offered = request(&[
            GOOD[0],
            GOOD[1],
            GOOD[2],
            GOOD[3],
            ("sec-websocket-protocol", "tidegate, bearer.hunter2"),
        ]);
        assert_eq!(
            shown_token(offered.headers()).as_deref(),
            Some(&b"Bearer hunter2"[..])
        );
        let Ok(RequestOutcome::Switched { protocol, .. }) = switch(&offered) else {
            panic!("it is refused");
        };
        assert_eq!(protocol, Some("tidegate"));
        assert_eq!(shown_token(request(&GOOD).headers()), None);
    }
}
