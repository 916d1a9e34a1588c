//! A small MQTT 3.1.1 client of the tests' own, blocking and independent of the code under test: what checks the
//! gateway must not share its mistakes.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How a client introduces itself.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// Client id.
    pub id: String,
    /// `false` asks the broker to keep the session.
    pub clean: bool,
}

/// What arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A message. The id is 0 for QoS 0.
    Publish {
        /// Topic.
        topic: String,
        /// Body.
        payload: Vec<u8>,
        /// QoS level, 0 to 2.
        level: u8,
        /// DUP flag.
        duplicate: bool,
        /// RETAIN flag.
        retain: bool,
        /// Packet id.
        id: u16,
    },
    /// The broker has our message with this id.
    Acknowledged(u16),
    /// Answer to a subscription: the granted levels, 0x80 for refused.
    Subscribed(Vec<u8>),
    /// Anything else, by its type.
    Other(u8),
}

/// An open connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    consumed: usize,
    output: Vec<u8>,
    session_present: bool,
}

/// A broker that stands still for seconds, since others want its processor, is there all the same.
const DIAL: Duration = Duration::from_secs(30);

impl Client {
    /// Connects and waits for CONNACK.
    pub fn open(address: SocketAddr, introduction: &Introduction) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, DIAL)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        let mut client = Self {
            stream,
            input: Vec::new(),
            consumed: 0,
            output: Vec::new(),
            session_present: false,
        };
        // Protocol level 4, no will, no login; keep-alive 0: the broker expects no pings.
        let mut body = b"\x00\x04MQTT\x04".to_vec();
        body.push(u8::from(introduction.clean) << 1);
        body.extend([0, 0]);
        put_text(&mut body, &introduction.id);
        client.put_packet(0x10, &body);
        client.flush()?;
        match client.frame(Some(DIAL))? {
            Some((0x20, body)) if body.len() == 2 && body[1] == 0 => {
                client.session_present = body[0] & 1 == 1;
                Ok(client)
            }
            other => Err(io::Error::new(
                ErrorKind::ConnectionRefused,
                format!("no CONNACK but {other:?}"),
            )),
        }
    }

    /// Whether the broker still had this client's session.
    pub fn session_present(&self) -> bool {
        self.session_present
    }

    /// Subscribes and waits for the answer; messages that come before it are kept out of its way by the caller
    /// subscribing on a fresh session only.
    pub fn subscribe(&mut self, filter: &str, level: u8) -> io::Result<()> {
        let mut body = 1_u16.to_be_bytes().to_vec();
        put_text(&mut body, filter);
        body.push(level);
        self.put_packet(0x82, &body);
        self.flush()?;
        loop {
            match self.receive(Some(DIAL))? {
                Some(Packet::Subscribed(codes)) if codes == [level] => return Ok(()),
                Some(Packet::Subscribed(codes)) => {
                    return Err(io::Error::new(
                        ErrorKind::PermissionDenied,
                        format!("`{filter}` answered with {codes:?}"),
                    ));
                }
                Some(_) => {}
                None => return Err(io::Error::new(ErrorKind::TimedOut, "no SUBACK")),
            }
        }
    }

    /// Queues a message; [`Client::flush`] writes it. With id 0 it goes at QoS 0, else at QoS 1.
    pub fn publish(&mut self, topic: &str, payload: &[u8], id: u16, duplicate: bool) {
        let level = u8::from(id != 0);
        self.output
            .push(0x30 | u8::from(duplicate) << 3 | level << 1);
        put_length(
            &mut self.output,
            2 + topic.len() + 2 * usize::from(level) + payload.len(),
        );
        put_text(&mut self.output, topic);
        if id != 0 {
            self.output.extend(id.to_be_bytes());
        }
        self.output.extend(payload);
    }

    /// Queues the acknowledgement of a message that arrived at QoS 1.
    pub fn acknowledge(&mut self, id: u16) {
        self.put_packet(0x40, &id.to_be_bytes());
    }

    /// Writes what is queued.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output)?;
        self.output.clear();
        Ok(())
    }

    /// The next packet that is already here, without waiting or reading.
    pub fn buffered(&mut self) -> io::Result<Option<Packet>> {
        Ok(match self.split_frame()? {
            Some((head, body)) => Some(parse(head, &body)?),
            None => None,
        })
    }

    /// The next packet; `None` when none came within `patience` (no patience: without waiting).
    pub fn receive(&mut self, patience: Option<Duration>) -> io::Result<Option<Packet>> {
        Ok(match self.frame(patience)? {
            Some((head, body)) => Some(parse(head, &body)?),
            None => None,
        })
    }

    /// Says goodbye; a kept session stays with the broker.
    pub fn close(mut self) -> io::Result<()> {
        self.put_packet(0xe0, &[]);
        self.flush()
    }

    fn put_packet(&mut self, head: u8, body: &[u8]) {
        self.output.push(head);
        put_length(&mut self.output, body.len());
        self.output.extend(body);
    }

    fn frame(&mut self, patience: Option<Duration>) -> io::Result<Option<(u8, Vec<u8>)>> {
        loop {
            if let Some(frame) = self.split_frame()? {
                return Ok(Some(frame));
            }
            if !self.read_more(patience)? {
                return Ok(None);
            }
        }
    }

    fn read_more(&mut self, patience: Option<Duration>) -> io::Result<bool> {
        self.input.drain(..self.consumed);
        self.consumed = 0;
        match patience {
            Some(patience) => self.stream.set_read_timeout(Some(patience))?,
            None => self.stream.set_nonblocking(true)?,
        }
        let start = self.input.len();
        self.input.resize(start + 64 * 1024, 0);
        let read = self.stream.read(&mut self.input[start..]);
        self.input.truncate(start + *read.as_ref().unwrap_or(&0));
        if patience.is_none() {
            self.stream.set_nonblocking(false)?;
        }
        match read {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(false)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn split_frame(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        let bytes = &self.input[self.consumed..];
        let Some((length, digits)) = read_length(bytes.get(1..).unwrap_or_default())? else {
            return Ok(None);
        };
        let end = 1 + digits + length;
        if bytes.len() < end {
            return Ok(None);
        }
        let frame = (bytes[0], bytes[1 + digits..end].to_vec());
        self.consumed += end;
        Ok(Some(frame))
    }
}

fn parse(head: u8, body: &[u8]) -> io::Result<Packet> {
    let short = || io::Error::new(ErrorKind::InvalidData, "a packet that is too short");
    let number = |at: usize| {
        body.get(at..at + 2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .ok_or_else(short)
    };
    Ok(match head >> 4 {
        3 => {
            let level = head >> 1 & 3;
            let topic_end = 2 + usize::from(number(0)?);
            let topic =
                String::from_utf8_lossy(body.get(2..topic_end).ok_or_else(short)?).into_owned();
            let id = if level > 0 { number(topic_end)? } else { 0 };
            let payload = body[topic_end + if level > 0 { 2 } else { 0 }..].to_vec();
            Packet::Publish {
                topic,
                payload,
                level,
                duplicate: head & 8 != 0,
                retain: head & 1 != 0,
                id,
            }
        }
        4 => Packet::Acknowledged(number(0)?),
        9 => Packet::Subscribed(body.get(2..).ok_or_else(short)?.to_vec()),
        other => Packet::Other(other),
    })
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("topics and ids of the tests are short");
    to.extend(length.to_be_bytes());
    to.extend(text.as_bytes());
}

fn put_length(to: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        to.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    to.push((length & 0x7f) as u8);
}

/// The remaining length and how many bytes it took; `None` while it is incomplete.
fn read_length(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut length = 0;
    for (place, byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some((length, place + 1)));
        }
    }
    if bytes.len() >= 4 {
        Err(io::Error::new(
            ErrorKind::InvalidData,
            "a length of five bytes",
        ))
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_back() {
        for length in [0, 127, 128, 16_383, 16_384, 2_097_151] {
            let mut bytes = Vec::new();
            put_length(&mut bytes, length);
            assert_eq!(read_length(&bytes).unwrap(), Some((length, bytes.len())));
            assert_eq!(read_length(&bytes[..bytes.len() - 1]).unwrap(), None);
        }
    }
}
