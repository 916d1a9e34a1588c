//! Records, as topics keep them: a batch of them in the form that brokers take since 0.11. No sockets, no clock.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::form::compress::Compress;
use super::form::{put_count, put_counted, put_varint};
use crate::message::Headers;
use crate::message::legal::CONTENT_TYPE;

/// What stands for a time that is not known.
const NO_TIME: i64 = -1;
/// The form of the batch.
const MAGIC: u8 = 2;
/// Bytes before what the checksum is made of, and of all before the records.
const UNSUMMED: usize = 21;
const HEAD: usize = 61;
/// What a record has beside its key, its value and its headers, about.
const RECORD_BYTES: usize = 24;

/// A message as a record.
#[derive(Clone, Debug)]
pub(super) struct TopicRecord {
    /// When it came, milliseconds since 1970, where that is known.
    pub(super) time: Option<i64>,
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    /// In the arena form of [`Headers`].
    pub(super) headers: Bytes,
}

impl TopicRecord {
    /// What it adds to a batch, about.
    pub(super) fn bytes(&self) -> usize {
        RECORD_BYTES + self.key.len() + self.value.len() + self.headers.len()
    }

    /// Names and values that go with it. Of what MQTT calls properties what the payload is goes along, under the usual name; the rest says
    /// something to a broker of that protocol only.
    fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let read = Headers(&self.headers).filter_map(Result::ok);
        read.filter(|(name, _)| !name.starts_with(':') || *name == CONTENT_TYPE)
            .map(|(name, value)| (name.trim_start_matches(':'), value))
    }

    fn put(&self, number: i64, base: i64, output: &mut BytesMut) {
        let mut body = BytesMut::with_capacity(self.bytes());
        body.put_u8(0);
        put_varint(self.time.unwrap_or(NO_TIME).wrapping_sub(base), &mut body);
        put_varint(number, &mut body);
        put_counted(&self.key, &mut body);
        put_counted(&self.value, &mut body);
        let count = self.headers().count();
        put_varint(count.try_into().unwrap_or(i64::MAX), &mut body);
        for (name, value) in self.headers() {
            put_counted(name.as_bytes(), &mut body);
            put_counted(value, &mut body);
        }
        put_counted(&body, output);
    }
}

/// One batch of these, in their order.
pub(super) fn batch<'a>(
    records: impl Iterator<Item = &'a TopicRecord>,
    compress: Compress,
) -> Bytes {
    let mut times = (NO_TIME, NO_TIME);
    let (mut count, mut body) = (0, BytesMut::new());
    for record in records {
        let time = record.time.unwrap_or(NO_TIME);
        if count == 0 {
            times.0 = time;
        }
        times.1 = times.1.max(time);
        record.put(count, times.0, &mut body);
        count += 1;
    }
    let packed = compress.of(&body);
    let (body, attributes) = match &packed {
        Some((packed, "gzip")) => (packed, 1),
        Some((packed, _)) => (packed, 4),
        None => (&body.freeze(), 0),
    };
    let mut output = BytesMut::with_capacity(HEAD + body.len());
    output.put_i64(0);
    // The length counts what is behind it.
    put_count(HEAD - 12 + body.len(), &mut output);
    output.put_i32(-1);
    output.put_u8(MAGIC);
    output.put_u32(0);
    output.put_i16(attributes);
    output.put_i32(i32::try_from(count - 1).unwrap_or(i32::MAX));
    output.put_i64(times.0);
    output.put_i64(times.1);
    // No producer that is known by a number: nothing is counted by the broker.
    output.put_i64(-1);
    output.put_i16(-1);
    output.put_i32(-1);
    output.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
    output.put_slice(body);
    let sum = crc32c(&output[UNSUMMED..]).to_be_bytes();
    output[UNSUMMED - 4..UNSUMMED].copy_from_slice(&sum);
    output.freeze()
}

/// The polynomial of Castagnoli, its bits turned round.
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            rest = (rest >> 1) ^ (POLYNOMIAL & (rest & 1).wrapping_neg());
            bit += 1;
        }
        table[byte] = rest;
        byte += 1;
    }
    table
}

/// CRC-32C (RFC 3720, appendix B.4).
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        TABLE[usize::from(sum.to_le_bytes()[0] ^ byte)] ^ (sum >> 8)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::push_header;

    fn record(time: Option<i64>, key: &str, value: &str, headers: &[(&str, &str)]) -> TopicRecord {
        let mut block = BytesMut::new();
        for (name, value) in headers {
            push_header(&mut block, name, value.as_bytes()).unwrap();
        }
        TopicRecord {
            time,
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            headers: block.freeze(),
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn checksums_are_those_of_the_rfc() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_batch_is_what_javas_producer_makes_of_it() {
        let records = [
            record(
                Some(1_700_000_000_123),
                "d1",
                "hello",
                &[(":message-expiry", "60"), ("tidegate-id", "g/s/u/c/1/0")],
            ),
            record(Some(1_700_000_000_100), "d2", "", &[]),
        ];
        // `MemoryRecords.withRecords` of kafka-clients 4.4.0.
        assert_eq!(
            hex(&batch(records.iter(), Compress::None)),
            "000000000000000000000060ffffffff02227a29ca0000000000010000018bcfe5687b0000018bcfe5687bffffffffffffffffffffffffffff000000024a0000\
             000464310a68656c6c6f021674696465676174652d696416672f732f752f632f312f3010002d020464320000"
        );
    }

    #[test]
    fn a_time_that_is_not_known_is_none_beside_others_too() {
        let records = [
            record(None, "a", "1", &[(":content-type", "text/plain")]),
            record(Some(7), "a", "2", &[]),
        ];
        let made = batch(records.iter(), Compress::None);
        let times = (&made[27..35], &made[35..43]);
        assert_eq!(
            times,
            (&(-1_i64).to_be_bytes()[..], &7_i64.to_be_bytes()[..])
        );
        let text = String::from_utf8_lossy(&made);
        assert!(text.contains("content-type") && !text.contains(":content-type"));
    }

    #[test]
    fn what_is_compressed_says_how_and_is_what_it_was() {
        let records: Vec<_> = (0..100)
            .map(|_| record(Some(7), "d1", "{\"t\":21.5}", &[]))
            .collect();
        let plain = batch(records.iter(), Compress::None);
        for (compress, attribute) in [(Compress::Gzip, 1), (Compress::Zstd, 4)] {
            let packed = batch(records.iter(), compress);
            assert!(packed.len() < plain.len() / 4 && packed[22] == attribute);
            let mut body = Vec::new();
            if compress == Compress::Zstd {
                zstd::stream::copy_decode(&packed[HEAD..], &mut body).unwrap();
            } else {
                let mut reader = flate2::read::GzDecoder::new(&packed[HEAD..]);
                std::io::copy(&mut reader, &mut body).unwrap();
            }
            assert_eq!(body, plain[HEAD..]);
        }
    }
}
