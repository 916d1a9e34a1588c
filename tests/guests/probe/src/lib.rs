//! A plugin that does what its messages and settings say, right or wrong. Written against the bare contract, without
//! the SDK: it holds the host to the words of `wit/tidegate.wit`.
//!
//! A message with any other payload than a command is counted for its key and passed on as `<payload> <count>`.

#[cfg(target_arch = "wasm32")]
mod entry;

#[cfg(target_arch = "wasm32")]
mod guest {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "package test:probe; world probe { include tidegate:plugin/transformer@0.1.0; include tidegate:plugin/ticking@0.1.0; include tidegate:plugin/stateful@0.1.0; }",
        world: "test:probe/probe",
        generate_all,
    });

    use exports::tidegate::plugin::state::{Guest as StateGuest, Page};
    use exports::tidegate::plugin::timer::Guest as TimerGuest;
    use exports::tidegate::plugin::transform::{Batch, Guest as TransformGuest, Output, Setup};
    use tidegate::plugin::{clock, log, metrics};

    #[derive(Default)]
    struct Probe {
        settings: String,
        counts: BTreeMap<Vec<u8>, u64>,
        changed: BTreeMap<Vec<u8>, u64>,
        ticks: u64,
        runs: usize,
        hoard: Vec<Vec<u8>>,
    }

    thread_local! {
        static PROBE: RefCell<Probe> = RefCell::default();
    }

    #[derive(Default)]
    struct Reply {
        words: Vec<u32>,
        data: Vec<u8>,
    }

    const PASS: u32 = 0;
    const EMIT: u32 = 1;
    const ABSORB: u32 = 2;
    const REJECT: u32 = 3;

    impl Reply {
        fn entry(&mut self, input: u32, action: u32, topic: &[u8], payload: &[u8]) {
            let key = match topic.iter().position(|byte| *byte == b'/') {
                Some(slash) => (slash as u32 + 1) | ((topic.len() - slash - 1) as u32) << 16,
                None => 0,
            };
            self.words.extend([
                input,
                action,
                topic.len() as u32,
                0,
                payload.len() as u32,
                key,
                1 << 4,
            ]);
            self.data.extend_from_slice(topic);
            self.data.extend_from_slice(payload);
        }

        /// An entry whose every part is the caller's, right or wrong.
        fn raw(&mut self, words: [u32; 7], data: &[u8]) {
            self.words.extend(words);
            self.data.extend_from_slice(data);
        }

        fn output(self) -> Output {
            Output {
                stride: 7,
                words: self.words,
                data: self.data,
            }
        }
    }

    impl Probe {
        fn says(&self, what: &str) -> bool {
            self.settings
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                .any(|word| word == what)
        }

        fn count(&mut self, key: &[u8]) -> u64 {
            if self.says("leak") {
                std::mem::forget(std::hint::black_box(vec![1_u8; 512 << 10]));
            }
            let step = if self.says("by-ten") { 10 } else { 1 };
            let key = if self.says("room") { &b"room"[..] } else { key };
            let count = self.counts.entry(key.to_vec()).or_default();
            *count += step;
            self.changed.insert(key.to_vec(), *count);
            *count
        }

        fn run(&mut self, index: u32, key: &[u8], payload: &[u8], reply: &mut Reply) {
            self.runs += 1;
            assert!(
                !self.says("trap-after-50") || self.runs <= 50,
                "told to trap after 50 messages"
            );
            if self.says("leak") {
                self.hoard.push(vec![1; 32 << 10]);
            }
            if let Some((words, data)) = crate::entry::made(index, payload) {
                return reply.raw(words, &data);
            }
            match payload {
                b"odd" if self.says("trap-on-odd") => panic!("told to trap on odd messages"),
                b"loose" if self.says("strict") => reply.entry(index, REJECT, b"", b"too loose"),
                b"trap" => panic!("told to trap"),
                b"more" => (0..1_000).for_each(|_| reply.entry(index, EMIT, b"", b"more")),
                b"pose" => reply.entry(index, EMIT, b"devices/d1", b"reject"),
                b"runs" => reply.entry(index, EMIT, b"", self.runs.to_string().as_bytes()),
                b"spin" => spin(),
                b"grow" => grow(),
                b"recurse" => drop(recurse(1)),
                b"sleep" => std::thread::sleep(std::time::Duration::from_secs(3_600)),
                b"exit" => std::process::exit(3),
                b"flood" => (0..100_000).for_each(|_| reply.entry(index, PASS, b"", b"")),
                b"huge" => reply.entry(index, EMIT, b"", &vec![b'x'; 8 << 20]),
                b"wild" => reply.entry(index, EMIT, b"a/#", b""),
                b"back" if index > 1 => reply.entry(index - 2, PASS, b"", b""),
                b"port" => reply.entry(index, EMIT | 9 << 16, b"", b""),
                b"file" => reply.entry(
                    index,
                    EMIT,
                    b"",
                    format!("{:?}", std::fs::read("/etc/passwd").is_err()).as_bytes(),
                ),
                b"print" => {
                    eprintln!("written to stderr");
                    reply.entry(index, PASS, b"", b"");
                }
                b"log" => {
                    (0..100).for_each(|line| log::log(log::Level::Debug, &format!("line {line}")));
                    metrics::counter("seen", 2);
                    metrics::gauge("level", 1.5);
                    reply.entry(index, EMIT, b"", clock::now_us().to_string().as_bytes());
                }
                b"gauges" => {
                    for value in [f64::NAN, f64::INFINITY, -0.0, f64::MIN_POSITIVE] {
                        metrics::gauge("level", value);
                    }
                    metrics::counter("seen", u64::MAX);
                    metrics::counter("seen", u64::MAX);
                    metrics::counter("", 1);
                    (0..50).for_each(|name| metrics::counter(&format!("{name}"), 1));
                    metrics::gauge(&"n".repeat(1 << 16), 1.0);
                    reply.entry(index, PASS, b"", b"");
                }
                b"long-log" => {
                    log::log(log::Level::Error, &"\u{1b}[2J\n\0".repeat(50_000));
                    reply.entry(index, PASS, b"", b"");
                }
                _ if payload.starts_with(b"name:") => {
                    metrics::counter(&String::from_utf8_lossy(&payload[5..]), 1);
                    log::log(log::Level::Debug, "named");
                    reply.entry(index, PASS, b"", b"");
                }
                b"says" => reply.entry(index, EMIT, b"", self.settings.as_bytes()),
                b"times" => reply.entry(index, EMIT, b"", times().as_bytes()),
                b"drop" => {}
                b"absorb" => {
                    self.count(key);
                    reply.entry(index, ABSORB, b"", b"");
                }
                b"reject" => reply.entry(index, REJECT, b"", b"no good"),
                b"lacks" => {
                    reply.entry(index, REJECT, b"", b"no value");
                    *reply.words.last_mut().unwrap() |= 1 << 6;
                }
                b"running" => {
                    reply.entry(index, EMIT, b"", clock::running_us().to_string().as_bytes())
                }
                b"pass" => reply.entry(index, PASS, b"", b""),
                b"two" => (0..2).for_each(|copy| reply.entry(index, EMIT, b"", &[b'0' + copy])),
                b"alarm" => reply.entry(index, EMIT | 1 << 16, b"", b"alarm"),
                b"both" => {
                    reply.entry(index, EMIT | 1 << 16, b"", b"alarm");
                    reply.entry(index, PASS, b"", b"");
                }
                b"topic" => reply.entry(index, EMIT, &[b"own/", key].concat(), b"moved"),
                _ => {
                    let count = self.count(key);
                    let text = format!("{} {count}", String::from_utf8_lossy(payload));
                    reply.entry(index, EMIT, b"", text.as_bytes());
                }
            }
        }
    }

    /// All clocks there are, and a random number.
    fn times() -> String {
        use std::hash::{BuildHasher, Hasher};
        let wall = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default()
            .as_micros();
        let still = std::time::Instant::now().elapsed().is_zero();
        let random = std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish();
        format!("{} {wall} {still} {random}", clock::now_us())
    }

    fn spin() {
        let mut number = 1_u64;
        while number != 0 {
            number = std::hint::black_box(number | 1);
        }
    }

    fn grow() {
        let mut hoard = Vec::new();
        loop {
            hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
        }
    }

    #[expect(unconditional_recursion, reason = "told to")]
    fn recurse(depth: u64) -> u64 {
        let here = std::hint::black_box(depth);
        recurse(here + 1) ^ here
    }

    struct Plugin;

    impl TransformGuest for Plugin {
        fn configure(settings: String) -> Result<Setup, String> {
            PROBE.with_borrow_mut(|probe| {
                probe.settings = settings;
                if probe.says("refuse") {
                    return Err("told to refuse".to_owned());
                }
                assert!(!probe.says("trap-configure"), "told to trap in configure");
                let mut ports = Vec::new();
                if probe.says("ports") {
                    ports.push("alarms".to_owned());
                }
                if probe.says("strange-port") {
                    ports.push("nowhere".to_owned());
                }
                let tick_every_us = if probe.says("tick") { 1_000 } else { 0 };
                let state_version = if probe.says("by-ten") { 2 } else { 1 };
                let one_lane = if probe.says("one-lane") { 1 << 31 } else { 0 };
                Ok(Setup {
                    ports,
                    tick_every_us,
                    state_version: state_version | one_lane,
                })
            })
        }

        fn process(batch: Batch) -> Output {
            PROBE.with_borrow_mut(|probe| {
                assert!(
                    batch.words.is_empty() || !probe.says("trap-first"),
                    "told to trap on the first batch"
                );
                assert!(
                    !batch.words.is_empty() || !probe.says("trap-empty"),
                    "told to trap on an empty batch"
                );
                let mut reply = Reply::default();
                let mut at = 0;
                for (index, words) in batch.words.chunks_exact(batch.stride as usize).enumerate() {
                    let [topic, headers, payload] =
                        [words[0] as usize, words[1] as usize, words[2] as usize];
                    let (key, length) =
                        (at + (words[3] & 0xffff) as usize, (words[3] >> 16) as usize);
                    let start = at + topic + headers;
                    at = start + payload;
                    probe.run(
                        index as u32,
                        &batch.data[key..key + length],
                        &batch.data[start..at],
                        &mut reply,
                    );
                }
                reply.output()
            })
        }
    }

    impl TimerGuest for Plugin {
        fn tick(now_us: u64) -> Output {
            PROBE.with_borrow_mut(|probe| {
                assert!(!probe.says("trap-tick"), "told to trap in a tick");
                probe.ticks += 1;
                let mut reply = Reply::default();
                if probe.says("tick") {
                    reply.entry(
                        u32::MAX,
                        EMIT,
                        b"tick/all",
                        format!("{now_us} {}", probe.ticks).as_bytes(),
                    );
                }
                if probe.says("wild-tick") {
                    reply.entry(0, EMIT, b"tick/#", b"");
                }
                if probe.says("input-tick") {
                    reply.entry(0, PASS, b"", b"");
                }
                if probe.says("bare-tick") {
                    reply.raw([u32::MAX, EMIT, 0, 3, 0, 7 | 7 << 16, 0], &[9, 0, b'x']);
                }
                if probe.says("flood-tick") {
                    (0..5_000).for_each(|_| reply.entry(u32::MAX, EMIT, b"tick/all", b"x"));
                }
                reply.output()
            })
        }
    }

    impl StateGuest for Plugin {
        fn save(changed_only: bool, cursor: u64) -> Page {
            PROBE.with_borrow_mut(|probe| {
                assert!(!probe.says("trap-save"), "told to trap in save");
                if probe.says("endless-save") {
                    (0..20_000_000_u64).for_each(|number| drop(std::hint::black_box(number)));
                    return Page {
                        next: Some(cursor + 1),
                        words: Vec::new(),
                        data: Vec::new(),
                    };
                }
                // Two entries a page, so that there are several.
                let from = if changed_only {
                    &probe.changed
                } else {
                    &probe.counts
                };
                let mut page = Page {
                    next: None,
                    words: Vec::new(),
                    data: Vec::new(),
                };
                for (key, count) in from.iter().skip(cursor as usize * 2).take(2) {
                    page.words.extend([key.len() as u32, 8]);
                    page.data.extend_from_slice(key);
                    page.data.extend_from_slice(&count.to_le_bytes());
                }
                if from.len() > cursor as usize * 2 + 2 {
                    page.next = Some(cursor + 1);
                } else {
                    probe.changed.clear();
                }
                if probe.says("odd-page") {
                    page.words.push(1);
                }
                if probe.says("short-page") {
                    page.words.extend([u32::MAX - 1, 8]);
                }
                if probe.says("gone-page") {
                    // A key that was never there is gone.
                    page.words.extend([4, u32::MAX]);
                    page.data.extend_from_slice(b"none");
                }
                if probe.says("other-page") {
                    // The key of a message that another instance has, or none has.
                    page.words.extend([7, 1]);
                    page.data.extend_from_slice(b"strange1");
                }
                if probe.says("many-pages") {
                    page.next = (cursor < 50).then_some(cursor + 1);
                }
                if probe.says("big-state") {
                    // A little more than the host takes, and little enough to cross.
                    page.words.extend([0, (4 << 20) + 16]);
                    page.data.resize(page.data.len() + (4 << 20) + 16, 0);
                }
                page
            })
        }

        fn restore(version: u32, page: Page) -> Result<(), String> {
            PROBE.with_borrow_mut(|probe| {
                assert!(!probe.says("trap-restore"), "told to trap in restore");
                if probe.says("refuse-restore") {
                    return Err(format!("cannot read state of version {version}"));
                }
                let mut at = 0;
                for words in page.words.chunks_exact(2) {
                    let (key, value) = (words[0] as usize, words[1] as usize);
                    let bytes: [u8; 8] = page.data[at + key..at + key + value]
                        .try_into()
                        .map_err(|_| "a count has 8 bytes".to_owned())?;
                    probe
                        .counts
                        .insert(page.data[at..at + key].to_vec(), u64::from_le_bytes(bytes));
                    at += key + value;
                }
                Ok(())
            })
        }
    }

    export!(Plugin);
}
