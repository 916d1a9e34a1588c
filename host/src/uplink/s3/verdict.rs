//! What an answer says about the messages of an object. No sockets.

use super::super::web::Reply;
use crate::words;

/// Characters of the server's words that are kept.
const WORDS: usize = 200;
/// Longest name of an error.
const CODE: usize = 64;

/// What is made of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreVerdict {
    Accepted,
    /// The object is too large: smaller ones may be taken.
    TooLarge,
    /// The server failed, perhaps over one of its messages: trials show which.
    Failed,
    /// It is about the bucket, a key or a right: nothing is taken before somebody has mended that.
    Held,
    Passing,
    /// It takes no object under a condition: the same without one may be taken.
    Unconditional,
    /// It says that there is one of this name, which is made of what stands in it: whether that is so is asked.
    There,
    /// What is there is not what was sent, or nobody knows: it goes under another name.
    Another,
}

/// Errors that say the same of every object, whatever their status is.
const HELD: [&str; 9] = [
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "ExpiredToken",
    "IllegalLocationConstraintException",
    "InvalidBucketName",
    "InvalidToken",
    "KeyTooLongError",
    "NoSuchBucket",
    "PermanentRedirect",
];
/// Errors that pass, whatever their status is.
const PASSING: [&str; 6] = [
    "IncompleteBody",
    "OperationAborted",
    "RequestTimeTooSkewed",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
];
/// Errors that smaller objects do not have.
const TOO_LARGE: [&str; 2] = ["EntityTooLarge", "MaxMessageLengthExceeded"];

impl StoreVerdict {
    /// `code`: the name of the error, which is empty where the answer has none. `is_conditional`: it was sent under the condition that
    /// there is none of its name, which is made of its content.
    pub(super) fn of(status: u16, code: &str, is_conditional: bool) -> Self {
        match status {
            200..=299 => Self::Accepted,
            412 if is_conditional => Self::There,
            501 if is_conditional => Self::Unconditional,
            413 => Self::TooLarge,
            _ if TOO_LARGE.contains(&code) => Self::TooLarge,
            _ if PASSING.contains(&code) => Self::Passing,
            _ if HELD.contains(&code) || code.contains("Quota") => Self::Held,
            300..=399 | 401 | 403 | 404 | 405 | 410 | 415 | 501 => Self::Held,
            408 | 409 | 425 | 429 | 502..=504 | 507 | 509 | 511 | 521..=530 | 598 | 599 => {
                Self::Passing
            }
            _ => Self::Failed,
        }
    }

    /// Of an answer about the object that is said to be there; `length`: bytes that it has by that, `sent`: those that it must have.
    /// A key that may only put gets 403, and the answer to such a question has no words.
    pub(super) fn of_what_is_there(status: u16, length: Option<usize>, sent: usize) -> Self {
        match Self::of(status, "", false) {
            Self::Accepted if length == Some(sent) => Self::Accepted,
            Self::Passing => Self::Passing,
            _ => Self::Another,
        }
    }
}

/// Whether it may be said of one object though it is mostly said of all: a firewall before the store, which looks into what is sent, has
/// none of its names; and what a store does not do at all it would not have done for others.
pub(super) fn may_be_of_one(status: u16, code: &str) -> bool {
    let is_of_a_firewall = matches!(status, 300..=399 | 403..=405 | 410 | 415 | 502 | 504);
    status == 501 || (code.is_empty() && is_of_a_firewall)
}

/// What to do about an answer that holds everything.
pub(super) fn hint(status: u16, code: &str) -> &'static str {
    match (status, code) {
        (_, "PermanentRedirect" | "AuthorizationHeaderMalformed")
        | (_, "AuthorizationQueryParametersError" | "IllegalLocationConstraintException")
        | (300..=399, _) => "check `region` and `endpoint`",
        (_, code) if code.contains("Quota") => "make room there",
        (_, "KeyTooLongError") => "shorten the prefix in `url`",
        (_, "NoSuchBucket" | "InvalidBucketName") | (404 | 410, _) => {
            "check the bucket in `url`, and `endpoint`: buckets are not made"
        }
        (400 | 401 | 403, _) => {
            "check `access_key`, `secret_key`, and whether that key may put objects into the bucket"
        }
        _ => "check `endpoint`, and what the server takes",
    }
}

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoreWords {
    /// The name of its error; empty where it has none.
    pub(super) code: String,
    /// All of it, fit to be shown.
    pub(super) text: String,
}

