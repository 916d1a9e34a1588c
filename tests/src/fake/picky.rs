//! A broker that is picky: what becomes of a publish is said by rules, by topic, size and count, and each answer, its
//! code, its time and the hang-up are theirs. Speaks MQTT 5 and 3.1.1, and keeps account.
//!
//! ```ignore
//! let upstream = PickyBroker::start(Terms::default(), vec![
//!     Rule(Which::topic("bad/"), Deed::Answer(0x95, "too large")),
//!     Rule(Which::over(50_000), Deed::HangUp),
//!     Rule(Which::topic("slow/").numbers(..3), Deed::Late(Duration::from_secs(2))),
//! ])?;
//! ```
//!
//! The first rule that fits counts; what none fits is taken.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::packet::{self, Published, acknowledgement, take_frame};
use super::which::Which;

/// What is done with a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// PUBACK or PUBREC with this code, and these words unless they are empty; below 0x80 it is taken. 3.1.1 knows no
    /// codes: there it is an answer like any other.
    Answer(u8, &'static str),
    /// So many a second are taken, a tenth of that at once; the others get code 0x97, quota exceeded.
    AtMost(u32),
    /// So many a second are taken in the same way; over one more the connection ends, with this code in a DISCONNECT.
    AtMostOrEnd(u32, u8),
    /// PUBREC as usual, PUBCOMP with this code. With QoS 1 it is an [`Deed::Answer`].
    Complete(u8),
    /// No PUBACK or PUBREC, ever.
    Never,
    /// PUBREC as usual, but no PUBCOMP. With QoS 1 it is [`Deed::Never`].
    NeverComplete,
    /// Taken, but PUBACK or PUBREC comes so much later.
    Late(Duration),
    /// The connection is closed instead of an answer.
    HangUp,
    /// The same, so much later; what else comes is taken meanwhile.
    HangUpLater(Duration),
    /// Taken and answered, and then the connection is closed.
    AnswerAndHangUp,
    /// DISCONNECT with this code, and the connection is closed; 3.1.1 has no DISCONNECT from a broker.
    Disconnect(u8),
}

/// What is done with which.
#[derive(Clone, Debug)]
pub struct Rule(pub Which, pub Deed);

/// What CONNACK says, and what holds for a connection as a whole.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Code of CONNACK.
    pub code: u8,
    /// Properties of a CONNACK of MQTT 5, as they stand in the packet.
    pub properties: Vec<u8>,
    /// Hangs up when more than so many publishes of QoS 2 are not released.
    pub most_unreleased: Option<usize>,
}

/// A publish of which it keeps account.
#[derive(Clone, Debug)]
pub struct Noted {
    /// What it was.
    pub published: Published,
    /// On which connection, from 1.
    pub connection: u64,
    /// When.
    pub at: Instant,
}

#[derive(Debug, Default)]
struct Account {
    terms: Terms,
    rules: Vec<(Rule, u64)>,
    /// What is left of a second's grant, and when it was filled.
    grant: (f64, Option<Instant>),
    passwords: BTreeSet<String>,
    seen: Vec<Noted>,
    taken: Vec<Noted>,
}

impl Account {
    fn note(&mut self, published: &Published, connection: u64) -> Deed {
        self.seen.push(Noted {
            published: published.clone(),
            connection,
            at: Instant::now(),
        });
        for (Rule(which, deed), count) in &mut self.rules {
            if !published.topic.contains(&which.topic) || published.bytes <= which.over {
                continue;
            }
            *count += 1;
            if (which.numbers.0..which.numbers.1).contains(&(*count - 1)) {
                let deed = *deed;
                return self.granted(deed);
            }
        }
        Deed::Answer(0, "")
    }

    /// What a limit comes to now.
    fn granted(&mut self, deed: Deed) -> Deed {
        let (rate, refusal) = match deed {
            Deed::AtMost(rate) => (rate, Deed::Answer(0x97, "too many messages")),
            Deed::AtMostOrEnd(rate, code) => (rate, Deed::Disconnect(code)),
            _ => return deed,
        };
        let (rate, now) = (f64::from(rate), Instant::now());
        let (left, filled) = self.grant;
        let filled = filled.map_or(rate, |filled| {
            rate * now.duration_since(filled).as_secs_f64()
        });
        let left = (left + filled).min(rate / 10.0);
        let is_taken = left >= 1.0;
        self.grant = (left - f64::from(u8::from(is_taken)), Some(now));
        if is_taken {
            Deed::Answer(0, "")
        } else {
            refusal
        }
    }
}

