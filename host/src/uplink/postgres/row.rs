//! What stands for a message in a row: for each column the text that the server reads as one of its own, or nothing. What a device says
//! is a value there and never a part of a statement. No sockets, no clock.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use super::super::form::column::{Column, LineInput};
use super::super::form::json::as_json;
use super::super::form::members::{Leaf, members};
use super::settings::Cell;
use crate::clock;

/// What a column takes, as far as that changes how a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowShape {
    /// Whatever the server reads.
    Plain,
    Bytes,
    Json,
    /// Whole numbers; of a time, microseconds since 1970.
    Whole,
}

impl RowShape {
    /// By the type's name in the catalog.
    pub(super) fn of(type_name: &str) -> Self {
        match type_name {
            "bytea" => Self::Bytes,
            "json" | "jsonb" => Self::Json,
            "int2" | "int4" | "int8" => Self::Whole,
            _ => Self::Plain,
        }
    }
}

/// The values of a row; NULL is `None`.
pub(super) fn row(columns: &[(&Cell, RowShape)], entry: LineInput<'_>) -> Vec<Option<Bytes>> {
    let has_members = columns
        .iter()
        .any(|(cell, _)| matches!(cell, Cell::One(Column::Member(_))));
    let found = has_members
        .then(|| members(entry.payload))
        .flatten()
        .unwrap_or_default();
    columns
        .iter()
        .map(|(cell, shape)| match cell {
            Cell::Text(template) => Some(text(template.text(entry.filling).into(), *shape)),
            Cell::One(column) => value(column, *shape, entry, &found),
        })
        .collect()
}

