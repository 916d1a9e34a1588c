//! Signed requests: where a bucket is, who asks, and by which clock. The signature stands in the URL and counts for some minutes; what
//! is sent is not part of it, so that over a link without TLS somebody on the way could change it.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use hyper::header::{HOST, HeaderValue};
use hyper::{HeaderMap, Method, Request, Uri};
use jiff::Timestamp;
use rusty_s3::actions::{GetObject, HeadObject, PutObject};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

use super::super::web::Whole;
use super::Error;
use crate::clock::{Now, Uptime, WallTime};
use crate::link::Secret;

/// How long a signature counts, from when it was made: what is sent afterwards needs no more of it.
const COUNTS: Duration = Duration::from_secs(300);

/// Clocks that differ by less are one.
const TOLERANCE: Duration = Duration::from_secs(30);

/// Where a bucket is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketPlace {
    /// An `http://` or `https://` URL of a host.
    pub endpoint: String,
    pub name: String,
    pub region: String,
    /// Its name stands in the path, else before the host's.
    pub is_path_style: bool,
}

impl BucketPlace {
    /// Why no URL comes of it, in words.
    pub fn problem(&self) -> Option<String> {
        self.bucket().err()
    }

    fn bucket(&self) -> Result<Bucket, String> {
        let style = if self.is_path_style {
            UrlStyle::Path
        } else {
            UrlStyle::VirtualHost
        };
        Bucket::new(
            parsed(&self.endpoint)?,
            style,
            self.name.clone(),
            self.region.clone(),
        )
        .map_err(|problem| format!("gives no URL: {problem}"))
    }
}

/// Of any kind: the library that signs has one of its own.
fn parsed<T: FromStr<Err: Display>>(url: &str) -> Result<T, String> {
    url.parse()
        .map_err(|problem| format!("gives no URL: {problem}"))
}

/// What every request is signed for and with, as it is at a dial.
pub(super) struct SignedBucket {
    bucket: Bucket,
    credentials: Credentials,
}

impl SignedBucket {
    /// For who has this access key and this secret one.
    pub(super) async fn of_today(
        place: &BucketPlace,
        [access, secret]: [&Secret; 2],
    ) -> Result<Self, Error> {
        let (access, secret) = (access.todays().await?, secret.todays().await?);
        Ok(Self {
            bucket: place.bucket().map_err(Error::Nowhere)?,
            credentials: Credentials::new(access.reveal(), secret.reveal()),
        })
    }

    /// What is not to be shown.
    pub(super) fn secrets(&self) -> [&str; 2] {
        [self.credentials.key(), self.credentials.secret()]
    }

    /// A request that puts an object there, at this time; `headers` go with it unsigned.
    pub(super) fn put(
        &self,
        name: &str,
        at: WallTime,
        headers: HeaderMap,
        body: Whole,
    ) -> Request<Whole> {
        let action = PutObject::new(&self.bucket, Some(&self.credentials), name);
        let url = action.sign_with_time(COUNTS, &moment(at));
        let host = authority(url.host_str(), url.port());
        request(Method::PUT, (url.path(), url.query(), &host), headers, body)
    }

    /// A request for what is known of an object, without what stands in it.
    pub(super) fn head(&self, name: &str, at: WallTime) -> Request<Whole> {
        let action = HeadObject::new(&self.bucket, Some(&self.credentials), name);
        let url = action.sign_with_time(COUNTS, &moment(at));
        let host = authority(url.host_str(), url.port());
        let body = Whole::new(bytes::Bytes::new());
        let place = (url.path(), url.query(), &*host);
        request(Method::HEAD, place, HeaderMap::new(), body)
    }

    /// A request for the names of none of its objects.
    pub(super) fn look(&self, at: WallTime) -> Request<Whole> {
        // The bucket itself.
        let mut action = GetObject::new(&self.bucket, Some(&self.credentials), "");
        action.query_mut().insert("list-type", "2");
        action.query_mut().insert("max-keys", "0");
        let url = action.sign_with_time(COUNTS, &moment(at));
        let host = authority(url.host_str(), url.port());
        let body = Whole::new(bytes::Bytes::new());
        let place = (url.path(), url.query(), &*host);
        request(Method::GET, place, HeaderMap::new(), body)
    }
}

