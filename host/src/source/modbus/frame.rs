//! Requests and answers as bytes, over TCP and on a line. No sockets. Whatever an answer is instead of one has a name.
//!
//! Four functions, which read: each is two numbers out, and a count and bytes back. A general client brings the rest of Modbus
//! along, waits for what is no answer until its time is over, and has one error for all of it.

use super::map::Area;

/// How a request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// With a number that the answer repeats, and a length.
    Tcp,
    /// With a checksum, and a silence behind it.
    Rtu,
}

impl Framing {
    /// How long an answer with so many bytes of data is.
    pub(super) fn whole(self, data: usize) -> usize {
        match self {
            Self::Tcp => 9 + data,
            Self::Rtu => 5 + data,
        }
    }
}

/// A request for registers, or bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadRequest {
    pub(super) station: u8,
    pub(super) area: Area,
    pub(super) address: u16,
    pub(super) count: u16,
}

/// What came in place of the bytes that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnswerFault {
    #[error("no answer within {0:?}: check station number, wiring, and that it is switched on")]
    Silent(std::time::Duration),
    #[error("{got} bytes of an answer within {within:?}, and no more")]
    Short {
        got: usize,
        within: std::time::Duration,
    },
    #[error("an answer with a wrong checksum: check baud rate, parity, termination and cable")]
    Garbled,
    #[error("an answer of another: {0}")]
    Foreign(String),
    #[error("an answer that is none: {0}")]
    Malformed(String),
    #[error("{}", .0.words())]
    Refused(Exception),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("reading took longer than {0:?} (`within`): raise it, or part the group")]
    Late(std::time::Duration),
}

impl AnswerFault {
    /// The word for it in a metric.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Silent(_) => "silent",
            Self::Short { .. } => "short",
            Self::Garbled => "garbled",
            Self::Foreign(_) => "foreign",
            Self::Malformed(_) => "malformed",
            Self::Refused(_) => "refused",
            Self::Broken(_) => "broken",
            Self::Late(_) => "late",
        }
    }

    /// All words, and the one for an answer that is as it should be.
    pub(super) const NAMES: [&'static str; 9] = [
        "answered",
        "silent",
        "short",
        "garbled",
        "foreign",
        "malformed",
        "refused",
        "broken",
        "late",
    ];
}

/// The code with which a device, or what stands before it, refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exception(pub(super) u8);

/// What a refusal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Such a request is never answered.
    Never,
    /// It cannot be answered now.
    NotNow,
    /// The device was not reached.
    NotThere,
}

impl Exception {
    pub(super) fn name(self) -> &'static str {
        match self.0 {
            1 => "illegal-function",
            2 => "illegal-data-address",
            3 => "illegal-data-value",
            4 => "device-failure",
            5 => "acknowledge",
            6 => "device-busy",
            8 => "memory-parity-error",
            10 => "gateway-path-unavailable",
            11 => "gateway-target-silent",
            _ => "unknown-exception",
        }
    }

    pub(super) fn meaning(self) -> Meaning {
        match self.0 {
            1..=3 => Meaning::Never,
            10 | 11 => Meaning::NotThere,
            _ => Meaning::NotNow,
        }
    }

    /// Whether it refuses every request to that area, not this one.
    pub(super) fn is_of_the_function(self) -> bool {
        self.0 == 1
    }

    fn words(self) -> String {
        let name = self.name();
        match self.meaning() {
            Meaning::NotThere => format!(
                "what stands before it says {name}: check station number and wiring behind it"
            ),
            _ => format!("it answers {name} (exception {})", self.0),
        }
    }
}

/// What was found among the bytes that have come since a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found<'i> {
    /// The answer, or why none can come any more.
    pub(super) answer: Option<Result<&'i [u8], AnswerFault>>,
    /// So many bytes are done with.
    pub(super) done: usize,
    /// What stood before the answer, or in place of it.
    pub(super) stray: Option<AnswerFault>,
}

