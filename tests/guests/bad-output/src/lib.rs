//! Breaks the contract of outputs, in the way its settings name: `{"how":"past-the-end"}`. Without `how` it passes
//! everything on. It stands on the bindings, since the SDK cannot be brought to do this.

#[cfg(target_arch = "wasm32")]
mod component {
    use std::cell::RefCell;

    use tidegate_sdk::bindings::transformer;
    use tidegate_sdk::bindings::transformer::exports::tidegate::plugin::transform::{
        Batch, Guest, Output, Setup,
    };
    use tidegate_sdk::layout::{EMIT, PASS};
    use tidegate_sdk::serde_json::{self, Value};

    thread_local! {
        static HOW: RefCell<String> = const { RefCell::new(String::new()) };
    }

    struct Component;

    impl Guest for Component {
        fn configure(settings: String) -> Result<Setup, String> {
            let settings: Value =
                serde_json::from_str(&settings).map_err(|error| error.to_string())?;
            HOW.set(settings["how"].as_str().unwrap_or_default().to_owned());
            Ok(Setup {
                ports: vec!["side".to_owned()],
                tick_every_us: 0,
                state_version: 0,
            })
        }

        fn process(batch: Batch) -> Output {
            HOW.with_borrow(|how| output(how, (batch.words.len() / batch.stride as usize) as u32))
        }
    }

    /// Words: input, action and port, topic, headers, payload, key, marks.
    fn output(how: &str, inputs: u32) -> Output {
        let last = inputs.saturating_sub(1);
        let pass = |input| [input, PASS, 0, 0, 0, 0, 0];
        let emit = |topic: &[u8], key| {
            (
                vec![[last, EMIT, topic.len() as u32, 0, 0, key, 0]],
                topic.to_vec(),
            )
        };
        let (entries, data) = match how {
            // An empty batch is how a gateway tries a plugin before it runs: that one is answered as agreed.
            _ if inputs == 0 => (Vec::new(), Vec::new()),
            "" => ((0..inputs).map(pass).collect(), Vec::new()),
            "backwards" => (vec![pass(last), pass(0), pass(last), pass(0)], Vec::new()),
            "no-such-input" => (vec![pass(inputs)], Vec::new()),
            "no-such-action" => (vec![[last, 99, 0, 0, 0, 0, 0]], Vec::new()),
            "no-such-port" => (vec![[last, EMIT | 7 << 16, 0, 0, 0, 0, 0]], Vec::new()),
            "past-the-end" => (vec![[last, EMIT, 0, 0, 1_000, 0, 0]], b"short".to_vec()),
            "overflow" => (
                vec![[last, EMIT, u32::MAX, u32::MAX, u32::MAX, 0, 0]],
                b"short".to_vec(),
            ),
            "data-left-over" => (vec![pass(last)], b"nobody's".to_vec()),
            "topic-not-text" => emit(b"a/\xff", 0),
            "topic-with-wildcard" => emit(b"a/+/b", 0),
            "key-outside" => emit(b"a/b", 0xffff_0001),
            "bad-headers" => (vec![[last, EMIT, 0, 3, 0, 0, 0]], b"\xff\xffx".to_vec()),
            "half-an-entry" => {
                return Output {
                    stride: 7,
                    words: vec![0, 0, 0],
                    data: Vec::new(),
                };
            }
            "no-stride" => {
                return Output {
                    stride: 0,
                    words: vec![0; 7],
                    data: Vec::new(),
                };
            }
            _ => panic!("`{how}` is no way to break the contract"),
        };
        Output {
            stride: 7,
            words: entries.concat(),
            data,
        }
    }

    transformer::export!(Component with_types_in transformer);
}