#[derive(Debug)]
struct Shared {
    account: Mutex<Account>,
    over: AtomicBool,
    connections: AtomicU64,
    hang_ups: AtomicU64,
}

impl Shared {
    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running one.
#[derive(Debug)]
pub struct PickyBroker {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl PickyBroker {
    /// Starts it.
    pub fn start(terms: Terms, rules: Vec<Rule>) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for the picky broker")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            account: Mutex::new(Account {
                terms,
                rules: numbered(rules),
                ..Account::default()
            }),
            over: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            hang_ups: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if accepting.over.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
                // A connection that breaks ends its thread.
                std::thread::spawn(move || {
                    Peer::new(stream, number, &shared).and_then(|mut peer| peer.serve())
                });
            }
        });
        Ok(Self { address, shared })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Other rules from the next publish on; their counts begin anew.
    pub fn change(&self, rules: Vec<Rule>) {
        self.shared.account().rules = numbered(rules);
    }

    /// Other terms from the next connection on.
    pub fn greet(&self, terms: Terms) {
        self.shared.account().terms = terms;
    }

    /// All that was published, in order, whatever became of it.
    pub fn seen(&self) -> Vec<Noted> {
        self.shared.account().seen.clone()
    }

    /// What it has taken, in order; what came twice is in it twice.
    pub fn taken(&self) -> Vec<Noted> {
        self.shared.account().taken.clone()
    }

    /// The passwords that were shown, whatever they were: it takes them all.
    pub fn passwords(&self) -> BTreeSet<String> {
        self.shared.account().passwords.clone()
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How often it has hung up.
    pub fn hang_ups(&self) -> u64 {
        self.shared.hang_ups.load(Ordering::SeqCst)
    }
}

impl Drop for PickyBroker {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then ends.
        let _ = TcpStream::connect(self.address);
    }
}

fn numbered(rules: Vec<Rule>) -> Vec<(Rule, u64)> {
    rules.into_iter().map(|rule| (rule, 0)).collect()
}

/// A publish of QoS 2 between PUBLISH and PUBCOMP.
#[derive(Debug)]
struct Unreleased {
    id: u16,
    deed: Deed,
}

/// One connection.
#[derive(Debug)]
struct Peer<'a> {
    stream: TcpStream,
    number: u64,
    shared: &'a Shared,
    is_v5: bool,
    unreleased: Vec<Unreleased>,
    /// Answers that are due later.
    late: Vec<(Instant, Vec<u8>)>,
    hangs_up_at: Option<Instant>,
}

impl<'a> Peer<'a> {
    fn new(stream: TcpStream, number: u64, shared: &'a Shared) -> Option<Self> {
        stream.set_nodelay(true).ok()?;
        Some(Self {
            stream,
            number,
            shared,
            is_v5: true,
            unreleased: Vec::new(),
            late: Vec::new(),
            hangs_up_at: None,
        })
    }

