//! Whatever comes, however it is cut.

use proptest::prelude::*;

use bytes::Bytes;

use super::piece::unfit;
use super::*;
use crate::message::HEAD_BYTES;

const MOST: usize = 40;

fn framings() -> Vec<RawFraming> {
    let mut all = vec![
        RawFraming::Line,
        RawFraming::Delimiter((*b"\x03").into()),
        RawFraming::Delimiter((*b"aab").into()),
        RawFraming::Delimiter((*b"\r\n\r\n").into()),
        RawFraming::Idle(Duration::from_millis(50)),
        RawFraming::Fixed {
            bytes: 7,
            sync: (*b"aab").into(),
        },
        RawFraming::Fixed {
            bytes: 2,
            sync: (*b"a").into(),
        },
    ];
    for field in [
        LengthField::U8,
        LengthField::U16Big,
        LengthField::U16Little,
        LengthField::U32Big,
        LengthField::U32Little,
    ] {
        for counts in [LengthCounts::Payload, LengthCounts::Frame] {
            all.push(RawFraming::Length(field, counts));
        }
    }
    all
}

/// Bytes that are cut so come to these pieces.
fn pieces(framing: &RawFraming, bytes: &[u8], cuts: &[usize]) -> Vec<FramePiece> {
    let mut framer = Framer::new(framing, MOST);
    let (mut found, mut from) = (Vec::new(), 0);
    for cut in cuts.iter().copied().chain([bytes.len()]) {
        framer.push(&bytes[from..cut.max(from)], &mut found);
        from = cut.max(from);
    }
    framer.end(BytesEnd::Orderly, &mut found);
    assert!(!framer.is_half(), "something is left behind the end");
    found
}

fn frames(framing: &RawFraming, bytes: &[u8]) -> Vec<Bytes> {
    let frame = |piece| match piece {
        FramePiece::Frame(frame) => Some(frame),
        FramePiece::Unfit(..) => None,
    };
    pieces(framing, bytes, &[])
        .into_iter()
        .filter_map(frame)
        .collect()
}

/// What a sender would put on the wire for these frames.
fn encode(framing: &RawFraming, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut wire = Vec::new();
    for frame in frames {
        if let RawFraming::Length(field, counts) = framing {
            let own = if *counts == LengthCounts::Frame {
                field.bytes()
            } else {
                0
            };
            let length = u32::try_from(frame.len() + own).unwrap();
            let big = length.to_be_bytes();
            let little = length.to_le_bytes();
            match field {
                LengthField::U8 => wire.extend(&big[3..]),
                LengthField::U16Big => wire.extend(&big[2..]),
                LengthField::U16Little => wire.extend(&little[..2]),
                LengthField::U32Big => wire.extend(big),
                LengthField::U32Little => wire.extend(little),
            }
        }
        wire.extend(frame);
        match framing {
            RawFraming::Line => wire.extend(b"\r\n"),
            RawFraming::Delimiter(delimiter) => wire.extend(&**delimiter),
            _ => {}
        }
    }
    wire
}

proptest! {
    #[test]
    fn however_the_bytes_are_cut_the_frames_are_the_same(
        // Few values, so that delimiters, lengths and syncs come about.
        bytes in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'\n'), Just(b'\r'), Just(3_u8), 0..8_u8, any::<u8>()], 0..400),
        mut cuts in proptest::collection::vec(0..400_usize, 0..12),
    ) {
        cuts.iter_mut().for_each(|cut| *cut = (*cut).min(bytes.len()));
        cuts.sort_unstable();
        for framing in framings() {
            let whole = pieces(&framing, &bytes, &[]);
            prop_assert_eq!(&pieces(&framing, &bytes, &cuts), &whole, "{:?}", framing);
            let single: Vec<usize> = (0..bytes.len()).collect();
            prop_assert_eq!(&pieces(&framing, &bytes, &single), &whole, "{:?} byte by byte", framing);
            for piece in &whole {
                match piece {
                    FramePiece::Frame(frame) => prop_assert!((1..=MOST).contains(&frame.len())),
                    // Of one that is announced and never comes there is nothing.
                    FramePiece::Unfit(_, head) => prop_assert!(head.len() <= HEAD_BYTES),
                }
            }
        }
    }

    #[test]
    fn what_was_framed_comes_out_as_it_went_in(
        sent in proptest::collection::vec(proptest::collection::vec(b'c'..=b'z', 1..=MOST), 0..12),
    ) {
        for framing in framings() {
            if matches!(framing, RawFraming::Fixed { .. } | RawFraming::Idle(_)) {
                continue;
            }
            let found = frames(&framing, &encode(&framing, &sent));
            prop_assert_eq!(found.iter().map(|frame| frame.to_vec()).collect::<Vec<_>>(), sent.clone(), "{:?}", framing);
        }
    }

    #[test]
    fn behind_whatever_came_before_frames_of_a_fixed_length_are_found_again(
        noise in proptest::collection::vec(b'c'..=b'z', 0..6_000),
        sent in proptest::collection::vec(proptest::collection::vec(b'c'..=b'z', 4), 1..6),
    ) {
        let framing = RawFraming::Fixed { bytes: 7, sync: (*b"aab").into() };
        let wire: Vec<u8> = sent.iter().flat_map(|frame| [b"aab".as_slice(), frame].concat()).collect();
        let all = pieces(&framing, &[noise.clone(), wire].concat(), &[]);
        let strays = all.iter().filter(|piece| matches!(piece, FramePiece::Unfit(FrameFault::OutOfStep, _))).count();
        prop_assert_eq!(strays, usize::from(!noise.is_empty()), "one letter for one stretch");
        prop_assert_eq!(all.len() - strays, sent.len());
    }

    #[test]
    fn what_is_kept_is_never_more_than_a_frame(chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20_000), 0..8)) {
        for framing in framings() {
            let mut framer = Framer::new(&framing, MOST);
            for chunk in &chunks {
                framer.push(chunk, &mut Vec::new());
                let kept = match &framer.0 {
                    Cutter::Delimited(cutter) => cutter.kept.0.capacity(),
                    Cutter::Counted(cutter) => cutter.kept.0.capacity(),
                    Cutter::Synced(cutter) => cutter.kept.0.capacity() + cutter.strays.0.capacity(),
                    Cutter::Idle(kept, _) => kept.0.capacity(),
                };
                prop_assert!(kept <= 4 * HEAD_BYTES, "{:?} keeps {}", framing, kept);
            }
        }
    }
}

