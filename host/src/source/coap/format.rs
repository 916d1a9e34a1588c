//! What the numbers of Content-Format stand for, as IANA has them (registry "CoAP Content-Formats"); those that may be in a message
//! from a device.

const FORMATS: [(u16, &str); 23] = [
    (0, "text/plain; charset=utf-8"),
    (21, "image/gif"),
    (22, "image/jpeg"),
    (23, "image/png"),
    (40, "application/link-format"),
    (41, "application/xml"),
    (42, "application/octet-stream"),
    (47, "application/exi"),
    (50, "application/json"),
    (51, "application/json-patch+json"),
    (52, "application/merge-patch+json"),
    (60, "application/cbor"),
    (62, "application/multipart-core"),
    (63, "application/cbor-seq"),
    (110, "application/senml+json"),
    (111, "application/sensml+json"),
    (112, "application/senml+cbor"),
    (113, "application/sensml+cbor"),
    (310, "application/senml+xml"),
    (11_542, "application/vnd.oma.lwm2m+tlv"),
    (11_543, "application/vnd.oma.lwm2m+json"),
    (11_544, "application/vnd.oma.lwm2m+cbor"),
    (30_000, "image/svg+xml"),
];

/// JSON and CBOR, deflated.
const PACKED: [u16; 2] = [11_050, 11_060];

/// Its name; `None` where it is not known here.
pub(super) fn name(number: u16) -> Option<&'static str> {
    let known = FORMATS.iter().find(|(known, _)| *known == number);
    known.map(|(_, name)| *name)
}

/// Whether what it is of is packed, which nobody here would unpack.
pub(super) fn is_packed(number: u16) -> bool {
    PACKED.contains(&number)
}
