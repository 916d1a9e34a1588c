//! Which partition a key belongs to: the one that Java's producers choose, so that whoever joins two topics by key finds both in
//! partitions of one number. No sockets.

/// Java's `Utils.murmur2`, the 32-bit MurmurHash 2 with a seed of its own.
fn murmur2(key: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    let (blocks, tail) = key.as_chunks::<4>();
    let mut hash = blocks.iter().fold(0x9747_b28c ^ length, |hash, block| {
        let mixed = u32::from_le_bytes(*block).wrapping_mul(M);
        let mixed = (mixed ^ (mixed >> 24)).wrapping_mul(M);
        hash.wrapping_mul(M) ^ mixed
    });
    if !tail.is_empty() {
        let rest = tail.iter().rev();
        hash ^= rest.fold(0, |rest, byte| (rest << 8) | u32::from(*byte));
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key among so many; 0 where there is none.
pub(super) fn partition(key: &[u8], count: usize) -> usize {
    let positive = usize::try_from(murmur2(key) & 0x7fff_ffff).unwrap_or(0);
    positive.checked_rem(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `Utils.murmur2` and `Utils.toPositive` of kafka-clients 4.4.0 make of these: hash, partition of 4, of 7.
    const OF_JAVA: [(&str, u32, usize, usize); 14] = [
        ("", 0x106e_08d9, 1, 2),
        ("a", 0xa2d0_b27c, 0, 5),
        ("ab", 0x12d8_262a, 2, 0),
        ("abc", 0x1c94_221b, 3, 4),
        ("d1", 0x530a_5cb9, 1, 5),
        ("d2", 0xd423_f1a6, 2, 3),
        ("d19", 0x70d5_7e31, 1, 6),
        ("device-7", 0x9b3d_83c3, 3, 0),
        ("21", 0xc5f2_f8ec, 0, 3),
        ("foobar", 0xd0e4_7bbe, 2, 0),
        ("a-little-bit-long-string", 0xc53b_1da0, 0, 1),
        ("a-little-bit-longer-string", 0xa768_c9c3, 3, 0),
        (
            "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
            0xfc7d_49cd,
            1,
            3,
        ),
        ("Scheune/Nord-öst", 0x6fb8_2198, 0, 0),
    ];

    #[test]
    fn a_key_has_the_partition_that_java_gives_it() {
        for (key, hash, of_4, of_7) in OF_JAVA {
            let key = key.as_bytes();
            assert_eq!(murmur2(key), hash, "{key:?}");
            assert_eq!((partition(key, 4), partition(key, 7)), (of_4, of_7));
        }
        let bytes = [0xff, 0x80, 0, 1, 0xfe];
        assert_eq!(murmur2(&bytes), 0xf5a7_ad70);
        assert_eq!((partition(&bytes, 4), partition(&bytes, 7)), (0, 2));
        assert_eq!(partition(b"d1", 0), 0);
    }
}
