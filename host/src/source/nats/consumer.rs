//! The consumer as the server has it, which is looked at before anything is taken: what it does not do, nobody is told later.

use std::time::Duration;

use serde_json::Value;

use super::Config;
use crate::nats::{Error, NatsConnection, RequestReply, request};
use crate::words;

/// How long a member stays pinned without asking, where nothing else is said.
const PINNED: Duration = Duration::from_secs(120);

/// What is known of a consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConsumerTerms {
    /// What is not acknowledged for so long comes again.
    pub(super) ack_wait: Duration,
    /// So many may be without an acknowledgement; `None` where there is no limit.
    pub(super) most: Option<usize>,
    /// So many may be asked for at once, in so many pulls, and for so long; `None` where there is no limit.
    pub(super) at_once: Option<usize>,
    pub(super) pulls: Option<usize>,
    pub(super) asks_for: Option<Duration>,
    /// So many are, now.
    pub(super) unacknowledged: u64,
    /// So many are still to come.
    pub(super) left: u64,
    /// The group of which one member is given all, while it asks again within so long.
    pub(super) group: Option<(String, Duration)>,
}

/// What is under way of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConsumerState {
    /// So many messages are without an acknowledgement.
    pub(super) unacknowledged: u64,
    /// So many pulls are not over.
    pub(super) pulls: u64,
}

impl ConsumerState {
    /// What a server says of it; `None` where it says something else.
    pub(super) fn read(said: &[u8]) -> Option<Self> {
        let said: Value = serde_json::from_slice(said).ok()?;
        Some(Self {
            unacknowledged: said["num_ack_pending"].as_u64()?,
            pulls: said["num_waiting"].as_u64()?,
        })
    }
}

/// Where is asked for it.
pub(super) fn question(config: &Config) -> String {
    let Config {
        stream, consumer, ..
    } = config;
    format!("$JS.API.CONSUMER.INFO.{stream}.{consumer}")
}

/// Asks the server for the consumer, and looks whether it will do.
pub(super) async fn find(
    connection: &mut NatsConnection,
    config: &Config,
) -> Result<ConsumerTerms, Error> {
    let Config {
        stream, consumer, ..
    } = config;
    let subject = question(config);
    match Box::pin(request(connection, &config.server, &subject, "")).await? {
        RequestReply::Said(said) => terms(&said),
        RequestReply::Forbidden => Err(Error::Forbidden(format!(
            "publish to `{subject}`: allow that, `$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}` and `$JS.ACK.>`"
        ))),
    }
}

fn terms(said: &Value) -> Result<ConsumerTerms, Error> {
    if let Some(error) = said["error"]["description"].as_str() {
        let problem = words::line(error, 200);
        return Err(unfit(
            problem,
            "make it there, or look at `stream` and `consumer`",
        ));
    }
    let own = &said["config"];
    if own["deliver_subject"].is_string() {
        return Err(unfit(
            "the consumer is one that messages are pushed to".to_owned(),
            "make one that is pulled from",
        ));
    }
    if own["ack_policy"].as_str() != Some("explicit") {
        return Err(unfit(
            "the consumer wants no acknowledgement of each message, so what is lost would not come again".to_owned(),
            "make one with the policy `explicit`",
        ));
    }
    let limit = |name: &str| own[name].as_u64().filter(|most| *most > 0);
    for (is_so, problem, hint) in [
        (
            limit("max_deliver").is_some(),
            "the consumer gives a message out a number of times only (max_deliver), and a lost connection is one of them: what is lost then would not come again",
            "make one without",
        ),
        (
            own["headers_only"].as_bool() == Some(true),
            "the consumer leaves the payloads out (headers_only)",
            "make one without",
        ),
        (
            limit("max_bytes").is_some(),
            "the consumer limits the bytes of a request (max_bytes), and a message above that would stop all behind it",
            "make one without; `max_payload` here is such a limit that stops nothing",
        ),
        (
            said["paused"].as_bool() == Some(true),
            "the consumer is paused",
            "resume it there, or wait until its time is over",
        ),
    ] {
        if is_so {
            return Err(unfit(problem.to_owned(), hint));
        }
    }
    let count = |name: &str| limit(name).and_then(|most| usize::try_from(most).ok());
    Ok(ConsumerTerms {
        ack_wait: Duration::from_nanos(own["ack_wait"].as_u64().unwrap_or(30_000_000_000)),
        most: count("max_ack_pending"),
        at_once: count("max_batch"),
        pulls: count("max_waiting"),
        asks_for: limit("max_expires").map(Duration::from_nanos),
        unacknowledged: said["num_ack_pending"].as_u64().unwrap_or_default(),
        left: said["num_pending"].as_u64().unwrap_or_default(),
        group: group(own)?,
    })
}

