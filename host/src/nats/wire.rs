//! What is said on a connection, in both directions: lines, some with a counted body behind them. No sockets, no clock.

use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;

use crate::message::HEAD_BYTES;

/// Bytes of a line, at most: what a server says of itself and of its neighbours is the longest one.
const MOST_LINE: usize = 64 << 10;
/// Bytes of a message's headers, at most; the server's own limit for all of a message is 64 MiB.
const MOST_HEADERS: usize = 64 << 10;
/// What headers begin with.
const HEADERS_BEGIN: &[u8] = b"NATS/1.0";

/// What a server says of itself, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServerInfo {
    pub version: String,
    /// Largest message it takes, headers and payload, bytes.
    pub max_payload: u64,
    pub headers: bool,
    /// Whether it has streams.
    pub jetstream: bool,
    pub tls_required: bool,
    /// What a key signs.
    pub nonce: Option<String>,
    /// It is about to leave, and wants to be left.
    pub ldm: bool,
}

/// A message that came for a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerMessage {
    /// Number of the subscription.
    pub sid: u64,
    pub subject: Bytes,
    /// Where an answer to it goes; empty where none is wanted.
    pub reply: Bytes,
    /// What the server says in place of a message: a number as in HTTP, and words.
    pub status: Option<(u16, String)>,
    /// Its headers, a line each.
    pub headers: Bytes,
    pub payload: Bytes,
    /// Bytes of the payload that are left out, as it is larger than what is taken.
    pub left_out: usize,
    /// What is wrong with it, in words, where it is not what a client of the server sends: servers look at nothing but its length.
    pub odd: Option<&'static str>,
}

impl ServerMessage {
    /// The first header of that name; names are compared as they are.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.all_headers()
            .find(|(known, _)| *known == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// Bytes of all of it, what is left out among them.
    pub fn size(&self) -> usize {
        let named = self.subject.len() + self.reply.len();
        named + self.headers.len() + self.payload.len() + self.left_out
    }

    /// Names and values of its headers, as they came.
    pub fn all_headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers
            .split(|byte| *byte == b'\n')
            .filter_map(|line| {
                let at = line.iter().position(|byte| *byte == b':')?;
                Some((line[..at].trim_ascii(), line[at + 1..].trim_ascii()))
            })
    }
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerWord {
    Info(Box<ServerInfo>),
    Message(ServerMessage),
    Ping,
    Pong,
    Ok,
    Error(String),
}

/// Cuts what comes into words; what is too large is read past.
#[derive(Debug)]
pub(super) struct ServerWords {
    most_payload: usize,
    /// Bytes that belong to what was given out already.
    skip: usize,
}

/// Where a message is within what came.
struct MessageFrame {
    headers: usize,
    total: usize,
}

impl ServerWords {
    pub(super) fn new(most_payload: usize) -> Self {
        Self {
            most_payload,
            skip: 0,
        }
    }

    /// The next word, if all of it is there.
    ///
    /// # Errors
    /// What came is none, in words.
    pub(super) fn take(
        &mut self,
        input: &mut BytesMut,
    ) -> Result<Option<ServerWord>, &'static str> {
        let past = self.skip.min(input.len());
        input.advance(past);
        self.skip -= past;
        if self.skip > 0 {
            return Ok(None);
        }
        let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else {
            let is_endless = input.len() > MOST_LINE;
            return if is_endless {
                Err("a line without end")
            } else {
                Ok(None)
            };
        };
        let line = &input[..end];
        let (word, rest) = match line.iter().position(u8::is_ascii_whitespace) {
            Some(at) => (&line[..at], line[at..].trim_ascii()),
            None => (line, &line[end..]),
        };
        let said = match word.to_ascii_uppercase().as_slice() {
            b"MSG" => return self.message(false, end, input),
            b"HMSG" => return self.message(true, end, input),
            b"PING" => ServerWord::Ping,
            b"PONG" => ServerWord::Pong,
            b"+OK" => ServerWord::Ok,
            b"-ERR" => {
                let words = String::from_utf8_lossy(rest);
                ServerWord::Error(words.trim_matches('\'').to_owned())
            }
            b"INFO" => {
                let info = serde_json::from_slice(rest);
                ServerWord::Info(Box::new(info.map_err(|_| "an INFO that is no JSON")?))
            }
            _ => return Err("a line that begins with no word of it"),
        };
        input.advance(end + 2);
        Ok(Some(said))
    }

