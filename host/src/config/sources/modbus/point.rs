//! One value: where it stands, and what its bits mean.

use std::sync::Arc;

use super::OfDevice;
use crate::config::fields::Fields;
use crate::config::problem::code::ProblemCode;
use crate::config::tree::{Node, TomlItem};
use crate::message::legal;
use crate::source::modbus::{Area, ByteOrder, Decimal, Point, Size, ValueFormat};

pub(super) fn point(name: &str, mut fields: Fields<'_>, of_device: &OfDevice) -> Point {
    let (area, address) = place(&mut fields, of_device.base);
    let order = order(&mut fields, of_device.order);
    let form = form(&mut fields, area, order);
    let is_number = matches!(
        form,
        ValueFormat::Signed(..) | ValueFormat::Unsigned(..) | ValueFormat::Float(..)
    );
    let numbers = ["scale", "offset", "not", "deadband"];
    for key in numbers
        .into_iter()
        .filter(|key| !is_number && fields.has(key))
    {
        let message = format!("`{key}` means nothing for a bit or a text");
        fields.problem(
            ProblemCode::Conflict,
            key,
            message,
            "leave it out".to_owned(),
        );
    }
    let decimal = |value: f64| Decimal::of_f64(value).unwrap_or(Decimal::ZERO);
    let scale = fields.share("scale", -1e12..=1e12);
    if scale == 0.0 {
        let hint = "1 leaves a value as it is".to_owned();
        fields.problem(
            ProblemCode::OutOfRange,
            "scale",
            "a `scale` of 0 makes every value 0",
            hint,
        );
    }
    let found = Point {
        name: name.into(),
        unit: unit(&mut fields),
        area,
        address,
        form,
        not: not(&mut fields, form),
        scale: decimal(scale),
        offset: decimal(fields.share("offset", -1e12..=1e12)),
        deadband: fields.share("deadband", 0.0..=1e12),
    };
    let count = u32::from(found.count());
    let most = if area.is_bits() {
        of_device.max * 16
    } else {
        of_device.max
    };
    if u32::from(address) + count > 65_536 || count > most {
        let message = format!(
            "`{}` takes {count} registers from {address} on",
            fields.path
        );
        let hint = format!("registers end with 65535, and a request has {most} at most (`max`)");
        fields.problem(ProblemCode::OutOfRange, area.name(), message, hint);
    }
    fields.done();
    found
}

/// In which table a value stands, and where, counted from 0.
fn place(fields: &mut Fields<'_>, base: u16) -> (Area, u16) {
    let written: Vec<_> = Area::ALL
        .into_iter()
        .filter(|area| {
            fields.find(area.name());
            fields.has(area.name())
        })
        .collect();
    let [area] = written[..] else {
        let message = format!("`{}` has to say where it stands, once", fields.path);
        let hint = "one of `holding`, `input`, `coil` and `discrete`, with a number: holding = 0";
        fields.problem(ProblemCode::Missing, "holding", message, hint.to_owned());
        return (Area::Holding, 0);
    };
    let number = fields.number(area.name()).unwrap_or(-1);
    if number > 65_535 {
        let message = format!("`{}.{}` is out of range", fields.path, area.name());
        let hint = "0 to 65535: 400001 is written holding = 0, or with `base = 1` holding = 1";
        fields.problem(
            ProblemCode::OutOfRange,
            area.name(),
            message,
            hint.to_owned(),
        );
        return (area, 0);
    }
    let number = fields.count(area.name(), u32::from(base)..=65_535);
    let number = u16::try_from(number).unwrap_or_default();
    (area, number.saturating_sub(base))
}

pub(super) fn order(fields: &mut Fields<'_>, otherwise: ByteOrder) -> ByteOrder {
    let words = [("big", false), ("little", true)];
    let little_words = fields.choice("words", &words);
    let little_bytes = fields.choice("bytes", &words);
    ByteOrder {
        little_words: little_words.unwrap_or(otherwise.little_words),
        little_bytes: little_bytes.unwrap_or(otherwise.little_bytes),
    }
}

