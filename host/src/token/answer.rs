//! What a token endpoint answers (RFC 6749, sections 5.1 and 5.2).

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::Value;

use crate::link::{FailureKind, SecretError};
use crate::words;

/// How long a token is taken to be good of which nobody says.
const UNSAID: Duration = Duration::from_secs(3_600);
/// Shorter is not worth a connection.
const SHORTEST: Duration = Duration::from_secs(5);
/// A longer one is asked for anew all the same.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);
/// The longest pause that an endpoint may ask for.
const LONGEST_PAUSE: u64 = 3_600;
/// Words of an endpoint that are shown.
const WORDS: usize = 200;

/// A token, and how long it is good from the moment it was asked for.
#[derive(PartialEq, Eq)]
pub(super) struct GivenToken {
    pub(super) text: String,
    pub(super) good_for: Duration,
}

/// Reads an answer; `asks` is its `Retry-After`, and `secrets` are what the endpoint was shown.
///
/// # Errors
/// It holds no token: why, in the endpoint's words where it has some, never in what else it sent, which may be half a token.
pub(super) fn read(
    status: u16,
    body: &[u8],
    asks: Option<&str>,
    secrets: &[&str],
) -> Result<GivenToken, SecretError> {
    let json: Option<Value> = serde_json::from_slice(body).ok();
    if (200..300).contains(&status) {
        let json = json.ok_or_else(|| strange("its answer is no JSON"))?;
        return given(&json);
    }
    let said = json.as_ref();
    let said = said.map(|json| words_of(json, secrets)).unwrap_or_default();
    let (failure, hint) = match status {
        408 | 425 | 429 | 500.. => (FailureKind::Passing, "it is asked again"),
        401 | 403 => (FailureKind::Refused, "check `client` and `secret`"),
        404 | 405 | 300..=399 => (FailureKind::Refused, "check `url`"),
        _ => (
            FailureKind::Refused,
            "check `client`, `secret`, `scope` and `audience`",
        ),
    };
    let pause = asks
        .and_then(|asks| asks.trim().parse::<u64>().ok())
        .filter(|seconds| *seconds > 0 && failure == FailureKind::Passing)
        .map(|seconds| Duration::from_secs(seconds.min(LONGEST_PAUSE)));
    Err(SecretError::Token {
        problem: format!("the token endpoint answers {status}{said}; {hint}"),
        failure,
        pause,
    })
}

fn strange(what: &str) -> SecretError {
    let problem = format!("what the token endpoint sends is no token: {what}; check `url`");
    SecretError::token(problem, FailureKind::Passing)
}

fn given(json: &Value) -> Result<GivenToken, SecretError> {
    let text = json["access_token"]
        .as_str()
        .ok_or_else(|| strange("it has no access_token"))?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(strange("its access_token is not one line of plain text"));
    }
    let is_bearer = |kind: &Value| {
        kind.as_str()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("bearer"))
    };
    if json.get("token_type").is_some_and(|kind| !is_bearer(kind)) {
        return Err(strange("its token_type is not Bearer"));
    }
    let said = match &json["expires_in"] {
        Value::Number(seconds) => seconds.as_f64(),
        // Some send a text.
        Value::String(seconds) => seconds.parse().ok(),
        _ => None,
    };
    let seconds = said.filter(|seconds| seconds.is_finite());
    let good_for = match seconds.or_else(|| from_claims(text)) {
        Some(seconds) if seconds <= 0.0 => return Err(strange("it has expired already")),
        Some(seconds) => Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())),
        None => UNSAID,
    };
    Ok(GivenToken {
        text: text.to_owned(),
        good_for: good_for.max(SHORTEST),
    })
}

/// How long a token is good by its own words, if it is one that has some; from its begin on, so that no clock is needed.
fn from_claims(token: &str) -> Option<f64> {
    let claims = BASE64.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    Some(claims["exp"].as_f64()? - claims["iat"].as_f64()?)
}

/// What stands in `error` and `error_description`, some of which repeat what was asked.
fn words_of(json: &Value, secrets: &[&str]) -> String {
    let said = ["error", "error_description"];
    let said = said.iter().filter_map(|name| json[*name].as_str());
    let said = said.map(|said| words::without(said, secrets.iter().copied()));
    let said: Vec<String> = said.map(|said| words::line(&said, WORDS)).collect();
    if said.is_empty() {
        String::new()
    } else {
        format!(" ({})", said.join(": "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::link::ConnectionLoss;

    fn good(body: &Value) -> (String, u64) {
        let given = read(200, body.to_string().as_bytes(), None, &[]);
        let given = given.unwrap_or_else(|error| panic!("{error}"));
        (given.text, given.good_for.as_secs())
    }

    fn bad(status: u16, body: &[u8], asks: Option<&str>) -> SecretError {
        read(status, body, asks, &["s3cret"]).err().unwrap()
    }

    #[test]
    fn a_token_is_good_for_as_long_as_somebody_says() {
        let token =
            |expires: Value| good(&json!({ "access_token": "abc", "expires_in": expires })).1;
        assert_eq!(token(json!(600)), 600);
        assert_eq!(token(json!("600")), 600);
        assert_eq!(token(json!(1)), 5);
        assert_eq!(token(json!(1e300)), 30 * 86_400);
        assert_eq!(token(Value::Null), 3_600);
        let claims = BASE64.encode(json!({ "iat": 5, "exp": 905 }).to_string());
        let jwt = format!("e30.{claims}.c2ln");
        let body = json!({ "access_token": jwt, "token_type": "bearer" });
        assert_eq!(good(&body), (jwt, 900));
    }

    #[test]
    fn what_is_no_token_is_told_without_what_came() {
        for body in [
            json!({ "access_token": "s3cret s3cret" }),
            json!({ "access_token": "" }),
            json!({ "access_token": "s3cret", "token_type": "mac" }),
            json!({ "access_token": "s3cret", "expires_in": 0 }),
            json!(["s3cret"]),
        ] {
            let error = bad(200, body.to_string().as_bytes(), None);
            assert_eq!(error.kind(), FailureKind::Passing);
            let said = format!("{error} {error:?}");
            assert!(
                said.contains("no token") && !said.contains("s3cret"),
                "{said}"
            );
        }
        let page = bad(200, b"<html>s3cret", None).to_string();
        assert!(
            page.contains("no JSON") && !page.contains("s3cret"),
            "{page}"
        );
    }

    #[test]
    fn a_refusal_says_whom_to_ask_and_a_trouble_when_to_come_again() {
        let body = json!({ "error": "invalid_client", "error_description": "no\u{7} such" });
        let error = bad(401, body.to_string().as_bytes(), Some("7"));
        assert!(error.kind() == FailureKind::Refused && error.pause().is_none());
        let said = error.to_string();
        assert!(
            said.contains("401 (invalid_client: no")
                && said.contains("`secret`")
                && !said.contains('\u{7}'),
            "{said}"
        );
        let error = bad(503, b"<html>", Some("7"));
        assert_eq!(error.kind(), FailureKind::Passing);
        assert_eq!(error.pause(), Some(Duration::from_secs(7)));
        assert_eq!(
            bad(429, b"", Some("999999")).pause(),
            Some(Duration::from_secs(3_600))
        );
        assert_eq!(bad(302, b"", None).kind(), FailureKind::Refused);
        assert_eq!(bad(400, b"", None).kind(), FailureKind::Refused);
    }
}