    fn message(
        &mut self,
        has_headers: bool,
        end: usize,
        input: &mut BytesMut,
    ) -> Result<Option<ServerWord>, &'static str> {
        let (mut message, frame) = head(&input[..end], has_headers)?;
        let MessageFrame { mut headers, total } = frame;
        if headers > MOST_HEADERS {
            // They are read past with the payload.
            message.odd = Some("its headers are over 64 KiB");
            headers = 0;
        }
        let payload = total - headers;
        let kept = if message.odd.is_some() {
            0
        } else if payload > self.most_payload {
            payload.min(HEAD_BYTES)
        } else {
            payload
        };
        let begin = end + 2;
        let is_whole = kept == payload;
        // Of what is cut the line end comes with what is read past.
        if input.len() < begin + headers + kept + if is_whole { 2 } else { 0 } {
            return Ok(None);
        }
        input.advance(begin);
        let block = input.split_to(headers).freeze();
        message.payload = if is_whole {
            input.split_to(kept).freeze()
        } else {
            Bytes::copy_from_slice(&input[..kept])
        };
        match headers_of(&block) {
            Ok(found) => (message.status, message.headers) = found,
            Err(why) => message.odd = Some(why),
        }
        message.left_out = payload - kept;
        if is_whole {
            if !input.starts_with(b"\r\n") {
                return Err("a message that is longer than it says");
            }
            input.advance(2);
        } else {
            self.skip = payload + 2;
            let past = self.skip.min(input.len());
            input.advance(past);
            self.skip -= past;
        }
        Ok(Some(ServerWord::Message(message)))
    }
}

/// What the line before a message says.
fn head(line: &[u8], has_headers: bool) -> Result<(ServerMessage, MessageFrame), &'static str> {
    const BAD: &str = "the line before a message says something else";
    // A subject is any bytes but these.
    let words = line.split(|byte| matches!(byte, b' ' | b'\t'));
    let words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).skip(1).collect();
    let counts = if has_headers { 2 } else { 1 };
    let (names, sizes) = words
        .len()
        .checked_sub(counts)
        .map(|at| words.split_at(at))
        .ok_or(BAD)?;
    let (subject, sid, reply) = match names {
        [subject, sid] => (subject, sid, &b""[..]),
        [subject, sid, reply] => (subject, sid, *reply),
        _ => return Err(BAD),
    };
    let number = |text: &[u8]| {
        let text = std::str::from_utf8(text).map_err(|_| BAD)?;
        text.parse::<u64>().map_err(|_| BAD)
    };
    let size = |text: &[u8]| usize::try_from(number(text)?).map_err(|_| BAD);
    let total = size(sizes[counts - 1])?;
    let headers = if has_headers { size(sizes[0])? } else { 0 };
    if headers > total || total > u32::MAX as usize {
        return Err(BAD);
    }
    let message = ServerMessage {
        sid: number(sid)?,
        subject: Bytes::copy_from_slice(subject),
        reply: Bytes::copy_from_slice(reply),
        ..ServerMessage::default()
    };
    Ok((message, MessageFrame { headers, total }))
}

/// What the server says in place of a message, if it does, and the lines of the headers.
type HeaderBlock = (Option<(u16, String)>, Bytes);

/// The status and the lines of a block of headers.
fn headers_of(block: &Bytes) -> Result<HeaderBlock, &'static str> {
    if block.is_empty() {
        return Ok((None, Bytes::new()));
    }
    let end = block.iter().position(|byte| *byte == b'\n');
    let end = end.ok_or("its headers have no line")?;
    let first = block[..end].trim_ascii_end();
    let said = first
        .strip_prefix(HEADERS_BEGIN)
        .ok_or("its headers begin with another version")?;
    let said = String::from_utf8_lossy(said.trim_ascii()).into_owned();
    let (code, words) = said.split_once(' ').unwrap_or((&said, ""));
    let status = code.parse().ok().map(|code| (code, words.to_owned()));
    Ok((status, block.slice(end + 1..)))
}

/// Says that messages of a subject are to come.
pub(super) fn subscribe(subject: &str, sid: u64, output: &mut BytesMut) {
    output.extend_from_slice(format!("SUB {subject} {sid}\r\n").as_bytes());
}

/// Says that they are to come no more.
pub(super) fn unsubscribe(sid: u64, output: &mut BytesMut) {
    output.extend_from_slice(format!("UNSUB {sid}\r\n").as_bytes());
}