impl StoreWords {
    /// Without what is among the `secrets`.
    pub(super) fn of(reply: &Reply, secrets: [&str; 2]) -> Self {
        let body = String::from_utf8_lossy(&reply.words);
        let is_name = |code: &&str| {
            (1..=CODE).contains(&code.len())
                && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        let Some(code) = element(&body, "Code").filter(is_name) else {
            return Self {
                code: String::new(),
                text: reply.in_words(secrets),
            };
        };
        let message = element(&body, "Message").unwrap_or_default();
        let message = words::line(&words::without(message, secrets), WORDS);
        let colon = if message.is_empty() { "" } else { ": " };
        Self {
            code: code.to_owned(),
            text: format!("{} {code}{colon}{message}", reply.status.as_u16()),
        }
    }
}

/// What stands in the first element of a name; of one that was cut off what there is.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, behind) = xml.split_once(&format!("<{name}>"))?;
    Some(behind.split('<').next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::{HeaderMap, StatusCode};

    use super::*;

    fn said(status: u16, body: &str) -> StoreWords {
        let reply = Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            words: body.as_bytes().to_vec(),
            sending: Duration::ZERO,
            took: Duration::ZERO,
        };
        StoreWords::of(&reply, ["AKIDEXAMPLE", "hunter22"])
    }

    #[test]
    fn the_name_of_an_error_counts_more_than_its_status() {
        let of = |status, code| StoreVerdict::of(status, code, true);
        assert_eq!(of(200, ""), StoreVerdict::Accepted);
        assert_eq!(of(412, "PreconditionFailed"), StoreVerdict::There);
        assert_eq!(StoreVerdict::of(412, "", false), StoreVerdict::Failed);
        assert_eq!(of(501, "NotImplemented"), StoreVerdict::Unconditional);
        assert_eq!(
            StoreVerdict::of(501, "NotImplemented", false),
            StoreVerdict::Held
        );
        assert_eq!(of(400, "EntityTooLarge"), StoreVerdict::TooLarge);
        assert_eq!(of(413, ""), StoreVerdict::TooLarge);
        for (status, code) in [
            (503, "SlowDown"),
            (403, "RequestTimeTooSkewed"),
            (409, ""),
            (400, "RequestTimeout"),
        ] {
            assert_eq!(of(status, code), StoreVerdict::Passing, "{status} {code}");
        }
        for (status, code) in [
            (403, "SignatureDoesNotMatch"),
            (403, ""),
            (404, "NoSuchBucket"),
            (400, "ExpiredToken"),
            (301, ""),
            (400, "XMinioAdminBucketQuotaExceeded"),
        ] {
            assert_eq!(of(status, code), StoreVerdict::Held, "{status} {code}");
        }
        for (status, code) in [(400, "InvalidRequest"), (500, "InternalError"), (418, "")] {
            assert_eq!(of(status, code), StoreVerdict::Failed, "{status} {code}");
        }
    }

    #[test]
    fn only_an_object_that_is_there_and_as_long_as_what_was_sent_is_the_same() {
        for (status, length, verdict) in [
            (200, Some(7), StoreVerdict::Accepted),
            (200, Some(8), StoreVerdict::Another),
            (200, None, StoreVerdict::Another),
            (403, Some(7), StoreVerdict::Another),
            (404, None, StoreVerdict::Another),
            (405, None, StoreVerdict::Another),
            (500, None, StoreVerdict::Another),
            (503, None, StoreVerdict::Passing),
        ] {
            let found = StoreVerdict::of_what_is_there(status, length, 7);
            assert_eq!(found, verdict, "{status} {length:?}");
        }
    }

    #[test]
    fn what_is_mostly_said_of_all_may_be_of_one_where_others_were_taken() {
        for (status, code, may_be) in [
            (403, "", true),
            (403, "AccessDenied", false),
            (501, "NotImplemented", true),
            (503, "SlowDown", false),
            (404, "NoSuchBucket", false),
        ] {
            assert_eq!(may_be_of_one(status, code), may_be, "{status} {code}");
        }
    }

    #[test]
    fn its_words_are_shown_without_a_secret_and_without_what_steers_a_terminal() {
        let xml = "<?xml version=\"1.0\"?>\n<Error><Code>SignatureDoesNotMatch</Code><Message>Not hunter22\u{1b}[31m for AKIDEXAMPLE</Message><StringToSign>x";
        let found = said(403, xml);
        assert_eq!(found.code, "SignatureDoesNotMatch");
        assert!(
            found.text.starts_with("403 SignatureDoesNotMatch: Not ***"),
            "{}",
            found.text
        );
        for hidden in ["hunter22", "AKID", "\u{1b}", "StringToSign"] {
            assert!(!found.text.contains(hidden), "{}", found.text);
        }
        let page = said(502, "<html><Code>no name!</Code>");
        assert!(page.code.is_empty() && page.text.starts_with("502 Bad Gateway: <html>"));
    }
}
