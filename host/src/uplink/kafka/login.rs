//! How a broker learns who we are: which way is taken, and the words of it.

use std::time::Duration;

use bytes::{BufMut, BytesMut};

use super::Error;
use super::connection::BrokerConnection;
use super::form::{put_count, put_text};
use super::requests::{KafkaApi, LoginAnswer};
use super::scram::{Scram, ScramHash};
use super::settings::{KafkaLogin, SaslWay};
use super::verdict::in_words;

/// Letters and digits that are new in each login.
const NONCE_LENGTH: usize = 32;

/// Logs in; for how long that counts, where it ends.
pub(super) async fn log_in(
    connection: &mut BrokerConnection,
    login: &KafkaLogin,
) -> Result<Option<Duration>, Error> {
    let password = login.password.todays().await?;
    let mut body = BytesMut::new();
    put_text(login.sasl.name(), &mut body);
    let told = connection
        .request((KafkaApi::SaslHandshake, 1), &body)
        .await?;
    let told = LoginAnswer::of_handshake(&told.body)?;
    if told.code != 0 {
        return Err(Error::Mechanism {
            wanted: login.sasl.name(),
            offered: told.words,
        });
    }
    let hash = match login.sasl {
        SaslWay::Plain => {
            let word = format!("\0{}\0{}", login.user, password.reveal());
            let last = step(connection, word.as_bytes()).await?;
            return Ok(lifetime(&last));
        }
        SaslWay::ScramSha256 => ScramHash::SHA_256,
        SaslWay::ScramSha512 => ScramHash::SHA_512,
    };
    let nonce = std::iter::repeat_with(fastrand::alphanumeric).take(NONCE_LENGTH);
    let scram = Scram::new(hash, &login.user, nonce.collect());
    let told = step(connection, scram.first().as_bytes()).await?;
    // Some ten thousand rounds of a hash: on a thread that may take its time.
    let proving =
        tokio::task::spawn_blocking(move || scram.prove(&told.bytes, password.reveal().as_bytes()));
    let proof = match proving.await {
        Ok(proof) => proof.map_err(|why| Error::Login(why.to_owned()))?,
        Err(stopped) => return Err(Error::Login(stopped.to_string())),
    };
    let last = step(connection, proof.last.as_bytes()).await?;
    if !proof.is_met_by(&last.bytes) {
        let why = "it does not show that it knows the password itself";
        return Err(Error::Login(why.to_owned()));
    }
    Ok(lifetime(&last))
}

/// Says one word of a login, and hears the next one.
async fn step(connection: &mut BrokerConnection, word: &[u8]) -> Result<LoginAnswer, Error> {
    let version = connection.versions.authenticate;
    let mut body = BytesMut::new();
    put_count(word.len(), &mut body);
    body.put_slice(word);
    let told = connection
        .request((KafkaApi::SaslAuthenticate, version), &body)
        .await?;
    let told = LoginAnswer::read(&told.body, version)?;
    if told.code != 0 {
        return Err(Error::Login(in_words(told.code, &told.words)));
    }
    Ok(told)
}

fn lifetime(last: &LoginAnswer) -> Option<Duration> {
    let milliseconds = u64::try_from(last.lifetime).ok()?;
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}
