//! How we say who we are: by name, token or key. No sockets.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Map, Value, json};

use super::wire::ServerInfo;
use super::{Config, Error, NatsLogin};
use crate::link::Secret;

/// The letters of keys (RFC 4648, base 32).
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// What the first five bits of a key say: a seed, and that a user is whom it is for.
const SEED: u8 = 18 << 3;
const USER: u8 = 20 << 3;
/// Bytes of a seed: two say what it is, 32 are the key, two count.
const SEED_BYTES: usize = 36;

/// What begins and ends the parts of a `.creds` file, up to the word.
const JWT: &str = "USER JWT";
const NKEY: &str = "USER NKEY SEED";

/// The body of CONNECT.
pub(super) fn connect(
    config: &Config,
    secret: Option<&Secret>,
    info: &ServerInfo,
) -> Result<String, Error> {
    let mut said = json!({
        "verbose": false,
        "pedantic": false,
        "tls_required": config.tls.is_some(),
        "name": config.name,
        "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"),
        "protocol": 1,
        "echo": false,
        "headers": true,
        "no_responders": true,
    });
    if let Value::Object(said) = &mut said {
        show(&config.login, secret.map(Secret::reveal), info, said)?;
    }
    Ok(said.to_string())
}

fn show(
    login: &NatsLogin,
    secret: Option<&str>,
    info: &ServerInfo,
    said: &mut Map<String, Value>,
) -> Result<(), Error> {
    match (login, secret) {
        (NatsLogin::User { user, .. }, password) => {
            said.insert("user".to_owned(), json!(user));
            said.insert("pass".to_owned(), json!(password.unwrap_or_default()));
        }
        (NatsLogin::Token(_), Some(token)) => {
            said.insert("auth_token".to_owned(), json!(token));
        }
        (NatsLogin::Key(_), Some(text)) => {
            let key = NatsKey::read(text).map_err(Error::Key)?;
            let nonce = info.nonce.as_deref().ok_or_else(|| {
                Error::Key("the server asks for none: it knows no users by their keys".to_owned())
            })?;
            let signature = key.pair.sign(nonce.as_bytes());
            let signature = URL_SAFE_NO_PAD.encode(signature.as_ref());
            said.insert("sig".to_owned(), json!(signature));
            match key.jwt {
                Some(jwt) => said.insert("jwt".to_owned(), json!(jwt)),
                None => said.insert("nkey".to_owned(), json!(public(&key.pair))),
            };
        }
        (NatsLogin::Open | NatsLogin::Token(_) | NatsLogin::Key(_), _) => {}
    }
    Ok(())
}

/// A user's key, and what his account says of him, where that is shown.
struct NatsKey<'a> {
    pair: Ed25519KeyPair,
    jwt: Option<&'a str>,
}

impl<'a> NatsKey<'a> {
    /// Reads a `.creds` file, or a seed alone. What it holds stands in no error.
    fn read(text: &'a str) -> Result<Self, String> {
        let jwt = part(text, JWT);
        let seed = match jwt {
            Some(_) => part(text, NKEY).ok_or_else(|| "it holds no seed".to_owned())?,
            None => text.trim(),
        };
        let bytes = decode(seed).filter(|bytes| bytes.len() == SEED_BYTES);
        let bytes = bytes.ok_or_else(|| {
            "it is neither a .creds file nor a seed, which begins with SU".to_owned()
        })?;
        let (key, count) = bytes.split_at(SEED_BYTES - 2);
        if crc(key).to_le_bytes() != count {
            return Err("its seed is mistyped, or was cut".to_owned());
        }
        // The kind of a seed is in its first five bits, for whom it is in the next ones.
        let holder = (key[0] & 7) << 5 | key[1] >> 3;
        if key[0] & 0xf8 != SEED || holder != USER {
            return Err("its seed is not one of a user, which begins with SU".to_owned());
        }
        let pair = Ed25519KeyPair::from_seed_unchecked(&key[2..]);
        let pair = pair.map_err(|_| "its seed makes no key".to_owned())?;
        Ok(Self { pair, jwt })
    }
}

/// What stands in a `.creds` file below the line that names it.
fn part<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    lines.find(|line| line.starts_with("---") && line.contains("BEGIN") && line.contains(name))?;
    lines.find(|line| !line.is_empty())
}

