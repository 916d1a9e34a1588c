//! What a status says about the messages of a request. No sockets.

/// What is made of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accepted,
    /// One of them at least is not taken, now or ever.
    Refused,
    /// The same, and smaller requests may be taken.
    TooLarge,
    /// The server failed, perhaps over one of them, or says of one what it may say of all: trials show which.
    Failed,
    /// It is about the request, not about a message: nothing is taken before somebody has mended that.
    Held,
    Passing,
}

impl Verdict {
    /// `is_by_message`: the path of the request is made of what is in a message, so that it may be what is wrong with it.
    ///
    /// What nobody foresaw is found by trials: where everything is answered so, nothing is parked.
    pub(super) fn of(status: u16, is_by_message: bool) -> Self {
        match status {
            200..=299 => Self::Accepted,
            400 | 422 => Self::Refused,
            413 => Self::TooLarge,
            _ if is_of_the_request(status) && !is_by_message => Self::Held,
            // The server is busy, away, or behind something that is.
            408 | 425 | 429 | 502..=504 | 507 | 509 | 511 | 521..=530 | 598 | 599 => Self::Passing,
            _ => Self::Failed,
        }
    }
}

/// Whether it is said of rights, path or form, and so of any message that goes the same way.
pub(super) fn is_of_the_request(status: u16) -> bool {
    matches!(status, 300..=399 | 401 | 403 | 404 | 405 | 410 | 415)
}

/// Whether it may be said of one message though it is mostly said of all: a firewall that looks into what is sent, or a server
/// behind another one that fails over it. What is said of the login never is.
pub(super) fn may_be_of_one(status: u16) -> bool {
    matches!(status, 300..=399 | 403..=405 | 410 | 415 | 502 | 504)
}

/// What to do about a status that is said of the request.
pub(super) fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => "check `token`, `headers` and this client's rights there",
        404 | 410 => "check the path of `url`",
        405 => "check `method` and the path of `url`",
        415 => "check `pack` and `compress`, and what the server takes",
        _ => "redirects are not followed: write the address that it names in `url`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_verdict_and_an_unknown_one_is_found_out_by_trials() {
        let of_the_request = [301, 302, 303, 307, 308, 401, 403, 404, 405, 410, 415];
        let passing = [
            408, 425, 429, 502, 503, 504, 507, 509, 511, 521, 522, 523, 524, 525, 526, 527, 528,
            529, 530, 598, 599,
        ];
        for (status, is_by_message) in
            (100..=999).flat_map(|status| [(status, false), (status, true)])
        {
            let expected = match status {
                200..=299 => Verdict::Accepted,
                400 | 422 => Verdict::Refused,
                413 => Verdict::TooLarge,
                _ if passing.contains(&status) => Verdict::Passing,
                300..=399 if !is_by_message => Verdict::Held,
                _ if of_the_request.contains(&status) && !is_by_message => Verdict::Held,
                _ => Verdict::Failed,
            };
            assert_eq!(Verdict::of(status, is_by_message), expected, "{status}");
        }
        for status in [
            101, 402, 406, 409, 411, 412, 414, 416, 417, 418, 421, 423, 426, 428, 431, 451, 501,
            505, 999,
        ] {
            assert_eq!(Verdict::of(status, false), Verdict::Failed, "{status}");
        }
    }
}
