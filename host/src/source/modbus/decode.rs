//! From the bytes of an answer to a value.

use super::decimal::Decimal;
use super::map::{ByteOrder, Point, Size, ValueFormat};

/// What a device has measured, or said.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PointValue {
    /// It says that it has none.
    Nothing,
    Flag(bool),
    Number(Decimal),
    Text(String),
}

/// A value, or the word for why there is none.
pub(super) type Reading = Result<PointValue, &'static str>;

/// The value that begins `place` registers, or bits, behind the first of `data`.
pub(super) fn read(point: &Point, place: u16, data: &[u8]) -> Reading {
    let place = usize::from(place);
    if point.form == ValueFormat::Flag {
        let byte = data.get(place / 8).copied().unwrap_or_default();
        return Ok(PointValue::Flag(byte >> (place % 8) & 1 == 1));
    }
    let bytes = 2 * usize::from(point.count());
    let Some(own) = data.get(2 * place..2 * place + bytes) else {
        // The answer has as many bytes as were asked for: `frame` sees to that.
        return Err("malformed");
    };
    match point.form {
        ValueFormat::Flag => Err("malformed"),
        ValueFormat::Bit(bit) => Ok(PointValue::Flag(
            raw(own, ByteOrder::default()) >> bit & 1 == 1,
        )),
        ValueFormat::Text(length, order) => Ok(PointValue::Text(text(own, length, order))),
        ValueFormat::Signed(_, order)
        | ValueFormat::Unsigned(_, order)
        | ValueFormat::Float(_, order) => {
            let raw = raw(own, order);
            if point.not.contains(&raw) {
                return Ok(PointValue::Nothing);
            }
            let number = number(point.form, raw).ok_or("not-a-number")?;
            let scaled = number
                .times(point.scale)
                .and_then(|one| one.plus(point.offset));
            // A number that no 64-bit float holds is one that most readers of JSON refuse, with all that stands beside it.
            let shown = scaled.filter(|number| number.nearly().is_finite());
            shown.map(PointValue::Number).ok_or("out-of-range")
        }
    }
}

/// The bits of up to four registers, the highest first.
fn raw(own: &[u8], order: ByteOrder) -> u64 {
    let fold = |raw: u64, register: &[u8]| {
        let (high, low) = (register[0], register[1]);
        let register = if order.little_bytes {
            [low, high]
        } else {
            [high, low]
        };
        raw << 16 | u64::from(u16::from_be_bytes(register))
    };
    let registers = own.chunks_exact(2);
    if order.little_words {
        registers.rev().fold(0, fold)
    } else {
        registers.fold(0, fold)
    }
}

fn number(form: ValueFormat, raw: u64) -> Option<Decimal> {
    let bytes = raw.to_be_bytes();
    let (single, short) = (
        [bytes[4], bytes[5], bytes[6], bytes[7]],
        [bytes[6], bytes[7]],
    );
    match form {
        ValueFormat::Signed(Size::One, _) => {
            Some(Decimal::integer(i16::from_be_bytes(short).into()))
        }
        ValueFormat::Signed(Size::Two, _) => {
            Some(Decimal::integer(i32::from_be_bytes(single).into()))
        }
        ValueFormat::Signed(Size::Four, _) => {
            Some(Decimal::integer(i64::from_be_bytes(bytes).into()))
        }
        ValueFormat::Float(Size::Two, _) => Decimal::of_f32(f32::from_be_bytes(single)),
        ValueFormat::Float(_, _) => Decimal::of_f64(f64::from_be_bytes(bytes)),
        _ => Some(Decimal::integer(raw.into())),
    }
}

