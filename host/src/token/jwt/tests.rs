use std::process::{Command, Stdio};

use ring::signature::{KeyPair, UnparsedPublicKey};

use super::*;
use crate::clock::{Uptime, WallTime};
use crate::link::ConnectionLoss;

const SECOND: u64 = 1_800_000_000;

const NOW: Now = Now {
    wall: WallTime(SECOND * 1_000_000),
    uptime: Uptime(0),
};

fn recipe(algorithm: SigningAlgorithm, key: &str) -> JwtRecipe {
    let claims = json!({ "aud": "farm", "jti": "a-{random}" });
    let claims = claims.as_object().unwrap().clone();
    let lives = Duration::from_secs(3_600);
    JwtRecipe::new(
        Secret::new(key),
        algorithm,
        Some("k1".to_owned()),
        claims,
        lives,
    )
}

fn make(recipe: &JwtRecipe, now: Now) -> Result<String, String> {
    recipe
        .make_now(recipe.key.reveal(), now)
        .map_err(|error| error.to_string())
}

/// Head and claims, what was signed, and the signature.
fn parts(token: &str) -> (Value, Value, String, Vec<u8>) {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (head, claims) = signed.split_once('.').unwrap();
    let json = |part: &str| serde_json::from_slice(&BASE64.decode(part).unwrap()).unwrap();
    let signature = BASE64.decode(signature).unwrap();
    (json(head), json(claims), signed.to_owned(), signature)
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
}

#[test]
fn a_token_says_what_it_is_to_say_and_for_how_long_and_is_signed_by_its_key() {
    let recipe = recipe(SigningAlgorithm::Hs256, "a text of both");
    let token = make(&recipe, NOW).unwrap();
    let (head, mut claims, signed, made) = parts(&token);
    assert_eq!(head, json!({ "alg": "HS256", "typ": "JWT", "kid": "k1" }));
    let random = claims["jti"].take();
    let letters = random.as_str().unwrap().strip_prefix("a-").unwrap();
    assert!(letters.len() == 16 && letters.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let expected = json!({ "aud": "farm", "jti": null, "iat": SECOND, "exp": SECOND + 3_600 });
    assert_eq!(claims, expected);
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"a text of both");
    hmac::verify(&key, signed.as_bytes(), &made).unwrap();
    assert_ne!(make(&recipe, NOW).unwrap(), token, "not random");
}

#[tokio::test]
async fn while_its_key_file_is_half_written_the_last_token_is_used_and_it_is_tried_again_soon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let random = SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &random);
    let key = pem("PRIVATE KEY", der.unwrap().as_ref());
    let recipe = JwtRecipe {
        key: Secret::in_file(&path),
        ..recipe(SigningAlgorithm::Es256, "")
    };
    let half = &key[..key.len() / 2];
    std::fs::write(&path, half).unwrap();
    let error = recipe.token().await.unwrap_err();
    assert_eq!(error.kind(), FailureKind::Unread, "{error}");
    std::fs::write(&path, &key).unwrap();
    let first = recipe.token().await.unwrap();
    for replaced in [Some(half), Some(""), None] {
        match replaced {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let given = recipe.token().await.unwrap();
        assert_eq!(given.text, first.text);
        let left = given.life.renews_at - Instant::now();
        assert!(left <= Duration::from_secs(20), "{left:?}");
        assert_eq!(given.life.ends_at, first.life.ends_at);
    }
    // It was not taken: it is not given out again.
    recipe.refused();
    assert!(recipe.token().await.is_err());
    std::fs::write(&path, &key).unwrap();
    assert_ne!(recipe.token().await.unwrap().text, first.text);
}

#[test]
fn curves_sign_what_others_can_verify() {
    let random = SystemRandom::new();
    let form = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
    let der = EcdsaKeyPair::generate_pkcs8(form, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(form, der.as_ref(), &random).unwrap();
    let text = pem("PRIVATE KEY", der.as_ref());
    let recipe_of = |algorithm| recipe(algorithm, &text);
    let token = make(&recipe_of(SigningAlgorithm::Es256), NOW).unwrap();
    let (_, _, signed, made) = parts(&token);
    let public = pair.public_key().as_ref();
    let key = UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, public);
    key.verify(signed.as_bytes(), &made).unwrap();
    let error = make(&recipe_of(SigningAlgorithm::Rs256), NOW).unwrap_err();
    assert!(error.contains("none for RS256"), "{error}");

    let der = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
    let text = pem("PRIVATE KEY", der.as_ref());
    let token = make(&recipe(SigningAlgorithm::EdDsa, &text), NOW).unwrap();
    let (_, _, signed, made) = parts(&token);
    let key = UnparsedPublicKey::new(&signature::ED25519, pair.public_key().as_ref());
    key.verify(signed.as_bytes(), &made).unwrap();
}

