//! What a request asks for, and whether that can be: its options, its method, its path. No sockets.

use bytes::Bytes;

use super::Config;
use super::block::Block;
use super::datagram::{CoapRequest, number};
use super::format::is_packed;
use super::outcome::{BLOCK1, CoapOutcome, SIZE1};
use super::print::Fingerprints;
use crate::source::http::{PathTopic, WantedTopics};

const GET: u8 = 1;
const POST: u8 = 2;
const PUT: u8 = 3;

const URI_PATH: u16 = 11;
const CONTENT_FORMAT: u16 = 12;
const URI_QUERY: u16 = 15;
const BLOCK2: u16 = 23;
const PROXY_URI: u16 = 35;
const PROXY_SCHEME: u16 = 39;
const REQUEST_TAG: u16 = 292;

/// An option without which a request may not be understood.
struct CriticalOption {
    number: u16,
    /// Bytes that its value has at least and at most.
    bytes: (usize, usize),
    /// It may be there more than once.
    is_list: bool,
}

const fn one(number: u16, least: usize, most: usize) -> CriticalOption {
    CriticalOption {
        number,
        bytes: (least, most),
        is_list: false,
    }
}

const fn list(number: u16, most: usize) -> CriticalOption {
    CriticalOption {
        number,
        bytes: (0, most),
        is_list: true,
    }
}

/// Those that are known (RFC 7252, 5.10; RFC 7959, 6). Conditions on what is there (If-Match, If-None-Match) are none of them: a message is
/// nothing that is there. What is asked for of the answer (Accept, Block2) is met by one without a body.
const KNOWN: [CriticalOption; 9] = [
    // Uri-Host and Uri-Port: whichever name the gateway was asked under.
    one(3, 1, 255),
    one(7, 0, 2),
    list(URI_PATH, 255),
    list(URI_QUERY, 255),
    // Accept.
    one(17, 0, 2),
    one(BLOCK2, 0, 3),
    one(BLOCK1, 0, 3),
    one(PROXY_URI, 1, 1_034),
    one(PROXY_SCHEME, 1, 255),
];

/// What all requests of a source are held to.
pub(super) struct RequestRules {
    topic: PathTopic,
    wanted: WantedTopics,
    max_topic_bytes: usize,
    max_payload_bytes: usize,
}

/// A body, or a part of one, that may be taken.
#[derive(Debug)]
pub(super) struct PostedPart {
    pub(super) topic: Bytes,
    /// The number of its Content-Format.
    pub(super) format: Option<u16>,
    pub(super) block: Option<Block>,
    /// What parts of one body have in common: path, query and Request-Tag (RFC 9175, 3.3).
    pub(super) body: u128,
}

impl RequestRules {
    pub(super) fn new(config: &crate::source::Config, own: &Config) -> Self {
        Self {
            topic: own.topic.clone(),
            wanted: WantedTopics::new(&config.routes),
            max_topic_bytes: config.max_topic_bytes,
            max_payload_bytes: config.max_payload_bytes,
        }
    }

    /// The part that `request` brings, or what it is answered instead. The same request gets the same.
    pub(super) fn judge(
        &self,
        request: &CoapRequest,
        prints: &Fingerprints,
    ) -> Result<PostedPart, CoapOutcome> {
        if let Some(number) = unknown(request) {
            return Err(CoapOutcome::Option(number));
        }
        let has = |number| request.option(number).next().is_some();
        if has(PROXY_URI) || has(PROXY_SCHEME) {
            return Err(CoapOutcome::Proxy);
        }
        let levels: Vec<_> = request.option(URI_PATH).collect();
        match request.code {
            POST | PUT => {}
            GET if levels == [&b".well-known"[..], b"core"] => return Err(CoapOutcome::NotThere),
            _ => return Err(CoapOutcome::Method),
        }
        let format = elective(request, CONTENT_FORMAT, 2).and_then(|own| u16::try_from(own).ok());
        if format.is_some_and(is_packed) {
            return Err(CoapOutcome::Packed);
        }
        let topic = self.topic_of(&levels.join(&b'/'))?;
        let block = self.block(request)?;
        let tags = [URI_PATH, URI_QUERY, REQUEST_TAG];
        let tags = tags.map(|number| request.option(number).collect::<Vec<_>>());
        Ok(PostedPart {
            topic,
            format,
            block,
            body: prints.of(&tags),
        })
    }

    fn topic_of(&self, path: &[u8]) -> Result<Bytes, CoapOutcome> {
        let topic = self.topic.topic_of(path).map_err(CoapOutcome::Unfit)?;
        if topic.len() > self.max_topic_bytes {
            return Err(CoapOutcome::Unfit("the topic is over `max_topic`"));
        }
        self.wanted.check(&topic).map_err(CoapOutcome::Unrouted)?;
        Ok(topic)
    }

    /// Which part of its body it has, if that is no more than a body may be.
    fn block(&self, request: &CoapRequest) -> Result<Option<Block>, CoapOutcome> {
        let payload = request.payload_bytes();
        let block = match request.option(BLOCK1).next() {
            None => None,
            Some(value) => {
                let block = Block::parse(value);
                Some(block.ok_or(CoapOutcome::Unfit("the size of a block is reserved"))?)
            }
        };
        let is_even = block.is_none_or(|block| {
            payload == block.bytes() || (!block.has_more && payload < block.bytes())
        });
        if !is_even {
            return Err(CoapOutcome::Unfit(
                "a block has another size than it says, which only the last one may",
            ));
        }
        let announced = elective(request, SIZE1, 4).unwrap_or(0) as usize;
        let comes_to = block.map_or(0, Block::offset) + payload;
        if announced.max(comes_to) > self.max_payload_bytes {
            return Err(CoapOutcome::TooLarge(self.max_payload_bytes));
        }
        Ok(block)
    }
}

/// An option that the request may not be taken without, and that is not known here: its number is odd (RFC 7252, 5.4.6).
fn unknown(request: &CoapRequest) -> Option<u16> {
    let is_fit = |number: u16, values: &std::collections::LinkedList<Vec<u8>>| {
        let known = KNOWN.iter().find(|known| known.number == number);
        known.is_some_and(|known| {
            let (least, most) = known.bytes;
            let mut lengths = values.iter().map(Vec::len);
            (known.is_list || values.len() == 1)
                && lengths.all(|length| (least..=most).contains(&length))
        })
    };
    let mut critical = request.options().filter(|(number, _)| number & 1 == 1);
    critical
        .find(|(number, values)| !is_fit(*number, values))
        .map(|(number, _)| number)
}

/// The number of an option that may be left out of account: one that is longer than it may be is (RFC 7252, 5.4.3).
fn elective(request: &CoapRequest, option: u16, most: usize) -> Option<u32> {
    let value = request.option(option).next();
    value.filter(|value| value.len() <= most).map(number)
}
