//! A line without numbers, on which answers are late, damaged, cut, or those of others, and which closes as it likes.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use super::*;
use crate::source::modbus::map::Area;

const TIMEOUT: Duration = Duration::from_millis(120);

/// What is on its way from the devices, to whoever is connected when it arrives.
#[derive(Debug)]
struct Devices {
    chance: fastrand::Rng,
    on_the_way: Vec<(Instant, Vec<u8>)>,
    /// How many answers come as they should.
    are_well: bool,
}

/// A connection to the serial server before them.
#[derive(Debug)]
struct Scripted {
    devices: Arc<Mutex<Devices>>,
    is_closed: bool,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

fn value(station: u8, address: u16) -> [u8; 2] {
    (u16::from(station) * 1_000 + address).to_be_bytes()
}

fn frame(station: u8, data: [u8; 2]) -> Vec<u8> {
    let body = [station, 3, 2, data[0], data[1]];
    [
        &body[..],
        &super::super::frame::checksum(&body).to_le_bytes(),
    ]
    .concat()
}

impl Devices {
    /// Whether the connection ends over it.
    fn asked(&mut self, request: &[u8], now: Instant) -> bool {
        let (station, address) = (request[0], u16::from_be_bytes([request[2], request[3]]));
        let answer = frame(station, value(station, address));
        // Less than twice the timeout, by more than a busy machine takes between two lines of code.
        let delay = match self.chance.u8(0..3) {
            _ if self.are_well => Duration::ZERO,
            0 => Duration::ZERO,
            1 => TIMEOUT / 2,
            _ => TIMEOUT * 3 / 2,
        };
        let kind = if self.are_well {
            0
        } else {
            self.chance.u8(0..9)
        };
        let at = now + delay;
        let mut damaged = answer.clone();
        damaged[4] ^= 0x55;
        match kind {
            1 => self.on_the_way.push((now, vec![0, 0xff])),
            2 => self.on_the_way.push((now, damaged)),
            3 => {
                self.on_the_way.push((at, damaged));
                return false;
            }
            4 => self.on_the_way.push((now, frame(station + 1, [9, 9]))),
            5 => self.on_the_way.push((now, vec![station, 3, 4, 9, 9, 9, 9])),
            6 => return false,
            7 => {
                let (first, rest) = answer.split_at(3);
                self.on_the_way.push((now, first.to_vec()));
                self.on_the_way.push((at, rest.to_vec()));
                return false;
            }
            _ => {}
        }
        self.on_the_way.push((at, answer));
        kind == 8
    }
}

impl LineStream for Scripted {
    fn poll_read(&mut self, cx: &mut Context<'_>, input: &mut BytesMut) -> Poll<io::Result<usize>> {
        if self.is_closed {
            return Poll::Ready(Ok(0));
        }
        let mut devices = self.devices.lock().unwrap();
        devices.on_the_way.sort_by_key(|(at, _)| *at);
        let first = devices.on_the_way.first().map(|(at, _)| *at);
        let Some(at) = first else {
            return Poll::Pending;
        };
        if at <= Instant::now() {
            let (_, bytes) = devices.on_the_way.remove(0);
            input.extend_from_slice(&bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        let timer = self
            .timer
            .insert(Box::pin(tokio::time::sleep_until(at.into())));
        let _ = timer.as_mut().poll(cx);
        Poll::Pending
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.is_closed = self.devices.lock().unwrap().asked(bytes, Instant::now());
        Poll::Ready(Ok(bytes.len()))
    }

    fn is_connection(&self) -> bool {
        true
    }
}

fn dial(devices: &Arc<Mutex<Devices>>) -> Line {
    let wire = Scripted {
        devices: Arc::clone(devices),
        is_closed: false,
        timer: None,
    };
    Line::over(Box::new(wire), Framing::Rtu, Duration::ZERO)
}

/// Asks for registers in turn as a poll does, and gives back how many were read.
async fn read_on(seed: u64, are_well: bool) -> usize {
    let devices = Arc::new(Mutex::new(Devices {
        chance: fastrand::Rng::with_seed(seed),
        on_the_way: Vec::new(),
        are_well,
    }));
    let mut chance = fastrand::Rng::with_seed(!seed);
    let (mut line, mut read) = (dial(&devices), 0);
    for _ in 0..16 {
        if line.is_spent() {
            line = dial(&devices).after(line.leave());
        }
        let ask = ReadRequest {
            station: chance.u8(1..=3),
            area: Area::Holding,
            address: chance.u16(0..500),
            count: 1,
        };
        if let Ok(data) = line.ask(ask, TIMEOUT).await {
            assert_eq!(
                data,
                value(ask.station, ask.address),
                "seed {seed}: {ask:?}"
            );
            read += 1;
        }
    }
    read
}

#[tokio::test]
async fn whatever_happens_on_a_line_no_answer_is_taken_for_that_to_another_request() {
    let mut all = tokio::task::JoinSet::new();
    for seed in 0..64 {
        all.spawn(read_on(seed, false));
    }
    let read: usize = all.join_all().await.into_iter().sum();
    assert!(read > 64, "{read} were read");
}

#[tokio::test]
async fn a_well_line_waits_for_nothing() {
    let begun = Instant::now();
    assert_eq!(read_on(1, true).await, 16);
    assert!(begun.elapsed() < 16 * SILENCE, "{:?}", begun.elapsed());
}