impl ReadRequest {
    /// Looks for the answer: behind frames with other numbers over TCP, behind anything on a line.
    pub(super) fn seek<'i>(&self, framing: Framing, number: u16, input: &'i [u8]) -> Found<'i> {
        let mut found = Found::default();
        while found.done < input.len() {
            let rest = &input[found.done..];
            let answer = self.answer(framing, number, rest);
            let skip = match (&answer, framing) {
                (Ok(None), _) => return found,
                (Err(AnswerFault::Foreign(_)), Framing::Tcp) => of_another(number, rest),
                (Ok(_) | Err(AnswerFault::Refused(_)), _) | (_, Framing::Tcp) => None,
                (Err(_), Framing::Rtu) => Some(1),
            };
            match (answer, skip) {
                (Err(fault), Some(skip)) => {
                    found.stray.get_or_insert(fault);
                    if skip > rest.len() {
                        return found;
                    }
                    found.done += skip;
                }
                (answer, _) => {
                    let data = answer.as_ref().ok().and_then(|data| *data);
                    let whole = framing.whole(data.map_or(0, <[u8]>::len));
                    found.done += whole.min(rest.len());
                    found.answer = answer.transpose();
                    return found;
                }
            }
        }
        found
    }

    /// The bytes of the request; `number` is what the answer repeats over TCP.
    pub(super) fn encode(&self, framing: Framing, number: u16) -> Vec<u8> {
        let [address, count] = [self.address, self.count].map(u16::to_be_bytes);
        let mut frame = Vec::with_capacity(12);
        if framing == Framing::Tcp {
            frame.extend(number.to_be_bytes());
            frame.extend([0, 0, 0, 6]);
        }
        frame.extend([self.station, self.area.function()]);
        frame.extend(address);
        frame.extend(count);
        if framing == Framing::Rtu {
            let sum = checksum(&frame);
            frame.extend(sum.to_le_bytes());
        }
        frame
    }

    /// The bytes that were asked for, once all of `input` that belongs to the answer is there.
    fn answer<'i>(
        &self,
        framing: Framing,
        number: u16,
        input: &'i [u8],
    ) -> Result<Option<&'i [u8]>, AnswerFault> {
        match framing {
            Framing::Tcp => self.answer_over_tcp(number, input),
            Framing::Rtu => self.answer_on_a_line(input),
        }
    }

    fn answer_over_tcp<'i>(
        &self,
        number: u16,
        input: &'i [u8],
    ) -> Result<Option<&'i [u8]>, AnswerFault> {
        let Some((head, rest)) = input.split_first_chunk::<6>() else {
            return Ok(None);
        };
        let field = |place: usize| u16::from_be_bytes([head[place], head[place + 1]]);
        let (its, protocol, length) = (field(0), field(2), usize::from(field(4)));
        if protocol != 0 || !(3..=254).contains(&length) {
            let what = format!(
                "protocol {protocol} and length {length} in its head: this is no Modbus TCP (a serial server is modbus+rtu+tcp://)"
            );
            return Err(AnswerFault::Malformed(what));
        }
        if its != number {
            return Err(AnswerFault::Foreign(format!(
                "it has the number {its}, the request had {number}"
            )));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        if body[0] != self.station {
            return Err(AnswerFault::Foreign(format!(
                "it comes from station {}",
                body[0]
            )));
        }
        self.body(&body[1..]).map(Some)
    }

    fn answer_on_a_line<'i>(&self, input: &'i [u8]) -> Result<Option<&'i [u8]>, AnswerFault> {
        let [station, function, ..] = input else {
            return Ok(None);
        };
        if *station != self.station {
            return Err(AnswerFault::Foreign(format!(
                "it comes from station {station}"
            )));
        }
        let own = self.area.function();
        let length = match input.get(2) {
            _ if *function == own | 0x80 => 3,
            _ if *function != own => return self.body(&input[1..]).map(Some),
            None => return Ok(None),
            Some(count) if usize::from(*count) != self.bytes() => {
                return self.body(&input[1..3]).map(Some);
            }
            Some(count) => 3 + usize::from(*count),
        };
        let Some(frame) = input.get(..length + 2) else {
            return Ok(None);
        };
        let (frame, sum) = frame.split_at(length);
        if checksum(frame).to_le_bytes() != sum {
            return Err(AnswerFault::Garbled);
        }
        self.body(&frame[1..]).map(Some)
    }

    /// What stands between station and checksum.
    fn body<'i>(&self, body: &'i [u8]) -> Result<&'i [u8], AnswerFault> {
        let own = self.area.function();
        match body {
            [function, code] if *function == own | 0x80 => {
                Err(AnswerFault::Refused(Exception(*code)))
            }
            [function, ..] if *function & 0x7f != own => Err(AnswerFault::Foreign(format!(
                "it answers function {}, function {own} was asked",
                function & 0x7f
            ))),
            [function, count, data @ ..]
                if *function == own
                    && usize::from(*count) == self.bytes()
                    && data.len() == self.bytes() =>
            {
                Ok(data)
            }
            [_, count, ..] => Err(AnswerFault::Malformed(format!(
                "it has {count} bytes, {} were asked for",
                self.bytes()
            ))),
            _ => Err(AnswerFault::Malformed("it has no bytes".to_owned())),
        }
    }

    /// So many bytes the answer has to have.
    fn bytes(&self) -> usize {
        let count = usize::from(self.count);
        if self.area.is_bits() {
            count.div_ceil(8)
        } else {
            2 * count
        }
    }
}

