//! The shipped plugins without Wasm: the same code over the same packed batches, packing included.

use tidegate::message::Message;
use tidegate_sdk::Transform;
use tidegate_sdk::layout::STRIDE_IN;
use tidegate_sdk::native::{Batch, Instance, Packed};

/// Messages in the form in which a plugin takes them.
#[derive(Default)]
pub struct Input {
    pub words: Vec<u32>,
    pub data: Vec<u8>,
}

impl Input {
    /// Packs messages, as the host does before each call.
    pub fn pack(&mut self, messages: &[Message]) {
        self.words.clear();
        self.data.clear();
        for message in messages {
            let received = message.received.0;
            let key = u32::from(message.key.offset) | u32::from(message.key.len) << 16;
            self.words.extend_from_slice(&[
                message.topic.len() as u32,
                message.headers.len() as u32,
                message.payload.len() as u32,
                key,
                received as u32,
                (received >> 32) as u32,
                message.marks.0,
                message.uptime.0 as u32,
                (message.uptime.0 >> 32) as u32,
                0,
            ]);
            self.data.extend_from_slice(&message.topic);
            self.data.extend_from_slice(&message.headers);
            self.data.extend_from_slice(&message.payload);
        }
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
    let batch = Batch {
        now_us: 1_700_000_000_000_000,
        stride: STRIDE_IN as u32,
        words: &input.words,
        data: &input.data,
    };
    plugin.process(&batch)
}