/// A line of the headers of a message. What would end it is left out.
pub fn put_header(name: &str, value: &str, block: &mut Vec<u8>) {
    let is_kept = |byte: &u8| !matches!(byte, b'\r' | b'\n');
    block.extend(name.bytes().filter(|byte| is_kept(byte) && *byte != b':'));
    block.extend_from_slice(b": ");
    block.extend(value.bytes().filter(is_kept));
    block.extend_from_slice(b"\r\n");
}

/// A message; `headers` are lines of [`put_header`]. Without a `reply` no answer is wanted.
pub(super) fn publish(
    subject: &str,
    reply: &str,
    headers: &[u8],
    payload: &[u8],
    output: &mut BytesMut,
) {
    let space = if reply.is_empty() { "" } else { " " };
    if headers.is_empty() {
        let line = format!("PUB {subject}{space}{reply} {}\r\n", payload.len());
        output.extend_from_slice(line.as_bytes());
    } else {
        let block = HEADERS_BEGIN.len() + headers.len() + 4;
        let total = block + payload.len();
        let line = format!("HPUB {subject}{space}{reply} {block} {total}\r\n");
        output.extend_from_slice(line.as_bytes());
        output.extend_from_slice(HEADERS_BEGIN);
        output.extend_from_slice(b"\r\n");
        output.extend_from_slice(headers);
        output.extend_from_slice(b"\r\n");
    }
    output.extend_from_slice(payload);
    output.extend_from_slice(b"\r\n");
}

