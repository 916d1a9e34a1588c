//! Many flows: that of `examples/convert` once for each device, with a topic and settings of its own.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::config::Config;

/// A flow `f0`, `f1`, … for each device, to `up/f0` and so on. What its instances may take at most is not what they do.
pub fn config(flows: usize, field: SocketAddr, cloud: SocketAddr) -> Config {
    let mut text = format!(
        "[gateway]\nmemory = \"1024GiB\"\n[source.field]\nurl = \"mqtt://{field}\"\nqos = 1\n[uplink.cloud]\nurl = \"mqtt://{cloud}\"\nqos = 1\n"
    );
    for flow in 0..flows {
        write!(
            text,
            r#"
[flow.f{flow}]
from   = "field"
topics = ["devices/d{flow}/{{kind}}"]
topic  = "up/f{flow}"
to     = {{ out = "cloud:telemetry", alarms = "drop" }}
[[flow.f{flow}.plugin]]
plugin   = "builtin:decode-json"
settings = {{ pick = ["device", "seq", "ts", "humidity", {{ from = "temperature", to = "fahrenheit", scale = 1.8, offset = {offset} }}] }}
[[flow.f{flow}.plugin]]
plugin   = "builtin:filter"
settings = {{ where = [{{ field = "fahrenheit", op = ">", value = -{flow} }}] }}
[[flow.f{flow}.plugin]]
plugin   = "builtin:threshold"
settings = {{ field = "fahrenheit", above = {above}, hysteresis = 4 }}
"#,
            offset = 32 + flow,
            above = 2_000 + flow,
        )
        .expect("writing to a string cannot fail");
    }
    Config::read(&text)
}