/// The first group of a consumer that pins one member; other policies deal messages out, as none does.
fn group(own: &Value) -> Result<Option<(String, Duration)>, Error> {
    let Some(group) = own["priority_groups"][0].as_str() else {
        return Ok(None);
    };
    if own["priority_policy"].as_str() != Some("pinned_client") {
        return Err(unfit(
            "the consumer has priority groups of another policy than `pinned_client`".to_owned(),
            "make one with that policy, or without groups",
        ));
    }
    let within = own["priority_timeout"].as_u64().filter(|nanos| *nanos > 0);
    let within = within.map_or(PINNED, Duration::from_nanos);
    Ok(Some((group.to_owned(), within)))
}

fn unfit(problem: String, hint: &'static str) -> Error {
    Error::Unfit { problem, hint }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_under_way_is_read_where_it_is_said() {
        let said = br#"{"num_ack_pending":3,"num_redelivered":0,"num_waiting":1,"num_pending":9}"#;
        let expected = ConsumerState {
            unacknowledged: 3,
            pulls: 1,
        };
        assert_eq!(ConsumerState::read(said), Some(expected));
        for other in [&b""[..], b"{}", br#"{"error":{"code":404}}"#] {
            assert_eq!(ConsumerState::read(other), None);
        }
    }

    #[test]
    fn only_one_that_is_pulled_from_and_wants_each_acknowledged_will_do() {
        let own = |policy: &str, push: Value| {
            terms(
                &json!({"config": {"ack_policy": policy, "ack_wait": 5_000_000_000_u64, "max_ack_pending": 100, "deliver_subject": push}, "num_ack_pending": 3, "num_pending": 9}),
            )
        };
        let good = own("explicit", Value::Null).unwrap();
        assert_eq!(
            (good.ack_wait, good.most),
            (Duration::from_secs(5), Some(100))
        );
        assert_eq!((good.unacknowledged, good.left), (3, 9));
        assert_eq!(good.group, None);
        let pinned = |policy: &str| {
            terms(
                &json!({"config": {"ack_policy": "explicit", "priority_groups": ["gw"], "priority_policy": policy}}),
            )
        };
        assert_eq!(
            pinned("pinned_client").unwrap().group,
            Some(("gw".to_owned(), PINNED))
        );
        assert!(pinned("overflow").is_err());
        assert!(own("none", Value::Null).is_err() && own("all", Value::Null).is_err());
        assert!(own("explicit", json!("x")).is_err());
        let with = |name: &str, value: Value| {
            terms(&json!({"config": {"ack_policy": "explicit", name: value}}))
        };
        assert_eq!(with("max_batch", json!(10)).unwrap().at_once, Some(10));
        let second = Some(Duration::from_secs(1));
        let asked = with("max_expires", json!(1_000_000_000));
        assert_eq!(asked.unwrap().asks_for, second);
        assert!(with("max_deliver", json!(-1)).is_ok());
        for (name, value) in [
            ("max_deliver", json!(5)),
            ("headers_only", json!(true)),
            ("max_bytes", json!(1_000)),
        ] {
            assert!(with(name, value).is_err(), "{name}");
        }
        assert!(terms(&json!({"config": {"ack_policy": "explicit"}, "paused": true})).is_err());
        assert!(terms(&json!({"error": {"description": "consumer not found"}})).is_err());
    }
}
