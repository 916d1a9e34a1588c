//! What nobody means well by who sends it.

/// Values that a field may have.
const VALUES: &[&str] = &[
    "NaN",
    "Infinity",
    "1e999",
    "-1e999",
    "1e-999",
    "1e308",
    "-0",
    "0x10",
    "01",
    "+1",
    "1.",
    "null",
    "true",
    "\"\"",
    "\"NaN\"",
    "\"1\"",
    "[]",
    "{}",
    "[[[1]]]",
    "{\"a\":{\"b\":1}}",
    "\"\\ud800\"",
    "9007199254740993",
    "170141183460469231731687303715884105727",
];

/// Payloads that a plugin has to take without a panic, whatever it makes of them: no JSON, half of it, bytes that are no text,
/// numbers that no double holds, ten thousand members, objects and lists in each other without end, a name that stands there
/// twice. In those that are JSON `field` stands for a field that the plugin reads.
///
/// ```
/// let payloads = tidegate_sdk::test::hostile_payloads("temperature");
/// assert!(payloads.contains(&br#"{"temperature":1e999}"#.to_vec()));
/// ```
pub fn hostile_payloads(field: &str) -> Vec<Vec<u8>> {
    let mut payloads: Vec<Vec<u8>> = [
        "",
        " ",
        "{",
        "[]",
        "null",
        "NaN",
        "1e999",
        "\u{feff}{}",
        "{\"a\":}",
        "{\"a\":1}}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    payloads.extend([
        b"\xff\xfe".to_vec(),
        vec![0; 1_000],
        b"{\"a\":\"\xff\"}".to_vec(),
    ]);
    for value in VALUES {
        payloads.push(format!("{{\"{field}\":{value}}}").into_bytes());
    }
    payloads.push(format!("{{\"{field}\":1,\"{field}\":2}}").into_bytes());
    payloads.push(format!("{{\"{field}\":{}}}", "9".repeat(100_000)).into_bytes());
    payloads.push(format!("{{\"{field}\":\"{}\"}}", "x".repeat(100_000)).into_bytes());
    payloads.push(format!("{{\"{}\":1}}", "n".repeat(100_000)).into_bytes());
    let many: String = (0..10_000)
        .map(|number| format!("\"n{number}\":1,"))
        .collect();
    payloads.push(format!("{{{many}\"{field}\":1}}").into_bytes());
    for deep in [100, 100_000] {
        let (open, close) = ("[".repeat(deep), "]".repeat(deep));
        payloads.push(format!("{{\"{field}\":{open}{close}}}").into_bytes());
        let (open, close) = ("{\"a\":".repeat(deep), "}".repeat(deep));
        payloads.push(format!("{{\"{field}\":{open}1{close}}}").into_bytes());
    }
    payloads
}

/// Names of so many devices that were never seen before, each of 200 letters: who sends may invent them.
pub fn hostile_names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("{number:0>200}"))
}
