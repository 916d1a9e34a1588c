//! From one plugin to the next, natively.

use serde_json::{Value, json};
use tidegate_sdk::layout::{
    EMIT, OUT_ACTION, OUT_HEADERS, OUT_INPUT, OUT_KEY, OUT_MARKS, OUT_OWN_KEY, OUT_PAYLOAD,
    OUT_TOPIC, PASS, STRIDE_IN, STRIDE_OUT,
};
use tidegate_sdk::native::Packed;

use crate::common::native::Input;

/// What `examples/convert` does, plugin by plugin.
pub fn convert_settings() -> [(&'static str, Value); 3] {
    let text = std::fs::read_to_string(
        tidegate_tests::binary::workspace().join("examples/convert/tidegate.toml"),
    );
    let config: toml::Table = text
        .expect("the example is there")
        .parse()
        .expect("the example is TOML");
    let flows = config["flow"].as_table().expect("the example has a flow");
    let flow = flows.values().next().expect("the example has a flow");
    let plugins = flow["plugin"].as_array().expect("the flow has plugins");
    ["decode-json", "filter", "threshold"].map(|name| {
        let is =
            |plugin: &&toml::Value| plugin["plugin"].as_str() == Some(&format!("builtin:{name}"));
        let plugin = plugins
            .iter()
            .find(is)
            .expect("the flow has the three plugins");
        let settings = plugin
            .get("settings")
            .cloned()
            .unwrap_or(toml::Value::Table(toml::Table::new()));
        (name, json!(settings))
    })
}

impl Input {
    fn starts(&self) -> Vec<usize> {
        let mut at = 0;
        let starts = self.words.chunks_exact(STRIDE_IN).map(|words| {
            let start = at;
            at += words[..3].iter().sum::<u32>() as usize;
            start
        });
        starts.collect()
    }

    /// What leaves a plugin through `out`, as the next one's input.
    pub fn follow(&self, output: &Packed, next: &mut Self) {
        next.words.clear();
        next.data.clear();
        let starts = self.starts();
        let mut at = 0;
        for words in output.words.chunks_exact(STRIDE_OUT) {
            let input = words[OUT_INPUT] as usize;
            let origin = &self.words[input * STRIDE_IN..(input + 1) * STRIDE_IN];
            let [topic, headers, payload] =
                [OUT_TOPIC, OUT_HEADERS, OUT_PAYLOAD].map(|word| words[word] as usize);
            let own = &output.data[at..at + topic + headers + payload];
            at += own.len() + words[OUT_OWN_KEY] as usize;
            match words[OUT_ACTION] {
                PASS => {
                    let length = origin[..3].iter().sum::<u32>() as usize;
                    next.words.extend_from_slice(origin);
                    next.data
                        .extend_from_slice(&self.data[starts[input]..starts[input] + length]);
                }
                EMIT => {
                    let old_topic = &self.data[starts[input]..starts[input] + origin[0] as usize];
                    let (topic_length, key) = if topic == 0 {
                        (origin[0], origin[3])
                    } else {
                        (topic as u32, words[OUT_KEY])
                    };
                    next.words.extend_from_slice(&[
                        topic_length,
                        headers as u32,
                        payload as u32,
                        key,
                        origin[4],
                        origin[5],
                        words[OUT_MARKS],
                        origin[7],
                        origin[8],
                        0,
                    ]);
                    next.data
                        .extend_from_slice(if topic == 0 { old_topic } else { &[] });
                    next.data.extend_from_slice(own);
                }
                _ => {}
            }
        }
    }

    /// Number of messages.
    pub fn len(&self) -> usize {
        self.words.len() / STRIDE_IN
    }
}
