//! A field broker with a window: it sends what it is given, no more unacknowledged than its window, and repeats over a
//! reconnect what was not acknowledged, with DUP. Bytes of the test's own go in between, so that it can send what no broker
//! should. Speaks QoS 1, MQTT 5 and 3.1.1, and keeps its one session.
//!
//! ```ignore
//! let field = FieldBroker::start(10)?;
//! field.give(messages);
//! wait_until("all are acknowledged", || field.waiting() == 0)?;
//! ```

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use super::packet::{self, packet, take_frame, text};

#[derive(Debug, Default)]
struct Session {
    window: usize,
    is_v5: bool,
    exists: bool,
    waiting: VecDeque<(String, Vec<u8>)>,
    /// Sent, by packet id, in the order of their first sending.
    flying: VecDeque<(u16, (String, Vec<u8>))>,
    next_id: u16,
    /// Bytes of the test's own.
    raw: Vec<u8>,
    subscribes: u64,
    acknowledged: u64,
    /// Acknowledgements of ids that were not under way.
    strange: Vec<u16>,
}

/// A running field broker.
#[derive(Debug)]
pub struct FieldBroker {
    address: SocketAddr,
    session: Arc<Mutex<Session>>,
    over: Arc<AtomicBool>,
}

impl FieldBroker {
    /// One that sends at most `window` unacknowledged messages.
    pub fn start(window: usize) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for the field broker")?;
        let address = listener.local_addr()?;
        let session = Arc::new(Mutex::new(Session {
            window,
            ..Session::default()
        }));
        let over = Arc::new(AtomicBool::new(false));
        let (served, ends) = (Arc::clone(&session), Arc::clone(&over));
        std::thread::spawn(move || {
            // One client at a time, as its client id has it.
            while let Ok((stream, _)) = listener.accept() {
                if ends.load(Ordering::SeqCst) {
                    return;
                }
                let _ = serve(stream, &served, &ends);
            }
        });
        Ok(Self {
            address,
            session,
            over,
        })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Messages that devices have published: topic and payload.
    pub fn give(&self, messages: impl IntoIterator<Item = (String, Vec<u8>)>) {
        self.session().waiting.extend(messages);
    }

    /// Sends these bytes between two packets, as soon as somebody has subscribed.
    pub fn inject(&self, bytes: &[u8]) {
        self.session().raw.extend_from_slice(bytes);
    }

    /// Messages that are not acknowledged yet.
    pub fn waiting(&self) -> usize {
        let session = self.session();
        session.waiting.len() + session.flying.len()
    }

    /// Packets SUBSCRIBE so far.
    pub fn subscribes(&self) -> u64 {
        self.session().subscribes
    }

    /// Ids that were acknowledged though nothing of ours was under way with them: those of injected packets.
    pub fn strange(&self) -> Vec<u16> {
        self.session().strange.clone()
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        locked(&self.session)
    }
}

impl Drop for FieldBroker {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn locked(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut stream: TcpStream, session: &Mutex<Session>, over: &AtomicBool) -> Result<()> {
    stream.set_nodelay(true)?;
    // Short, so that what the test gives meanwhile is sent soon.
    stream.set_read_timeout(Some(Duration::from_millis(1)))?;
    let (mut input, mut buffer, mut is_subscribed) = (Vec::new(), vec![0; 64 << 10], false);
    while !over.load(Ordering::SeqCst) {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => input.extend_from_slice(&buffer[..read]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
        let mut session = locked(session);
        let mut out = Vec::new();
        while let Some(frame) = take_frame(&mut input) {
            is_subscribed |= session.answer(&frame, &mut out);
        }
        if is_subscribed {
            session.send(&mut out);
        }
        drop(session);
        stream.write_all(&out)?;
    }
    Ok(())
}

impl Session {
    /// Answers a packet; tells whether messages may flow from then on.
    fn answer(&mut self, frame: &[u8], out: &mut Vec<u8>) -> bool {
        match frame[0] >> 4 {
            1 => {
                self.is_v5 = packet::version(frame) == Some(5);
                let known = u8::from(std::mem::replace(&mut self.exists, true));
                out.extend(if self.is_v5 {
                    vec![0x20, 3, known, 0, 0]
                } else {
                    vec![0x20, 2, known, 0]
                });
                let again: Vec<_> = self.flying.iter().cloned().collect();
                again
                    .iter()
                    .for_each(|(id, message)| out.extend(self.publish(*id, message, true)));
                // Whoever knows his session may not subscribe again.
                return known == 1;
            }
            4 => self.acknowledge(packet::id(frame).unwrap_or_default()),
            8 => {
                self.subscribes += 1;
                out.extend(self.suback(frame));
                return true;
            }
            12 => out.extend([0xd0, 0]),
            _ => {}
        }
        false
    }

    fn acknowledge(&mut self, id: u16) {
        match self.flying.iter().position(|(flying, _)| *flying == id) {
            Some(place) => {
                self.flying.remove(place);
                self.acknowledged += 1;
            }
            None => self.strange.push(id),
        }
    }

    fn suback(&self, frame: &[u8]) -> Vec<u8> {
        let mut body = packet::id(frame).unwrap_or_default().to_be_bytes().to_vec();
        let mut filters = &frame[4..];
        if self.is_v5 {
            body.push(0);
            filters = &filters[1 + usize::from(filters[0])..];
        }
        while let Some((length, rest)) = filters.split_first_chunk::<2>() {
            filters = &rest[usize::from(u16::from_be_bytes(*length)) + 1..];
            body.push(1);
        }
        packet(0x90, &body)
    }

    fn send(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.raw);
        while self.flying.len() < self.window
            && let Some(message) = self.waiting.pop_front()
        {
            // Far from the ids that tests inject.
            self.next_id = self.next_id % 30_000 + 1;
            out.extend(self.publish(self.next_id, &message, false));
            self.flying.push_back((self.next_id, message));
        }
    }

    fn publish(&self, id: u16, (topic, payload): &(String, Vec<u8>), again: bool) -> Vec<u8> {
        let properties: &[u8] = if self.is_v5 { &[0] } else { &[] };
        let body = [&text(topic)[..], &id.to_be_bytes(), properties, payload].concat();
        packet(if again { 0x3a } else { 0x32 }, &body)
    }
}