/// How long the frame is that begins `input` over TCP, where it answers a request with another number.
fn of_another(number: u16, input: &[u8]) -> Option<usize> {
    let its = u16::from_be_bytes([*input.first()?, *input.get(1)?]);
    let length = u16::from_be_bytes([*input.get(4)?, *input.get(5)?]);
    (its != number).then_some(6 + usize::from(length))
}

/// The CRC-16 of Modbus.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte), |sum, _| {
            if sum & 1 == 1 {
                sum >> 1 ^ 0xa001
            } else {
                sum >> 1
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ASK: ReadRequest = ReadRequest {
        station: 17,
        area: Area::Holding,
        address: 0x6b,
        count: 3,
    };

    fn over_tcp(input: &[u8]) -> Result<Option<Vec<u8>>, AnswerFault> {
        let found = ASK.answer(Framing::Tcp, 5, input);
        found.map(|data| data.map(<[u8]>::to_vec))
    }

    fn on_a_line(body: &[u8]) -> Result<Option<Vec<u8>>, AnswerFault> {
        let frame = [body, &checksum(body).to_le_bytes()].concat();
        let found = ASK.answer(Framing::Rtu, 5, &frame);
        found.map(|data| data.map(<[u8]>::to_vec))
    }

    fn name(found: Result<Option<Vec<u8>>, AnswerFault>) -> &'static str {
        match found {
            Ok(Some(_)) => "answered",
            Ok(None) => "more",
            Err(fault) => fault.name(),
        }
    }

    #[test]
    fn requests_are_those_of_the_book() {
        let tcp = [0, 5, 0, 0, 0, 6, 17, 3, 0, 0x6b, 0, 3];
        assert_eq!(ASK.encode(Framing::Tcp, 5), tcp);
        let rtu = [17, 3, 0, 0x6b, 0, 3, 0x76, 0x87];
        assert_eq!(ASK.encode(Framing::Rtu, 5), rtu);
    }

    #[test]
    fn every_answer_over_tcp_has_a_name() {
        let good = [0, 5, 0, 0, 0, 9, 17, 3, 6, 1, 2, 3, 4, 5, 6];
        assert_eq!(over_tcp(&good), Ok(Some(vec![1, 2, 3, 4, 5, 6])));
        for end in 0..good.len() {
            assert_eq!(over_tcp(&good[..end]), Ok(None));
        }
        let with = |place: usize, byte: u8| {
            let mut other = good;
            other[place] = byte;
            name(over_tcp(&other))
        };
        assert_eq!(with(1, 4), "foreign");
        assert_eq!(with(6, 18), "foreign");
        assert_eq!(with(7, 4), "foreign");
        assert_eq!(with(2, 1), "malformed");
        assert_eq!(with(4, 9), "malformed");
        assert_eq!(with(5, 2), "malformed");
        assert_eq!(with(5, 8), "malformed");
        assert_eq!(with(8, 4), "malformed");
        let refused = over_tcp(&[0, 5, 0, 0, 0, 3, 17, 0x83, 2]);
        assert_eq!(refused, Err(AnswerFault::Refused(Exception(2))));
        // The head of a frame of a line.
        assert_eq!(
            name(over_tcp(&[17, 3, 6, 1, 2, 3, 4, 5, 6, 7, 8])),
            "malformed"
        );
    }

    #[test]
    fn every_answer_on_a_line_has_a_name() {
        let good = [17, 3, 6, 1, 2, 3, 4, 5, 6];
        assert_eq!(on_a_line(&good), Ok(Some(vec![1, 2, 3, 4, 5, 6])));
        for end in 0..good.len() {
            let cut = ASK.answer(Framing::Rtu, 5, &good[..end]);
            assert_eq!(cut, Ok(None));
        }
        let garbled = [17, 3, 6, 1, 2, 3, 4, 5, 7, 0, 0];
        assert_eq!(
            ASK.answer(Framing::Rtu, 5, &garbled),
            Err(AnswerFault::Garbled)
        );
        assert_eq!(name(on_a_line(&[18, 3, 6, 1, 2, 3, 4, 5, 6])), "foreign");
        assert_eq!(name(on_a_line(&[17, 4, 6, 1, 2, 3, 4, 5, 6])), "foreign");
        assert_eq!(name(on_a_line(&[17, 3, 4, 1, 2, 3, 4])), "malformed");
        assert_eq!(
            on_a_line(&[17, 0x83, 11]),
            Err(AnswerFault::Refused(Exception(11)))
        );
    }

    #[test]
    fn the_answer_is_found_behind_what_is_none() {
        let good = [17, 3, 6, 1, 2, 3, 4, 5, 6];
        let frame = |body: &[u8]| [body, &checksum(body).to_le_bytes()].concat();
        let damaged = [&good[..], &[0, 0]].concat();
        let of_another = frame(&[18, 3, 2, 9, 9]);
        for before in [vec![0, 0xff], vec![17, 3, 6], damaged, of_another] {
            let input = [before, frame(&good)].concat();
            let found = ASK.seek(Framing::Rtu, 5, &input);
            assert_eq!(found.answer, Some(Ok(&good[3..])));
            assert_eq!(found.done, input.len());
        }
        let late = [0, 4, 0, 0, 0, 5, 17, 3, 2, 9, 9];
        let own = [0, 5, 0, 0, 0, 9, 17, 3, 6, 1, 2, 3, 4, 5, 6];
        let input = [&late[..], &own].concat();
        let found = ASK.seek(Framing::Tcp, 5, &input);
        assert_eq!(found.answer, Some(Ok(&own[9..])));
        assert_eq!(found.done, input.len());
        let found = ASK.seek(Framing::Tcp, 5, &input[..8]);
        assert_eq!((found.answer, found.done), (None, 0));
        assert_eq!(found.stray.map(|fault| fault.name()), Some("foreign"));
        let found = ASK.seek(Framing::Tcp, 5, &[0, 5, 0, 0, 0, 9, 18, 3]);
        assert_eq!(found.answer, None);
    }

    #[test]
    fn bits_come_eight_to_a_byte() {
        let ask = ReadRequest {
            area: Area::Coil,
            count: 9,
            ..ASK
        };
        let answer = [0, 5, 0, 0, 0, 5, 17, 1, 2, 0xff, 1];
        assert_eq!(
            ask.answer(Framing::Tcp, 5, &answer),
            Ok(Some(&[0xff, 1][..]))
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_are_an_answer_of_another_length(input in prop::collection::vec(any::<u8>(), 0..40)) {
            for framing in [Framing::Tcp, Framing::Rtu] {
                let found = ASK.seek(framing, 5, &input);
                prop_assert!(found.done <= input.len());
                if let Some(Ok(data)) = found.answer {
                    prop_assert_eq!(data.len(), 6);
                }
            }
        }

        #[test]
        fn a_bit_that_flips_on_a_line_never_passes(place in 0_usize..88, data: [u8; 6]) {
            let body = [&[17, 3, 6][..], &data].concat();
            let mut frame = [&body[..], &checksum(&body).to_le_bytes()].concat();
            frame[place / 8] ^= 1 << (place % 8);
            prop_assert!(!matches!(ASK.answer(Framing::Rtu, 5, &frame), Ok(Some(_))));
        }
    }
}
