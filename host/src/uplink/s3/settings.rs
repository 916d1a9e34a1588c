//! What a way into a bucket needs to know; already checked (`config` does that).

use std::time::Duration;

use super::super::facts::UplinkFacts;
use super::super::form::compress::Compress;
use super::super::form::lines::LineFormat;
use super::super::form::template::Template;
use super::super::web::Pause;
use super::sign::BucketPlace;
use crate::link::{Backoff, Deadlines, Peer, Secret, Target, Tls};

/// Who is at the other end, in the words of errors.
const SERVER: Peer = Peer {
    noun: "object store",
    plain: "http://",
    upgrade: None,
};

/// One way into a bucket.
#[derive(Clone, Debug)]
pub struct Config {
    /// What tells it apart from others of the same uplink.
    pub id: String,
    /// Where it is dialled: in virtual-host style a name that begins with the bucket's.
    pub host: String,
    pub port: u16,
    pub tls: Option<Tls>,
    pub place: BucketPlace,
    /// What names of objects begin with, without a `/` at either end.
    pub prefix: Template,
    /// By reference; what is in a file is read at every dial.
    pub access_key: Secret,
    pub secret_key: Secret,
    pub form: LineFormat,
    /// Whether messages come as an envelope, which is JSON.
    pub has_envelope: bool,
    /// How objects are compressed.
    pub compress: Compress,
    /// Messages of one object, at most.
    pub batch_messages: u16,
    /// Bytes of them before they are compressed, at most; one message may be larger.
    pub batch_bytes: usize,
    /// How long the first of them waits for others.
    pub batch_wait: Duration,
    /// A deadline for each phase.
    pub deadlines: Deadlines,
    pub backoff: Backoff,
    /// How long the server asked to be left alone.
    pub pause: Pause,
}

impl Config {
    /// What it says of itself.
    pub(in crate::uplink) fn facts(&self) -> UplinkFacts<'_> {
        UplinkFacts {
            name: "s3",
            host: &self.host,
            port: Some(self.port),
            tls: self.tls.as_ref(),
            secrets: self.secrets().into(),
            has_login: true,
            // One object is under way while the next one gathers.
            window: self.batch_messages,
            answer: self.deadlines.answer,
        }
    }

    pub(super) fn target(&self) -> Target<'_> {
        Target {
            host: &self.host,
            port: self.port,
            tls: self.tls.as_ref(),
            deadlines: self.deadlines,
            peer: &SERVER,
            carriage: None,
        }
    }

    /// What it logs in with.
    pub fn secrets(&self) -> [&Secret; 2] {
        [&self.access_key, &self.secret_key]
    }
}
