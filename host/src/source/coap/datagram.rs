//! Datagrams as CoAP has them (RFC 7252, 3 and 4): what one is, and how one is written. No sockets.

use std::collections::LinkedList;

use coap_lite::{MessageType, Packet};

/// The least a datagram has.
const HEAD_BYTES: usize = 4;
/// Stands before the payload.
const MARKER: u8 = 0xFF;

/// A datagram, as far as it can be read.
#[derive(Debug)]
pub(super) enum CoapDatagram {
    Request(CoapRequest),
    /// The other end has our message of that number, or wants no more of it.
    Heard(u16),
    /// The message of that number is none that there may be: it is answered with a reset, as 4.2 has it. An empty one is such a
    /// message, too, by which somebody looks whether we are there.
    Rejected(u16),
    /// Nobody is to be told: another version, or something wrong that wants no acknowledgement.
    Nothing,
}

/// A request as it came.
#[derive(Debug)]
pub(super) struct CoapRequest {
    /// Its sender waits for an acknowledgement.
    pub(super) is_confirmable: bool,
    /// Its number: a repeat has the same.
    pub(super) id: u16,
    /// Its method, by the number that RFC 7252, 12.1 has for it.
    pub(super) code: u8,
    packet: Packet,
}

impl CoapRequest {
    /// By which its sender knows the answer.
    pub(super) fn token(&self) -> &[u8] {
        self.packet.get_token()
    }

    /// Each option that it has, in the order of their numbers, with its values.
    pub(super) fn options(&self) -> impl Iterator<Item = (u16, &LinkedList<Vec<u8>>)> {
        let options = self.packet.options();
        options.map(|(number, values)| (*number, values))
    }

    /// The values of one option.
    pub(super) fn option(&self, number: u16) -> impl Iterator<Item = &[u8]> {
        let values = self.packet.get_option(number.into());
        values.into_iter().flatten().map(Vec::as_slice)
    }

    pub(super) fn into_payload(self) -> Vec<u8> {
        self.packet.payload
    }

    pub(super) fn payload_bytes(&self) -> usize {
        self.packet.payload.len()
    }
}

/// What a datagram is; any bytes are something.
pub(super) fn read(datagram: &[u8]) -> CoapDatagram {
    let [first, code, high, low, ..] = *datagram else {
        return CoapDatagram::Nothing;
    };
    if first >> 6 != 1 {
        return CoapDatagram::Nothing;
    }
    let id = u16::from_be_bytes([high, low]);
    let is_confirmable = match first >> 4 & 3 {
        0 => true,
        1 => false,
        // Nothing of ours asks for an answer, so that an acknowledgement with one is for somebody else.
        _ if code == 0 && datagram.len() == HEAD_BYTES => return CoapDatagram::Heard(id),
        _ => return CoapDatagram::Nothing,
    };
    let is_request = code != 0 && code >> 5 == 0;
    let packet = Packet::from_bytes(datagram).ok();
    match packet.filter(|packet| is_request && !ends_in_marker(packet, datagram)) {
        Some(packet) => CoapDatagram::Request(CoapRequest {
            is_confirmable,
            id,
            code,
            packet,
        }),
        None if is_confirmable => CoapDatagram::Rejected(id),
        None => CoapDatagram::Nothing,
    }
}

/// Whether a payload is announced and none follows, which makes a message malformed (RFC 7252, 3). The library takes it for one without a
/// payload; every form of an option is the shortest, so that its own length tells.
fn ends_in_marker(packet: &Packet, datagram: &[u8]) -> bool {
    let is_bare = packet.payload.is_empty() && datagram.last() == Some(&MARKER);
    is_bare
        && packet
            .to_bytes_unlimited()
            .is_ok_and(|bytes| bytes.len() < datagram.len())
}

/// How an answer goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerForm {
    /// In the acknowledgement of the request, which has that number.
    Acknowledging(u16),
    /// By itself, and it is to be acknowledged.
    Confirmable(u16),
    /// By itself, and that is all.
    NonConfirmable(u16),
}

/// An answer with these options, of which each has its number and value.
pub(super) fn answer(
    form: AnswerForm,
    code: u8,
    token: &[u8],
    options: impl Iterator<Item = (u16, Vec<u8>)>,
) -> Vec<u8> {
    let (kind, id) = match form {
        AnswerForm::Acknowledging(id) => (MessageType::Acknowledgement, id),
        AnswerForm::Confirmable(id) => (MessageType::Confirmable, id),
        AnswerForm::NonConfirmable(id) => (MessageType::NonConfirmable, id),
    };
    let mut packet = Packet::new();
    packet.header.set_version(1);
    packet.header.set_type(kind);
    packet.header.code = code.into();
    packet.header.message_id = id;
    packet.set_token(token.to_vec());
    for (number, value) in options {
        packet.add_option(number.into(), value);
    }
    // It fails where a limit is set only.
    packet.to_bytes_unlimited().unwrap_or_default()
}