/// How many bytes of the server's limit the headers and payload of a message are.
pub(super) fn counted(headers: &[u8], payload: &[u8]) -> u64 {
    let block = if headers.is_empty() {
        0
    } else {
        HEADERS_BEGIN.len() + headers.len() + 4
    };
    (block + payload.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(words: &mut ServerWords, input: &mut BytesMut) -> Vec<ServerWord> {
        let mut said = Vec::new();
        while let Some(word) = words.take(input).unwrap() {
            said.push(word);
        }
        said
    }

    fn message(subject: &str, payload: &str) -> ServerMessage {
        ServerMessage {
            sid: 1,
            subject: subject.to_owned().into(),
            payload: payload.to_owned().into(),
            ..ServerMessage::default()
        }
    }

    #[test]
    fn each_word_of_a_server_is_understood() {
        let text = "INFO {\"version\":\"2.15.3\",\"max_payload\":1048576,\"headers\":true,\"jetstream\":true,\"new\":[1]}\r\nPING\r\nPONG\r\n+OK\r\n\
            -ERR 'Permissions Violation for Publish to \"a.b\"'\r\nMSG a.b 1 5\r\nhello\r\nMSG a.b 1 x.y 0\r\n\r\n\
            HMSG a.b 1 x.y 28 30\r\nNATS/1.0 404 No Messages\r\n\r\nhi\r\nHMSG a.b 1 23 23\r\nNATS/1.0\r\nA: b\r\nC:d\r\n\r\n\r\n";
        let mut input = BytesMut::from(text);
        let said = all(&mut ServerWords::new(100), &mut input);
        let ServerWord::Info(info) = &said[0] else {
            panic!("{said:?}");
        };
        assert!(info.max_payload == 1 << 20 && info.headers && info.jetstream);
        assert_eq!(
            said[1..4],
            [ServerWord::Ping, ServerWord::Pong, ServerWord::Ok]
        );
        assert_eq!(
            said[4],
            ServerWord::Error("Permissions Violation for Publish to \"a.b\"".to_owned())
        );
        assert_eq!(said[5], ServerWord::Message(message("a.b", "hello")));
        let ServerWord::Message(status) = &said[7] else {
            panic!("{said:?}");
        };
        assert_eq!(status.status, Some((404, "No Messages".to_owned())));
        assert_eq!(
            (&*status.reply, &*status.payload),
            (&b"x.y"[..], &b"hi"[..])
        );
        let ServerWord::Message(headed) = &said[8] else {
            panic!("{said:?}");
        };
        assert_eq!(
            (headed.header("C"), headed.header("D")),
            (Some(&b"d"[..]), None)
        );
        assert_eq!((said.len(), input.len()), (9, 0));
    }

    #[test]
    fn what_is_too_large_is_read_past_and_the_next_one_is_whole() {
        let long = "x".repeat(5_000);
        let text = format!("MSG a 1 5000\r\n{long}\r\nMSG a 1 2\r\nhi\r\n");
        for cut in [1, 14, 1_100, 5_014, 5_020] {
            let mut words = ServerWords::new(100);
            let mut input = BytesMut::from(&text[..cut]);
            let mut said = all(&mut words, &mut input);
            input.extend_from_slice(&text.as_bytes()[cut..]);
            said.extend(all(&mut words, &mut input));
            let ServerWord::Message(head) = &said[0] else {
                panic!("{said:?}");
            };
            assert_eq!(head.payload.len() + head.left_out, 5_000);
            assert_eq!(said[1], ServerWord::Message(message("a", "hi")), "{cut}");
        }
    }

    #[test]
    fn what_no_server_says_is_told() {
        for bad in [
            "HTTP/1.1 200 OK\r\n",
            "MSG a\r\n",
            "MSG a 1 -1\r\n",
            "MSG a x 1\r\n",
            "HMSG a 1 9 3\r\n",
            "INFO {\r\n",
            "MSG a 1 1\r\nabc\r\n",
        ] {
            assert!(ServerWords::new(9).take(&mut bad.into()).is_err(), "{bad}");
        }
        let mut endless = BytesMut::from(&vec![b'a'; MOST_LINE + 1][..]);
        assert!(ServerWords::new(9).take(&mut endless).is_err());
    }

    #[test]
    fn an_odd_message_is_told_from_its_neighbours_and_ends_nothing() {
        let most = MOST_HEADERS + 1;
        let long = "x".repeat(most + 2);
        for (odd, subject) in [
            ("HMSG a 1 r 12 14\r\nNATS/2.0\r\n\r\nhi\r\n".to_owned(), "a"),
            ("HMSG a 1 r 8 10\r\nNATS/1.0hi\r\n".to_owned(), "a"),
            (format!("HMSG a 1 r {most} {}\r\n{long}\r\n", most + 2), "a"),
            ("MSG a\u{c}b 1 r 2\r\nhi\r\n".to_owned(), "a\u{c}b"),
        ] {
            let text = format!("{odd}MSG b 1 2\r\nhi\r\n");
            let mut input = BytesMut::from(&text[..]);
            let said = all(&mut ServerWords::new(100), &mut input);
            let [ServerWord::Message(first), second] = &said[..] else {
                panic!("{said:?}");
            };
            assert_eq!(
                (&*first.subject, &*first.reply),
                (subject.as_bytes(), &b"r"[..])
            );
            assert_eq!(first.odd.is_some(), odd.starts_with('H'), "{odd:.40}");
            assert_eq!(*second, ServerWord::Message(message("b", "hi")));
        }
        let mut input = BytesMut::from(&b"MSG a.\xff\t1  2\r\nhi\r\n"[..]);
        let said = all(&mut ServerWords::new(100), &mut input);
        let [ServerWord::Message(only)] = &said[..] else {
            panic!("{said:?}");
        };
        assert_eq!(&*only.subject, b"a.\xff");
    }

    #[test]
    fn what_we_say_is_counted_as_the_server_counts_it() {
        let mut output = BytesMut::new();
        let mut headers = Vec::new();
        put_header("Nats-Msg-Id", "a/1\r\nX: y", &mut headers);
        publish("a.b", "in.1", &headers, b"hello", &mut output);
        publish("a.b", "", b"", b"", &mut output);
        subscribe("in.*", 7, &mut output);
        unsubscribe(7, &mut output);
        assert_eq!(
            output,
            "HPUB a.b in.1 34 39\r\nNATS/1.0\r\nNats-Msg-Id: a/1X: y\r\n\r\nhello\r\nPUB a.b 0\r\n\r\nSUB in.* 7\r\nUNSUB 7\r\n"
        );
        assert_eq!(counted(&headers, b"hello"), 39);
    }

    proptest! {
        #[test]
        fn however_it_is_cut_on_its_way_it_says_the_same(cuts in proptest::collection::vec(0_usize..200, 0..8), noise in proptest::collection::vec(any::<u8>(), 0..80)) {
            let text = "MSG a.b 1 5\r\nhello\r\nHMSG a.b 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPING\r\nMSG a 2 0\r\n\r\n";
            let whole = all(&mut ServerWords::new(9), &mut text.into());
            let (mut words, mut input, mut said) = (ServerWords::new(9), BytesMut::new(), Vec::new());
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            for pair in cuts.windows(2) {
                input.extend_from_slice(&text.as_bytes()[pair[0]..pair[1]]);
                said.extend(all(&mut words, &mut input));
            }
            prop_assert_eq!(said, whole);
            // Whatever comes, it is a word, waits for more, or is told.
            let mut input = BytesMut::from(&noise[..]);
            let mut words = ServerWords::new(9);
            while let Ok(Some(_)) = words.take(&mut input) {}
        }
    }
}
