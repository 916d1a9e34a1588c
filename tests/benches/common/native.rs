//! The shipped plugins without Wasm: the same code over the same packed batches, packing included.

use tidegate::message::Message;
use tidegate_sdk::Transform;
use tidegate_sdk::layout::{
    EMIT, OUT_ACTION, OUT_HEADERS, OUT_INPUT, OUT_KEY, OUT_MARKS, OUT_PAYLOAD, OUT_TOPIC, PASS, STRIDE_IN, STRIDE_OUT,
};
use tidegate_sdk::native::{Batch, Instance, Packed};

/// Messages in the form in which a plugin takes them.
#[derive(Default)]
pub struct Input {
    words: Vec<u32>,
    data: Vec<u8>,
}

impl Input {
    /// Packs messages, as the host does before each call.
    pub fn pack(&mut self, messages: &[Message]) {
        self.words.clear();
        self.data.clear();
        for message in messages {
            let received = message.received_us;
            let key = u32::from(message.key.offset) | u32::from(message.key.len) << 16;
            self.words.extend_from_slice(&[
                message.topic.len() as u32,
                message.headers.len() as u32,
                message.payload.len() as u32,
                key,
                received as u32,
                (received >> 32) as u32,
                message.marks.0,
            ]);
            self.data.extend_from_slice(&message.topic);
            self.data.extend_from_slice(&message.headers);
            self.data.extend_from_slice(&message.payload);
        }
    }

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
            let [topic, headers, payload] = [OUT_TOPIC, OUT_HEADERS, OUT_PAYLOAD].map(|word| words[word] as usize);
            let own = &output.data[at..at + topic + headers + payload];
            at += own.len();
            match words[OUT_ACTION] {
                PASS => {
                    let length = origin[..3].iter().sum::<u32>() as usize;
                    next.words.extend_from_slice(origin);
                    next.data.extend_from_slice(&self.data[starts[input]..starts[input] + length]);
                }
                EMIT => {
                    let old_topic = &self.data[starts[input]..starts[input] + origin[0] as usize];
                    let (topic_length, key) = if topic == 0 { (origin[0], origin[3]) } else { (topic as u32, words[OUT_KEY]) };
                    next.words.extend_from_slice(&[
                        topic_length,
                        headers as u32,
                        payload as u32,
                        key,
                        origin[4],
                        origin[5],
                        words[OUT_MARKS],
                    ]);
                    next.data.extend_from_slice(if topic == 0 { old_topic } else { &[] });
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

/// A configured plugin.
pub fn plugin<P: Transform>(settings: &serde_json::Value) -> Instance<P> {
    match Instance::configure(&settings.to_string()) {
        Ok((instance, _)) => instance,
        Err(why) => panic!("the benchmark's settings are refused: {why}"),
    }
}

/// Runs a plugin over an input.
pub fn run<P: Transform>(plugin: &mut Instance<P>, input: &Input) -> Packed {
    let batch = Batch { now_us: 1_700_000_000_000_000, stride: STRIDE_IN as u32, words: &input.words, data: &input.data };
    plugin.process(&batch)
}
