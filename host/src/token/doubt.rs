//! Why a token that was refused may have been: what it says of its own time, by the clock of this gateway.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::Value;

use crate::clock::{self, Now};

/// What of the times of a token, made, fetched or found in a file, may be why it was refused; `None` where it is no JWT.
pub fn doubt(token: &str, now: Now) -> Option<String> {
    let mut parts = token.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims: Value = serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?;
    let claims = claims.as_object().filter(|_| parts.next().is_none())?;
    let at = |name: &str| claims.get(name).and_then(Value::as_f64);
    let second = now.wall.0 as f64 / 1e6;
    if !now.is_set() {
        return Some("the clock of this gateway is not set, so that nobody here knows whether the token counts".to_owned());
    }
    if let Some(end) = at("exp").filter(|end| *end <= second) {
        return Some(format!(
            "by the clock of this gateway, {}, the token has expired, {} ago",
            shown(now),
            ago(second - end)
        ));
    }
    let begins = [at("nbf"), at("iat")].into_iter().flatten();
    let begin = begins.fold(f64::MIN, f64::max);
    if begin > second {
        return Some(format!(
            "by the clock of this gateway, {}, the token counts only in {}: one of the two clocks is wrong",
            shown(now),
            ago(begin - second)
        ));
    }
    Some(format!(
        "by the clock of this gateway, {}, the token counts: compare the clock over there, the key it knows, and what it wants to read in the token",
        shown(now)
    ))
}

fn shown(now: Now) -> String {
    clock::utc(now.wall.0)
}

/// Seconds as people say them.
fn ago(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        seconds if seconds < 172_800.0 => format!("{:.0} h", seconds / 3_600.0),
        seconds => format!("{:.0} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::clock::{Uptime, WallTime};

    const SECOND: u64 = 1_800_000_000;

    fn said(claims: &Value, second: u64) -> String {
        let token = format!("e30.{}.c2ln", BASE64.encode(claims.to_string()));
        let now = Now {
            wall: WallTime(second * 1_000_000),
            uptime: Uptime(0),
        };
        doubt(&token, now).unwrap()
    }

    #[test]
    fn what_a_token_says_of_its_time_is_told_by_this_clock() {
        let claims = json!({ "iat": SECOND, "exp": SECOND + 3_600 });
        let late = said(&claims, SECOND + 3_700);
        assert!(
            late.contains("has expired, 100 s ago") && late.contains("2027-01-15T"),
            "{late}"
        );
        let early = said(&claims, SECOND - 600);
        assert!(early.contains("counts only in 10 min"), "{early}");
        let early = said(
            &json!({ "nbf": SECOND + 7_200, "exp": SECOND + 9_000 }),
            SECOND,
        );
        assert!(early.contains("counts only in 2 h"), "{early}");
        assert!(said(&claims, SECOND + 60).contains("the token counts: compare"));
        assert!(said(&claims, 5).contains("clock of this gateway is not set"));
    }

    #[test]
    fn what_is_no_token_is_not_spoken_of() {
        let now = Now::read();
        for text in [
            "hunter2",
            "a.b.c",
            "e30.e30",
            "e30.e30.e30.e30",
            "e30.W10.c2ln",
            "",
        ] {
            assert_eq!(doubt(text, now), None, "{text}");
        }
    }
}
