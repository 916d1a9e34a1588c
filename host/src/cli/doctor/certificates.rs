//! Certificates: how long they are good, and whether the chain is in the file.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::finding::{Finding, FindingLevel};
use crate::clock;

const SUBJECT: &str = "certificates";
/// Days before the end at which it is told.
const SOON: u64 = 30;
const DAY_US: u64 = 86_400_000_000;

/// A file of certificates, and what it is for.
#[derive(Clone, Debug)]
pub(super) struct CertificateFile {
    /// The table that names it, as `uplink.cloud`.
    pub(super) of: String,
    pub(super) path: String,
    pub(super) kind: CertificateUse,
    pub(super) content: Result<Vec<u8>, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CertificateUse {
    /// Certificates of those whom we trust.
    Ca,
    /// Who we are, to a broker or server.
    Client,
    /// Who we are, to those who connect.
    Server,
}

/// What a certificate says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CertificateAbout<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
    /// Since when it is good, microseconds since 1970.
    from_us: u64,
    to_us: u64,
}

pub(super) fn look(files: &[CertificateFile], now_us: u64) -> Vec<Finding> {
    files.iter().flat_map(|file| one(file, now_us)).collect()
}

fn one(file: &CertificateFile, now_us: u64) -> Vec<Finding> {
    let (of, path) = (&file.of, &file.path);
    let content = match &file.content {
        Ok(content) => content,
        Err(error) => {
            let what = format!("{of}: {path} cannot be read: {error}");
            let why = "whoever runs the gateway has to read it";
            return vec![Finding::of(
                FindingLevel::Unknown,
                SUBJECT,
                what,
                why,
                format!("ls -l {path}"),
            )];
        }
    };
    let all: Vec<CertificateDer<'_>> = CertificateDer::pem_slice_iter(content)
        .filter_map(Result::ok)
        .collect();
    let abouts: Option<Vec<CertificateAbout<'_>>> = all.iter().map(|der| about(der)).collect();
    let Some(abouts) = abouts.filter(|abouts| !abouts.is_empty()) else {
        let what = format!("{of}: {path} holds a certificate that cannot be read");
        return vec![Finding::of(
            FindingLevel::Failed,
            SUBJECT,
            what,
            "the handshake will fail",
            format!("openssl x509 -noout -text -in {path}"),
        )];
    };
    let mut found: Vec<Finding> = validity(file, &abouts, now_us).into_iter().collect();
    let leaf = abouts[0];
    if file.kind != CertificateUse::Ca && abouts.len() == 1 && leaf.issuer != leaf.subject {
        let what = format!("{of}: {path} has no certificate of who issued it");
        let why = "where an intermediate CA stands between, the other side cannot follow it to a root that it knows";
        if file.kind == CertificateUse::Server {
            let mend = format!("cat intermediate.pem >> {path}, unless a root has issued it");
            found.push(Finding::of(FindingLevel::Warning, SUBJECT, what, why, mend));
        }
    }
    if found.is_empty() {
        let end = abouts
            .iter()
            .map(|about| about.to_us)
            .min()
            .unwrap_or_default();
        found.push(Finding::ok(
            SUBJECT,
            format!("{of}: {path} is good until {}", day(end)),
        ));
    }
    found
}