#[test]
fn a_line_ends_with_lf_or_crlf_and_an_empty_one_is_none() {
    let found = frames(&RawFraming::Line, b"one\ntwo\r\n\n\r\nth\rree\r\r\n");
    assert_eq!(found, [&b"one"[..], b"two", b"th\rree\r"]);
}

#[test]
fn the_limit_is_exact_and_what_is_over_it_is_never_glued_to_what_follows() {
    let fits = [b'x'; MOST];
    let over = vec![b'x'; MOST + 1];
    for (ends, framing) in [
        (&b"\n"[..], RawFraming::Line),
        (&b"\r\n"[..], RawFraming::Line),
        (&b"\x03"[..], RawFraming::Delimiter((*b"\x03").into())),
    ] {
        let wire = [
            &fits[..],
            ends,
            &over,
            ends,
            b"short",
            ends,
            &[b'y'; 9_000],
            ends,
            b"last",
            ends,
        ]
        .concat();
        let found = pieces(&framing, &wire, &[]);
        let told: Vec<_> = found
            .iter()
            .map(|piece| match piece {
                FramePiece::Frame(frame) => (None, frame.len()),
                FramePiece::Unfit(fault, _) => (Some(*fault), 0),
            })
            .collect();
        let too_long = (Some(FrameFault::TooLong), 0);
        assert_eq!(
            told,
            [(None, MOST), too_long, (None, 5), too_long, (None, 4)],
            "{framing:?}"
        );
    }
}

#[test]
fn a_length_that_is_too_long_is_read_past_and_one_that_cannot_be_is_lost_until_silence() {
    let framing = RawFraming::Length(LengthField::U16Big, LengthCounts::Frame);
    let mut framer = Framer::new(&framing, MOST);
    let mut found = Vec::new();
    framer.push(&[0, 100], &mut found);
    framer.push(&[7; 98], &mut found);
    framer.push(&[0, 3, b'a'], &mut found);
    assert!(matches!(&found[0], FramePiece::Unfit(FrameFault::TooLong, head) if head.len() == 98));
    assert_eq!(found[1], FramePiece::Frame(Bytes::from_static(b"a")));
    framer.push(&[0, 1, 9, 9, 9], &mut found);
    assert!(framer.is_lost() && found.len() == 3, "{found:?}");
    framer.silent(&mut found);
    framer.push(&[0, 3, b'b'], &mut found);
    assert_eq!(found[3], FramePiece::Frame(Bytes::from_static(b"b")));
}

#[test]
fn what_is_half_at_the_end_is_cut_off_and_after_a_silence_the_next_byte_begins() {
    for framing in framings() {
        let begun: &[u8] = match &framing {
            RawFraming::Fixed { sync, .. } => sync,
            RawFraming::Length(LengthField::U8, _) => b"\x09xx",
            RawFraming::Length(..) => b"\x09",
            _ => b"xx",
        };
        let mut framer = Framer::new(&framing, MOST);
        let mut found = Vec::new();
        framer.push(begun, &mut found);
        assert!(framer.is_half() && found.is_empty(), "{framing:?}");
        framer.end(BytesEnd::Broken, &mut found);
        assert_eq!(found, [unfit(FrameFault::CutOff, begun)], "{framing:?}");
    }
    let mut framer = Framer::new(&RawFraming::Idle(Duration::ZERO), MOST);
    let mut found = Vec::new();
    framer.push(b"one", &mut found);
    framer.silent(&mut found);
    framer.silent(&mut found);
    framer.push(b"two", &mut found);
    framer.end(BytesEnd::Orderly, &mut found);
    assert_eq!(
        found,
        [
            FramePiece::Frame(Bytes::from_static(b"one")),
            FramePiece::Frame(Bytes::from_static(b"two"))
        ]
    );
}

proptest! {
    #[test]
    fn who_begins_anew_where_a_frame_begins_leaves_none_out_and_has_none_twice(
        bytes in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(b'\n'), Just(3), Just(0), any::<u8>()], 0..300),
        cut in any::<proptest::sample::Index>(),
    ) {
        for framing in framings() {
            if matches!(framing, RawFraming::Idle(_)) {
                continue;
            }
            let cut = cut.index(bytes.len() + 1);
            let (mut framer, mut found) = (Framer::new(&framing, MOST), Vec::new());
            framer.push(&bytes[..cut], &mut found);
            if framer.is_lost() {
                continue;
            }
            let done = cut - usize::try_from(framer.begun()).unwrap();
            let mut anew = Framer::new(&framing, MOST);
            anew.push(&bytes[done..], &mut found);
            let mut whole = Vec::new();
            Framer::new(&framing, MOST).push(&bytes, &mut whole);
            let frames = |pieces: Vec<FramePiece>| -> Vec<FramePiece> {
                pieces.into_iter().filter(|piece| matches!(piece, FramePiece::Frame(_))).collect()
            };
            prop_assert_eq!(frames(found), frames(whole), "{:?} at {}", framing, cut);
        }
    }
}
