//! What the code of a broker's answer says about the records of a batch. No sockets.

/// What is made of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordVerdict {
    Accepted,
    /// One of them at least is not taken, now or ever.
    Refused,
    /// The same, and smaller batches may be taken.
    TooLarge,
    /// It is about the topic: nothing goes there before somebody has mended that.
    Topic,
    /// It is about the cluster or the login: nothing is taken before somebody has mended that.
    Held,
    /// The partition is elsewhere now: where says the cluster.
    Moved,
    Passing,
    /// The broker failed, perhaps over one of them: trials show which.
    Failed,
}

/// The topic is not there, as a cluster says; brokers say it also of one that they have not heard of yet.
pub(super) const UNKNOWN_TOPIC: i16 = 3;
/// The partition has no leader for now.
pub(super) const NO_LEADER: i16 = 5;
/// The connection ended; no broker says so.
pub(super) const LOST: i16 = 13;

/// Codes, their names as the protocol has them, and what is made of them.
const CODES: [(i16, &str, RecordVerdict); 34] = [
    (0, "NONE", RecordVerdict::Accepted),
    (
        UNKNOWN_TOPIC,
        "UNKNOWN_TOPIC_OR_PARTITION",
        RecordVerdict::Moved,
    ),
    (NO_LEADER, "LEADER_NOT_AVAILABLE", RecordVerdict::Moved),
    (6, "NOT_LEADER_OR_FOLLOWER", RecordVerdict::Moved),
    (7, "REQUEST_TIMED_OUT", RecordVerdict::Passing),
    (8, "BROKER_NOT_AVAILABLE", RecordVerdict::Passing),
    (9, "REPLICA_NOT_AVAILABLE", RecordVerdict::Moved),
    (10, "MESSAGE_TOO_LARGE", RecordVerdict::TooLarge),
    (LOST, "NETWORK_EXCEPTION", RecordVerdict::Moved),
    (17, "INVALID_TOPIC_EXCEPTION", RecordVerdict::Topic),
    (18, "RECORD_LIST_TOO_LARGE", RecordVerdict::TooLarge),
    (19, "NOT_ENOUGH_REPLICAS", RecordVerdict::Passing),
    (
        20,
        "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
        RecordVerdict::Passing,
    ),
    (21, "INVALID_REQUIRED_ACKS", RecordVerdict::Held),
    (29, "TOPIC_AUTHORIZATION_FAILED", RecordVerdict::Topic),
    (31, "CLUSTER_AUTHORIZATION_FAILED", RecordVerdict::Held),
    (32, "INVALID_TIMESTAMP", RecordVerdict::Refused),
    (33, "UNSUPPORTED_SASL_MECHANISM", RecordVerdict::Held),
    (34, "ILLEGAL_SASL_STATE", RecordVerdict::Held),
    (35, "UNSUPPORTED_VERSION", RecordVerdict::Held),
    (37, "INVALID_PARTITIONS", RecordVerdict::Moved),
    (42, "INVALID_REQUEST", RecordVerdict::Held),
    (43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", RecordVerdict::Held),
    (44, "POLICY_VIOLATION", RecordVerdict::Held),
    (56, "KAFKA_STORAGE_ERROR", RecordVerdict::Passing),
    (58, "SASL_AUTHENTICATION_FAILED", RecordVerdict::Held),
    (72, "LISTENER_NOT_FOUND", RecordVerdict::Moved),
    (74, "FENCED_LEADER_EPOCH", RecordVerdict::Moved),
    (75, "UNKNOWN_LEADER_EPOCH", RecordVerdict::Moved),
    (76, "UNSUPPORTED_COMPRESSION_TYPE", RecordVerdict::Held),
    (87, "INVALID_RECORD", RecordVerdict::Refused),
    (89, "THROTTLING_QUOTA_EXCEEDED", RecordVerdict::Passing),
    (100, "UNKNOWN_TOPIC_ID", RecordVerdict::Moved),
    (103, "INCONSISTENT_TOPIC_ID", RecordVerdict::Moved),
];

impl RecordVerdict {
    /// What nobody foresaw is found by trials: where everything is answered so, nothing is parked.
    pub(super) fn of(code: i16) -> Self {
        let known = CODES.iter().find(|(known, ..)| *known == code);
        known.map_or(Self::Failed, |(_, _, verdict)| *verdict)
    }
}

/// Code and name, with the broker's own words where it has any.
pub(super) fn in_words(code: i16, words: &str) -> String {
    let name = match code {
        -1 => "UNKNOWN_SERVER_ERROR",
        2 => "CORRUPT_MESSAGE",
        _ => CODES
            .iter()
            .find(|(known, ..)| *known == code)
            .map_or("(no name)", |(_, name, _)| name),
    };
    if words.is_empty() {
        format!("{code} {name}")
    } else {
        format!("{code} {name}: {words}")
    }
}

/// What to do about a code that holds everything.
pub(super) fn hint(code: i16) -> &'static str {
    match code {
        UNKNOWN_TOPIC => "make the topic, or check its name in `url`: topics are never made",
        17 => "check the topic in `url`",
        29 => "grant this user WRITE and DESCRIBE on the topic, or check the topic in `url`",
        31 | 33 | 34 | 58 => "check `user`, `password`, `kafka.sasl`, and this user's rights there",
        43 | 76 => {
            "set `compress` to what the topic and its brokers take, \"none\" is always taken"
        }
        44 => "look at the policies of the cluster, and at what this topic takes",
        _ => "look at the topic's settings and at the broker's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_verdict_and_an_unknown_one_is_found_out_by_trials() {
        for (codes, verdict) in [
            (&[0][..], RecordVerdict::Accepted),
            (&[32, 87], RecordVerdict::Refused),
            (&[10, 18], RecordVerdict::TooLarge),
            (&[17, 29], RecordVerdict::Topic),
            (&[31, 33, 34, 43, 44, 58, 76], RecordVerdict::Held),
            (&[3, 5, 6, 9, 13, 72, 74, 75], RecordVerdict::Moved),
            (&[7, 8, 19, 20, 56, 89], RecordVerdict::Passing),
            (&[-1, 2, 45, 999], RecordVerdict::Failed),
        ] {
            for code in codes {
                assert_eq!(RecordVerdict::of(*code), verdict, "{code}");
            }
        }
        assert!(CODES.is_sorted_by_key(|(code, ..)| *code));
    }

    #[test]
    fn an_answer_has_its_number_its_name_and_what_to_do() {
        assert_eq!(in_words(6, ""), "6 NOT_LEADER_OR_FOLLOWER");
        assert_eq!(in_words(87, "no key"), "87 INVALID_RECORD: no key");
        assert_eq!(in_words(999, ""), "999 (no name)");
        assert!(hint(3).contains("make the topic") && hint(29).contains("WRITE"));
        assert!(hint(76).contains("compress") && hint(58).contains("password"));
    }
}