/// Of a user's key what everybody may know.
fn public(pair: &Ed25519KeyPair) -> String {
    let mut bytes = vec![USER];
    bytes.extend_from_slice(pair.public_key().as_ref());
    let count = crc(&bytes).to_le_bytes();
    bytes.extend_from_slice(&count);
    encode(&bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for letter in text.bytes() {
        let value = LETTERS.iter().position(|known| *known == letter)?;
        held = (held << 5 | u32::try_from(value).ok()?) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    Some(bytes)
}

fn encode(bytes: &[u8]) -> String {
    let (mut text, mut held, mut bits) = (String::new(), 0_u32, 0);
    for byte in bytes {
        held = (held << 8 | u32::from(*byte)) & 0xffff;
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(LETTERS[(held >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(LETTERS[(held << (5 - bits) & 31) as usize]));
    }
    text
}

/// CRC-16 by the polynomial 0x1021, from 0.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x1021
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by nats-server's own library of keys.
    const SEED_TEXT: &str = "SUABBYYVAO33LTBZBHAODBZARH4EGPPGCG4WP72TDGHFHETR7AQN7JIFOM";
    const PUBLIC_TEXT: &str = "UC3YYVJYSPUAPT7XS3MVXL2GMHDYCNISNDW3TWPBHI2CU3F7RK5E4EAK";

    fn shown(login: &NatsLogin, secret: Option<&str>, nonce: Option<&str>) -> Result<Value, Error> {
        let info = ServerInfo {
            nonce: nonce.map(str::to_owned),
            ..ServerInfo::default()
        };
        let mut said = Map::new();
        show(login, secret, &info, &mut said)?;
        Ok(Value::Object(said))
    }

    #[test]
    fn a_user_is_known_by_his_key() {
        let key = NatsLogin::Key(Secret::new(""));
        let said = shown(&key, Some(SEED_TEXT), Some("abc")).unwrap();
        assert_eq!(said["nkey"], PUBLIC_TEXT);
        assert!(said["sig"].as_str().unwrap().len() == 86 && said["jwt"].is_null());
        let creds = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.e30.x\n------END NATS USER JWT------\n\nIMPORTANT\n\n-----BEGIN USER NKEY SEED-----\n{SEED_TEXT}\n------END USER NKEY SEED------\n"
        );
        let said = shown(&key, Some(&creds), Some("abc")).unwrap();
        assert!(said["jwt"] == "eyJ0.e30.x" && said["nkey"].is_null());
    }

    #[test]
    fn what_is_no_key_is_told_without_what_it_is() {
        let key = NatsLogin::Key(Secret::new(""));
        let mistyped = SEED_TEXT.replace("VAO3", "VAO4");
        // That of an account, and what everybody may know.
        let account = "SAABEKJPDNWOIEYQBUJHMIVX6JXJO5ASTW756RORVE6ENDDBK4NKQ2OKVU";
        for bad in [
            "",
            "secret",
            &mistyped,
            PUBLIC_TEXT,
            account,
            "-----BEGIN NATS USER JWT-----\nx",
        ] {
            let error = shown(&key, Some(bad), Some("abc")).unwrap_err().to_string();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
        assert!(shown(&key, Some(SEED_TEXT), None).is_err());
    }

    #[test]
    fn names_and_tokens_are_shown_as_they_are() {
        let user = NatsLogin::User {
            user: "barn".to_owned(),
            password: None,
        };
        let said = shown(&user, Some("a\"b"), None).unwrap();
        assert_eq!(said, json!({"user": "barn", "pass": "a\"b"}));
        let token = NatsLogin::Token(Secret::new("t"));
        assert_eq!(
            shown(&token, Some("t"), None).unwrap(),
            json!({"auth_token": "t"})
        );
        assert_eq!(shown(&NatsLogin::Open, None, None).unwrap(), json!({}));
    }

    #[test]
    fn letters_and_bytes_are_the_same() {
        for length in 0..40 {
            let bytes: Vec<u8> = (0..length).map(|byte: u8| byte.wrapping_mul(37)).collect();
            assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
        assert_eq!(decode("a"), None);
        assert_eq!(crc(b"123456789"), 0x31c3);
    }
}
