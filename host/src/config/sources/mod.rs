//! Where messages come from: the tables `[source.NAME]`. The scheme of the URL says what is spoken, and with it which keys
//! there are.

mod mqtt;

use super::SourceSpec;
use super::assemble::Identity;
use super::fields::Fields;
use super::tree::Place;
use crate::source::Kind;

/// Reads all of them.
pub(super) fn read_all(
    root: &mut Fields<'_>,
    gateway: &str,
    identities: &mut Vec<Identity>,
) -> Vec<(SourceSpec, Place)> {
    let mut sources = Vec::new();
    for (name, mut fields) in root.named("source") {
        sources.push((
            mqtt::read(&mut fields, gateway, name, identities),
            fields.place,
        ));
        fields.done();
    }
    sources
}

/// What every source has, beside its kind.
fn spec(fields: &mut Fields<'_>, name: &str, kind: Kind) -> SourceSpec {
    let whole = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    SourceSpec {
        name: name.into(),
        kind,
        priority: false,
        routes: Vec::new(),
        max_unsettled_bytes: whole(fields.size("max_unsettled", 64 << 10..=1 << 30)),
        max_topic_bytes: whole(fields.size("max_topic", 1..=65_535)),
        max_payload_bytes: whole(fields.size("max_payload", 1..=256 << 20)),
    }
}
