//! The option that says which part of a body a request has (RFC 7959, 2.2). No sockets.

use super::datagram::{number, uint};

/// Which part it is: so many before it, whether more come, and how large each is, as its power of two above 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) number: u32,
    pub(super) has_more: bool,
    exponent: u8,
}

impl Block {
    /// Of a value of three bytes at most; one size is reserved, and none.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let all = number(value);
        let exponent = u8::try_from(all & 7).ok().filter(|size| *size < 7)?;
        Some(Self {
            number: all >> 4,
            has_more: all & 8 > 0,
            exponent,
        })
    }

    /// As it is written.
    pub(super) fn value(self) -> Vec<u8> {
        uint(self.number << 4 | u32::from(self.has_more) << 3 | u32::from(self.exponent))
    }

    /// Bytes of each but the last.
    pub(super) fn bytes(self) -> usize {
        16 << self.exponent
    }

    /// Bytes before it. A number has 20 bits, and a block 1 KiB at most.
    pub(super) fn offset(self) -> usize {
        self.number as usize * self.bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_reserved_size_is_none() {
        assert_eq!(Block::parse(&[0x07]), None);
        let first = Block::parse(&[]).unwrap();
        assert_eq!(
            (first.number, first.has_more, first.bytes()),
            (0, false, 16)
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_was_read(value in 0_u32..1 << 24) {
            let found = Block::parse(&uint(value));
            prop_assert_eq!(found.is_none(), value & 7 == 7);
            if let Some(found) = found {
                prop_assert_eq!(number(&found.value()), value);
                prop_assert_eq!(found.offset(), found.number as usize * found.bytes());
            }
        }
    }
}