    /// Until either side hangs up.
    fn serve(&mut self) -> Option<()> {
        let (mut input, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            while let Some(frame) = take_frame(&mut input) {
                self.take(&frame)?;
            }
            let patience = self.answer_the_late()?;
            self.stream.set_read_timeout(Some(patience)).ok()?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(read) => input.extend(&buffer[..read]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if self.shared.over.load(Ordering::SeqCst) {
                        return None;
                    }
                }
                Err(_) => return None,
            }
        }
    }

    /// Sends what is due; gives the time until the next look.
    fn answer_the_late(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.late)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.late = later;
        for (_, bytes) in due {
            self.say(&bytes)?;
        }
        if self.hangs_up_at.is_some_and(|at| at <= now) {
            return self.hang_up().map(|()| Duration::ZERO);
        }
        let late = self.late.iter().map(|(at, _)| *at).chain(self.hangs_up_at);
        let next = late.map(|at| at.duration_since(now)).min();
        Some(
            next.unwrap_or(Duration::from_secs(5))
                .clamp(Duration::from_millis(1), Duration::from_secs(5)),
        )
    }

    fn take(&mut self, frame: &[u8]) -> Option<()> {
        match frame[0] >> 4 {
            1 => self.greet(frame),
            3 => {
                let published = packet::published(frame, self.is_v5)?;
                let deed = self.shared.account().note(&published, self.number);
                self.meet(&published, deed)
            }
            6 => self.complete(packet::id(frame)?),
            12 => self.say(&[0xd0, 0]),
            14 => None,
            _ => Some(()),
        }
    }

    fn greet(&mut self, frame: &[u8]) -> Option<()> {
        self.is_v5 = packet::version(frame)? == 5;
        let password = packet::password(frame, self.is_v5);
        self.shared.account().passwords.extend(password);
        let Terms {
            code, properties, ..
        } = self.shared.account().terms.clone();
        let answer = if self.is_v5 {
            packet::connack(code, &properties)
        } else {
            packet::packet(0x20, &[0, code])
        };
        self.say(&answer)
    }

    fn meet(&mut self, published: &Published, deed: Deed) -> Option<()> {
        if published.qos == 2 && !matches!(deed, Deed::HangUp | Deed::Disconnect(_)) {
            self.unreleased.push(Unreleased {
                id: published.id,
                deed,
            });
            let most = self.shared.account().terms.most_unreleased;
            if most.is_some_and(|most| self.unreleased.len() > most) {
                return self.hang_up();
            }
        }
        match deed {
            Deed::Answer(code, words) if code >= 0x80 && self.is_v5 => {
                self.acknowledge(published, code, words)
            }
            Deed::Complete(code) if published.qos < 2 && code >= 0x80 && self.is_v5 => {
                self.acknowledge(published, code, "")
            }
            Deed::Answer(code, words) => self.accept(published, code, words),
            Deed::AtMost(_) | Deed::AtMostOrEnd(..) => self.accept(published, 0, ""),
            Deed::Complete(_) => self.accept(published, 0, ""),
            Deed::NeverComplete if published.qos == 2 => self.accept(published, 0, ""),
            Deed::Never | Deed::NeverComplete => Some(()),
            Deed::Late(time) => {
                self.note_taken(published);
                self.late
                    .push((Instant::now() + time, self.answer(published, 0, "")));
                Some(())
            }
            Deed::HangUp => self.hang_up(),
            Deed::HangUpLater(time) => {
                self.hangs_up_at.get_or_insert(Instant::now() + time);
                Some(())
            }
            Deed::AnswerAndHangUp => {
                self.accept(published, 0, "")?;
                self.hang_up()
            }
            Deed::Disconnect(code) => {
                if self.is_v5 {
                    self.say(&packet::disconnect(code, ""))?;
                    self.listen_to_the_end();
                }
                self.hang_up()
            }
        }
    }

    /// Reads what is under way, for a second at most: a close with bytes unread resets the connection, and what was said last
    /// is lost with it.
    fn listen_to_the_end(&mut self) {
        let end = Instant::now() + Duration::from_secs(1);
        let _ = self.stream.shutdown(Shutdown::Write);
        let _ = self
            .stream
            .set_read_timeout(Some(Duration::from_millis(100)));
        let mut buffer = vec![0; 64 << 10];
        while Instant::now() < end {
            match self.stream.read(&mut buffer) {
                Ok(1..) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }

    fn accept(&mut self, published: &Published, code: u8, words: &str) -> Option<()> {
        self.note_taken(published);
        self.acknowledge(published, code, words)
    }

    fn note_taken(&self, published: &Published) {
        let noted = Noted {
            published: published.clone(),
            connection: self.number,
            at: Instant::now(),
        };
        self.shared.account().taken.push(noted);
    }

    fn acknowledge(&mut self, published: &Published, code: u8, words: &str) -> Option<()> {
        if code >= 0x80 {
            self.unreleased.retain(|open| open.id != published.id);
        }
        let answer = self.answer(published, code, words);
        self.say(&answer)
    }

    fn answer(&self, published: &Published, code: u8, words: &str) -> Vec<u8> {
        match published.qos {
            0 => Vec::new(),
            1 => acknowledgement(0x40, published.id, self.is_v5, code, words),
            _ => acknowledgement(0x50, published.id, self.is_v5, code, words),
        }
    }

    /// PUBREL has come.
    fn complete(&mut self, id: u16) -> Option<()> {
        let place = self.unreleased.iter().position(|open| open.id == id);
        let deed = place.map(|place| self.unreleased.remove(place).deed);
        match deed {
            Some(Deed::NeverComplete) => Some(()),
            Some(Deed::Complete(code)) => {
                self.say(&acknowledgement(0x70, id, self.is_v5, code, ""))
            }
            _ => self.say(&acknowledgement(0x70, id, self.is_v5, 0, "")),
        }
    }

    fn say(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).ok()
    }

    fn hang_up(&mut self) -> Option<()> {
        self.shared.hang_ups.fetch_add(1, Ordering::SeqCst);
        let _ = self.stream.shutdown(Shutdown::Both);
        None
    }
}