/// The worst of them; of several CAs one that is over harms nobody who is issued by another.
fn validity(
    file: &CertificateFile,
    abouts: &[CertificateAbout<'_>],
    now_us: u64,
) -> Option<Finding> {
    let (of, path) = (&file.of, &file.path);
    let why = "each handshake fails from then on: nothing is taken or sent, and all is kept while there is room";
    let mend = format!("renew it: openssl x509 -noout -enddate -issuer -in {path}");
    let is_over = |about: &&CertificateAbout<'_>| about.to_us <= now_us;
    let over = abouts.iter().filter(is_over).count();
    if over > 0 {
        let all = over == abouts.len() || file.kind != CertificateUse::Ca;
        let level = if all {
            FindingLevel::Failed
        } else {
            FindingLevel::Warning
        };
        let end = abouts.iter().find(is_over).map_or(0, |about| about.to_us);
        return Some(Finding::of(
            level,
            SUBJECT,
            format!("{of}: {path} is over since {}", day(end)),
            why,
            mend,
        ));
    }
    if let Some(early) = abouts.iter().find(|about| about.from_us > now_us) {
        let what = format!("{of}: {path} is not good before {}", day(early.from_us));
        let mend = "look at the clock of this machine first: date -u";
        return Some(Finding::of(FindingLevel::Failed, SUBJECT, what, why, mend));
    }
    let end = abouts.iter().map(|about| about.to_us).min()?;
    (end < now_us.saturating_add(SOON * DAY_US)).then(|| {
        let days = (end - now_us) / DAY_US;
        let what = format!("{of}: {path} ends on {}, in {days} days", day(end));
        Finding::of(FindingLevel::Warning, SUBJECT, what, why, mend)
    })
}

fn day(us: u64) -> String {
    clock::utc(us).get(..10).unwrap_or_default().to_owned()
}

/// Reads names and dates of an X.509 certificate (RFC 5280, 4.1); whether it is signed rightly the handshake says.
fn about(der: &[u8]) -> Option<CertificateAbout<'_>> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const VERSION: u8 = 0xa0;
    let (certificate, _) = element(der, SEQUENCE)?;
    let (body, _) = element(certificate, SEQUENCE)?;
    let body = element(body, VERSION).map_or(body, |(_, rest)| rest);
    let (_, body) = element(body, INTEGER)?;
    let (_, body) = element(body, SEQUENCE)?;
    let (issuer, body) = element(body, SEQUENCE)?;
    let (validity, body) = element(body, SEQUENCE)?;
    let (subject, _) = element(body, SEQUENCE)?;
    let (from_us, rest) = time(validity)?;
    let (to_us, _) = time(rest)?;
    Some(CertificateAbout {
        issuer,
        subject,
        from_us,
        to_us,
    })
}

