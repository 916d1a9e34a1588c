//! Signatures made here and judged here; that minisign agrees is an end-to-end case.

use std::fs;

use super::keys::{Password, generate, manifest, sign};
use super::*;
use crate::clock::{Uptime, WallTime};

const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0 and so on";
const NOW: Now = Now {
    wall: WallTime(1_795_219_200_000_000),
    uptime: Uptime(0),
};

struct Signed {
    folder: tempfile::TempDir,
    trust: Trust,
    signature: String,
}

fn claim(name: &str) -> ManifestTerms<'_> {
    ManifestTerms {
        name,
        highest: None,
        now: NOW,
    }
}

fn signed(version: &str, expires: Option<&str>) -> Signed {
    let folder = tempfile::tempdir().unwrap();
    let pair = generate(&folder.path().join("ops"), &Password::None).unwrap();
    let component = folder.path().join("rule.wasm");
    fs::write(&component, COMPONENT).unwrap();
    let expires = expires.map(|day| crate::clock::day(day).unwrap());
    let about = manifest("rule".to_owned(), Version::parse(version).unwrap(), expires);
    let signature = sign(&component, &pair.secret, &Password::None, about).unwrap();
    assert_eq!(signature, signature_path(&component));
    let key = VerifyingKey::parse(&fs::read_to_string(&pair.public).unwrap()).unwrap();
    assert_eq!(
        (VerifyingKey::parse(&pair.line).unwrap(), key.id()),
        (key.clone(), pair.id)
    );
    let signature = fs::read_to_string(signature).unwrap();
    Signed {
        folder,
        trust: Trust {
            keys: [key].into(),
            missing: Arc::default(),
            required: true,
        },
        signature,
    }
}

impl Signed {
    fn verify(&self, claim: ManifestTerms<'_>) -> Result<Option<Seal>, Denied> {
        self.trust.verify(COMPONENT, Some(&self.signature), claim)
    }
}

#[test]
fn a_good_signature_says_who_and_what() {
    let signed = signed("1.2.0", Some("2027-06-30"));
    let seal = signed.verify(claim("rule")).unwrap().unwrap();
    assert_eq!(seal.key, signed.trust.keys[0].id());
    assert_eq!(
        (
            seal.manifest.name.as_str(),
            seal.manifest.version.to_string()
        ),
        ("rule", "1.2.0".to_owned())
    );
    assert_eq!(seal.manifest.expires_us, crate::clock::day("2027-06-30"));
    assert!(seal.manifest.sha256.is_some());
}

#[test]
fn no_signature_is_enough_only_where_none_is_required() {
    let signed = signed("1.0.0", None);
    assert_eq!(
        signed.trust.verify(COMPONENT, None, claim("rule")),
        Err(Denied::Unsigned)
    );
    let lax = Trust {
        required: false,
        ..signed.trust.clone()
    };
    assert_eq!(lax.verify(COMPONENT, None, claim("rule")), Ok(None));
    assert!(matches!(
        lax.verify(b"\0asm other", Some(&signed.signature), claim("rule")),
        Err(Denied::Altered { .. })
    ));
    assert_eq!(
        Trust::default().verify(COMPONENT, Some("nobody can read this"), claim("rule")),
        Ok(None)
    );
}

#[test]
fn while_a_key_cannot_be_read_nothing_that_is_signed_is_let_in() {
    let signed = signed("1.0.0", None);
    for required in [true, false] {
        let trust = Trust {
            keys: [].into(),
            missing: ["ops.pub".into()].into(),
            required,
        };
        let told = trust.verify(COMPONENT, Some(&signed.signature), claim("rule"));
        assert!(matches!(told, Err(Denied::KeyAway { .. })), "{told:?}");
    }
}

#[test]
fn whatever_is_changed_is_noticed() {
    let signed = signed("1.0.0", None);
    let mut component = COMPONENT.to_vec();
    component[9] ^= 1;
    let altered = signed
        .trust
        .verify(&component, Some(&signed.signature), claim("rule"));
    assert!(
        matches!(altered, Err(Denied::Altered { .. })),
        "{altered:?}"
    );
    let newer = signed.signature.replace("version=1.0.0", "version=9.0.0");
    let altered = signed.trust.verify(COMPONENT, Some(&newer), claim("rule"));
    assert!(
        matches!(altered, Err(Denied::Altered { .. })),
        "{altered:?}"
    );
    for end in 0..signed.signature.len() - 1 {
        let cut = signed
            .trust
            .verify(COMPONENT, Some(&signed.signature[..end]), claim("rule"));
        assert!(cut.is_err(), "cut after {end} bytes: {cut:?}");
    }
}