/// Says that the message of that number is here.
pub(super) fn acknowledgement(id: u16) -> Vec<u8> {
    empty(2, id)
}

/// Says that the message of that number is not taken.
pub(super) fn reset(id: u16) -> Vec<u8> {
    empty(3, id)
}

fn empty(kind: u8, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    vec![1 << 6 | kind << 4, 0, high, low]
}

/// A number as options have it: as few bytes as it needs.
pub(super) fn uint(number: u32) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes[zeros..].to_vec()
}

/// The number in such a value; the limits of an option say how long it may be.
pub(super) fn number(value: &[u8]) -> u32 {
    let digit = |number: u32, byte: &u8| number << 8 | u32::from(*byte);
    value.iter().fold(0, digit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_message_is_rejected_where_its_sender_waits_and_else_left_alone() {
        let wrong: [&[u8]; 9] = [
            // Empty, and empty with something behind it.
            &[0x40, 0, 1, 2],
            &[0x40, 0, 1, 2, 3],
            // A token of nine bytes, or of more than there are.
            &[0x49, 2, 1, 2, 1, 2, 3, 4, 5, 6, 7, 8, 9],
            &[0x44, 2, 1, 2, 1],
            // An option that is cut off, and one of a form that is reserved.
            &[0x40, 2, 1, 2, 0xB5, b'a'],
            &[0x40, 2, 1, 2, 0xF0],
            // A payload that is announced and does not come.
            &[0x40, 2, 1, 2, 0xB1, b'a', 0xFF],
            // An answer, and a class that is reserved.
            &[0x40, 0x44, 1, 2],
            &[0x40, 0x20, 1, 2],
        ];
        for datagram in wrong {
            assert!(
                matches!(read(datagram), CoapDatagram::Rejected(0x0102)),
                "{datagram:x?}"
            );
            let mut other = datagram.to_vec();
            // The same that nobody waits for, an acknowledgement, and another version.
            for first in [0x50, 0x70, 0x80] {
                other[0] = first | datagram[0] & 0x0F;
                let found = read(&other);
                let is_heard = first == 0x70 && other[1] == 0 && other.len() == 4;
                assert_eq!(matches!(found, CoapDatagram::Heard(_)), is_heard);
                assert!(!matches!(
                    found,
                    CoapDatagram::Rejected(_) | CoapDatagram::Request(_)
                ));
            }
        }
        for short in [&[][..], &[0x40], &[0x40, 2, 1]] {
            assert!(matches!(read(short), CoapDatagram::Nothing));
        }
    }

    #[test]
    fn an_option_may_end_in_the_byte_that_announces_a_payload() {
        let CoapDatagram::Request(request) = read(&[0x40, 2, 1, 2, 0xB1, 0xFF]) else {
            panic!("it is no request")
        };
        assert_eq!(request.option(11).collect::<Vec<_>>(), [&[0xFF]]);
        assert_eq!(request.payload_bytes(), 0);
    }

    #[test]
    fn numbers_have_as_few_bytes_as_they_need() {
        for (value, bytes) in [
            (0, &[][..]),
            (5, &[5]),
            (256, &[1, 0]),
            (262_144, &[4, 0, 0]),
        ] {
            assert_eq!(uint(value), bytes);
            assert_eq!(number(bytes), value);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_something(datagram in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let CoapDatagram::Request(request) = read(&datagram) {
                prop_assert!(request.token().len() <= 8 && request.payload_bytes() < datagram.len());
            }
        }

        #[test]
        fn an_answer_is_what_it_says(
            id in any::<u16>(),
            token in proptest::collection::vec(any::<u8>(), 0..9),
            age in 0_u32..100,
        ) {
            let bytes = answer(AnswerForm::Acknowledging(id), 0xA3, &token, [(14, uint(age))].into_iter());
            let packet = Packet::from_bytes(&bytes).unwrap();
            prop_assert_eq!(packet.get_token(), &token[..]);
            prop_assert_eq!((bytes[0] >> 4, bytes[1], packet.header.message_id), (6, 0xA3, id));
            prop_assert_eq!(number(packet.get_first_option(14.into()).unwrap()), age);
            prop_assert!(bytes.len() <= 4 + token.len() + 3);
        }
    }
}