/// A text without what fills it up at its end.
fn text(own: &[u8], length: u16, order: ByteOrder) -> String {
    let mut bytes = own.to_vec();
    if order.little_bytes {
        bytes
            .chunks_exact_mut(2)
            .for_each(|register| register.swap(0, 1));
    }
    bytes.truncate(usize::from(length));
    String::from_utf8_lossy(&bytes)
        .trim_end_matches(['\0', ' '])
        .to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::map::{Area, point};
    use super::*;

    fn shown(form: ValueFormat, data: &[u8]) -> String {
        match read(&point("x", Area::Holding, 7, form), 0, data) {
            Ok(PointValue::Number(number)) => number.to_string(),
            other => format!("{other:?}"),
        }
    }

    fn order([little_words, little_bytes]: [bool; 2]) -> ByteOrder {
        ByteOrder {
            little_words,
            little_bytes,
        }
    }

    #[test]
    fn each_type_is_read_in_each_order() {
        let big = ByteOrder::default();
        assert_eq!(
            shown(ValueFormat::Signed(Size::One, big), &[0xff, 0xfe]),
            "-2"
        );
        assert_eq!(
            shown(ValueFormat::Unsigned(Size::One, big), &[0xff, 0xfe]),
            "65534"
        );
        for (order, bytes) in [
            (order([false, false]), [1, 2, 3, 4]),
            (order([true, false]), [3, 4, 1, 2]),
            (order([false, true]), [2, 1, 4, 3]),
            (order([true, true]), [4, 3, 2, 1]),
        ] {
            assert_eq!(
                shown(ValueFormat::Unsigned(Size::Two, order), &bytes),
                "16909060"
            );
        }
        assert_eq!(
            shown(
                ValueFormat::Signed(Size::Two, big),
                &[0xff, 0xff, 0xff, 0xff]
            ),
            "-1"
        );
        assert_eq!(
            shown(ValueFormat::Signed(Size::Four, big), &[0xff; 8]),
            "-1"
        );
        assert_eq!(
            shown(ValueFormat::Unsigned(Size::Four, big), &[0xff; 8]),
            "18446744073709551615"
        );
        assert_eq!(
            shown(ValueFormat::Float(Size::Two, big), &230.1_f32.to_be_bytes()),
            "230.1"
        );
        assert_eq!(
            shown(ValueFormat::Float(Size::Four, big), &0.1_f64.to_be_bytes()),
            "0.1"
        );
        let not_a_number = f32::NAN.to_be_bytes();
        assert_eq!(
            shown(ValueFormat::Float(Size::Two, big), &not_a_number),
            "Err(\"not-a-number\")"
        );
        assert_eq!(shown(ValueFormat::Bit(4), &[0, 0x10]), "Ok(Flag(true))");
        assert_eq!(shown(ValueFormat::Bit(8), &[0, 0x10]), "Ok(Flag(false))");
        assert_eq!(
            shown(ValueFormat::Text(3, big), b"AB\0\0"),
            "Ok(Text(\"AB\"))"
        );
        assert_eq!(
            shown(ValueFormat::Text(4, order([false, true])), b"BA C"),
            "Ok(Text(\"ABC\"))"
        );
    }

    #[test]
    fn a_place_counts_registers_or_bits() {
        let number = point(
            "x",
            Area::Input,
            9,
            ValueFormat::Unsigned(Size::One, ByteOrder::default()),
        );
        assert_eq!(
            read(&number, 1, &[0, 1, 0, 2]),
            Ok(PointValue::Number(Decimal::integer(2)))
        );
        let flag = point("x", Area::Coil, 9, ValueFormat::Flag);
        assert_eq!(read(&flag, 9, &[0, 0b10]), Ok(PointValue::Flag(true)));
        assert_eq!(read(&flag, 8, &[0, 0b10]), Ok(PointValue::Flag(false)));
    }

    #[test]
    fn what_means_none_is_none_and_what_has_no_room_is_told() {
        let mut energy = point(
            "x",
            Area::Input,
            0,
            ValueFormat::Unsigned(Size::Two, ByteOrder::default()),
        );
        energy.not = vec![0xffff_ffff];
        assert_eq!(read(&energy, 0, &[0xff; 4]), Ok(PointValue::Nothing));
        energy.scale = Decimal::of_f64(0.001).unwrap();
        let read_one = read(&energy, 0, &[0, 0, 0x09, 0x00]);
        assert_eq!(
            read_one,
            Ok(PointValue::Number(Decimal::of_f64(2.304).unwrap()))
        );
        let mut wide = point(
            "x",
            Area::Input,
            0,
            ValueFormat::Float(Size::Four, ByteOrder::default()),
        );
        wide.offset = Decimal::ONE;
        assert_eq!(
            read(&wide, 0, &1e300_f64.to_be_bytes()),
            Err("out-of-range")
        );
        wide.offset = Decimal::ZERO;
        wide.scale = Decimal::integer(10);
        assert!(read(&wide, 0, &1e300_f64.to_be_bytes()).is_ok());
        let most = f64::MAX.to_be_bytes();
        assert_eq!(read(&wide, 0, &most), Err("out-of-range"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(data in prop::collection::vec(any::<u8>(), 0..20), place in 0_u16..12, length in 1_u16..9, bit in 0_u8..16) {
            let order = ByteOrder::default();
            for form in [ValueFormat::Flag, ValueFormat::Bit(bit), ValueFormat::Text(length, order), ValueFormat::Signed(Size::Four, order), ValueFormat::Float(Size::Two, order)] {
                let _ = read(&point("x", Area::Holding, 0, form), place, &data);
            }
        }
    }
}
