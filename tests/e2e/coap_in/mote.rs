//! A device that speaks CoAP byte by byte: what it sends, again or wrongly, is what the case wants.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tidegate_tests::wait::PATIENCE;

/// Whether what is sent wants an acknowledgement.
#[derive(Clone, Copy, PartialEq)]
pub enum Wants {
    Acknowledgement,
    Nothing,
}

/// A post, as a device writes it, with a token of two bytes.
pub fn post(id: u16, wants: Wants, payload: &str) -> Vec<u8> {
    let kind = if wants == Wants::Nothing { 0x52 } else { 0x42 };
    let [high, low] = id.to_be_bytes();
    let mut datagram = vec![kind, 2, high, low, high, low];
    // The first option of a path has the number 11, the next ones are no further.
    for (delta, level) in [(0xB0, "devices"), (0, "d1"), (0, "telemetry")] {
        datagram.push(delta | u8::try_from(level.len()).unwrap_or_default());
        datagram.extend_from_slice(level.as_bytes());
    }
    datagram.push(0xFF);
    datagram.extend_from_slice(payload.as_bytes());
    datagram
}

/// What a device was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// 0: wants an acknowledgement, 1: does not, 2: is one, 3: is a reset.
    pub kind: u8,
    pub code: String,
    pub id: u16,
    pub datagram: Vec<u8>,
}

impl Answer {
    /// The number of the request, which is its token here.
    pub fn of(&self) -> Option<u16> {
        let token = self.datagram.get(4..6)?;
        Some(u16::from_be_bytes([token[0], token[1]]))
    }
}

/// A device waits so long for an answer before it sends again.
const SEND_AGAIN: Duration = Duration::from_millis(500);

/// A device with a socket.
pub struct Mote(UdpSocket);

impl Mote {
    pub fn at(port: u16) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect((Ipv4Addr::LOCALHOST, port))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket))
    }

    pub fn send(&self, datagram: &[u8]) -> Result<()> {
        self.0.send(datagram)?;
        Ok(())
    }

    /// The next answer; one that wants an acknowledgement gets it.
    pub fn receive(&self) -> Result<Answer> {
        let mut room = [0; 2_000];
        let length = self.0.recv(&mut room).context("no answer")?;
        let datagram = room[..length].to_vec();
        ensure!(length >= 4, "{datagram:x?} is no answer");
        let answer = Answer {
            kind: datagram[0] >> 4 & 3,
            code: format!("{}.{:02}", datagram[1] >> 5, datagram[1] & 0x1F),
            id: u16::from_be_bytes([datagram[2], datagram[3]]),
            datagram,
        };
        if answer.kind == 0 {
            self.send(&[0x60, 0, answer.datagram[2], answer.datagram[3]])?;
        }
        Ok(answer)
    }

    /// The next one that is no empty acknowledgement.
    pub fn answer(&self) -> Result<Answer> {
        loop {
            let answer = self.receive()?;
            if answer.code != "0.00" || answer.kind == 3 {
                return Ok(answer);
            }
        }
    }

    /// Sends a reading until there is an answer, as devices do: the system may have dropped it.
    pub fn ask(&self, id: u16, payload: &str) -> Result<String> {
        let begun = Instant::now();
        self.0.set_read_timeout(Some(SEND_AGAIN))?;
        while begun.elapsed() < PATIENCE {
            self.send(&post(id, Wants::Acknowledgement, payload))?;
            while let Ok(answer) = self.answer() {
                if answer.of() == Some(id) {
                    self.0.set_read_timeout(Some(PATIENCE))?;
                    return Ok(answer.code);
                }
            }
        }
        bail!("no answer to {id}")
    }
}