fn moment(at: WallTime) -> Timestamp {
    let micros = i64::try_from(at.0).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

fn request(
    method: Method,
    (path, query, host): (&str, Option<&str>, &str),
    headers: HeaderMap,
    body: Whole,
) -> Request<Whole> {
    let target = format!("{path}?{}", query.unwrap_or_default());
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().unwrap_or_else(|_| Uri::from_static("/"));
    *request.headers_mut() = headers;
    if let Ok(host) = HeaderValue::from_str(host) {
        request.headers_mut().insert(HOST, host);
    }
    request
}

/// As it was signed.
fn authority(host: Option<&str>, port: Option<u16>) -> String {
    let host = host.unwrap_or_default();
    port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The time by which the server looks at a signature: ours, until it is seen to have another one. A machine without a battery clock
/// wakes up in 1970.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    /// What it said, and when that was.
    heard: Option<(WallTime, Uptime)>,
}

impl ServerClock {
    /// The time to sign with.
    pub(super) fn now(&self, now: Now) -> WallTime {
        match self.heard {
            Some((said, at)) => said.plus_us(now.uptime.us_since(at)),
            None => now.wall,
        }
    }

    /// It says in the header `Date` how late it is; by how much the time differs that was signed with, where it does.
    pub(super) fn hear(&mut self, headers: &HeaderMap, now: Now) -> Option<Duration> {
        let date = headers.get(hyper::header::DATE)?.to_str().ok()?;
        let date = httpdate::parse_http_date(date).ok()?;
        let date = date.duration_since(std::time::UNIX_EPOCH).ok()?;
        let said = WallTime(u64::try_from(date.as_micros()).ok()?);
        let signed = self.now(now);
        let differs = said.since(signed).max(signed.since(said));
        if differs < TOLERANCE {
            return None;
        }
        self.heard = Some((said, now.uptime));
        Some(differs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is 2026-11-28T17:00:00Z then.
    const THEN: WallTime = WallTime(1_795_885_200_000_000);

    fn put(endpoint: &str, is_path_style: bool, name: &str) -> (String, String) {
        let place = BucketPlace {
            endpoint: endpoint.to_owned(),
            name: "barn".to_owned(),
            region: "eu-1".to_owned(),
            is_path_style,
        };
        let signed = SignedBucket {
            bucket: place.bucket().unwrap(),
            credentials: Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG"),
        };
        let body = Whole::new(bytes::Bytes::from_static(b"x"));
        let request = signed.put(name, THEN, HeaderMap::new(), body);
        let host = request.headers()[HOST].to_str().unwrap().to_owned();
        (host, request.uri().to_string())
    }

    #[test]
    fn a_request_says_where_the_bucket_is_and_when_it_was_signed_and_not_with_what() {
        let (host, target) = put("http://127.0.0.1:9000", true, "a/dt=2026-11-28/x.ndjson");
        assert_eq!(host, "127.0.0.1:9000");
        assert!(
            target.starts_with("/barn/a/dt%3D2026-11-28/x.ndjson?"),
            "{target}"
        );
        assert!(target.contains("X-Amz-Date=20261128T170000Z"), "{target}");
        assert!(
            target.contains("%2F20261128%2Feu-1%2Fs3%2Faws4_request"),
            "{target}"
        );
        assert!(!target.contains("wJalr"), "{target}");
        let (host, target) = put("https://s3.eu-1.amazonaws.com", false, "x.ndjson");
        assert_eq!(host, "barn.s3.eu-1.amazonaws.com");
        assert!(target.starts_with("/x.ndjson?"), "{target}");
    }

    #[test]
    fn the_clock_that_signs_is_the_servers_once_it_was_heard() {
        let said = |clock: &mut ServerClock, date: &str, now| {
            let mut headers = HeaderMap::new();
            headers.insert(hyper::header::DATE, date.parse().unwrap());
            clock.hear(&headers, now)
        };
        let woken = |seconds: u64| Now {
            wall: WallTime(seconds * 1_000_000),
            uptime: Uptime(seconds * 1_000_000),
        };
        let mut clock = ServerClock::default();
        assert_eq!(clock.now(woken(9)), woken(9).wall);
        let differs = said(&mut clock, "Sat, 28 Nov 2026 17:00:00 GMT", woken(10)).unwrap();
        assert_eq!(differs.as_secs(), 1_795_885_200 - 10);
        assert_eq!(clock.now(woken(15)), THEN.plus_us(5_000_000));
        // Ours is set meanwhile: that changes nothing, and a second or two is no difference.
        let set = Now {
            wall: THEN,
            ..woken(15)
        };
        assert_eq!(clock.now(set), THEN.plus_us(5_000_000));
        assert_eq!(said(&mut clock, "Sat, 28 Nov 2026 17:00:07 GMT", set), None);
        assert_eq!(said(&mut clock, "soon", set), None);
    }
}