/// The content of the element that `bytes` begins with, if it has that tag, and what is behind it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first != tag {
        return None;
    }
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x80 => return None,
        long @ 0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(long - 0x80))?;
            let length = digits
                .iter()
                .fold(0_usize, |length, digit| length << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`, and what is behind it.
fn time(bytes: &[u8]) -> Option<(u64, &[u8])> {
    const UTC: u8 = 0x17;
    const GENERALISED: u8 = 0x18;
    let (text, rest, is_short) = match element(bytes, UTC) {
        Some((text, rest)) => (text, rest, true),
        None => {
            let (text, rest) = element(bytes, GENERALISED)?;
            (text, rest, false)
        }
    };
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let text = match (is_short, text.get(..2)) {
        (true, Some(year)) if year < "50" => format!("20{text}"),
        (true, _) => format!("19{text}"),
        (false, _) => text.to_owned(),
    };
    let digits = |from: usize| text.get(from..from + 2);
    let moment = format!(
        "{}-{}-{}T{}:{}:{}Z",
        text.get(..4)?,
        digits(4)?,
        digits(6)?,
        digits(8)?,
        digits(10)?,
        digits(12)?
    );
    // One that ends beyond what the calendar knows does not end.
    Some((clock::moment(&moment).unwrap_or(u64::MAX), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-29T12:00:00Z";

    fn pem(from: (i32, u8, u8), to: (i32, u8, u8), kind: CertificateUse) -> CertificateFile {
        let mut parameters =
            rcgen::CertificateParams::new(vec!["gateway.example".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        parameters.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
        let key = rcgen::KeyPair::generate().unwrap();
        CertificateFile {
            of: "uplink.cloud".to_owned(),
            path: "gateway.pem".to_owned(),
            kind,
            content: Ok(parameters.self_signed(&key).unwrap().pem().into_bytes()),
        }
    }

    fn levels(pem: &CertificateFile) -> Vec<FindingLevel> {
        let found = look(std::slice::from_ref(pem), clock::moment(NOW).unwrap());
        found.iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn a_certificate_is_told_before_it_ends_and_when_it_has() {
        for (from, to, level) in [
            ((2020, 1, 1), (2030, 1, 1), FindingLevel::Ok),
            ((2020, 1, 1), (2060, 1, 1), FindingLevel::Ok),
            ((2020, 1, 1), (2026, 12, 20), FindingLevel::Warning),
            ((2020, 1, 1), (2026, 11, 29), FindingLevel::Failed),
            ((1999, 1, 1), (2000, 1, 1), FindingLevel::Failed),
            ((2027, 1, 1), (2030, 1, 1), FindingLevel::Failed),
        ] {
            assert_eq!(
                levels(&pem(from, to, CertificateUse::Client)),
                [level],
                "{from:?} {to:?}"
            );
        }
    }

    #[test]
    fn one_ca_of_several_that_is_over_is_no_failure() {
        let (old, new) = (
            pem((1999, 1, 1), (2000, 1, 1), CertificateUse::Ca),
            pem((2020, 1, 1), (2040, 1, 1), CertificateUse::Ca),
        );
        let both = [old.content.clone().unwrap(), new.content.clone().unwrap()].concat();
        assert_eq!(
            levels(&CertificateFile {
                content: Ok(both.clone()),
                ..new.clone()
            }),
            [FindingLevel::Warning]
        );
        assert_eq!(
            levels(&CertificateFile {
                content: Ok(both),
                kind: CertificateUse::Client,
                ..new
            }),
            [FindingLevel::Failed]
        );
        assert_eq!(levels(&old), [FindingLevel::Failed]);
    }

    #[test]
    fn a_server_that_shows_no_issuer_is_told() {
        let root_key = rcgen::KeyPair::generate().unwrap();
        let root = rcgen::CertificateParams::new(vec!["root.example".to_owned()]).unwrap();
        let issuer = rcgen::Issuer::new(root, root_key);
        let mut leaf = rcgen::CertificateParams::new(vec!["gateway.example".to_owned()]).unwrap();
        leaf.distinguished_name
            .push(rcgen::DnType::CommonName, "gateway");
        leaf.not_after = rcgen::date_time_ymd(2040, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let content = leaf.signed_by(&key, &issuer).unwrap().pem().into_bytes();
        let of = pem((2020, 1, 1), (2040, 1, 1), CertificateUse::Server);
        assert_eq!(
            levels(&CertificateFile {
                content: Ok(content),
                ..of.clone()
            }),
            [FindingLevel::Warning]
        );
        assert_eq!(levels(&of), [FindingLevel::Ok]);
    }

    #[test]
    fn what_is_no_certificate_is_told_and_ends_nothing() {
        let of = pem((2020, 1, 1), (2040, 1, 1), CertificateUse::Client);
        let broken = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        for content in ["", "nonsense", broken] {
            let of = CertificateFile {
                content: Ok(content.as_bytes().to_vec()),
                ..of.clone()
            };
            assert_eq!(levels(&of), [FindingLevel::Failed], "{content}");
        }
        assert_eq!(
            levels(&CertificateFile {
                content: Err("no right".to_owned()),
                ..of
            }),
            [FindingLevel::Unknown]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_end_the_look(bytes: Vec<u8>, at in 0_usize..600, with: u8) {
            let _ = about(&bytes);
            let of = pem((2020, 1, 1), (2040, 1, 1), CertificateUse::Client);
            let mut der = CertificateDer::from_pem_slice(&of.content.unwrap()).unwrap().to_vec();
            let place = at % der.len();
            der[place] = with;
            let _ = about(&der);
            let _ = about(&der[..place]);
        }
    }
}