/// What OpenSSL says of a signature, with keys that OpenSSL has made; `None` where there is no OpenSSL.
fn openssl(arguments: &[&str], folder: &std::path::Path) -> Option<(bool, Vec<u8>)> {
    let done = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    Some((done.status.success(), done.stdout))
}

/// An independent library checks what is signed with its own keys, and a byte of the text that is another one spoils it.
#[test]
fn openssl_takes_what_is_signed_with_keys_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let kinds: [(SigningAlgorithm, &[&str]); 2] = [
        (SigningAlgorithm::Rs256, &["genrsa", "-out", "key", "2048"]),
        (
            SigningAlgorithm::EdDsa,
            &["genpkey", "-algorithm", "ed25519", "-out", "key"],
        ),
    ];
    for (algorithm, generate) in kinds {
        let Some((true, _)) = openssl(generate, folder.path()) else {
            return;
        };
        let key = std::fs::read_to_string(at("key")).unwrap();
        let token = make(&recipe(algorithm, &key), NOW).unwrap();
        let (_, _, signed, made) = parts(&token);
        openssl(
            &["pkey", "-in", "key", "-pubout", "-out", "public"],
            folder.path(),
        )
        .unwrap();
        std::fs::write(at("signature"), made).unwrap();
        let verify = |text: &str| {
            std::fs::write(at("text"), text).unwrap();
            let mut arguments = vec![
                "pkeyutl",
                "-verify",
                "-pubin",
                "-inkey",
                "public",
                "-sigfile",
                "signature",
                "-rawin",
                "-in",
                "text",
            ];
            if algorithm == SigningAlgorithm::Rs256 {
                arguments.extend(["-digest", "sha256"]);
            }
            openssl(&arguments, folder.path()).unwrap().0
        };
        assert!(verify(&signed), "{algorithm:?}");
        assert!(!verify(&format!("{signed}x")), "{algorithm:?}");
    }
}

#[test]
fn what_keeps_a_token_from_being_made_is_said_and_what_to_do() {
    let plain = recipe(SigningAlgorithm::Hs256, "text");
    let unset = plain.make_now("text", Now::default()).unwrap_err();
    assert!(
        unset
            .to_string()
            .contains("clock of this gateway is not set")
    );
    let kind = crate::link::ConnectionLoss::kind(&unset);
    assert_eq!(kind, FailureKind::Clock);
    let none = recipe(SigningAlgorithm::Es256, "no key");
    assert!(none.try_key().unwrap_err().contains("PEM form"));
    let sec1 = pem("EC PRIVATE KEY", b"0123");
    let sec1 = recipe(SigningAlgorithm::Es256, &sec1);
    assert!(sec1.try_key().unwrap_err().contains("openssl pkcs8"));
    let text = recipe(SigningAlgorithm::Hs256, &pem("PRIVATE KEY", b"0123"));
    assert!(text.try_key().unwrap_err().contains("`algorithm`"));
    assert_eq!(plain.try_key(), Ok(()));
}

#[tokio::test]
async fn a_key_is_read_anew_for_each_token_and_is_shown_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let recipe = JwtRecipe {
        key: Secret::in_file(&file),
        ..recipe(SigningAlgorithm::Hs256, "")
    };
    let missing = recipe.token().await.unwrap_err().to_string();
    assert!(missing.contains("cannot read the secret"), "{missing}");
    for key in ["first-key", "second-key"] {
        std::fs::write(&file, key).unwrap();
        let token = recipe.token().await.unwrap();
        let (_, _, signed, made) = parts(&token.text);
        let known = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
        hmac::verify(&known, signed.as_bytes(), &made).unwrap();
        assert!(token.life.renews_at < token.life.ends_at);
        assert!(!format!("{recipe:?} {token:?}").contains(key));
    }
}

#[test]
fn recipes_are_the_same_by_what_they_are_made_of() {
    let secret = |recipe: JwtRecipe| Secret::made_by(Arc::new(recipe));
    let one = || recipe(SigningAlgorithm::Hs256, "text");
    assert!(secret(one()) == secret(one()));
    assert!(secret(one()) != secret(recipe(SigningAlgorithm::EdDsa, "text")));
    assert!(secret(one()) != Secret::new("text"));
}
