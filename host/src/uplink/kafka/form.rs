//! The parts that requests, answers and records are made of, in the order of bytes of the protocol. No sockets.

use bytes::{BufMut, BytesMut};

/// An answer that ends too soon, or counts what cannot be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer that is cut off")]
pub(super) struct CutOff;

/// What is still to be read of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerReading<'a>(pub(super) &'a [u8]);

impl<'a> AnswerReading<'a> {
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], CutOff> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(CutOff)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CutOff> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(CutOff)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn flag(&mut self) -> Result<bool, CutOff> {
        Ok(self.array::<1>()? != [0])
    }

    pub(super) fn i16(&mut self) -> Result<i16, CutOff> {
        self.array().map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self) -> Result<i32, CutOff> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, CutOff> {
        self.array().map(i64::from_be_bytes)
    }

    /// A text, as it came; `None` where there is none.
    pub(super) fn text(&mut self) -> Result<Option<&'a [u8]>, CutOff> {
        match self.i16()? {
            -1 => Ok(None),
            length => self
                .bytes(usize::try_from(length).map_err(|_| CutOff)?)
                .map(Some),
        }
    }

    /// Bytes whose length has 32 bits; none are none.
    pub(super) fn blob(&mut self) -> Result<&'a [u8], CutOff> {
        match self.i32()? {
            -1 => Ok(b""),
            length => self.bytes(usize::try_from(length).map_err(|_| CutOff)?),
        }
    }

    /// Reads each entry of a list; none is an empty one. It may say that there are more than bytes: it ends with these.
    pub(super) fn each<T>(
        &mut self,
        mut entry: impl FnMut(&mut Self) -> Result<T, CutOff>,
    ) -> Result<Vec<T>, CutOff> {
        let count = self.i32()?.max(0);
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(entry(self)?);
        }
        Ok(entries)
    }
}

/// A text; one that is longer than any can be is cut, which no name of ours is.
pub(super) fn put_text(text: &str, output: &mut BytesMut) {
    let length = i16::try_from(text.len()).unwrap_or(i16::MAX);
    output.put_i16(length);
    output.put_slice(&text.as_bytes()[..text.len().min(length.unsigned_abs().into())]);
}

/// How many entries follow.
pub(super) fn put_count(count: usize, output: &mut BytesMut) {
    output.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
}

/// A number in as few bytes as it takes, the sign in its last bit.
pub(super) fn put_varint(number: i64, output: &mut BytesMut) {
    let mut rest = (number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned();
    while rest >= 0x80 {
        output.put_u8(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    output.put_u8(rest.to_le_bytes()[0]);
}

/// Bytes behind their number.
pub(super) fn put_counted(bytes: &[u8], output: &mut BytesMut) {
    put_varint(bytes.len().try_into().unwrap_or(i64::MAX), output);
    output.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_take_as_few_bytes_as_in_the_protocol() {
        // From the description of zigzag varints of Protocol Buffers, which Kafka took over.
        for (number, bytes) in [
            (0, &[0][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[126]),
            (64, &[128, 1]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut output = BytesMut::new();
            put_varint(number, &mut output);
            assert_eq!(&*output, bytes, "{number}");
        }
        let mut output = BytesMut::new();
        put_varint(i64::MIN, &mut output);
        assert_eq!(output.len(), 10);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_told(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reading = AnswerReading(&noise);
            while reading.text().is_ok() && reading.blob().is_ok() && reading.each(AnswerReading::i64).is_ok() {}
            prop_assert!(reading.0.len() <= noise.len());
        }
    }
}