fn value(
    column: &Column,
    shape: RowShape,
    entry: LineInput<'_>,
    found: &[(String, Leaf<'_>)],
) -> Option<Bytes> {
    let owned = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    match column {
        Column::Id => Some(text(owned(&entry.id()), shape)),
        Column::Time if shape == RowShape::Whole => {
            entry.arrived.map(|arrived| arrived.0.to_string().into())
        }
        Column::Time => (entry.arrived).map(|arrived| text(time(arrived.0).into(), shape)),
        Column::Gateway => Some(text(owned(entry.filling.gateway()), shape)),
        Column::Class => Some(text(owned(entry.filling.class()), shape)),
        Column::Topic => Some(text(Bytes::copy_from_slice(entry.filling.topic), shape)),
        Column::Device => Some(text(Bytes::copy_from_slice(entry.filling.device), shape)),
        Column::Payload if shape == RowShape::Json => Some(as_json(entry.payload.clone(), false)),
        Column::Payload => Some(entry.payload.clone()),
        Column::Member(member) => {
            // Where a name stands twice the last one counts, as in most readers.
            let (_, leaf) = found.iter().rev().find(|(name, _)| name == member)?;
            Some(match leaf {
                Leaf::Number(number) if shape == RowShape::Whole => whole(number).into(),
                Leaf::Number(number) => owned(number),
                Leaf::Flag(flag) => owned(if *flag { "true" } else { "false" }),
                Leaf::Text(said) => text(said.clone().into(), shape),
            })
        }
    }
}

/// A text, which is one of JSON where that is taken.
fn text(text: Bytes, shape: RowShape) -> Bytes {
    match shape {
        RowShape::Json => Value::from(&*String::from_utf8_lossy(&text))
            .to_string()
            .into(),
        _ => text,
    }
}

/// ISO 8601 to the microsecond, as the server reads it.
fn time(wall_us: u64) -> String {
    let mut text = clock::utc(wall_us);
    // Its last letter is the zone.
    text.pop();
    text + &format!("{:03}Z", wall_us % 1_000)
}

/// A number such as 21.0 without what a column of whole numbers does not take; any other one as it is written.
fn whole(number: &str) -> String {
    if number.contains(['.', 'e', 'E'])
        && let Ok(value) = number.parse::<f64>()
        && value.fract() == 0.0
        && value.abs() < 9e15
    {
        return format!("{value:.0}");
    }
    number.to_owned()
}

/// The values of one column over several rows, in the binary form of an array; `element` is the number of their type.
pub(super) fn array<'a>(
    element: u32,
    count: usize,
    values: impl Iterator<Item = Option<&'a Bytes>> + Clone,
) -> Bytes {
    let bytes: usize = values
        .clone()
        .map(|value| 4 + value.map_or(0, Bytes::len))
        .sum();
    let mut out = BytesMut::with_capacity(20 + bytes);
    out.put_i32(1);
    out.put_i32(i32::from(values.clone().any(|value| value.is_none())));
    out.put_u32(element);
    out.put_i32(i32::try_from(count).unwrap_or(i32::MAX));
    out.put_i32(1);
    for value in values {
        match value {
            // No packet is as large as that.
            Some(value) => {
                out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
                out.put_slice(value);
            }
            None => out.put_i32(-1),
        }
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;
    use crate::message::{Marks, Message, Seq, Span, Stored};
    use crate::uplink::form::template::Filling;

    fn values(columns: &[(&str, &str)], payload: &[u8], marks: Marks) -> Vec<Option<String>> {
        let cells: Vec<_> = columns
            .iter()
            .map(|(cell, kind)| (Cell::parse(cell).unwrap(), RowShape::of(kind)))
            .collect();
        let columns: Vec<_> = cells.iter().map(|(cell, shape)| (cell, *shape)).collect();
        let stored = Stored {
            seq: Seq(7),
            message: Message {
                topic: Bytes::from_static(b"up/d1"),
                key: Span { offset: 3, len: 2 },
                payload: Bytes::copy_from_slice(payload),
                received: WallTime(1_700_000_000_123_456),
                marks,
                ..Message::default()
            },
        };
        let entry = LineInput {
            filling: Filling {
                prefix: "gw/store/db/telemetry/",
                topic: &stored.message.topic,
                device: stored.message.key(),
            },
            stored: &stored,
            payload: &stored.message.payload,
            arrived: (!marks.has(Marks::CLOCK_UNSET)).then_some(stored.message.received),
        };
        row(&columns, entry)
            .into_iter()
            .map(|value| value.map(|value| String::from_utf8(value.to_vec()).unwrap()))
            .collect()
    }

    fn one(cell: &str, kind: &str, payload: &str) -> Option<String> {
        values(&[(cell, kind)], payload.as_bytes(), Marks::default())
            .pop()
            .unwrap()
    }

    #[test]
    fn each_column_has_what_its_template_says_as_its_type_takes_it() {
        let said = r#"{"t":21.50,"n":{"k":true},"s":"a \"b\"","e":4e2,"big":123456789012345678901234567890.5}"#;
        let some = |text: &str| Some(text.to_owned());
        for (cell, kind, expected) in [
            ("{id}", "text", some("gw/store/db/telemetry/0/7")),
            ("{time}", "timestamptz", some("2023-11-14T22:13:20.123456Z")),
            ("{time}", "int8", some("1700000000123456")),
            ("{device}", "text", some("d1")),
            ("{gateway}-{class}", "varchar", some("gw-telemetry")),
            ("{topic}", "jsonb", some("\"up/d1\"")),
            ("{payload.t}", "numeric", some("21.50")),
            (
                "{payload.big}",
                "numeric",
                some("123456789012345678901234567890.5"),
            ),
            ("{payload.e}", "int4", some("400")),
            ("{payload.t}", "int4", some("21.50")),
            ("{payload.n_k}", "bool", some("true")),
            ("{payload.s}", "text", some("a \"b\"")),
            ("{payload.s}", "jsonb", some(r#""a \"b\"""#)),
            ("{payload.x}", "float8", None),
            ("{payload}", "jsonb", some(said)),
        ] {
            assert_eq!(one(cell, kind, said), expected, "{cell} as {kind}");
        }
        assert_eq!(
            one("{payload}", "jsonb", "21,5"),
            some(r#"{"payload_base64":"MjEsNQ=="}"#)
        );
        assert_eq!(one("{payload}", "bytea", "21,5"), some("21,5"));
        let unset = Marks::default().with(Marks::CLOCK_UNSET, true);
        assert_eq!(values(&[("{time}", "timestamptz")], b"1", unset), [None]);
    }

    #[test]
    fn an_array_has_each_value_with_its_length_and_says_where_there_is_none() {
        let (a, b) = (Bytes::from_static(b"'; DROP"), Bytes::new());
        let array = array(25, 3, [Some(&a), None, Some(&b)].into_iter());
        let mut expected = vec![0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 3, 0, 0, 0, 1];
        expected.extend([0, 0, 0, 7]);
        expected.extend(b"'; DROP");
        expected.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(array, expected);
    }
}