#[test]
fn only_the_keys_of_the_config_count() {
    let (ours, theirs) = (signed("1.0.0", None), signed("1.0.0", None));
    let denied = ours
        .trust
        .verify(COMPONENT, Some(&theirs.signature), claim("rule"))
        .unwrap_err();
    let text = denied.to_string();
    assert!(
        text.contains(&theirs.trust.keys[0].id()) && text.contains(&ours.trust.keys[0].id()),
        "{text}"
    );
}

#[test]
fn one_plugin_does_not_stand_in_for_another() {
    let denied = signed("1.0.0", None).verify(claim("alarm")).unwrap_err();
    assert_eq!(
        denied,
        Denied::OtherName {
            signed: "rule".to_owned(),
            expected: "alarm".to_owned()
        }
    );
}

#[test]
fn an_expiry_counts_once_the_clock_is_set() {
    let signed = signed("1.0.0", Some("2026-11-20"));
    assert!(matches!(
        signed.verify(claim("rule")),
        Err(Denied::Expired { .. })
    ));
    let unset = ManifestTerms {
        now: Now {
            wall: WallTime(5_000_000),
            uptime: Uptime(0),
        },
        ..claim("rule")
    };
    assert!(signed.verify(unset).is_ok());
}

#[test]
fn an_older_version_comes_back_only_when_asked() {
    let signed = signed("1.9.0", None);
    let highest = Version::parse("1.10.0").unwrap();
    let down = ManifestTerms {
        highest: Some(&highest),
        ..claim("rule")
    };
    assert!(matches!(signed.verify(down), Err(Denied::Downgrade { .. })));
    assert!(
        signed
            .verify(ManifestTerms {
                highest: None,
                ..down
            })
            .is_ok()
    );
    let same = Version::parse("1.9.0").unwrap();
    assert!(
        signed
            .verify(ManifestTerms {
                highest: Some(&same),
                ..claim("rule")
            })
            .is_ok()
    );
}

#[test]
fn a_signature_without_a_manifest_names_what_is_missing() {
    let signed = signed("1.0.0", None);
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let trust = Trust {
        keys: [VerifyingKey(pair.pk)].into(),
        missing: Arc::default(),
        required: true,
    };
    for (comment, field) in [
        ("timestamp:1\tfile:rule.wasm\thashed", Field::Version),
        ("version=1.0.0", Field::Name),
        ("name=rule version=1", Field::Version),
        ("name=rule version=1.0.0 expires=soon", Field::Expires),
        ("name=rule version=1.0.0 sha256=00", Field::Sha256),
    ] {
        let signature =
            minisign::sign(None, &pair.sk, Cursor::new(COMPONENT), Some(comment), None).unwrap();
        let denied = trust
            .verify(COMPONENT, Some(&signature.into_string()), claim("rule"))
            .unwrap_err();
        assert!(
            matches!(&denied, Denied::NoManifest { field: found, .. } if *found == field),
            "{comment}: {denied}"
        );
    }
    drop(signed.folder);
}

#[test]
fn a_secret_key_is_kept_from_others_and_never_written_over() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let word = folder.path().join("word");
    fs::write(&word, "swordfish\n").unwrap();
    let pair = generate(&folder.path().join("ops"), &Password::File(word.clone())).unwrap();
    assert_eq!(
        fs::metadata(&pair.secret).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(matches!(
        generate(&folder.path().join("ops"), &Password::None),
        Err(KeyError::Exists(_))
    ));
    let component = folder.path().join("rule.wasm");
    fs::write(&component, COMPONENT).unwrap();
    let about = || manifest("rule".to_owned(), Version::new(1, 0, 0), None);
    let locked = sign(&component, &pair.secret, &Password::None, about());
    assert!(matches!(locked, Err(KeyError::Locked(_))), "{locked:?}");
    sign(&component, &pair.secret, &Password::File(word), about()).unwrap();
}