fn form(fields: &mut Fields<'_>, area: Area, order: ByteOrder) -> ValueFormat {
    let has_bit = fields.has("bit");
    let bit = fields.count("bit", 0..=15);
    let length = fields.count("length", 1..=250);
    let length = u16::try_from(length).unwrap_or_default();
    let types = [
        ("u16", ValueFormat::Unsigned(Size::One, order)),
        ("i16", ValueFormat::Signed(Size::One, order)),
        ("u32", ValueFormat::Unsigned(Size::Two, order)),
        ("i32", ValueFormat::Signed(Size::Two, order)),
        ("u64", ValueFormat::Unsigned(Size::Four, order)),
        ("i64", ValueFormat::Signed(Size::Four, order)),
        ("f32", ValueFormat::Float(Size::Two, order)),
        ("f64", ValueFormat::Float(Size::Four, order)),
        ("text", ValueFormat::Text(length.max(1), order)),
    ];
    let form = fields.choice("type", &types);
    let has_type = fields.has("type");
    if (has_bit || area.is_bits()) && has_type || has_bit && area.is_bits() {
        let hint = "a bit is true or false: leave `type` out; `bit` is for registers".to_owned();
        let key = if has_type { "type" } else { "bit" };
        let message = format!("`{}` is a bit, and has a `{key}`", fields.path);
        fields.problem(ProblemCode::Conflict, key, message, hint);
    }
    let is_text = matches!(form, Some(ValueFormat::Text(..)));
    if is_text != fields.has("length") {
        let message = format!(
            "`{}`: a text has a `length`, and nothing else has",
            fields.path
        );
        let hint = "write: type = \"text\", length = 16".to_owned();
        fields.problem(ProblemCode::Conflict, "length", message, hint);
    }
    match area.is_bits() {
        true => ValueFormat::Flag,
        false if has_bit => ValueFormat::Bit(u8::try_from(bit).unwrap_or_default()),
        false => form.unwrap_or(ValueFormat::Unsigned(Size::One, order)),
    }
}

/// What stands for no value: whole numbers, as the bits that they are; -1 is all ones.
fn not(fields: &mut Fields<'_>, form: ValueFormat) -> Vec<u64> {
    let (ValueFormat::Signed(size, _)
    | ValueFormat::Unsigned(size, _)
    | ValueFormat::Float(size, _)) = form
    else {
        fields.find("not");
        return Vec::new();
    };
    let Some(item) = fields.find("not") else {
        return Vec::new();
    };
    let mask = match size {
        Size::One => 0xffff,
        Size::Two => 0xffff_ffff,
        Size::Four => u64::MAX,
    };
    let items = match &item.node {
        Node::List(items) => items.as_slice(),
        _ => std::slice::from_ref(item),
    };
    let bits = |item: &TomlItem| match item.node {
        Node::Integer(Some(number)) => {
            let bits = number.cast_unsigned() & mask;
            let is_whole = number.is_negative() || bits == number.cast_unsigned();
            is_whole.then_some(bits)
        }
        _ => None,
    };
    let found: Option<Vec<_>> = items.iter().map(bits).collect();
    found.unwrap_or_else(|| {
        let hint = "what the registers hold then, before `scale`: not = 0xFFFF, or [0x8000, -1]";
        let message = format!("`{}.not` is no whole number of that size", fields.path);
        fields.problem(ProblemCode::OutOfRange, "not", message, hint.to_owned());
        Vec::new()
    })
}

fn unit(fields: &mut Fields<'_>) -> Option<Arc<str>> {
    let unit = fields.text("unit")?;
    if unit.len() > 32 || legal::check_text(unit.as_bytes()).is_err() {
        fields.problem(
            ProblemCode::OutOfRange,
            "unit",
            "a unit is a short text",
            None,
        );
    }
    Some(unit.into())
}
